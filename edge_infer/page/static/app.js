// The page: which view is shown, what is asked of the server, and what is drawn and saved.

import { get, post } from "./api.js";
import { ask } from "./ask.js";
import { delegate, el, find, show } from "./dom.js";
import { Draft, Editor } from "./draw.js";
import { showDrift } from "./drift.js";
import { differences, shapesOf } from "./geometry.js";
import { hintOf, showAim, showShapes, showThreshold } from "./panels.js";
import { problems, summary } from "./problems.js";
import { Events, showState, STALE, watchRollbacks } from "./see.js";
import { findingLayer, gridLayer, shapeLayer, Stage, tileLayer } from "./stage.js";
import { clock, list } from "./words.js";

const EVERY = { overview: 1000, events: 2000, scores: 5000, drift: 5000 }; // milliseconds
const VIEWS = ["aim", "draw", "see"];

let overview = null;
let scene = null;
let facts = null; // of the last picture
let scores = null;
let drift = { pipelines: {}, remedies: {} };
let paused = false;
let saving = false;
let unfolded = false; // whether the list of problems has been opened once
const drafts = new Map(); // by pipeline
const ANNOUNCE_EVERY = 20000; // milliseconds
let announced = -Infinity; // when the daemon was last told that somebody draws, so that it is ready to read the file
const stage = new Stage(find("canvas"), find("overlay"), looked);
const editor = new Editor(stage, drawn);
const events = new Events();

const view = () => (VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "aim");
const pipeline = () => scene?.pipelines[find("pipeline").value];
const wanted = () => (view() !== "see" && !paused && scene ? find("source").value : "");

function tell(text, wrong = false) {
  find("told").hidden = !text;
  find("told").className = wrong ? "error" : "done";
  show(find("told"), text);
}

// Do a task again and again while the page is visible.
async function repeat(pause, task) {
  for (;;) {
    if (!document.hidden) await task();
    await new Promise((done) => setTimeout(done, pause));
  }
}

function noAnswer(error) {
  find("gone").hidden = false;
  show(find("gone"), error.kind === "token" ? "This address has expired: open the one that edge-infer page has printed." : error.message);
  show(find("summary"), "no answer");
  find("summary").className = "bad";
}

async function lookAtState() {
  overview = await get("overview");
  find("gone").hidden = true;
  if (!document.title.includes(":")) performance.mark("state");
  show(find("device"), overview.device);
  document.title = `${overview.device}: edge-infer`;
  const found = problems(overview, drift);
  const { level, text } = summary(found);
  find("summary").className = level;
  show(find("summary"), text);
  find("problem-box").hidden = !found.length;
  if (level === "bad" && !unfolded && view() === "see") find("problem-box").open = unfolded = true;
  show(find("problem-names"), list(new Set(found.map(({ what }) => what))));
  show(find("problems"), found.map(({ level: how, what, text: words, remedy }) => el("li", { class: how },
    el("strong", {}, what), " ", words, remedy && el("span", { class: "hint" }, ` ${remedy}`))));
  if (view() === "see") showState(overview, scene);
  const { config } = overview.status;
  if (!scene || (config?.state === "applied" && config.digest !== scene.digest)) await loadScene();
  showSaving();
}

async function lookAtDrift() {
  drift = await get("drift").catch(() => ({ pipelines: {}, remedies: {} })); // the state says why there is no answer
  showDrift(drift);
}

async function loadScene() {
  scene = await get("scene");
  const images = Object.entries(scene.sources).filter(([, { gives }]) => gives === "image").map(([name]) => name);
  choices(find("source"), images);
  show(find("why-pipeline"), el("option", { value: "" }, "all"), Object.keys(scene.pipelines).map((name) => el("option", { value: name }, name)));
  for (const [name, draft] of drafts) {
    if (!draft.dirty && scene.pipelines[name]) draft.rebase(scene.pipelines[name], scene.digest);
    else if (!draft.dirty) drafts.delete(name);
  }
  pickPipeline();
  enter();
}

// Show the names to choose from; the chosen one stays if it is still there.
function choices(select, names) {
  const chosen = select.value;
  show(select, names.map((name) => el("option", { value: name }, name)));
  select.value = names.includes(chosen) ? chosen : (names[0] ?? "");
}

function pickPipeline() {
  const names = Object.keys(scene.pipelines).filter((name) => scene.pipelines[name].source === find("source").value && !scene.pipelines[name].cascade);
  choices(find("pipeline"), names);
  openDraft();
}

function openDraft() {
  const name = find("pipeline").value;
  if (!drafts.has(name) && pipeline()) drafts.set(name, new Draft(name, pipeline(), scene.digest));
  const draft = drafts.get(name) ?? null;
  if (draft !== editor.draft) scores = null;
  if (draft !== editor.draft) editor.open(draft);
  else drawn();
  if (!scores) lookAtScores();
  find("explain").hidden = !draft;
  show(find("explain").querySelector("code"), draft && `edge-infer explain --source ${find("source").value} --pipeline ${name} -o why.png`);
  showModel();
}

async function lookAtScores() {
  const { draft } = editor;
  if (view() !== "draw" || !draft?.base.thresholds) return;
  try {
    const found = await get("scores", { pipeline: draft.name });
    if (draft !== editor.draft) return;
    scores = found;
    showThreshold(draft, scores);
  } catch (error) {
    show(find("threshold-text"), error.message);
  }
}

// Show the frame, or the model's input with its letterbox.
function showModel() {
  const [width, height] = facts?.inputs[find("pipeline").value] ?? [];
  const possible = view() === "aim" && Boolean(width) && !pipeline()?.input?.tiles;
  find("layer-input").disabled = !possible;
  find("layer-input").parentElement.hidden = view() !== "aim";
  stage.input = possible && find("layer-input").checked ? { width, height, resize: pipeline().input.resize } : null;
  find("frame").classList.toggle("input", stage.input !== null);
  stage.paint();
}

// Show the view that the address names.
function enter() {
  const now = view();
  if (editor.adding && now !== "draw") editor.cancel();
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${now}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const images = scene && find("source").options.length > 0;
  find("see-panel").hidden = now !== "see";
  find("work").hidden = now === "see" || !scene;
  find("aim-panel").hidden = now !== "aim";
  find("draw-panel").hidden = now !== "draw";
  find("picture").classList.toggle("none", !images);
  if (scene && !images) note("No source of this device gives pictures.");
  stage.overlay.tabIndex = now === "draw" ? 0 : -1;
  stage.overlay.setAttribute("role", now === "draw" ? "group" : "img");
  stage.overlay.setAttribute("aria-label", now === "draw" ? "Picture to draw on" : "Picture of the source with what was found");
  if (now === "see" && overview) showState(overview, scene);
  if (now === "draw" && !scores) lookAtScores();
  showModel();
  stage.run(wanted);
}

function note(text) {
  find("frame").classList.toggle("stale", Boolean(text));
  show(find("picture-note"), text);
}

// Return why the picture is not of this moment; an empty text if it is.
function fault() {
  const state = STALE[overview?.status.sources[find("source").value]?.state];
  const still = paused ? "Pictures are stopped." : state ? `The source ${state}.` : "";
  return still && (facts ? `${still} This picture is of ${clock(facts.ts)}.` : still);
}

// Called after each look at a source.
function looked(found, error) {
  facts = found ? { ...found, source: stage.source, at: performance.now() } : null;
  note(error ? error.message : fault());
  if (view() === "aim" && find("layer-input").disabled) showModel(); // the size of the input comes with the look
  if (view() !== "aim") return;
  if (facts) {
    showAim(facts, scene, fault() ? 0 : rate());
  } else {
    show(find("light-box"));
    show(find("findings"), el("p", { class: "hint" }, "There is no picture now."));
  }
}

let times = [];
function rate() {
  times = [...times, facts.at].slice(-5);
  return times.length > 1 ? (1000 * (times.length - 1)) / (times.at(-1) - times[0]) : 0;
}

stage.layers = () => {
  const name = find("pipeline").value;
  const found = facts?.findings[name] ?? {};
  const objects = find("layer-objects").checked;
  const shapes = pipeline() ? shapesOf(pipeline()).filter(({ kind }) => kind !== "mask") : [];
  const anchors = new Set(shapes.length ? shapes.map(({ rest }) => rest.anchor) : ["bottom"]);
  // A group for each layer: what comes and goes in one moves no node of another, so a corner that is moved by keys keeps the focus.
  const layers = [
    find("layer-grid").checked && gridLayer(stage),
    pipeline()?.input?.tiles && find("layer-grid").checked && tileLayer(stage, pipeline().input.tiles),
    view() !== "draw" && find("layer-places").checked && shapeLayer(stage, shapes, found.objects),
    objects && findingLayer(stage, found, anchors),
    view() === "draw" && editor.layer(),
  ];
  return layers.map((layer) => el("g", {}, [layer]));
};

// Called whenever something was drawn.
function drawn() {
  stage.draw();
  const { draft, adding } = editor;
  const place = draft && (draft.base.track || draft.base.may_track);
  for (const button of find("tools").querySelectorAll("[data-kind]")) {
    button.disabled = !draft || Boolean(adding) || (button.dataset.kind !== "mask" && !place);
  }
  find("overlay").classList.toggle("adding", Boolean(adding));
  find("adding").hidden = !adding;
  find("adding").querySelector("[data-do=finish]").disabled = !editor.finishable;
  show(find("hint"), hintOf(editor));
  show(find("draw-why"), !draft ? "This source has no pipeline to draw in."
    : place ? !draft.base.track && "This pipeline does not follow objects yet. Saving a zone or line sets track: true as well." : draft.base.why_no_places);
  if (draft) {
    showShapes(editor);
    showThreshold(draft, scores);
  } else {
    show(find("shapes"));
    find("threshold-box").hidden = true;
  }
  showSaving();
}

function showSaving() {
  const { draft } = editor;
  const dirty = Boolean(draft?.dirty);
  if (dirty && performance.now() > announced + ANNOUNCE_EVERY) {
    announced = performance.now();
    get("drawing").catch(() => {}); // saving works without it
  }
  const count = draft?.edits().length ?? 0;
  const fault = draft?.fault ?? "";
  const moved = dirty && draft.digest !== scene.digest;
  find("save").disabled = saving || !dirty || Boolean(fault) || !overview?.may_edit;
  find("discard").disabled = saving || !dirty;
  const text = saving ? "Saving; the daemon checks and applies it …" : overview && !overview.may_edit ? overview.why_not
    : fault ? `Cannot be saved yet: ${fault}.` : moved ? "The file was changed meanwhile; Save compares." : dirty ? `Not saved: ${count} ${count === 1 ? "change" : "changes"}.` : "";
  if (text || dirty) show(find("save-text"), text);
}

async function save() {
  const { draft } = editor;
  show(find("save-errors"));
  if (draft.digest !== scene.digest && !(await settled(draft))) return;
  saving = true;
  showSaving();
  try {
    const edits = draft.edits();
    const { digest } = await post("edit", { digest: draft.digest, pipeline: draft.name, edits });
    const more = JSON.stringify(draft.edits()) !== JSON.stringify(edits); // somebody went on drawing
    if (!more) drafts.delete(draft.name);
    await loadScene();
    if (more) draft.rebase(scene.pipelines[draft.name], scene.digest);
    announced = -Infinity;
    show(find("save-text"), `Saved and applied at ${clock(Date.now())}.`);
    if (digest !== scene.digest) tell("Somebody else saved right after you; this is the file as it is now.");
  } catch (error) {
    if (error.kind === "conflict") await Promise.all([lookAtState(), loadScene()]);
    if (error.kind === "conflict" && scene.digest !== draft.digest) {
      setTimeout(save);
    } else {
      const { state, errors } = overview.status.config ?? {};
      const broken = error.kind === "conflict" && state === "rejected";
      const lines = broken ? ["Nothing is saved: the daemon rejected the file as it is now. Correct it first; your drawing stays here.", ...(errors ?? [])]
        : [error.message, ...error.errors];
      show(find("save-errors"), lines.map((line) => el("li", {}, line)));
    }
  } finally {
    saving = false;
    showSaving();
  }
}

// Ask what becomes of a drawing whose file was edited meanwhile; return whether it is to be saved over the file of now.
async function settled(draft) {
  const now = scene.pipelines[draft.name];
  if (!now) {
    await ask("The pipeline is gone", [`Somebody removed ${draft.name} from the file while you drew. There is nothing to save into.`], [["Close", ""]]);
    return false;
  }
  const theirs = differences(shapesOf(draft.base), shapesOf(now));
  if (now.threshold !== draft.base.threshold) theirs.push(`threshold ${now.threshold}`);
  const change = theirs.length ? `In ${draft.name} they changed: ${list(theirs)}.` : `They changed nothing that is drawn in ${draft.name}.`;
  const answer = await ask("The file was changed while you drew", [change, "Your drawing is not saved yet."],
    [["Save mine over it", "mine", "primary"], ["Take the file's", "theirs"], ["Decide later", ""]]);
  if (answer === "theirs") {
    drafts.delete(draft.name);
    openDraft();
  }
  if (answer === "mine") draft.rebase(now, scene.digest);
  return answer === "mine";
}

delegate(find("draw-panel"), "click", {
  begin: ({ dataset }) => editor.begin(dataset.kind),
  undo: () => editor.draft && editor.undo(),
  finish: () => editor.finish(),
  cancel: () => editor.cancel(),
  select: ({ dataset }) => editor.select(Number(dataset.index) === editor.selected ? -1 : Number(dataset.index)),
  remove: ({ dataset }) => editor.remove(Number(dataset.index)),
  removePoint: ({ dataset }) => editor.removePoint(Number(dataset.index)),
});
delegate(find("draw-panel"), "input", {
  put({ dataset, value }) {
    if (value === "") return;
    const point = [...editor.shape.points[dataset.index]];
    point[dataset.axis] = Number(value);
    editor.put(Number(dataset.index), point);
  },
});
for (const id of ["threshold", "threshold-range"]) {
  find(id).addEventListener("input", ({ target }) => {
    if (target.value === "") return;
    editor.draft.threshold = Math.round(Number(target.value) * 1000) / 1000;
    drawn();
  });
}
find("save").addEventListener("click", save);
find("discard").addEventListener("click", () => {
  drafts.delete(editor.draft.name);
  show(find("save-errors"));
  show(find("save-text"));
  openDraft();
});
find("source").addEventListener("change", () => { pickPipeline(); stage.run(wanted); });
find("pipeline").addEventListener("change", openDraft);
find("pause").addEventListener("click", () => {
  paused = !paused;
  find("pause").setAttribute("aria-pressed", String(paused));
  show(find("pause"), paused ? "Show pictures" : "Stop pictures");
  note(fault());
  if (facts && view() === "aim") showAim(facts, scene, fault() ? 0 : rate());
  stage.run(wanted);
});
find("layers").addEventListener("change", showModel);
window.addEventListener("hashchange", enter);
document.addEventListener("visibilitychange", () => stage.run(wanted));
window.addEventListener("beforeunload", (event) => {
  if ([...drafts.values()].some((draft) => draft.dirty)) event.preventDefault();
});
watchRollbacks(tell);
enter();
repeat(EVERY.overview, () => lookAtState().catch(noAnswer));
repeat(EVERY.events, () => view() === "see" && events.look(overview?.now ?? Date.now() / 1000));
repeat(EVERY.scores, lookAtScores);
repeat(EVERY.drift, lookAtDrift);
