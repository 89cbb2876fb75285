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
];
