// A question in a dialog: a heading, sentences, and buttons.

import { el, find, show } from "./dom.js";

// Return the value of the chosen button, as in `[["Delete", "yes", "danger"], ["Cancel", ""]]`; Escape chooses "". The last
// button, which changes nothing, has the focus.
export function ask(heading, sentences, buttons) {
  const dialog = find("ask");
  show(dialog,
    el("h2", { id: "ask-heading" }, heading),
    sentences.map((sentence) => el("p", {}, sentence)),
    el("div", { class: "buttons" }, buttons.map(([text, value, kind = ""], index) => el("button", { type: "button", value, class: kind, autofocus: index === buttons.length - 1 }, text))));
  dialog.returnValue = "";
  dialog.onclick = (event) => event.target.closest("button") && dialog.close(event.target.closest("button").value);
  dialog.showModal();
  return new Promise((answer) => {
    dialog.addEventListener("close", () => answer(dialog.returnValue), { once: true });
  });
}
