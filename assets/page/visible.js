// What a token consists of, with nothing hidden.

/** @type {Record<string, string>} */
const SHOWN = { " ": "\u00b7", "\n": "\u21b5", "\t": "\u21e5", "\r": "\u240d" };
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Z}]/gu;
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @param {number} value @param {number} digits */
const hex = (value, digits) => value.toString(16).toUpperCase().padStart(digits, "0");
/** @param {string} character */
const sign = (character) => SHOWN[character] ?? `<U+${hex(character.codePointAt(0) ?? 0, 4)}>`;

/** A text or its bytes: blanks as signs, what else has no shape as <U+200B>, a byte that is no part of a whole UTF-8
 *  character as <0xE2>.
 *  @param {string | Uint8Array} bytesOrText
 *  @returns {string} */
export function visible(bytesOrText) {
  if (typeof bytesOrText === "string") return bytesOrText.replace(UNSEEN, sign);
  let shown = "";
  for (let i = 0; i < bytesOrText.length;) {
    const lead = bytesOrText[i];
    const size = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    try {
      shown += visible(strict.decode(bytesOrText.subarray(i, i + size)));
      i += size;
    } catch {
      shown += `<0x${hex(lead, 2)}>`;
      i += 1;
    }
  }
  return shown;
}
