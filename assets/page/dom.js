// Elements: how they are made and changed. Text reaches the page through these, as text and never as markup.

/** An element with a class and children; strings become text, null, undefined and false are left out. */
export function h(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  for (const child of children.flat()) if (child !== null && child !== undefined && child !== false) node.append(child);
  return node;
}

/** Attributes of a node; what is so already is not touched. */
export function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    const text = String(value);
    if (node.getAttribute(name) !== text) node.setAttribute(name, text);
  }
  return node;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
  return node;
}

/** Text with its invisible characters shown: what a token consists of. */
export function visible(text) {
  const named = { " ": "\u00b7", "\n": "\u21b5", "\t": "\u21e5", "\x7f": "\u2421" };
  return text
    .replace(/[\x00-\x20\x7f]/g, (c) => named[c] ?? String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g, (c) => `<${c.charCodeAt(0).toString(16)}>`);
}

/** A part with its own scroll bar: reachable by keyboard, and named. */
export const scrolling = (node, label) => set(node, { tabindex: 0, role: "region", "aria-label": label });
