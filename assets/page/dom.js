// Elements: how they are made and changed. Text reaches the page through these, as text and never as markup.

/** @typedef {Node | string | number | null | undefined | false} Child */

/** An element with a class and children; strings become text, null, undefined and false are left out.
 *  @template {keyof HTMLElementTagNameMap} Tag
 *  @param {Tag} tag
 *  @param {string} [className]
 *  @param {(Child | Child[])[]} children
 *  @returns {HTMLElementTagNameMap[Tag]} */
export function h(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false)
      node.append(child instanceof Node ? child : String(child));
  }
  return node;
}

/** Attributes of a node; what is so already is not touched.
 *  @template {Element} Kind
 *  @param {Kind} node
 *  @param {Record<string, string | number | boolean>} attributes */
export function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    const text = String(value);
    if (node.getAttribute(name) !== text) node.setAttribute(name, text);
  }
  return node;
}

/** @template {Node} Kind @param {Kind} node @param {string} text */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
  return node;
}

/** What an error says.
 *  @param {unknown} error */
export const messageOf = (error) => (error instanceof Error ? error.message : String(error));

/** The part of a node that is there: an Error where it is not.
 *  @param {ParentNode} root
 *  @param {string} selector
 *  @returns {HTMLElement} */
export function find(root, selector) {
  const found = root.querySelector(selector);
  if (!(found instanceof HTMLElement)) throw new Error(`There is no ${selector}.`);
  return found;
}

/** The element that an event happened in, of those that the selector finds.
 *  @param {Event} event
 *  @param {string} selector
 *  @returns {HTMLElement | null} */
export function within(event, selector) {
  return event.target instanceof Element ? event.target.closest(selector) : null;
}

/** A drawing, or a part of one.
 *  @template {keyof SVGElementTagNameMap} Tag
 *  @param {Tag} tag
 *  @param {Record<string, string | number>} attributes
 *  @returns {SVGElementTagNameMap[Tag]} */
export const svg = (tag, attributes) => set(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes);

/** A part with its own scroll bar: reachable by keyboard, and named.
 *  @template {HTMLElement} Kind
 *  @param {Kind} node
 *  @param {string} label */
export const scrolling = (node, label) => set(node, { tabindex: 0, role: "region", "aria-label": label });
