// SVG elements, and paths through points.

import { set } from "../page/dom.js";

const SVG = "http://www.w3.org/2000/svg";

/** @template {keyof SVGElementTagNameMap} Tag
 *  @param {Tag} tag
 *  @param {Element} parent
 *  @returns {SVGElementTagNameMap[Tag]} */
export function svg(tag, parent, className = "") {
  const node = document.createElementNS(SVG, tag);
  if (className) node.setAttribute("class", className);
  parent.append(node);
  return node;
}

/** Nodes that are used again at each redraw: take() them in order, then hide() the rest.
 *  @template {keyof SVGElementTagNameMap} Tag */
export class Pool {
  /** @type {SVGElementTagNameMap[Tag][]} */
  nodes = [];
  used = 0;

  /** @param {Tag} tag @param {Element} parent */
  constructor(tag, parent) {
    this.tag = tag;
    this.parent = parent;
  }

  /** @param {string} className */
  take(className) {
    const node = this.nodes[this.used] ?? svg(this.tag, this.parent);
    this.nodes[this.used++] = node;
    node.style.display = "";
    return set(node, { class: className });
  }

  hide() {
    for (let i = this.used; i < this.nodes.length; i++) this.nodes[i].style.display = "none";
    this.used = 0;
  }
}

export const LETTER = 7.2; // pixels of an average letter at 12 px, on the wide side
/** @param {number} value */
export const tenth = (value) => Math.round(value * 10) / 10;

/** @typedef {(value: number) => number} Turn from values to pixels */

/** The path through the points; a gap where a value is missing. "h0" lets a lone point show as a dot.
 *  @param {Float64Array} xs @param {Float64Array} ys @param {Turn} sx @param {Turn} sy */
export function pathData(xs, ys, sx, sy) {
  let path = "";
  let open = false;
  for (let i = 0; i < xs.length; i++) {
    const x = sx(xs[i]);
    const y = sy(ys[i]);
    if (x !== x || y !== y) open = false;
    else {
      const place = `${tenth(x)} ${tenth(Math.max(-2000, Math.min(4000, y)))}`;
      path += open ? `L${place}` : `M${place}h0`;
      open = true;
    }
  }
  return path;
}

/** @param {Float64Array} xs @param {Float64Array} ys @param {Turn} sx @param {Turn} sy */
export function dotsData(xs, ys, sx, sy) {
  let path = "";
  for (let i = 0; i < xs.length; i++) {
    const [x, y] = [sx(xs[i]), sy(ys[i])];
    if (x === x && y === y) path += `M${tenth(x)} ${tenth(y)}h0`;
  }
  return path;
}
