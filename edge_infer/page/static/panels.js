// The panels beside the picture: figures to aim by, the list of drawn shapes, and the slider of the threshold.

import { el, find, show } from "./dom.js";
import { shapesOf } from "./geometry.js";
import { occupies } from "./stage.js";
import { clock, duration, list, number, percent } from "./words.js";

// Show the figures that move while somebody turns the lens, and what each pipeline found in this frame.
export function showAim(facts, scene, rate) {
  const { light, sharpness, best, size, ts, findings } = facts;
  const gauge = (id, name, value, share, hint) => el("div", { class: "gauge" },
    el("span", { id }, name), el("strong", {}, value), el("meter", { min: 0, max: 1, value: share, "aria-labelledby": id }), el("span", { class: "hint" }, hint));
  const lit = light === null ? "all of it is masked" : light < 0.12 ? "dark" : light > 0.88 ? "too bright" : "good";
  show(find("light-box"),
    gauge("sharpness", "Sharpness", number(sharpness * 100, 0), best ? sharpness / best : 0, `best so far ${number(best * 100, 0)}`),
    gauge("light", "Light", light === null ? "–" : percent(light), light ?? 0, lit),
    el("p", { class: "hint" }, `Frame of ${size.join(" × ")} at ${clock(ts)}${rate ? `, ${number(rate)} pictures a second` : ""}. Turn the lens until the sharpness is highest.`));
  show(find("findings"), Object.entries(scene.pipelines).filter(([, { source }]) => source === facts.source)
    .map(([name, pipeline]) => el("div", {}, el("h3", {}, name), found(findings[name], pipeline))));
}

function found(result, pipeline) {
  if (!result) return el("p", { class: "hint" }, "No result of the last seconds.");
  const places = shapesOf(pipeline).filter(({ kind }) => kind === "zone");
  const lines = [
    ...(result.objects ?? []).map((object) => {
      const within = places.filter((place) => occupies(object, place)).map(({ name }) => name);
      const id = object.id === undefined ? "" : ` #${object.id}`;
      return `${object.label}${id} ${object.score.toFixed(2)}${within.length ? `, in ${list(within)}` : ""}`;
    }),
    ...(result.classes ?? []).map(({ label, score }) => `${label} ${score.toFixed(2)}`),
    ...(result.poses ?? []).map(({ score }) => `a body, score ${score.toFixed(2)}`),
    ...(result.segments ?? []).map(({ label, share }) => `${label}: ${percent(share)} of the frame`),
    ...(result.values ?? []).map(({ name, value, unit, implausible }) => `${name}: ${implausible ? "implausible" : `${value} ${unit}`}`),
  ];
  if (result.anomaly) lines.push(`${result.anomaly.state}: distance ${result.anomaly.score}, threshold ${result.anomaly.threshold}`);
  return lines.length ? el("ul", {}, lines.map((line) => el("li", {}, line))) : el("p", { class: "hint" }, "Nothing found in this frame.");
}

// Show the drawn shapes by name; the selected one with its points as numbers.
export function showShapes(editor) {
  const { draft, selected } = editor;
  let masks = 0;
  show(find("shapes"), draft.shapes.map((shape, index) => {
    const title = shape.kind === "mask" ? `mask ${++masks}` : `${shape.kind} ${shape.name}`;
    const chosen = index === selected;
    return el("li", { class: chosen ? "chosen" : "" },
      el("div", { class: "row" },
        el("button", { type: "button", class: "link", "data-do": "select", "data-index": index, "aria-pressed": String(chosen) }, title),
        el("span", { class: "hint" }, notes(shape)),
        el("button", { type: "button", "data-do": "remove", "data-index": index, "aria-label": `Delete ${title}` }, "Delete")),
      chosen && fields(shape));
  }));
  if (!draft.shapes.length) show(find("shapes"), el("li", { class: "hint" }, "Nothing is drawn in this pipeline yet."));
}

function notes({ origin, rest }) {
  const words = [origin === null && "new", rest.labels && `only ${list(rest.labels)}`, rest.anchor === "center" && "centre counts", rest.loiter && `loiter ${rest.loiter} s`];
  return list(words.filter(Boolean));
}

function fields({ kind, points }) {
  const cell = (point, index, axis) => el("td", {}, el("input", {
    type: "number", min: 0, max: 1, step: 0.001, value: point[axis], "data-do": "put", "data-index": index, "data-axis": axis,
    "aria-label": `Point ${index + 1}, ${"xy"[axis]}`,
  }));
  const row = (point, index) => el("tr", {}, el("th", { scope: "row" }, kind === "line" ? ["from", "to"][index] : index + 1), cell(point, index, 0), cell(point, index, 1),
    el("td", {}, kind !== "line" && points.length > 3 && el("button", { type: "button", "data-do": "removePoint", "data-index": index, "aria-label": `Remove point ${index + 1}` }, "×")));
  const head = ["point", "x", "y"].map((text) => el("th", { scope: "col" }, text));
  return el("div", {},
    kind !== "mask" && el("p", { class: "hint" }, "For another name, rename it in the configuration: edge-infer edit."),
    el("table", { class: "points" }, el("thead", {}, el("tr", {}, head, el("td", {}))), el("tbody", {}, points.map(row))));
}

const COUNTED = { detection: "objects", pose: "poses" };

// Show the slider with the scores of the last hour: what lies at or above it would be reported.
export function showThreshold(draft, scores) {
  const { thresholds } = draft.base;
  find("threshold-box").hidden = !thresholds;
  if (!thresholds) return;
  for (const input of [find("threshold-range"), find("threshold")]) {
    [input.min, input.max] = thresholds;
    if (input !== document.activeElement || input.type === "range") input.value = draft.threshold;
  }
  const { counts = [], seconds = 0, known_from: known = 0 } = scores ?? {};
  const most = Math.max(1, ...counts);
  const first = Math.ceil(draft.threshold * 100 - 1e-9);
  show(find("histogram"), counts.map((count, index) => count > 0 && el("rect", {
    x: index, y: 30 - (count / most) * 30, width: 0.9, height: (count / most) * 30, class: index >= first ? "above" : "below",
  })));
  const sum = (from) => counts.slice(from).reduce((total, count) => total + count, 0);
  const unknown = draft.threshold < known ? ` Scores below ${known} are not counted while ${known} is the threshold, so there may be more.` : "";
  show(find("threshold-text"), scores
    ? `${number(sum(first), 0)} of ${number(sum(0), 0)} ${COUNTED[draft.base.task] ?? "results"} of the last ${duration(seconds)} lie at or above ${draft.threshold}.${unknown}` : "…");
}

export function hintOf(editor) {
  const { adding, shape } = editor;
  if (adding?.kind === "line") return "Tap where the line begins, then where it ends. With the keyboard: arrow keys and Enter.";
  if (adding) return `Tap each corner of the ${adding.kind}, then the first one again or Finish. With the keyboard: arrow keys and Enter.`;
  if (shape) return "Drag a point, or a small dot to add one. Tab reaches the points; the arrow keys move them.";
  return "";
}
