// What this browser keeps for the page: texts by name. Storage may be switched off, or full.

const PREFIX = "gpt-demo-";

/** What is kept under this name; null where there is nothing, or no storage.
 *  @param {string} name */
export function kept(name) {
  try {
    return localStorage.getItem(PREFIX + name);
  } catch {
    return null;
  }
}

/** Whether the text is kept now.
 *  @param {string} name @param {string} text */
export function keep(name, text) {
  try {
    localStorage.setItem(PREFIX + name, text);
    return true;
  } catch {
    return false;
  }
}
