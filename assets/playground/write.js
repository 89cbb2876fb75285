// The panel "Write": a text grows token by token, every choice can be looked at and changed, and branches are kept.
//
// Its parts: controls.js (what can be turned), text.js (the text), dist.js and dart.js (one position's distribution),
// story.js and tree.js (what is written), branches.js (its branches). Here they meet: "Write" runs a job of one lane on
// the server (gpt_demo.decoding.race.race); "One token" and autoplay take what the dart hits in the distribution shown, which is
// the token that the server would draw.

import { h } from "../page/dom.js";
import { button, field, number, percent, legend, trouble } from "../page/parts.js";
import { branchList } from "./branches.js";
import { controls as controlsOf, wholeChain } from "./controls.js";
import { addPanel } from "./core.js";
import { distribution } from "./dist.js";
import { visible } from "./sampler.js";
import { Story, NEXT } from "./story.js";
import { COLOURS, textView } from "./text.js";

addPanel({
  name: "write",
  title: "Write",
  mount(container, lab) {
    const KEEP = 1500; // ms from one time that what is being written goes into the state to the next
    const story = new Story(lab);
    let selected = NEXT; // a node of story.tree
    let missing = false; // what failed is the answer for a position
    let turn = 0; // grows with each position shown, so that late answers are dropped
    let job = null; // {stopped, auto, count, seconds} while something is written
    let wanted = null; // what is to be done as soon as model and prompt have been read
    let loading = false; // they are being read

    // Elements ----------------------------------------------------------------------------------------------------------

    const controls = controlsOf(lab);
    const text = textView({ choose, enter: () => dist.bars.focus() });
    const dist = distribution(lab, { take });
    const branches = branchList({ go: move, remove });
    const failed = trouble();

    const writeButton = button("Write", "Go on from the end of the text", write, "primary");
    const stopButton = button("Stop", "Stop writing; what is written stays", stop);
    const oneButton = button("One token", "Add the token that the dart hits", one);
    const autoButton = button("Autoplay", "One token after the other, its distribution shown each time; sliders may be moved meanwhile", autoplay);
    const pace = h("input");
    Object.assign(pace, { type: "range", min: "0.5", max: "10", step: "0.5", title: "Tokens per second of autoplay" });
    pace.setAttribute("aria-label", "Speed of autoplay, tokens per second");
    pace.addEventListener("input", () => lab.set({ speed: Number(pace.value) }));
    const paceWords = h("span", "quiet pace");
    const overButton = button("Start over", "Back to the prompt; the branches stay", () => move(-1));
    const toolbar = h("div", "row toolbar", writeButton, stopButton, oneButton, h("span", "row auto", autoButton, pace, paceWords), overButton);

    const figures = [
      ["tokens", "Tokens behind the prompt"],
      ["tokens/s", "Tokens per second of the last writing"],
      ["log-probability", "Sum of the tokens' log-probabilities, natural logarithm, in the model's own distribution (before the chain)"],
      ["perplexity", "exp(\u2212 log-probability / tokens), in the model's own distribution (before the chain): as if each token had been chosen among so many equally probable ones"],
    ].map(([name, title]) => {
      const value = h("dd", "", "\u2013");
      return { value, node: Object.assign(h("div", "", h("dt", "", name), value), { title }) };
    });
    const seen = h("p", "quiet seen");
    seen.setAttribute("role", "status");
    const colours = h("select", "", ...COLOURS.map((name) => Object.assign(h("option", "", name), { value: name })));
    colours.title = "What the model thought of each token: its probability, its rank among all, or how unsure the model was before it";
    colours.addEventListener("change", () => lab.set({ colour: colours.value }));
    const scale = h("span", "scale-box");
    const look = h("div", "row look", h("label", "check", h("span", "quiet", "Colour"), colours), scale);
    const facts = h("div", "row facts-row", h("dl", "facts", ...figures.map(({ node }) => node)), look);

    const title = h("h3", "where");
    const how = h("p", "quiet how");
    const forkButton = button("Fork here", "Write on behind this token with a new seed; the rest stays as a branch", fork);
    const thenButton = button("Use its settings", "Turn everything to where it stood when this token was drawn", then);
    const instead = field("Put this text here", { tag: "textarea", rows: 1, spellcheck: "false" }, "Any text: its tokens take this place, and a new branch grows from there. Enter puts it, Shift and Enter begin a new line.");
    const putButton = button("Put", "Put the text here", () => force(instead.input.value));
    instead.input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      force(instead.input.value);
    });
    const acts = h("div", "row acts", thenButton, forkButton, h("span", "row put", instead.node, putButton));
    const distHead = h("div", "dist-head", title, acts, how);
    const distBox = h("section", "lab-dist", distHead, dist.node);
    distBox.setAttribute("aria-label", "Distribution");
    const left = h("div", "left", controls.source, controls.settings);
    const root = h("div", "lab-write", left, h("div", "right", toolbar, failed.node, text.node, facts, seen, branches.node, distBox));
    container.append(root);

    // From model and prompt to the first bars ---------------------------------------------------------------------------

    async function load() {
      ++turn;
      failed.hide();
      distBox.setAttribute("aria-busy", "true");
      loading = true;
      try {
        if (!(await story.open())) return;
      } catch (error) {
        loading = false;
        forget();
        return failed.show(error.message, load);
      }
      loading = false;
      controls.open(story.about);
      const next = wanted;
      forget();
      refresh();
      if (story.fault) failed.show(story.fault);
      else next?.();
    }

    /** Write, or whatever it is, as soon as there is something to write with. */
    function wait(next) {
      wanted = next;
      setState("waiting");
      seen.textContent = "The model is being opened. Then it writes.";
      if (!loading && !waiting) load(); // it has failed before
    }

    function forget() {
      if (!wanted) return;
      wanted = null;
      setState("idle");
      statistics();
    }

    /** Everything anew, from the tree. */
    function refresh() {
      text.show(lab.state.prompt, story.tree, story.about);
      branches.show(story.tree, story.about);
      statistics();
      choose(NEXT);
      story.score(scored);
    }

    function scored() {
      text.recolour();
      statistics();
      branches.show(story.tree, story.about);
      describe();
    }

    // One position ------------------------------------------------------------------------------------------------------

    /** Show the distribution of a token of the text, or of the next one. */
    async function choose(at) {
      selected = at;
      text.select(at);
      if (!story.ready) return;
      describe();
      distBox.setAttribute("aria-busy", "true");
      const mine = ++turn;
      try {
        const view = await story.view(at);
        if (mine !== turn) return;
        dist.show(view);
        distBox.setAttribute("aria-busy", "false");
        if (missing) failed.hide();
        missing = false;
      } catch (error) {
        if (mine !== turn) return;
        missing = true;
        failed.show(error.message, () => choose(at));
      }
    }

    function describe() {
      const { tree, promptIds, about } = story;
      const next = selected === NEXT;
      const node = next ? null : tree.nodes[selected];
      const place = next ? tree.length() : tree.length(selected) - 1;
      const token = node && h("code", "", visible(about.vocabulary(node.id).bytes));
      title.replaceChildren(...(next ? ["Next token"] : [`Token ${number(place + 1)}: `, token]));
      const way = story.wayOf(selected);
      const same = !way || JSON.stringify(way) === JSON.stringify(story.settings);
      const origin = same ? "" : `; drawn with other settings than now (seed ${way.seed})`;
      const given = node?.numbers ? `. The model gave it ${percent(Math.exp(node.numbers.logprob))}, rank ${number(node.numbers.rank + 1)}` : "";
      const hand = node && !way ? "; put here by hand" : "";
      how.textContent = `Position ${number(promptIds.length + place)} of the context${next ? ". Choose a bar to add its token" : ""}${given}${origin}${hand}.`;
      forkButton.disabled = next;
      thenButton.disabled = same;
    }

    function then() {
      const { steps, greedy, seed } = story.wayOf(selected);
      lab.set({ steps: wholeChain(steps), greedy, seed });
    }

    // Writing -----------------------------------------------------------------------------------------------------------

    function setState(state) {
      const writing = state === "writing";
      root.dataset.state = state; // "idle", "waiting" (for the model) or "writing"
      for (const node of [writeButton, oneButton, overButton]) node.disabled = state !== "idle";
      stopButton.disabled = state === "idle";
      autoButton.setAttribute("aria-pressed", String(writing && job.auto));
      text.node.setAttribute("aria-busy", String(writing));
    }

    function begin(auto = false) {
      controls.fold();
      failed.hide();
      job = { stopped: false, auto, count: 0, seconds: 0 };
      setState("writing");
      return job;
    }

    /** What is written so far stays, and goes into the state. */
    function end(mine) {
      if (job !== mine) return;
      job = null;
      setState("idle");
      story.publish();
      branches.show(story.tree, story.about);
      statistics();
      choose(selected);
    }

    function stop() {
      forget();
      if (!job) return;
      job.stopped = true;
      end(job);
    }

    /** Run `work` while nothing else is written; what goes wrong is said, with a way to try again. */
    async function busy(work, again, auto = false) {
      if (job) return;
      if (!story.ready) return wait(again);
      const mine = begin(auto);
      try {
        await work(mine);
        end(mine);
      } catch (error) {
        end(mine);
        if (!mine.stopped) failed.show(error.message, again);
      }
    }

    function write() {
      return busy(async (mine) => {
        const way = story.tree.way(story.settings);
        const { length: count, greedy, stop: stopAtEnd } = lab.state;
        leave();
        const lanes = [{ name: "write", steps: lab.steps, greedy }];
        await lab.run({ ids: story.ids(), count, stop: stopAtEnd, lanes }, (events, seconds) => {
          mine.seconds = seconds;
          return !mine.stopped && grow(mine, events, way);
        });
      }, write);
    }

    function grow(mine, events, way) {
      const { tree } = story;
      const fresh = [];
      for (const { event, id, raw_logprob: logprob, rank, entropy } of events) {
        if (event !== "drawn") continue;
        tree.leaf = tree.add(tree.leaf, id, way, { logprob, rank, entropy });
        fresh.push(tree.leaf);
      }
      mine.count += fresh.length;
      text.append(fresh);
      statistics(mine);
      keep(mine);
      return true;
    }

    /** A page reloaded in the middle finds in its address most of what was written. */
    function keep(mine) {
      const now = performance.now();
      mine.kept ??= now;
      if (now - mine.kept < KEEP) return;
      mine.kept = now;
      story.publish();
    }

    /** The bars are of a position that is left; those of the next one come when its token is there. */
    function leave() {
      ++turn;
      selected = NEXT;
      text.select(NEXT);
      distBox.setAttribute("aria-busy", "true");
    }

    /** Add the token that the dart hits behind the text. True if that ends the text. */
    async function oneToken(mine) {
      leave();
      const view = await story.view(NEXT);
      if (mine.stopped) return true;
      const node = story.drawFrom(view);
      text.append([node]);
      statistics();
      return lab.state.stop && story.tree.nodes[node].id === story.about.end_of_text;
    }

    function one() {
      return busy(oneToken, one);
    }

    function autoplay() {
      if (job?.auto) return stop();
      return busy(async (mine) => {
        for (let i = 0; i < lab.state.length && !mine.stopped; i++) {
          const began = performance.now();
          if (await oneToken(mine)) return;
          await choose(NEXT);
          const rest = 1000 / lab.state.speed - (performance.now() - began);
          if (!mine.stopped && rest > 0) await new Promise((resolve) => setTimeout(resolve, rest));
        }
      }, autoplay, true);
    }

    // Branches ----------------------------------------------------------------------------------------------------------

    /** The text ends with this node from now on. */
    function move(leaf) {
      if (!story.ready) return;
      stop();
      selected = NEXT;
      story.tree.leaf = leaf;
      story.publish();
      refresh();
    }

    /** Put a token at the chosen position: the next one, or instead of one that is there. */
    function take(id) {
      const at = selected;
      const late = !job && distBox.getAttribute("aria-busy") === "true";
      if (!story.ready || late || dist.view?.before !== story.before(at)) return; // the bars are of another position
      stop();
      const path = story.tree.path();
      if (at !== NEXT && story.tree.nodes[at].id === id) choose(path[path.indexOf(at) + 1] ?? NEXT);
      else move(story.put(story.before(at), dist.view, id));
    }

    async function force(words) {
      if (!story.ready || !words) return;
      stop();
      const { nodes } = story.tree;
      let node = story.before(selected);
      try {
        const ids = await lab.encode(words);
        if (nodes !== story.tree.nodes) return;
        for (const id of ids) node = story.tree.add(node, id, -1);
        instead.input.value = "";
        move(node);
      } catch (error) {
        failed.show(error.message, () => force(words));
      }
    }

    function fork() {
      const leaf = selected;
      stop();
      lab.set({ seed: Math.floor(Math.random() * 100_000) });
      move(leaf);
    }

    function remove(leaf) {
      stop();
      selected = NEXT;
      story.remove(leaf);
      story.publish();
      refresh();
    }

    // What is said of the text ------------------------------------------------------------------------------------------

    function statistics(mine = null) {
      const { tree, about, promptIds } = story;
      const [length, sum] = [tree.length(), tree.logprob()];
      const known = length > 0 && sum !== null;
      const speed = mine?.seconds ? [number(mine.count / mine.seconds, 1)] : [figures[1].value.textContent];
      const values = [number(length), ...speed, known ? number(sum, 2) : "\u2013", known ? number(Math.exp(-sum / length), 2) : "\u2013"];
      values.forEach((value, i) => (figures[i].value.textContent = value));
      const all = promptIds.length + length;
      const cut = about && all > about.n_ctx;
      seen.textContent = cut ? `The model sees the last ${number(about.n_ctx)} of ${number(all)} tokens.` : "";
      Object.assign(root.dataset, { tokens: length, prompt: promptIds.length, logprob: sum ?? "", seen: cut ? about.n_ctx : all });
    }

    function colour() {
      const kind = COLOURS.includes(lab.state.colour) ? lab.state.colour : COLOURS[0];
      text.node.dataset.colour = kind;
      colours.value = kind;
      scale.replaceChildren(...(kind === "nothing" ? [] : [legend(kind)]));
    }

    // What others change ------------------------------------------------------------------------------------------------

    let greeted = false; // the server has said who the visitor is
    let waiting = true; // another text is to be opened as soon as the panel is seen

    function update(changed) {
      const whole = wholeChain(lab.state.steps);
      if (JSON.stringify(whole) !== JSON.stringify(lab.state.steps)) lab.set({ steps: whole });
      controls.update(changed);
      pace.value = String(lab.state.speed);
      paceWords.textContent = `${number(lab.state.speed, 1)} tokens/s`;
      if (changed.includes("colour")) colour();
      if (changed.includes("models")) greeted = true;
      if (story.follow(changed)) anotherText();
      if (waiting && greeted && lab.state.panel === "write") {
        waiting = false;
        load();
      } else if (story.ready) {
        if (changed.includes("seed")) choose(selected);
        dist.draw();
        describe();
      }
    }

    function anotherText() {
      if (job) job.stopped = true;
      job = null;
      wanted = null;
      setState("idle");
      selected = NEXT;
      waiting = true;
    }

    setState("idle");
    update(Object.keys(lab.state));
    lab.on(update);
  },
});
