// All that the page draws. What a module registers (views, panels, buttons) it registers when it is imported, so the
// order of these lines is the order on the page: Write, Race, Beam search, Nine words; then Examples, Share, Present.
//
// The exports are what the page's components call (gpt_demo/ui/scripts.py).
import "./models/views.js";
import "./compare/views.js";
import "./compare/contrast.js";
import "./playground/write.js";
import "./playground/race.js";
import "./playground/beams.js";
import "./playground/toy.js";
import "./playground/examples.js";
import "./playground/share.js";
import "./presenter/present.js";

export { save } from "./page/save.js";
export { draw as drawView } from "./page/views.js";
export { greet, mount as mountLab, want } from "./playground/core.js";
export { mount as mountChart } from "./train/chart.js";
