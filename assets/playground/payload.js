// What the server sends of a model, decoded: a row of logits and the vocabulary (gpt_demo/ui/playground/payload.py).

/** @import { Row, Vocabulary } from "../page/protocol.js" */

/** @param {string} base64 */
function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** One row of logits, Float32Array (V): little-endian "float32" or "float16", plus `shift`.
 *  @param {Row["data"]} base64
 *  @param {Row["dtype"]} dtype */
export function decodeRow(base64, dtype, shift = 0) {
  const { buffer } = bytesOf(base64);
  if (dtype !== "float32" && dtype !== "float16") {
    throw new RangeError(`dtype is ${dtype}; it must be "float32" or "float16".`);
  }
  const row = dtype === "float32" ? new Float32Array(buffer) : fromHalves(new Uint16Array(buffer));
  return shift === 0 ? row : row.map((x) => x + shift);
}

/** float16 bits to float32: exponent and fraction take float32's places, 2^112 makes up for the exponents' biases.
 *  @param {Uint16Array} halves */
function fromHalves(halves) {
  const bits = new Uint32Array(halves.length);
  for (let i = 0; i < bits.length; i++) bits[i] = (halves[i] & 0x7fff) << 13;
  const values = new Float32Array(bits.buffer);
  for (let i = 0; i < values.length; i++) {
    const size = (halves[i] & 0x7c00) === 0x7c00 ? (halves[i] & 0x3ff ? NaN : Infinity) : values[i] * 2 ** 112;
    values[i] = halves[i] & 0x8000 ? -size : size;
  }
  return values;
}

/** vocabulary_payload() of gpt_demo/ui/playground/payload.py to a function: id -> {text, bytes}, nothing for an unknown
 *  id. */
/** @param {Vocabulary} payload */
export function vocabulary({ data, lengths, n }) {
  const bytes = bytesOf(data);
  const sizes = new Uint16Array(bytesOf(lengths).buffer);
  const starts = new Uint32Array(n + 1);
  for (let id = 0; id < n; id++) starts[id + 1] = starts[id] + sizes[id];
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  /** @param {number} id */
  return (id) => {
    const piece = id >= 0 && id < n ? bytes.subarray(starts[id], starts[id + 1]) : bytes.subarray(0, 0);
    return { text: decoder.decode(piece), bytes: piece };
  };
}
