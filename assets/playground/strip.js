// The bar that the dart hits. It is redrawn at each move of a slider, so it keeps its elements.
//
//   const strip = dartStrip();  strip.draw(stages, u, nameOf, {greedy, chosen});   // -> id under the dart

import { h, setText } from "../page/dom.js";
import { number, percent } from "../page/numbers.js";
import { shade } from "../page/parts.js";
import { bar, dart } from "./darts.js";
import { lastOf } from "./sampler.js";

/** @import { Stage } from "./sampler.js" */

const PARTS = 60; // of the bar; what follows is one part

export function dartStrip() {
  const parts = Array.from({ length: PARTS + 1 }, () => h("span", "part"));
  const wall = h("div", "strip", ...parts);
  const flag = h("span", "flag");
  const mark = h("div", "dart");
  const story = h("p", "story");
  const node = h("div", "dart-strip", h("div", "flight", flag), h("div", "wall", wall, mark), story);
  wall.setAttribute("role", "img");
  wall.title =
    "The distribution as one bar from 0 to 1, the most probable token first; each token is as wide as it is probable";
  flag.title = "The random number for this position, uniform from 0 to 1; it depends only on the seed and the position";
  let width = 800;
  new ResizeObserver(([entry]) => (width = entry.contentRect.width || width)).observe(wall);

  /** @param {Stage[]} stages
   *  @param {number} u
   *  @param {(id: number) => string} nameOf
   *  @param {{ greedy: boolean, chosen: number | null }} how */
  function draw(stages, u, nameOf, { greedy, chosen }) {
    const found = bar(stages, PARTS);
    const hit = greedy ? { id: lastOf(stages).idAt(0), rank: 0, from: 0, to: 1 } : dart(stages, u);
    found.forEach(({ id, from, to }, i) => paint(parts[i], id, from, to, id === hit.id));
    for (let i = found.length; i < PARTS; i++) parts[i].hidden = true;
    const rest = found.at(-1)?.to ?? 0;
    paint(parts[PARTS], null, rest, 1, hit.rank >= found.length);
    parts[PARTS].hidden = rest > 1 - 1e-9;

    const name = nameOf(hit.id);
    mark.hidden = flag.hidden = greedy;
    mark.style.left = flag.style.left = `${100 * u}%`;
    flag.style.transform = `translateX(${-100 * u}%)`;
    setText(flag, `dart ${number(u, 4)}`);
    const now = greedy
      ? `Greedy throws no dart: it takes ${name}.`
      : `The dart at ${number(u, 4)} hits ${name} (id ${hit.id}), which has the bar from ${number(hit.from, 4)} to ` +
        `${number(hit.to, 4)}: ${percent(hit.to - hit.from)}.`;
    const other = chosen !== null && chosen !== hit.id ? ` The text has ${nameOf(chosen)}.` : "";
    setText(story, now + other);
    wall.setAttribute("aria-label", now);
    return hit.id;

    /** @param {HTMLElement} part
     *  @param {number | null} id
     *  @param {number} from
     *  @param {number} to
     *  @param {boolean} struck */
    function paint(part, id, from, to, struck) {
      const share = to - from;
      part.hidden = false;
      part.style.left = `${100 * from}%`;
      part.style.width = `${100 * share}%`;
      part.className = `part shade-${id === null ? 0 : shade("probability", share)}${struck ? " hit" : ""}`;
      setText(part, id !== null && share * width > 14 ? nameOf(id) : "");
    }
  }

  return { node, draw };
}
