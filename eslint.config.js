// What the browser's half is held to: eslint's recommended set, and the sizes that the Python is held to.
import js from "@eslint/js";
import globals from "globals";

export default [
  js.configs.recommended,
  {
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "max-len": ["error", { code: 120 }],
      "max-lines": ["error", 320],
      "max-lines-per-function": ["error", 60],
      "no-shadow": "error",
      "no-unused-vars": ["error", { ignoreRestSiblings: true }],
    },
  },
  { files: ["assets/**"], languageOptions: { globals: globals.browser } },
  { files: ["tests/**"], languageOptions: { globals: globals.node } },
  {
    // Too long, or with names twice: to be cut.
    files: ["controls", "core", "dist", "examples", "race", "text", "toy", "write"].map(
      (name) => `assets/playground/${name}.js`,
    ),
    rules: { "max-len": "off", "max-lines": "off", "max-lines-per-function": "off", "no-shadow": "off" },
  },
];
