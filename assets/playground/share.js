// Sharing: the address follows the state, a link opened restores it, and the sheet "Share" gives link, JSON and Python.

import { h, messageOf } from "../page/dom.js";
import { number } from "../page/numbers.js";
import { button } from "../page/parts.js";
import { extend } from "./core.js";
import { isLink, read, write, clean } from "./link.js";
import { receipt } from "./receipt.js";
import { wayBack } from "./swap.js";

/** @import { Lab } from "./core.js" */
/** @import { State } from "./state.js" */

const PAUSE = 400; // ms between two changes of the address: browsers refuse too many
const LONGEST = 60_000; // characters of an address that is kept current
const SHOWN = 20_000; // characters in the sheet
const MESSENGER = 2000; // characters from which some programs cut a link

// A link in the address ----------------------------------------------------------------------------------------------

/** Gradio builds a tab when it is first opened: so the Playground has to be opened before it can be restored. */
function openTab(tries = 400) {
  const tabs = [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('button[role="tab"]'))];
  const tab = tabs.find((node) => node.textContent?.trim() === "Playground");
  if (tab?.getAttribute("aria-selected") === "true" || tries === 0) return;
  tab?.click();
  setTimeout(openTab, 50, tries - 1);
}
if (isLink(location.hash)) openTab();

/** @type {Partial<Record<keyof State, string>>} */
const NAMES = { tree: "the branches", lanes: "the lanes", steps: "the steps", toy: "the nine words" };

/** What is shared: the state, and which weights answered to the model's name.
 *  @param {Lab} lab */
const payloadOf = ({ state, fingerprints }) => ({ state, fingerprint: fingerprints.get(state.model) });

/** Take over what was shared, and say what of it was not usable.
 *  @param {Lab} lab
 *  @param {{ state?: unknown, fingerprint?: unknown }} payload
 *  @param {string} what */
async function accept(lab, payload, what) {
  const { state, wrong } = clean(payload.state);
  const asked = state.model;
  const missing = asked !== undefined && lab.models.length > 0 && !lab.models.includes(asked);
  const now = lab.models.includes(lab.state.model) ? lab.state.model : lab.models[0];
  if (missing) {
    state.model = now;
    delete state.tree; // its ids mean other words to another model
  }
  const back = lab.state.tree.nodes.length ? wayBack(lab) : null;
  lab.restore(state);
  /** @type {string[]} */
  const faults = [];
  if (missing)
    faults.push(
      `It was made with the model \u201c${asked}\u201d, which is not here; \u201c${now}\u201d is shown instead.`,
    );
  if (wrong.length) {
    faults.push(
      `Parts of it could not be read and were reset: ${wrong.map((key) => NAMES[key] ?? key).join(", ")}.`,
    );
  }
  const say = () => {
    if (!back && !faults.length) return lab.say();
    lab.say(`${what} was opened. ${faults.join(" ")}`.trim(), ...(back ? [back] : []), lab.dismiss());
  };
  say();
  if (missing || (await isSame(lab, payload.fingerprint))) return;
  const { model } = lab.state;
  faults.push(`Another model is called \u201c${model}\u201d here: texts and numbers differ from those shared.`);
  say();
}

/** Whether the weights that answer to the model's name are those with this fingerprint, as far as known.
 *  @param {Lab} lab
 *  @param {unknown} made */
async function isSame(lab, made) {
  if (!made || !lab.models.includes(lab.state.model)) return true;
  return lab.open().then(
    ({ fingerprint }) => fingerprint === made,
    () => true, // what is wrong with it is said where it is used
  );
}

/** Open a link's part behind "#".
 *  @param {Lab} lab
 *  @param {string} link */
async function open(lab, link) {
  try {
    const payload = await read(link);
    if (payload.state) accept(lab, payload, "The link");
    if (payload.present) await lab.present?.(payload.present);
  } catch (error) {
    lab.say(messageOf(error), lab.dismiss());
  }
}

// The address follows ------------------------------------------------------------------------------------------------

class Address {
  touched = false; // a visitor has used the Playground: before that, the address stays as it was opened
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  timer = undefined;
  turn = 0; // compressing takes time: only the last one counts

  /** @param {Lab} lab */
  constructor(lab) {
    this.lab = lab;
    for (const type of ["pointerdown", "keydown", "input", "drop"]) {
      lab.root.addEventListener(type, () => (this.touched = true), { capture: true, passive: true });
    }
    lab.on((changed) => !changed.includes("models") && this.later());
  }

  later() {
    if (!this.touched) return;
    this.timer ??= setTimeout(() => this.write(), PAUSE);
  }

  async write() {
    this.timer = undefined;
    const turn = ++this.turn;
    const link = await write(payloadOf(this.lab));
    if (turn !== this.turn || link.length > LONGEST || link === location.hash) return;
    history.replaceState(history.state, "", link);
  }
}

// The sheet ----------------------------------------------------------------------------------------------------------

/** Without what stands behind "?": that is the visitor's own (the theme, a key of the host).
 *  @param {string} link */
export const address = (link) => `${location.origin}${location.pathname}${link}`;

/** @param {string} name @param {string} text @param {string} type */
export function download(name, text, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(URL.revokeObjectURL, 10_000, link.href);
}

/** Where there is no clipboard, the text is selected, ready to be copied.
 *  @param {HTMLElement} node
 *  @param {string} text */
async function copy(node, text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    if (node instanceof HTMLInputElement) node.select();
    else getSelection()?.selectAllChildren(node);
    return document.execCommand("copy");
  }
}

/** @param {HTMLElement} node @param {() => string} text @param {string} title */
export function copyButton(node, text, title) {
  const label = "Copy";
  const made = button(label, title, async () => {
    made.textContent = (await copy(node, text())) ? "Copied" : "Selected";
    setTimeout(() => (made.textContent = label), 2000);
  });
  return made;
}

/** A part of the sheet: heading, what it is for, the text, buttons.
 *  @param {string} name
 *  @param {string} title
 *  @param {string} words
 *  @param {HTMLElement} node
 *  @param {HTMLElement[]} buttons */
function part(name, title, words, node, ...buttons) {
  const heading = h("h3", "", title);
  heading.id = `lab-share-${name}`;
  node.setAttribute("aria-labelledby", heading.id);
  const section = h(
    "section",
    "lab-sheet-part",
    heading,
    h("p", "quiet", words),
    node,
    h("div", "lab-sheet-row", ...buttons),
  );
  section.dataset.part = name;
  return section;
}

/** @param {string} text */
function code(text) {
  const node = h("pre", "lab-sheet-code", text);
  node.tabIndex = 0; // it scrolls
  node.setAttribute("role", "textbox");
  node.setAttribute("aria-readonly", "true");
  node.setAttribute("aria-multiline", "true");
  return node;
}

/** @param {string} link */
function linkPart(link) {
  const node = h("input", "lab-sheet-link");
  node.readOnly = true;
  node.value = address(link);
  node.addEventListener("focus", () => node.select());
  const length = node.value.length;
  const words =
    length > MESSENGER
      ? `It contains all settings and texts here: ${number(length)} characters. Some messengers truncate long ` +
        `links; then send the JSON.`
      : "It contains all settings and texts here; opening it shows the same.";
  return part(
    "link",
    "Link",
    words,
    node,
    copyButton(node, () => node.value, "Copy the link"),
  );
}

/** @param {Lab} lab */
function receiptPart(lab) {
  const { title, code: text, first = "the tokens' ids" } = receipt(lab);
  const node = code(text.length > SHOWN ? `${text.slice(0, SHOWN)}\n# (the whole of it: Copy or Download)` : text);
  const words = `${title}: run it where gpt_demo is installed. The first line it prints: ${first}.`;
  const save = button("Download", "Save as receipt.py", () => download("receipt.py", text, "text/x-python"));
  return part(
    "python",
    "Python",
    words,
    node,
    copyButton(node, () => text, "Copy the lines"),
    save,
  );
}

/** @param {Lab} lab @param {() => void} close */
function jsonPart(lab, close) {
  const text = JSON.stringify(payloadOf(lab), null, 1);
  const node = code(text.length > SHOWN ? `${text.slice(0, SHOWN)}\n(the whole of it: Copy or Download)` : text);
  const save = button("Download", "Save as playground.json", () =>
    download("playground.json", text, "application/json"),
  );
  const input = h("input", "");
  Object.assign(input, { type: "file", accept: ".json,application/json", hidden: true });
  input.addEventListener("change", async () => {
    const file = input.files?.[0];
    close();
    if (file) await openFile(lab, file);
  });
  const load = button("Open a JSON file", "Restore the state from such a file", () => input.click());
  return part(
    "json",
    "JSON",
    "The same as a file.",
    node,
    copyButton(node, () => text, "Copy the JSON"),
    save,
    load,
    input,
  );
}

/** @param {Lab} lab @param {File} file */
async function openFile(lab, file) {
  try {
    if (file.size > 4_000_000) throw new Error();
    const payload = JSON.parse(await file.text());
    if (typeof payload?.state !== "object" || payload.state === null) throw new Error();
    accept(lab, payload, "The file");
  } catch {
    lab.say("This file can't be read: it must be a JSON file saved here with Share.", lab.dismiss());
  }
}

/** @param {Lab} lab @param {HTMLElement} opener */
async function openSheet(lab, opener) {
  const sheet = h("dialog", "lab-sheet");
  const close = () => sheet.close();
  sheet.setAttribute("aria-label", "Share");
  sheet.addEventListener("close", () => (sheet.remove(), opener.focus()));
  sheet.addEventListener("click", (event) => event.target === sheet && close());
  const head = h(
    "header",
    "lab-sheet-head",
    h("h2", "", "Share what is on screen"),
    button("Close", "Close this sheet (Escape)", close),
  );
  sheet.append(head, linkPart(await write(payloadOf(lab))), receiptPart(lab), jsonPart(lab, close));
  lab.root.append(sheet);
  sheet.showModal();
}

extend((lab) => {
  const share = button("Share", "A link to what is on screen, Python code for the same tokens, or a JSON file", () =>
    openSheet(lab, share),
  );
  lab.tools.append(share);
  lab.address = new Address(lab);
  let given = location.hash; // as the page was opened: soon the address says what the visitor does
  lab.on((changed) => {
    if (!changed.includes("models")) return;
    if (isLink(given)) open(lab, given);
    given = "";
  });
  window.addEventListener("hashchange", () => isLink(location.hash) && (openTab(), open(lab, location.hash)));
});
