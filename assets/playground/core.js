// The Playground's core: what determines a result (state), the server, the tokens of a model, and the panels.
//
//   const lab = mount(root, { server });            // called once by gr.HTML (gpt_demo/ui/playground/tab.py)
//   addPanel({ name, title, mount(container, lab) });   // a panel's file registers it when it is imported
//   extend((lab) => ...);                           // what is no panel: buttons in lab.tools, sheets
//
// lab.state is plain JSON: everything that determines what is seen, so it can be put into a link.
// Text of visitors and models reaches the page through textContent only.

import { h } from "../page/dom.js";
import { number } from "../page/numbers.js";
import { button } from "../page/parts.js";
import { frame } from "./frame.js";
import { decodeRow, vocabulary } from "./payload.js";
import { START } from "./state.js";
import { active } from "./steps.js";

/** @import { Greeting, Happened, Opened, Questions, Trouble } from "../page/protocol.js" */
/** @import { State } from "./state.js" */

/** What has changed; "models": the list came; "restored": it is another state altogether (a link, a scene, an example).
 *  @typedef {keyof State | "models" | "restored"} Change */
/** @typedef {(changed: Change[], lab: Lab) => void} Listener */
/** @typedef {{ name: string, title: string, mount: (container: HTMLElement, lab: Lab) => void }} Panel */

/** What is known of a model.
 *  @typedef {Omit<Opened, "vocabulary"> & { vocabulary: ReturnType<typeof vocabulary> }} About */

/** The server: each question is a function.
 *  @typedef {{
 *    [Name in keyof Questions]: (request: Questions[Name][0]) => Promise<Questions[Name][1] | Trouble>
 *  }} Server
 */

/** @type {Panel[]} */
const panels = [];
/** @type {((lab: Lab) => void)[]} */
const extensions = [];

const ANEW =
  "The server was restarted after this page was opened. Reload the page; your settings are kept in its address.";

/** Whether the server that answers is another one than the page came from. */
async function isAnew() {
  const gradio = /** @type {{ gradio_config?: { root?: string, api_prefix?: string, app_id?: unknown } }} */ (window);
  const { root = "", api_prefix: prefix = "", app_id: id } = gradio.gradio_config ?? {};
  try {
    const answer = await fetch(`${root}${prefix}/app_id`, { cache: "no-store" });
    return answer.ok && String((await answer.json()).app_id) !== String(id);
  } catch {
    return false;
  }
}

export class Lab {
  state = structuredClone(START);
  token = "";
  /** @type {string[]} */
  models = [];
  /** @type {Map<string, Promise<About>>} by the model's name */
  opened = new Map();
  /** @type {Map<string, string>} which weights answer to a model's name, as far as known */
  fingerprints = new Map();
  /** @type {Listener[]} */
  listeners = [];
  said = h("div", "lab-said");
  tools = h("div", "lab-tools"); // buttons of the extensions
  address = { touched: false }; // whether a visitor has used the Playground: see share.js
  /** @type {((scene: { at?: unknown, deck?: unknown }) => void) | null} present.js opens a scene */
  present = null;

  /** @param {HTMLElement} root @param {Server} server */
  constructor(root, server) {
    this.root = root;
    this.remote = server;
  }

  // State ---------------------------------------------------------------------------------------------------------

  /** Change entries of the state and tell everybody which: lab.set({seed: 2}).
   *  @param {Partial<State>} patch */
  set(patch) {
    const keys = /** @type {(keyof State)[]} */ (Object.keys(patch));
    const changed = keys.filter((key) => JSON.stringify(this.state[key]) !== JSON.stringify(patch[key]));
    if (!changed.length) return;
    Object.assign(this.state, structuredClone(patch));
    this.tell(changed);
  }

  /** Replace the whole state (a link, a scene, an example); what is not given is as at the start.
   *  @param {Partial<State>} state */
  restore(state) {
    this.state = {
      ...structuredClone(START),
      panel: this.state.panel,
      model: this.state.model,
      ...structuredClone(state),
    };
    this.tell(["restored", .../** @type {(keyof State)[]} */ (Object.keys(this.state))]);
  }

  /** The listener is called after each change.
   *  @param {Listener} listener */
  on(listener) {
    this.listeners.push(listener);
  }

  /** @param {Change[]} changed */
  tell(changed) {
    for (const listener of this.listeners) listener(changed, this);
  }

  /** The steps that do something, in their order, as playground/sampler.js and the server take them. */
  get steps() {
    return active(this.state.steps);
  }

  // Server --------------------------------------------------------------------------------------------------------

  /** Ask the server (gpt_demo/ui/playground/server.py); rejects with the server's sentence.
   *  @template {keyof Questions} Name
   *  @param {Name} question
   *  @param {Omit<Questions[Name][0], "token">} request
   *  @returns {Promise<Questions[Name][1]>} */
  async ask(question, request) {
    const whole = /** @type {Questions[Name][0]} */ ({ token: this.token, ...request });
    /** @type {Questions[Name][1] | Trouble | null} */
    let answer = null;
    try {
      answer = await this.remote[question](whole);
    } catch {
      // no answer
    }
    if (!answer)
      throw new Error(
        (await isAnew()) ? ANEW : "The server did not answer. Check the connection and try again; nothing is lost.",
      );
    if ("error" in answer) throw new Error(answer.error);
    return answer;
  }

  /** What is known of a model: {n_ctx, n_vocab, end_of_text, vocabulary: id -> {text, bytes}}. Fetched once. */
  open(model = this.state.model) {
    const there = this.opened.get(model);
    if (there) return there;
    const opening = this.ask("open", { model }).then((about) => ({
      ...about,
      vocabulary: vocabulary(about.vocabulary),
    }));
    opening.then(({ fingerprint }) => this.fingerprints.set(model, fingerprint)).catch(() => {});
    opening.catch(() => this.opened.delete(model));
    this.opened.set(model, opening);
    return opening;
  }

  /** The ids of a text.
   *  @param {string} text */
  async encode(text, model = this.state.model) {
    return (await this.ask("encode", { model, text })).ids;
  }

  /** The raw logits row of the token after `ids`, as playground/sampler.js takes it, and the dart: {row, dart}.
   *  @param {number[]} ids */
  async row(ids, model = this.state.model, seed = this.state.seed) {
    const answer = await this.ask("row", { model, ids, seed });
    return { row: decodeRow(answer.row.data, answer.row.dtype, answer.row.shift), dart: answer.dart };
  }

  /**
   * Run a job on the server and hand its events over as they come, about ten times a second:
   * onEvents(events, seconds) may return false to stop; `seconds`: the model has computed so long since the start.
   * Resolves when the job is done or stopped (true if done).
   *
   * @param {Omit<Questions["start"][0], "token" | "model"> & { model?: string }} request
   * @param {(events: Happened["events"], seconds: number) => boolean | void} onEvents
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

  /** One sentence under the panel tabs, with buttons behind it; without a sentence it goes away.
   *  @param {HTMLElement[]} buttons */
  say(sentence = "", ...buttons) {
    const line = h("p", "lab-said-line", sentence, ...buttons);
    this.said.replaceChildren(...(sentence ? [line] : []));
  }

  /** The button that takes such a sentence away. */
  dismiss() {
    return button("OK", "Dismiss this message", () => this.say());
  }

  // Text ----------------------------------------------------------------------------------------------------------

  /** The text each token adds, characters of several tokens with their last one: ids -> [text].
   *  @param {number[]} ids
   *  @param {About} about */
  pieces(ids, about) {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    return ids.map((id, i) => decoder.decode(about.vocabulary(id).bytes, { stream: i < ids.length - 1 }));
  }
}

/** What a model is, in a line.
 *  @param {{ n_vocab: number, n_ctx: number, card: string }} of */
export const cardWords = ({ n_vocab, n_ctx, card }) =>
  `${card} ${number(n_vocab)} tokens in its vocabulary, sees ${number(n_ctx)} at once.`;

// What the page calls -------------------------------------------------------------------------------------------------

/** @type {string | null} a model that another tab's "Let it write" asks for, before or after the list has come */
let wanted = null;
/** @type {Lab[]} */
const labs = [];

/** @param {Panel} panel */
export const addPanel = (panel) => panels.push(panel);
/** @param {(lab: Lab) => void} extension */
export const extend = (extension) => extensions.push(extension);

/** @param {HTMLElement & { lab?: Lab }} root @param {{ server: Server }} connection */
export function mount(root, { server }) {
  const lab = new Lab(root, server);
  frame(lab, panels);
  for (const extension of extensions) extension(lab);
  root.lab = lab; // for the console, and for tests
  lab.on(() => (lab.root.dataset.model = lab.state.model));
  labs.push(lab);
  lab.root.dataset.ready = "true";
  return lab;
}

/** The server sent who the visitor is and which models there are.
 *  @param {Lab} lab
 *  @param {string} json */
export function greet(lab, json) {
  /** @type {Greeting | undefined} */
  const value = JSON.parse(json || "{}").data;
  if (!value) return;
  const first = !lab.models.length;
  [lab.token, lab.models] = [value.token, value.models];
  const before = lab.state.model;
  if (!lab.models.includes(lab.state.model) && lab.models.length) lab.state.model = lab.models[0];
  lab.tell(first || lab.state.model !== before ? ["models", "model"] : ["models"]);
  show();
}

/** Show this model as soon as it is among those listed.
 *  @param {string} model */
export function want(model) {
  wanted = model;
  show();
}

function show() {
  for (const lab of labs) {
    if (wanted === null || !lab.models.includes(wanted)) continue;
    lab.set({ model: wanted });
    wanted = null;
  }
}
