// The presenter's list of scenes, and what can be done with a deck: open, save, link, add and remove scenes.

import { find, h, messageOf } from "../page/dom.js";
import { button, field } from "../page/parts.js";
import { download, address } from "../playground/share.js";
import * as decks from "./deck.js";

/** @import { Presenter } from "./present.js" */

const KEPT = "This deck is kept in this browser.";
const NOT_KEPT = "This deck is not kept in this browser. Save it as a file before you close or reload the page.";

/** @typedef {(work: () => unknown) => Promise<void>} Attempt does it, and says what goes wrong */

/** What can be done with the deck as a whole: {buttons, link, show()}.
 *  @param {Presenter} presenter
 *  @param {HTMLElement} said
 *  @param {Attempt} attempt */
function tools(presenter, said, attempt) {
  const input = h("input", "");
  Object.assign(input, { type: "file", accept: ".json,application/json", hidden: true });
  input.addEventListener("change", () =>
    attempt(async () => {
      const file = input.files?.[0];
      input.value = "";
      if (!file) return;
      presenter.use(await decks.fromFile(file));
      presenter.go(0);
    }),
  );
  const open = button("Open a file", "A deck that was saved as a file", () => input.click());
  const save = button("Save as a file", "Save this deck, with its recordings, as scenes.json", () =>
    download("scenes.json", decks.toJSON(presenter.deck), "application/json"),
  );
  const link = h("input", "");
  Object.assign(link, { readOnly: true, hidden: true });
  link.setAttribute("aria-label", "Link to this scene");
  const share = button("Link to this scene", "A link that opens the presenter at this scene", () =>
    attempt(async () => {
      link.value = address(await decks.link(presenter.deck, presenter.at, presenter.own));
      link.hidden = false;
      link.select();
      const copied = await navigator.clipboard.writeText(link.value).then(
        () => true,
        () => false,
      );
      said.textContent = copied ? "The link is copied." : "The link is selected: copy it.";
    }),
  );
  const standard = button("The app's own deck", "The ten scenes that come with the app", () =>
    attempt(async () => {
      await presenter.standard();
      presenter.go(0);
    }),
  );
  const remove = button("Remove this scene", "Remove this scene from the deck", () => {
    if (presenter.deck.scenes.length === 1) return void (said.textContent = "A deck needs at least one scene.");
    presenter.use({ ...presenter.deck, scenes: presenter.deck.scenes.toSpliced(presenter.at, 1) });
    presenter.go(presenter.at);
  });
  const mine = button("Your own deck", "The deck that you made or opened here last", () => {
    presenter.mine();
    presenter.go(0);
  });
  const show = () => (mine.hidden = presenter.own || decks.kept() === null);
  return { buttons: h("div", "row", open, save, share, standard, mine, remove, input), link, show };
}

/** The form for a new scene.
 *  @param {Presenter} presenter
 *  @param {Attempt} attempt */
function adding(presenter, attempt) {
  const name = field("Title", { type: "text", maxlength: 200 });
  const note = field("Note", { tag: "textarea", maxlength: 4000 });
  const add = button(
    "Add the Playground as a scene",
    "A new scene after this one, with the Playground's current settings",
    () =>
      attempt(() => {
        const scene = decks.sceneOf(presenter.lab.state, name.input.value.trim(), note.input.value.trim());
        const scenes = presenter.deck.scenes.toSpliced(presenter.at + 1, 0, scene);
        presenter.use({ ...presenter.deck, scenes });
        name.input.value = note.input.value = "";
        presenter.go(presenter.at + 1);
      }),
  );
  return h("div", "drawer-add", name.node, note.node, add);
}

/** @param {Presenter} presenter */
export function drawer(presenter) {
  const title = h("h3", "");
  const list = h("ol", "drawer-scenes");
  const said = h("p", "drawer-said");
  said.setAttribute("role", "status");

  /** @type {Attempt} */
  async function attempt(work) {
    said.textContent = "";
    try {
      await work();
    } catch (error) {
      said.textContent = messageOf(error);
    }
  }

  const { buttons, link, show } = tools(presenter, said, attempt);
  const where = h("p", "quiet");
  const parts = [title, list, where, buttons, link, said, adding(presenter, attempt)];
  const node = h("aside", "present-drawer", ...parts);
  node.hidden = true;
  node.setAttribute("aria-label", "Scenes");

  return {
    node,
    get open() {
      return !node.hidden;
    },
    toggle() {
      node.hidden = !node.hidden;
      presenter.list.setAttribute("aria-expanded", String(!node.hidden));
      (node.hidden ? presenter.list : find(list.children[presenter.at], "button")).focus();
    },
    draw() {
      title.textContent = presenter.deck.title;
      where.textContent = presenter.own ? (presenter.kept ? KEPT : NOT_KEPT) : "";
      show();
      link.hidden = true;
      said.textContent = "";
      const items = presenter.deck.scenes.map((scene, i) => {
        const item = button(scene.title || "Untitled", "", () => presenter.go(i));
        if (i === presenter.at) item.setAttribute("aria-current", "true");
        return h("li", "", item);
      });
      const focused = list.contains(document.activeElement);
      list.replaceChildren(...items);
      if (focused) find(items[presenter.at], "button").focus();
    },
  };
}
