// Points and polygons in fractions of the frame, as the configuration has them.

export const clamp = (value) => Math.min(1, Math.max(0, value));
export const rounded = (value) => Math.round(clamp(value) * 10000) / 10000;

// Return the point of a box that decides about a zone or line.
export function anchorOf(box, anchor = "bottom") {
  const [left, top, right, bottom] = box;
  return [(left + right) / 2, anchor === "center" ? (top + bottom) / 2 : bottom];
}

// Return whether a polygon contains a point (even-odd rule).
export function inside(polygon, [x, y]) {
  let within = false;
  polygon.forEach(([ax, ay], index) => {
    const [bx, by] = polygon[(index + 1) % polygon.length];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) within = !within;
  });
  return within;
}

// Return the middle of the corners, to put a name there.
export function middle(points) {
  const sum = points.reduce(([x, y], [ax, ay]) => [x + ax, y + ay], [0, 0]);
  return sum.map((value) => value / points.length);
}

// Return the masks, zones and lines of a pipeline as shapes. `origin` is what the file knows a shape by, its name or index.
export function shapesOf({ mask, zones, lines }) {
  const named = (kind, all, points) => Object.entries(all).map(([name, rest]) => ({ kind, name, origin: name, points: points(rest), rest }));
  return [
    ...mask.map((points, origin) => ({ kind: "mask", name: "", origin, points, rest: {} })),
    ...named("zone", zones, ({ polygon }) => polygon),
    ...named("line", lines, ({ from, to }) => [from, to]),
  ];
}

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

// Return the edits that make `before` into `after`: changes, deletions (masks from the last on), then new shapes. The writer names those.
export function editsOf(before, after) {
  const kept = new Map(after.filter(({ origin }) => origin !== null).map((shape) => [shape.kind + shape.origin, shape]));
  const changed = [];
  const deleted = [];
  for (const { kind, origin, points } of before) {
    const shape = kept.get(kind + origin);
    if (!shape) deleted.unshift({ what: kind, name: origin, points: null });
    else if (!same(shape.points, points)) changed.push({ what: kind, name: origin, points: shape.points });
  }
  let masks = [...kept.values()].filter(({ kind }) => kind === "mask").length;
  const made = after.filter(({ origin }) => origin === null)
    .map(({ kind, points }) => (kind === "mask" ? { what: kind, name: masks++, points } : { what: kind, points }));
  return [...changed, ...deleted, ...made];
}

// Return in words what somebody else changed.
export function differences(before, after) {
  const of = (shapes, kind) => new Map(shapes.filter((shape) => shape.kind === kind).map(({ name, points, origin }) => [kind === "mask" ? origin + 1 : name, points]));
  return ["mask", "zone", "line"].flatMap((kind) => {
    const [old, now] = [of(before, kind), of(after, kind)];
    const names = [...new Set([...old.keys(), ...now.keys()])].filter((name) => !same(old.get(name), now.get(name)));
    return names.map((name) => `${kind} ${name} ${!old.has(name) ? "added" : now.has(name) ? "changed" : "deleted"}`);
  });
}

// Return why these shapes cannot be saved; an empty text if they can.
export function fault(shapes) {
  const short = shapes.find(({ kind, points }) => points.length < (kind === "line" ? 2 : 3));
  return short ? `a ${short.kind} needs ${short.kind === "line" ? "two" : "three"} points` : "";
}

// Give the new zones and lines the names that the writer will choose: zone-1 or the next number that is free.
export function nameNew(shapes) {
  const taken = new Set(shapes.filter(({ origin }) => origin !== null).map(({ kind, name }) => kind + name));
  for (const shape of shapes.filter(({ kind, origin }) => origin === null && kind !== "mask")) {
    let count = 1;
    while (taken.has(`${shape.kind}${shape.kind}-${count}`)) count += 1;
    shape.name = `${shape.kind}-${count}`;
    taken.add(shape.kind + shape.name);
  }
}
