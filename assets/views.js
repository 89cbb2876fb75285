// Small views of the page, each drawn from the JSON that the server sends (gpt_demo/ui/views.py).
//
//   window.gptDemoViews.draw(root, name, json, trigger)
//
// Text of visitors and models reaches the page through textContent only.
"use strict";

(() => {
  /** An element with a class and children; strings become text. */
  function h(tag, className, ...children) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    for (const child of children) if (child !== null && child !== undefined) node.append(child);
    return node;
  }

  /** Text with its invisible characters shown: what a token consists of. */
  function visible(text) {
    return text.replace(/ /g, "\u00b7").replace(/\n/g, "\u21b5").replace(/\t/g, "\u21e5").replace(/\r/g, "\u240d");
  }

  function svg(tag, attributes) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  }

  function facts(rows) {
    const list = h("dl", "facts");
    for (const [label, value, title] of rows) {
      const entry = h("div", "", h("dt", "", label), h("dd", "", value));
      if (title) entry.title = title;
      list.append(entry);
    }
    return list;
  }

  /** A line of values, 0 at the bottom. */
  function line(values, label) {
    const [width, height, high] = [240, 36, Math.max(...values) || 1];
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "spark", role: "img", "aria-label": label });
    const step = width / Math.max(1, values.length - 1);
    const points = values.map((v, i) => `${(i * step).toFixed(1)},${(height - 2 - (height - 4) * (v / high)).toFixed(1)}`);
    picture.append(svg("polyline", { points: points.join(" "), fill: "none" }));
    return picture;
  }

  const views = {
    /** The text as tokens: {error} or {facts, head, pieces: [[id, text]], more}. */
    preview(root, data) {
      if (!data) return root.replaceChildren(h("p", "quiet", "Choose a text; it is shown here as the model will read it."));
      if (data.error) return root.replaceChildren(h("p", "trouble", data.error));
      const tokens = h("p", "tokens");
      data.pieces.forEach(([id, text], i) => {
        const token = h("span", `token t${i % 4}`, visible(text));
        token.title = `token ${id}`;
        tokens.append(token);
        if (text.includes("\n")) tokens.append(document.createElement("br"));
      });
      if (data.more) tokens.append(h("span", "quiet", " \u2026"));
      root.replaceChildren(facts(data.facts), tokens);
      root.dataset.tokens = data.tokens;
    },

    /** What a run will be: {facts, schedule: {values, label}, warning}. */
    plan(root, data) {
      if (!data) return root.replaceChildren();
      if (data.error) return root.replaceChildren(h("p", "trouble", data.error));
      root.replaceChildren(facts(data.facts));
      if (data.schedule) {
        root.append(h("div", "schedule", line(data.schedule.values, data.schedule.label), h("span", "quiet", data.schedule.label)));
      }
      if (data.warning) root.append(h("p", "trouble", data.warning));
    },

    /** How a run stands: {name, state, fraction, label, facts, message}. */
    status(root, data) {
      if (!data) {
        root.dataset.state = "none";
        return root.replaceChildren(h("p", "quiet", "No run yet. Choose a text on the left and start training."));
      }
      root.dataset.state = data.state;
      root.dataset.step = data.step;
      const bar = document.createElement("progress");
      bar.max = 1;
      bar.value = data.fraction;
      bar.setAttribute("aria-label", "progress of the run");
      root.replaceChildren(
        h("div", "run-line", h("strong", "", data.name), h("span", `badge ${data.state}`, data.state), h("span", "quiet", data.label)),
        bar,
        facts(data.facts),
      );
      if (data.message) root.append(h("p", data.state === "failed" ? "trouble" : "notice", data.message));
    },

    /** What the model wrote over time, the newest first: [{step, epoch, prompt, text}]. */
    samples(root, data) {
      if (!data || !data.length) {
        return root.replaceChildren(h("p", "quiet", "Samples of the model\u2019s writing appear here while it learns, the newest on top."));
      }
      root.dataset.samples = data.length;
      const list = h("ol", "samples");
      for (const sample of data) {
        const rest = sample.text.startsWith(sample.prompt) ? sample.text.slice(sample.prompt.length) : sample.text;
        const begin = sample.text.startsWith(sample.prompt) ? sample.prompt : "";
        list.append(h("li", "", h("span", "when", `step ${sample.step}`, h("br"), `epoch ${sample.epoch}`), h("p", "", h("strong", "", begin), rest)));
      }
      root.replaceChildren(list);
    },

    /** A table: {head: [...], rows: [[...]], note}. */
    table(root, data) {
      if (!data || !data.rows.length) return root.replaceChildren(h("p", "quiet", data?.note ?? ""));
      const body = h("tbody", "", ...data.rows.map((row) => h("tr", "", ...row.map((cell, i) => h(i ? "td" : "th", "", cell)))));
      const head = h("thead", "", h("tr", "", ...data.head.map((cell) => h("th", "", cell))));
      root.replaceChildren(h("div", "scroll", h("table", "", head, body)));
    },

    /** Text as it is written: {id, prompt, tokens: [[id, text, probability]], note}. Only what is new is added. */
    writing(root, data) {
      if (!data) return root.replaceChildren(h("p", "quiet", "What the model writes appears here."));
      if (root.dataset.id !== data.id || root.dataset.count > data.tokens.length || !root.querySelector(".written")) {
        root.replaceChildren(h("p", "written", h("span", "prompt", data.prompt)), h("p", "quiet note"));
        root.dataset.id = data.id;
        root.dataset.count = 0;
      }
      const text = root.querySelector(".written");
      for (const [id, piece, probability] of data.tokens.slice(Number(root.dataset.count))) {
        const token = h("span", "chosen", piece);
        token.title = `token ${id}, probability ${(100 * probability).toFixed(1)} %`;
        token.style.setProperty("--p", probability);
        text.append(token);
      }
      root.dataset.count = data.tokens.length;
      root.dataset.done = data.done;
      root.querySelector(".note").textContent = data.note;
    },

    /** The next token's most probable candidates: {note, rows: [[id, text, before, after]], others}. */
    bars(root, data) {
      if (!data) return root.replaceChildren();
      if (data.error) return root.replaceChildren(h("p", "trouble", data.error));
      const most = Math.max(...data.rows.map((row) => Math.max(row[2], row[3])), data.others ?? 0, 1e-9);
      const list = h("ol", "bars");
      const row = (label, id, before, after) => {
        const bar = h("span", "bar");
        for (const [name, p] of [["before", before], ["after", after]]) {
          const part = h("i", name);
          part.style.width = `${(100 * p) / most}%`;
          bar.append(part);
        }
        const entry = h("li", after === 0 ? "removed" : "", h("code", "", label), bar, h("span", "percent", `${(100 * after).toFixed(1)} %`));
        entry.title = id === null ? "" : `token ${id}; the model alone gives ${(100 * before).toFixed(2)} %`;
        return entry;
      };
      for (const [id, text, before, after] of data.rows) list.append(row(visible(text), id, before, after));
      list.append(row("all others", null, data.others, data.othersAfter));
      root.replaceChildren(h("p", "quiet", data.note), list);
      root.dataset.top = data.rows[0]?.[1] ?? "";
    },
  };

  window.gptDemoViews = {
    draw(root, name, json, trigger) {
      let data = null;
      try {
        data = JSON.parse(json).data;
      } catch {
        data = null; // the first moment, before a value has come
      }
      views[name](root, data, trigger);
    },
  };
})();
