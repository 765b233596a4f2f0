// The editor of masks, zones and lines of one pipeline: what is drawn, and how pointer and keyboard change it.

import { el } from "./dom.js";
import { clamp, editsOf, fault, nameNew, rounded, shapesOf } from "./geometry.js";
import { shapeLayer } from "./stage.js";

const STEP = 0.005;
const NEAR = 12; // CSS pixels within which a tap on the first corner closes an area
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// What somebody has drawn in one pipeline and not saved yet. `digest` is that of the file with which it began.
export class Draft {
  constructor(name, pipeline, digest) {
    this.name = name;
    this.base = pipeline;
    this.digest = digest;
    this.shapes = structuredClone(shapesOf(pipeline));
    this.threshold = pipeline.threshold;
    this.past = [];
  }

  // Return what has to change in the file.
  edits() {
    const edits = editsOf(shapesOf(this.base), this.shapes);
    if (this.threshold !== this.base.threshold) edits.push({ what: "threshold", value: this.threshold });
    if (this.base.may_track && edits.some(({ what, points }) => /zone|line/.test(what) && points)) edits.unshift({ what: "track", value: true });
    return edits;
  }

  get dirty() {
    return this.edits().length > 0;
  }

  get fault() {
    return fault(this.shapes);
  }

  // Continue on the file as it is now. What was drawn here replaces what somebody else changed; the rest is theirs.
  rebase(pipeline, digest) {
    const theirs = shapesOf(pipeline);
    const known = new Set(theirs.map(({ kind, origin }) => kind + origin));
    const touched = new Set(editsOf(shapesOf(this.base), this.shapes).map(({ what, name }) => (what === "mask" ? "mask" : what + name)));
    const of = (shapes, masks) => shapes.filter(({ kind }) => (kind === "mask") === masks);
    const masks = touched.has("mask") ? of(this.shapes, true).map((shape, index) => ({ ...shape, origin: known.has(`mask${index}`) ? index : null })) : of(theirs, true);
    const mine = of(this.shapes, false).filter(({ kind, origin }) => origin === null || touched.has(kind + origin))
      .map((shape) => ({ ...shape, origin: known.has(shape.kind + shape.origin) ? shape.origin : null }));
    const kept = of(theirs, false).filter(({ kind, name }) => !touched.has(kind + name));
    this.shapes = structuredClone([...masks, ...kept, ...mine]);
    nameNew(this.shapes);
    if (this.threshold === this.base.threshold) this.threshold = pipeline.threshold;
    [this.base, this.digest, this.past] = [pipeline, digest, []];
  }

  remember() {
    this.past.push(structuredClone(this.shapes));
    this.past = this.past.slice(-100);
  }

  undo() {
    if (this.past.length) this.shapes = this.past.pop();
  }
}

export class Editor {
  // `changed()` is called whenever something was drawn.
  constructor(stage, changed) {
    this.stage = stage;
    this.changed = changed;
    this.draft = null;
    this.selected = -1;
    this.adding = null;
    this.drag = null;
    const { overlay } = stage;
    overlay.addEventListener("pointerdown", (event) => this.#down(event));
    overlay.addEventListener("pointermove", (event) => this.#move(event));
    overlay.addEventListener("pointerup", () => { this.drag = null; });
    overlay.addEventListener("pointercancel", () => { this.drag = null; });
    overlay.addEventListener("keydown", (event) => this.#key(event));
  }

  get shape() {
    return this.draft?.shapes[this.selected];
  }

  open(draft) {
    this.draft = draft;
    this.selected = -1;
    this.adding = null;
    this.changed();
  }

  select(index) {
    this.selected = index;
    this.adding = null;
    this.changed();
  }

  begin(kind) {
    this.selected = -1;
    this.adding = { kind, points: [], cursor: [0.5, 0.5] };
    this.stage.overlay.focus({ preventScroll: true });
    this.changed();
  }

  cancel() {
    this.adding = null;
    this.changed();
  }

  get finishable() {
    return this.adding !== null && this.adding.points.length >= (this.adding.kind === "line" ? 2 : 3);
  }

  finish() {
    if (!this.finishable) return;
    const { kind, points } = this.adding;
    this.draft.remember();
    this.draft.shapes.push({ kind, name: "", origin: null, points, rest: {} });
    nameNew(this.draft.shapes);
    this.adding = null;
    this.select(this.draft.shapes.length - 1);
    this.#focus(0);
  }

  remove(index) {
    this.draft.remember();
    this.draft.shapes.splice(index, 1);
    nameNew(this.draft.shapes);
    this.select(-1);
  }

  undo() {
    this.draft.undo();
    this.select(-1);
  }

  // Set a point of the selected shape, in fractions of the frame.
  put(index, point) {
    if (!this.drag) this.draft.remember();
    this.shape.points[index] = point.map(rounded);
    this.changed();
  }

  insert(after, point) {
    this.draft.remember();
    this.shape.points.splice(after + 1, 0, point.map(rounded));
    this.changed();
  }

  removePoint(index) {
    if (this.shape.kind === "line" || this.shape.points.length <= 3) return;
    this.draft.remember();
    this.shape.points.splice(index, 1);
    this.changed();
    this.#focus(Math.max(0, index - 1));
  }

  #focus(index) {
    this.stage.overlay.querySelector(`[data-point="${index}"]`)?.focus({ preventScroll: true });
  }

  #add(point) {
    const { points, kind } = this.adding;
    const { width, height } = this.stage.overlay.getBoundingClientRect();
    const [first] = points;
    if (first && kind !== "line" && Math.hypot((first[0] - point[0]) * width, (first[1] - point[1]) * height) < NEAR) {
      this.finish();
      return;
    }
    points.push(point.map(rounded));
    if (kind === "line" && points.length === 2) this.finish();
    else this.changed();
  }

  #down(event) {
    if (!this.draft || event.button !== 0) return;
    const point = this.stage.place(event);
    const { point: corner, after, shape } = event.target.dataset;
    if (this.adding) {
      event.preventDefault();
      this.#add(point);
    } else if (corner !== undefined || after !== undefined) {
      event.preventDefault();
      if (corner === undefined) this.insert(Number(after), point);
      else this.draft.remember();
      const index = corner === undefined ? Number(after) + 1 : Number(corner);
      this.drag = { index };
      this.stage.overlay.setPointerCapture(event.pointerId);
      this.#focus(index);
    } else if (shape !== undefined && Number(shape) === this.selected) {
      this.draft.remember();
      this.drag = { from: point, points: structuredClone(this.shape.points) };
      this.stage.overlay.setPointerCapture(event.pointerId);
    } else {
      this.select(shape === undefined ? -1 : Number(shape));
    }
  }

  #move(event) {
    const point = this.stage.place(event);
    if (this.adding) {
      this.adding.cursor = point.map(clamp);
      this.changed();
    } else if (this.drag?.index !== undefined) {
      this.put(this.drag.index, point);
    } else if (this.drag) {
      const { from, points } = this.drag;
      const by = [0, 1].map((axis) => {
        const values = points.map((each) => each[axis]);
        return Math.min(1 - Math.max(...values), Math.max(-Math.min(...values), point[axis] - from[axis]));
      });
      this.shape.points = points.map((each) => each.map((value, axis) => rounded(value + by[axis])));
      this.changed();
    }
  }

  #key(event) {
    const arrow = ARROWS[event.key];
    const step = STEP * (event.shiftKey ? 10 : 1);
    const moved = (point) => point.map((value, axis) => clamp(value + arrow[axis] * step));
    const corner = event.target.dataset.point;
    if (this.adding) {
      if (arrow) this.adding.cursor = moved(this.adding.cursor);
      else if (event.key === "Enter" || event.key === " ") this.#add(this.adding.cursor);
      else if (event.key === "Backspace") this.adding.points.pop();
      else if (event.key === "Escape") this.adding = null;
      else return;
      this.changed();
    } else if (corner !== undefined && arrow) {
      this.put(Number(corner), moved(this.shape.points[corner]));
    } else if (corner !== undefined && (event.key === "Delete" || event.key === "Backspace")) {
      this.removePoint(Number(corner));
    } else if (event.key === "Escape") {
      this.select(-1);
    } else {
      return;
    }
    event.preventDefault();
  }

  // Return what lies on the picture while somebody draws.
  layer() {
    if (!this.draft) return [];
    const shapes = shapeLayer(this.stage, this.draft.shapes);
    shapes.forEach((group, index) => {
      group.classList.toggle("selected", index === this.selected);
      group.querySelectorAll("polygon, line").forEach((part) => { part.dataset.shape = index; });
    });
    return [shapes, this.shape && this.#handles(this.shape), this.adding && this.#preview()];
  }

  #handles({ kind, name, points }) {
    const { stage } = this;
    const between = kind === "line" ? [] : points.map((point, index) => {
      const next = points[(index + 1) % points.length];
      return stage.dot(point.map((value, axis) => (value + next[axis]) / 2), 6, { class: "between", "data-after": index });
    });
    const corners = points.map((point, index) => stage.dot(point, 9, {
      class: "corner", tabindex: 0, role: "button", "data-point": index, "data-key": `corner-${index}`,
      "aria-label": `Point ${index + 1} of ${kind} ${name}: x ${point[0]}, y ${point[1]}. The arrow keys move it, Delete removes it.`,
    }));
    return [between, corners];
  }

  #preview() {
    const { stage } = this;
    const { points, cursor } = this.adding;
    const [x, y] = stage.at(cursor);
    const size = 10 * stage.unit;
    return el("g", { class: "preview" },
      el("polyline", { points: stage.points([...points, cursor]) }),
      points.map((point) => stage.dot(point, 5, {})),
      el("path", { d: `M${x - size} ${y}H${x + size}M${x} ${y - size}V${y + size}` }));
  }
}
