// Evaluates what tests/node.py writes to its input: a line of JSON in, {"value"} or {"error"} out, one line each.
import { createInterface } from "node:readline";

const asJson = (_key, value) =>
  typeof value === "number" && !Number.isFinite(value) ? { number: String(value) } : value;

for await (const line of createInterface({ input: process.stdin })) {
  try {
    const found = await (0, eval)(JSON.parse(line));
    process.stdout.write(`${JSON.stringify({ value: found ?? null }, asJson)}\n`);
  } catch (error) {
    process.stdout.write(`${JSON.stringify({ error: String(error?.stack ?? error) })}\n`);
  }
}
