// Numbers, times and events in words.

export const percent = (share) => (share === null || share === undefined ? "unknown" : `${Math.round(share * 100)} %`);
export const number = (value, digits = 1) => Number(value).toLocaleString("en", { maximumFractionDigits: digits });
export const spaced = (name) => String(name).replaceAll("_", " ");
export const list = (items) => [...items].join(", ");

const YEAR = 31536000; // seconds
export const counted = (count, noun) => `${number(count, 0)} ${noun}${count === 1 ? "" : "s"}`;

export function bytes(count) {
  const units = ["bytes", "KB", "MB", "GB"];
  const step = count < 1000 ? 0 : Math.min(3, Math.floor(Math.log10(count) / 3));
  return `${number(count / 1000 ** step)} ${units[step]}`;
}

export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  if (seconds >= YEAR) return counted(Math.round(seconds / YEAR), "year");
  return `${Math.round(seconds / 86400)} days`;
}

// Return a time in the zone of the browser; times of other days have a date.
export function clock(moment) {
  const time = new Date(moment);
  if (Number.isNaN(time.getTime())) return "unknown";
  const two = (value) => String(value).padStart(2, "0");
  const day = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} `;
  const today = time.toDateString() === new Date().toDateString();
  return `${today ? "" : day}${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}

// Return what an event says: `person #3 enter drive`.
export function sentence(event) {
  const id = event.id === undefined ? null : `#${event.id}`;
  const score = event.score === undefined ? null : `score ${event.score.toFixed(2)}`;
  const reason = event.reason ? `(${spaced(event.reason)})` : null;
  const place = event.zone ?? event.line;
  const words = [event.label, id, spaced(event.type), event.kind && spaced(event.kind), place, event.direction && `to the ${event.direction}`, score, reason];
  return words.filter(Boolean).join(" ");
}
