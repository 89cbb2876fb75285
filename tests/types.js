// The types of the scripts, by tsc: every file is strict, but for those that tsconfig.json lists under "notStrictYet";
// of these the findings count that are left without `strict`. A file with none left must leave the list.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** tsc's findings: [[file, line of output]]. */
function findings(...options) {
  const { stdout, stderr } = spawnSync(process.execPath, [
    "node_modules/typescript/bin/tsc",
    "--pretty",
    "false",
    ...options,
  ]);
  const lines = `${stdout}${stderr}`.split("\n").filter((line) => /\berror TS\d+/.test(line));
  return lines.map((line) => [line.split("(")[0], line]);
}

const { notStrictYet } = JSON.parse(readFileSync("tsconfig.json", "utf8"));
const strict = findings();
const lax = notStrictYet.length ? findings("--strict", "false") : [];
const wrong = [
  ...strict.filter(([file]) => !notStrictYet.includes(file)),
  ...lax.filter(([file]) => notStrictYet.includes(file)),
].map(([, line]) => line);
for (const name of notStrictYet) {
  if (!strict.some(([file]) => file === name))
    wrong.push(`${name} is strict now: take it out of tsconfig.json's list.`);
}
console.log(wrong.length ? wrong.join("\n") : `tsc: no findings (${notStrictYet.length} files are not strict yet)`);
process.exitCode = wrong.length ? 1 : 0;
