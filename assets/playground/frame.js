// The frame of the Playground: a row of tabs, and under it the panels.

import { find, h, set } from "../page/dom.js";

/** @import { Lab, Panel } from "./core.js" */

/** @param {Lab} lab @param {Panel[]} panels */
export function frame(lab, panels) {
  const tabs = h("div", "lab-tabs");
  tabs.setAttribute("role", "tablist");
  tabs.setAttribute("aria-label", "Playground");
  const bodies = h("div", "lab-bodies");
  lab.said.setAttribute("role", "status");
  for (const panel of panels) {
    const tab = h("button", "lab-tab", panel.title);
    tab.type = "button";
    tab.id = `lab-tab-${panel.name}`;
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", `lab-panel-${panel.name}`);
    tab.addEventListener("click", () => lab.set({ panel: panel.name }));
    tab.addEventListener("keydown", (event) => {
      const move = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
      if (!move) return;
      const next = panels[(panels.indexOf(panel) + move + panels.length) % panels.length];
      lab.set({ panel: next.name });
      find(tabs, `#lab-tab-${next.name}`).focus();
    });
    const body = h("section", "lab-panel");
    body.id = `lab-panel-${panel.name}`;
    body.setAttribute("role", "tabpanel");
    body.setAttribute("aria-labelledby", tab.id);
    body.append(h("h2", "spoken", panel.title));
    tabs.append(tab);
    bodies.append(body);
    panel.mount(body, lab);
  }
  lab.root.replaceChildren(h("div", "lab-head", tabs, lab.tools), lab.said, bodies);
  lab.on((changed) => changed.includes("panel") && choose(lab, panels, tabs, bodies));
  choose(lab, panels, tabs, bodies);
}

/** @param {Lab} lab @param {Panel[]} panels @param {HTMLElement} tabs @param {HTMLElement} bodies */
function choose(lab, panels, tabs, bodies) {
  if (!panels.some((panel) => panel.name === lab.state.panel)) lab.state.panel = panels[0].name;
  panels.forEach((panel, i) => {
    const chosen = panel.name === lab.state.panel;
    set(tabs.children[i], { "aria-selected": chosen, tabindex: chosen ? 0 : -1 });
    bodies.children[i].toggleAttribute("hidden", !chosen);
  });
}
