// Drift: how a camera and the answers of a model compare with what was learned of them.

import { el, find, show } from "./dom.js";
import { badge, card } from "./see.js";
import { clock, duration, list, percent, spaced } from "./words.js";

const NEAREST = 4; // signals shown of each part, those nearest to their thresholds
const TITLES = { score: "Mean score in a frame", objects: "Objects in a frame" };
const unfolded = new Set(); // pipelines whose histograms were opened because of a drift

// Return what drifts in a pipeline: `camera moved since 08:45:12, its content 12 % right and 3 % down`.
export function drifting({ camera, outcome, camera_part: seen, outcome_part: answered, shift }) {
  const since = (part) => (part?.since ? ` since ${clock(part.since)}` : "");
  return [
    camera && `camera ${camera}${since(seen)}${camera === "moved" && shift ? `, its content ${way(shift)}` : ""}`,
    outcome && `answers: ${spaced(outcome)}${since(answered)}`,
  ].filter(Boolean);
}

function way([right, down]) {
  return `${percent(Math.abs(right))} ${right < 0 ? "left" : "right"} and ${percent(Math.abs(down))} ${down < 0 ? "up" : "down"}`;
}

// Show a card for each pipeline that watches for drift; nothing if none does.
export function showDrift({ pipelines, remedies }) {
  const found = Object.entries(pipelines);
  find("drift-panel").hidden = !found.length;
  show(find("drift"), found.map(([name, drift]) => pipeline(name, drift, remedies[name] ?? [])));
}

function pipeline(name, drift, remedies) {
  const drifts = drifting(drift);
  const learns = [drift.camera_part, drift.outcome_part].some((part) => part?.learned < 1);
  const [level, state] = drifts.length ? ["warn", "drift"] : learns ? ["note", "learning"] : ["good", "as learned"];
  return card(name, level, badge(level, state),
    drifts.map((text, index) => [el("p", { class: "cause" }, text), remedies[index] && el("p", { class: "remedy" }, remedies[index])]),
    part("Camera", drift.camera_part), part("Answers", drift.outcome_part),
    Object.keys(drift.histograms).length > 0 && el("details", { open: opened(name, drift.outcome) },
      el("summary", {}, "Learned and now"), Object.entries(drift.histograms).map(histogram)),
    el("p", { class: "hint" }, `Expected time between two false alarms: ${duration(drift.false_alarm)}.`));
}

// Return whether to unfold the histograms: once for each drift of the answers, so that a person can fold them again.
function opened(name, outcome) {
  const first = Boolean(outcome) && !unfolded.has(name);
  if (outcome) unfolded.add(name);
  else unfolded.delete(name);
  return first;
}

function part(title, found) {
  if (!found) return null;
  const { learned, signals } = found;
  if (learned < 1) return table(title, [], [["learned", cell(learned)]]);
  const telling = Object.entries(signals).filter(([, signal]) => signal.telling);
  const nearest = telling.sort(([, a], [, b]) => b.score - a.score).slice(0, NEAREST);
  const blind = Object.keys(signals).filter((name) => !signals[name].telling);
  return [
    table(title, ["signal", "of its threshold"], nearest.map(([name, { score }]) => [name, cell(score, score < 1 ? "" : "over")])),
    blind.length > 0 && el("p", { class: "hint" }, `Not told, because it changes too much anyway: ${list(blind)}.`),
  ];
}

function histogram([what, { bins, reference, now, psi, noise }]) {
  const most = Math.max(...reference, ...now) || 1;
  const rows = bins.map((bin, index) => [bin, cell(reference[index], "before", most), cell(now[index], "", most)]);
  return table(`${TITLES[what] ?? what}: stability index ${psi.toFixed(3)}, without drift about ${noise.toFixed(3)}`,
    [what, "learned", "now"], rows.filter((_, index) => reference[index] || now[index]));
}

function table(caption, head, rows) {
  return el("table", { class: "bars" }, el("caption", {}, caption),
    head.length > 0 && el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, rows.map(([name, ...cells]) => el("tr", {}, el("th", { scope: "row" }, name), cells))));
}

// Return a share with its bar, which is full at `most`.
function cell(share, kind = "", most = 1) {
  return el("td", {}, el("div", {},
    el("svg", { class: `bar ${kind}`, viewBox: "0 0 100 1", preserveAspectRatio: "none", "aria-hidden": "true" },
      el("rect", { width: Math.min(100, (100 * share) / most), height: 1 })),
    el("span", {}, percent(share))));
}
