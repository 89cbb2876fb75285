// One click is enough: the browser saves a file as soon as its link is there. The link stays, to save it again.

/** @type {string | null} address of the last one */
let saved = null;

/** Wait for a new link in the file component of this id, and follow it.
 *  @param {string} id */
export async function save(id) {
  for (let i = 0; i < 100; i++) {
    const link = /** @type {HTMLAnchorElement | null} */ (document.querySelector(`#${id} a[download]`));
    if (link && link.href !== saved) {
      saved = link.href;
      link.click();
      return;
    }
    await new Promise((done) => setTimeout(done, 50));
  }
}
