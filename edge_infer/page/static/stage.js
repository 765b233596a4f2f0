// The picture of a source, as the camera or the model sees it, and what lies on it.

import { look } from "./api.js";
import { el, show } from "./dom.js";
import { anchorOf, inside, middle } from "./geometry.js";

const PAUSE = 50; // milliseconds; the server itself gives at most two pictures a second
const AGAIN = 1000; // milliseconds after an error
const TRAIL = 24; // points
const EDGE = 1.5; // CSS pixels
const LETTER = 0.6; // mean width of a letter, as a share of its height

// Asks for pictures while `wanted()` returns a source, and paints them. `onLook(facts, error)` is called after each.
export class Stage {
  constructor(canvas, overlay, onLook) {
    this.canvas = canvas;
    this.overlay = overlay;
    this.onLook = onLook;
    this.layers = () => [];
    this.input = null; // the model's input, if the picture is shown as the model sees it
    this.area = { x: 0, y: 0, width: canvas.width, height: canvas.height }; // of the frame, within the canvas
    this.trails = new Map(); // by pipeline and id
    this.source = null;
    this.bitmap = null;
    this.running = false;
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  // Length of a CSS pixel in the units of the overlay, so that text and handles keep their size on every screen.
  get unit() {
    return this.canvas.width / Math.max(1, this.canvas.clientWidth);
  }

  async run(wanted) {
    if (this.running) return;
    this.running = true;
    let source;
    while ((source = wanted()) && !document.hidden) {
      if (source !== this.source) this.clear(source);
      let pause = PAUSE;
      try {
        const { facts, bitmap } = await look(source);
        if (wanted() === source) this.take(facts, bitmap);
      } catch (error) {
        pause = AGAIN;
        this.trails.clear();
        if (wanted() === source) this.onLook(null, error); // the last picture stays for somebody who draws on it
        this.draw();
      }
      await new Promise((done) => setTimeout(done, pause));
    }
    this.running = false;
  }

  clear(source) {
    this.source = source;
    this.bitmap?.close();
    this.bitmap = null;
    this.trails.clear();
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  take(facts, bitmap) {
    this.bitmap?.close();
    this.bitmap = bitmap;
    this.follow(facts.findings);
    this.onLook(facts, null);
    this.paint();
  }

  // Paint the last picture, scaled into the model's input if that is wanted.
  paint() {
    if (!this.bitmap) {
      this.draw();
      return;
    }
    const { width, height } = this.bitmap;
    const size = this.input ?? { width, height };
    if (this.canvas.width !== size.width || this.canvas.height !== size.height) {
      this.canvas.width = size.width;
      this.canvas.height = size.height;
      this.canvas.parentElement.style.setProperty("--ratio", size.width / size.height);
    }
    this.area = this.input ? fitted(this.bitmap, this.input) : { x: 0, y: 0, width, height };
    const context = this.canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.clearRect(0, 0, size.width, size.height);
    context.drawImage(this.bitmap, this.area.x, this.area.y, this.area.width, this.area.height);
    this.draw();
  }

  follow(findings) {
    const seen = new Set();
    for (const [pipeline, { objects = [] }] of Object.entries(findings)) {
      for (const { id, box } of objects.filter((each) => each.id !== undefined)) {
        const key = `${pipeline} ${id}`;
        seen.add(key);
        this.trails.set(key, [...(this.trails.get(key) ?? []), anchorOf(box)].slice(-TRAIL));
      }
    }
    for (const key of this.trails.keys()) if (!seen.has(key)) this.trails.delete(key);
  }

  draw() {
    this.overlay.setAttribute("viewBox", `0 0 ${this.canvas.width} ${this.canvas.height}`);
    show(this.overlay, this.layers());
  }

  // Return the place of a point, given in fractions of the frame, on the overlay.
  at([x, y]) {
    return [this.area.x + x * this.area.width, this.area.y + y * this.area.height];
  }

  points(points) {
    return points.map((point) => this.at(point).join()).join(" ");
  }

  // Return the fractions of the frame at which a pointer is.
  place({ clientX, clientY }) {
    const { left, top, width, height } = this.overlay.getBoundingClientRect();
    const x = ((clientX - left) / width) * this.canvas.width;
    const y = ((clientY - top) / height) * this.canvas.height;
    return [this.snapped((x - this.area.x) / this.area.width, this.area.width), this.snapped((y - this.area.y) / this.area.height, this.area.height)];
  }

  // A pointer cannot reach the very edge of the frame, so a mask would leave a sliver there.
  snapped(value, length) {
    const reach = (EDGE * this.unit) / length;
    return Math.abs(value) < reach ? 0 : Math.abs(1 - value) < reach ? 1 : value;
  }

  dot(point, radius, props) {
    const [cx, cy] = this.at(point);
    return el("circle", { cx, cy, r: radius * this.unit, ...props });
  }

  text(words, point, kind) {
    const [x, y] = this.at(point);
    const size = 13 * this.unit;
    const bottom = this.canvas.height - size / 3;
    return el("text", { x, y: Math.min(bottom, Math.max(size, y)), "font-size": size, "stroke-width": size / 4, class: kind }, words);
  }
}

// Return where a picture lies in the model's input; the same arithmetic as in edge_infer/frames/geometry.py.
function fitted(picture, { width, height, resize }) {
  if (resize === "stretch") return { x: 0, y: 0, width, height };
  const pick = resize === "letterbox" ? Math.min : Math.max;
  const scale = pick(width / picture.width, height / picture.height);
  const size = { width: Math.round(picture.width * scale), height: Math.round(picture.height * scale) };
  return { x: Math.floor((width - size.width) / 2), y: Math.floor((height - size.height) / 2), ...size };
}

// Return shapes as they lie on the picture; a zone that one of the `objects` is in is marked.
export function shapeLayer(stage, shapes, objects = []) {
  return shapes.map((shape) => {
    const { kind, name, points } = shape;
    if (kind === "line") return lineOf(stage, name, points);
    const taken = kind === "zone" && objects.some((object) => occupies(object, shape));
    return el("g", { class: `${kind}${taken ? " taken" : ""}` },
      el("polygon", { points: stage.points(points) }), kind === "zone" && stage.text(name, middle(points), "middle"));
  });
}

// A line has sides: `left` is to the left of somebody who stands at `from` and looks to `to`.
function lineOf(stage, name, [from, to]) {
  const [x1, y1] = stage.at(from);
  const [x2, y2] = stage.at(to);
  const reach = (18 * stage.unit) / (Math.hypot(x2 - x1, y2 - y1) || 1);
  const [mx, my] = [(x1 + x2) / 2, (y1 + y2) / 2];
  const tick = { x1: mx, y1: my, x2: mx + (y2 - y1) * reach, y2: my - (x2 - x1) * reach };
  return el("g", { class: "gate" },
    el("line", { x1, y1, x2, y2 }),
    el("line", tick),
    stage.dot(from, 4, {}),
    el("text", { x: tick.x2, y: tick.y2, "font-size": 11 * stage.unit, "stroke-width": 3 * stage.unit }, "left"),
    stage.text(name, from, ""));
}

export function occupies({ box, label }, { points, rest }) {
  return (!rest.labels || rest.labels.includes(label)) && inside(points, anchorOf(box, rest.anchor));
}

// Return boxes with label, id and score, their tracks, poses, and the points that decide about zones and lines.
export function findingLayer(stage, { objects = [], poses = [] }, anchors) {
  const trails = [...stage.trails.values()].map((trail) => el("polyline", { points: stage.points(trail), class: "trail" }));
  const taken = []; // by labels
  const boxes = objects.map((object) => boxOf(stage, object, anchors, taken));
  const joints = poses.map(({ points }) => points.filter(([, , score]) => score > 0.2).map((point) => stage.dot(point, 3, { class: "joint" })));
  return [trails, boxes, joints];
}

function boxOf(stage, { box, label, score, id }, anchors, taken) {
  const [x, y] = stage.at([box[0], box[1]]);
  const [right, bottom] = stage.at([box[2], box[3]]);
  const words = `${label}${id === undefined ? "" : ` #${id}`} ${score.toFixed(2)}`;
  return el("g", { class: "object" },
    el("rect", { x, y, width: right - x, height: bottom - y }),
    stage.text(words, free(stage, words, [x, y - 4 * stage.unit], taken), ""),
    [...anchors].map((anchor) => stage.dot(anchorOf(box, anchor), 5, { class: "anchor" })));
}

// Return the place of a label, in fractions of the frame: within the picture, and above the labels that it would cover.
function free(stage, words, [left, bottom], taken) {
  const height = 14 * stage.unit;
  const width = words.length * LETTER * 13 * stage.unit;
  const x = Math.max(0, Math.min(left, stage.canvas.width - width));
  let y = Math.max(height, bottom);
  const covers = (each) => Math.abs(each.y - y) < height && x < each.x + each.width && each.x < x + width;
  for (let tries = 0; tries < 6 && taken.some(covers); tries += 1) y = y > height ? Math.max(height, y - height) : y + 7 * height;
  taken.push({ x, y, width });
  return [(x - stage.area.x) / stage.area.width, (y - stage.area.y) / stage.area.height];
}

// Return the grid of tenths, with the fractions as masks and zones use them.
export function gridLayer(stage) {
  const tenths = [1, 2, 3, 4, 5, 6, 7, 8, 9].map((tenth) => tenth / 10);
  return tenths.map((tenth) => el("g", { class: "grid" },
    el("polyline", { points: stage.points([[tenth, 0], [tenth, 1]]) }),
    el("polyline", { points: stage.points([[0, tenth], [1, tenth]]) }),
    stage.text(tenth, [tenth, 0], ""), stage.text(tenth, [0, tenth], "")));
}

// Return the borders between the tiles that the model looks at one by one.
export function tileLayer(stage, [columns, rows]) {
  const lines = [];
  for (let column = 1; column < columns; column += 1) lines.push([[column / columns, 0], [column / columns, 1]]);
  for (let row = 1; row < rows; row += 1) lines.push([[0, row / rows], [1, row / rows]]);
  return lines.map((line) => el("polyline", { points: stage.points(line), class: "trail" }));
}
