// The Playground's core: what determines a result (state), the server, the tokens of a model, and the panels.
//
//   const lab = mount(root, { server });            // called once by gr.HTML (gpt_demo/ui/playground/tab.py)
//   addPanel({ name, title, mount(container, lab) });   // a panel's file registers it when it is imported
//   extend((lab) => ...);                           // what is no panel: buttons in lab.tools, sheets
//
// lab.state is plain JSON: everything that determines what is seen, so it can be put into a link.
// Text of visitors and models reaches the page through textContent only.

import { find, h } from "../page/dom.js";
import { decodeRow, vocabulary } from "./payload.js";
import { active, chainOf } from "./steps.js";

export const LARGEST_SEED = 2 ** 32 - 1; // as in gpt_demo/decoding/darts.py

export const START = {
  panel: "write",
  model: "starter",
  prompt: "Nell looked at the",
  steps: chainOf({ temperature: 0.8, top_k: 40 }),
  greedy: false,
  seed: 1,
  length: 80,
  stop: true, // at the end-of-text token
  shown: 20, // bars
  lanes: [
    // of a race: see lanes.js
    { name: "Greedy", greedy: true },
    { name: "Temperature", steps: [{ name: "temperature", value: 0.7 }] },
    { name: "Top-k", steps: [{ name: "top_k", value: 20 }] },
    { name: "Top-p", steps: [{ name: "top_p", value: 0.9 }] },
    { name: "Min-p", steps: [{ name: "min_p", value: 0.1 }] },
    { name: "Beam search", beams: 4, length_penalty: 1 },
  ],
  ngram: 4, // tokens that count as a repeat in a race
  beams: { beams: 4, length: 20, length_penalty: 1, early: false }, // of the panel "beams"
  order: "raw", // of the bars; or "final"
  colour: "probability", // of the text; or "rank", "entropy", "nothing"
  speed: 2, // of autoplay, tokens per second
  tree: { nodes: [], ways: [], leaf: -1 }, // what has been written: see assets/playground/tree.js
  toy: { temperature: 1, top_k: 0, u: 0.5, draws: 0 }, // nine words: u is where the dart stands
};

/** Another seed, drawn at random: short enough to be said aloud. */
export const newSeed = () => Math.floor(Math.random() * 1_000_000);

const panels = [];
const extensions = [];

const ANEW =
  "The server was restarted after this page was opened. Reload the page; your settings are kept in its address.";

/** Whether the server that answers is another one than the page came from. */
async function isAnew() {
  const { root = "", api_prefix: prefix = "", app_id: id } = /** @type {any} */ (window).gradio_config ?? {};
  try {
    const answer = await fetch(`${root}${prefix}/app_id`, { cache: "no-store" });
    return answer.ok && String((await answer.json()).app_id) !== String(id);
  } catch {
    return false;
  }
}

class Lab {
  constructor(root, { server }) {
    this.root = root;
    this.state = structuredClone(START);
    this.token = "";
    this.models = [];
    this.opened = new Map(); // model name -> promise of what the server says of it
    this.listeners = [];
    this.said = h("div", "lab-said");
    this.remote = server;
  }

  // State ---------------------------------------------------------------------------------------------------------

  /** Change entries of the state and tell everybody which: lab.set({seed: 2}). */
  set(patch) {
    const changed = Object.keys(patch).filter((key) => JSON.stringify(this.state[key]) !== JSON.stringify(patch[key]));
    if (!changed.length) return;
    Object.assign(this.state, structuredClone(patch));
    this.tell(changed);
  }

  /** Replace the whole state (a link, a scene, an example); what is not given is as at the start. */
  restore(state) {
    this.state = {
      ...structuredClone(START),
      panel: this.state.panel,
      model: this.state.model,
      ...structuredClone(state),
    };
    this.tell(Object.keys(this.state));
  }

  /** listener(changed: array of state keys, lab) is called after each change; also with ["models"] when the list came.
   *  */
  on(listener) {
    this.listeners.push(listener);
  }

  tell(changed) {
    for (const listener of this.listeners) listener(changed, this);
  }

  /** The steps that do something, in their order, as playground/sampler.js and the server take them. */
  get steps() {
    return active(this.state.steps);
  }

  // Server --------------------------------------------------------------------------------------------------------

  /** Ask the server (gpt_demo/ui/playground/server.py); rejects with the server's sentence. */
  async ask(question, request = {}) {
    let answer;
    try {
      answer = await this.remote[question]({ token: this.token, ...request });
    } catch {
      answer = null;
    }
    if (!answer)
      throw new Error(
        (await isAnew()) ? ANEW : "The server did not answer. Check the connection and try again; nothing is lost.",
      );
    if (answer.error) throw new Error(answer.error);
    return answer;
  }

  /** What is known of a model: {n_ctx, n_vocab, end_of_text, vocabulary: id -> {text, bytes}}. Fetched once. */
  open(model = this.state.model) {
    if (!this.opened.has(model)) {
      const opening = this.ask("open", { model }).then((about) => ({
        ...about,
        vocabulary: vocabulary(about.vocabulary),
      }));
      opening.catch(() => this.opened.delete(model));
      this.opened.set(model, opening);
    }
    return this.opened.get(model);
  }

  /** The ids of a text. */
  async encode(text, model = this.state.model) {
    return (await this.ask("encode", { model, text })).ids;
  }

  /** The raw logits row of the token after `ids`, as playground/sampler.js takes it, and the dart: {row, dart}. */
  async row(ids, model = this.state.model, seed = this.state.seed) {
    const answer = await this.ask("row", { model, ids, seed });
    return { row: decodeRow(answer.row.data, answer.row.dtype, answer.row.shift), dart: answer.dart };
  }

  /**
   * Run a job on the server and hand its events over as they come, about ten times a second:
   * onEvents(events, seconds) may return false to stop; `seconds`: the model has computed so long since the start.
   * Resolves when the job is done or stopped (true if done).
   */
  async run(request, onEvents) {
    const { job } = await this.ask("start", { model: this.state.model, seed: this.state.seed, ...request });
    for (;;) {
      const { events, done, seconds } = await this.ask("more", { job });
      if (onEvents(events, seconds) === false) {
        if (!done) await this.ask("close", { job });
        return false;
      }
      if (done) return true;
    }
  }

  /** One sentence under the panel tabs, with buttons behind it; without a sentence it goes away. */
  say(sentence = "", ...buttons) {
    const line = h("p", "lab-said-line", sentence, ...buttons);
    this.said.replaceChildren(...(sentence ? [line] : []));
  }

  // Text ----------------------------------------------------------------------------------------------------------

  /** The text each token adds, characters of several tokens with their last one: ids -> [text]. */
  pieces(ids, about) {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    return ids.map((id, i) => decoder.decode(about.vocabulary(id).bytes, { stream: i < ids.length - 1 }));
  }
}

// The frame: a row of panels ----------------------------------------------------------------------------------------

function frame(lab) {
  const tabs = h("div", "lab-tabs");
  tabs.setAttribute("role", "tablist");
  tabs.setAttribute("aria-label", "Playground");
  const bodies = h("div", "lab-bodies");
  lab.tools = h("div", "lab-tools"); // buttons of the extensions
  lab.said.setAttribute("role", "status");
  for (const panel of panels) {
    const tab = h("button", "lab-tab", panel.title);
    tab.type = "button";
    tab.id = `lab-tab-${panel.name}`;
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", `lab-panel-${panel.name}`);
    tab.addEventListener("click", () => lab.set({ panel: panel.name }));
    tab.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!move) return;
      const next = panels[(panels.indexOf(panel) + move + panels.length) % panels.length];
      lab.set({ panel: next.name });
      find(tabs, `#lab-tab-${next.name}`).focus();
    });
    const body = h("section", "lab-panel");
    body.id = `lab-panel-${panel.name}`;
    body.setAttribute("role", "tabpanel");
    body.setAttribute("aria-labelledby", tab.id);
    body.append(h("h2", "spoken", panel.title));
    tabs.append(tab);
    bodies.append(body);
    panel.mount(body, lab);
  }
  lab.root.replaceChildren(h("div", "lab-head", tabs, lab.tools), lab.said, bodies);
  lab.on((changed) => changed.includes("panel") && choose(lab, tabs, bodies));
  choose(lab, tabs, bodies);
}

function choose(lab, tabs, bodies) {
  if (!panels.some((panel) => panel.name === lab.state.panel)) lab.state.panel = panels[0].name;
  panels.forEach((panel, i) => {
    const chosen = panel.name === lab.state.panel;
    tabs.children[i].setAttribute("aria-selected", String(chosen));
    tabs.children[i].tabIndex = chosen ? 0 : -1;
    bodies.children[i].hidden = !chosen;
  });
}

// What the page calls -------------------------------------------------------------------------------------------------

let wanted = null; // a model that another tab's "Let it write" asks for, before or after the list of models has come
const labs = [];

export const addPanel = (panel) => panels.push(panel);
export const extend = (extension) => extensions.push(extension);

export function mount(root, connection) {
  const lab = new Lab(root, connection);
  frame(lab);
  for (const extension of extensions) extension(lab);
  root.lab = lab; // for the console, and for tests
  lab.on(() => (lab.root.dataset.model = lab.state.model));
  labs.push(lab);
  lab.root.dataset.ready = "true";
  return lab;
}

/** The server sent who the visitor is and which models there are: {token, models}. */
export function greet(lab, json) {
  const value = JSON.parse(json || "{}").data;
  if (!value) return;
  const first = !lab.models.length;
  Object.assign(lab, value);
  const before = lab.state.model;
  if (!lab.models.includes(lab.state.model) && lab.models.length) lab.state.model = lab.models[0];
  lab.tell(first || lab.state.model !== before ? ["models", "model"] : ["models"]);
  show();
}

/** Show this model as soon as it is among those listed. */
export function want(model) {
  wanted = model;
  show();
}

function show() {
  for (const lab of labs.filter(({ models }) => models.includes(wanted))) {
    lab.set({ model: wanted });
    wanted = null;
  }
}
