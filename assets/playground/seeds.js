// The race over 20 seeds: what of its figures is strategy and what is luck, as means and spread over the seeds 1 to 20.

import { h } from "../page/dom.js";
import { logarithm, number, percent } from "../page/numbers.js";
import { lanesOf, measure } from "./lanes.js";
import { Job, LONGEST } from "./setup.js";

/** @import { Drawn, BeamsNow, BeamsAdvanced } from "../page/protocol.js" */
/** @import { Lab } from "./core.js" */
/** @import { Prompt } from "./setup.js" */

/** @typedef {ReturnType<typeof measure>} Measured */
/** @typedef {{ id: number, logprob: number }} Written */

const SEEDS = 20;

/** Mean and standard deviation (of a sample) of some numbers; a spread of 0 where there is only one.
 *  @param {number[]} values */
export function spread(values) {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const squares = values.reduce((sum, x) => sum + (x - mean) ** 2, 0);
  return { mean, deviation: values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : 0 };
}

/** In how many of the races each lane had the largest share of repeats; where several had it, all of them.
 *  @param {{ share: number }[][]} races */
export function mostRepeats(races) {
  const counts = races[0].map(() => 0);
  for (const race of races) {
    const most = Math.max(...race.map(({ share }) => share));
    race.forEach(({ share }, lane) => (counts[lane] += share === most && most > 0 ? 1 : 0));
  }
  return counts;
}

export class Seeds {
  /** @type {Measured[][]} a race for each seed, of the lanes in their order */
  races = [];

  /** `repeat()`: how many tokens count as a repeat.
   *  @param {Lab} lab @param {() => number} repeat */
  constructor(lab, repeat) {
    this.lab = lab;
    this.repeat = repeat;
    this.body = h("tbody", "");
    const heads = ["Lane", "Log-probability per token", "In repeats", "Distinct-2", "Most repeats"];
    const head = h("thead", "", h("tr", "", ...heads.map((words) => h("th", "", words))));
    this.table = h("table", "seeds-table", head, this.body);
    this.table.hidden = true;
    this.node = h("section", "seeds");
    this.job = new Job(lab, this.node, {
      label: `Race over ${SEEDS} seeds`,
      title: `The same race with the seeds 1 to ${SEEDS}; means and standard deviations are shown`,
      keeps: "The seeds that are done are kept",
      stale: "The settings have changed: this was measured before.",
      work: (alive, prompt) => this.work(alive, prompt),
      progress: () => `${this.races.length} of ${SEEDS} seeds.`,
      count: () => Math.min(lab.state.length, LONGEST),
      key: () => this.key(),
      ended: () => {},
    });
    const words =
      "One seed proves nothing: what differs by less than its spread (\u00b1, one standard deviation) may be luck.";
    this.node.append(...this.job.nodes(), h("p", "quiet", words), this.table);
  }

  key() {
    const { prompt, model, length, stop } = this.lab.state;
    return JSON.stringify([prompt, model, length, stop, lanesOf(this.lab.state), this.repeat()]);
  }

  /** @param {() => boolean} alive @param {Prompt} prompt */
  async work(alive, { ids }) {
    const lanes = lanesOf(this.lab.state);
    const { length, stop } = this.lab.state;
    const count = Math.min(length, LONGEST);
    const n = this.repeat();
    this.races = [];
    for (let seed = 1; seed <= SEEDS && alive(); seed++) {
      /** @type {Written[][]} */
      const tokens = lanes.map(() => []);
      await this.lab.run({ ids, lanes, count, stop, seed }, (events) => {
        for (const event of events) take(tokens, event);
        return alive();
      });
      if (!alive()) return;
      this.races.push(tokens.map((written) => measure(written, n)));
      this.show(lanes);
      this.job.goesOn("Racing\u2026");
    }
  }

  /** @param {{ name: string }[]} lanes */
  show(lanes) {
    const most = mostRepeats(this.races);
    /** @param {number} lane @param {(of: Measured) => number} value @param {(x: number) => string} words */
    const cells = (lane, value, words) => {
      const { mean, deviation } = spread(this.races.map((race) => value(race[lane])));
      return h("td", "", `${words(mean)} \u00b1 ${words(deviation)}`);
    };
    const rows = lanes.map(({ name }, lane) =>
      h(
        "tr",
        "",
        h("th", "", name),
        cells(lane, ({ mean }) => mean, (x) => logarithm(x)),
        cells(lane, ({ share }) => share, percent),
        cells(lane, ({ distinct }) => distinct[1], (x) => number(x, 2)),
        h("td", "", `${most[lane]} of ${this.races.length} seeds`),
      ),
    );
    this.body.replaceChildren(...rows);
    this.table.hidden = false;
  }
}

/** Add what an event of a race holds to the lanes' tokens.
 *  @param {Written[][]} tokens @param {Drawn | BeamsNow | BeamsAdvanced} event */
function take(tokens, event) {
  if (event.event === "drawn") tokens[event.lane].push({ id: event.id, logprob: event.raw_logprob ?? -Infinity });
  else if (event.event === "beam_lane") {
    tokens[event.lane] = event.ids.map((id, i) => ({ id, logprob: event.logprobs[i] ?? -Infinity }));
  }
}
