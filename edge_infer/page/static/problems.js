// What is wrong with the daemon, from its state: each problem with a level, a sentence and a remedy.

import { drifting } from "./drift.js";
import { STALE } from "./see.js";
import { clock, duration, list, percent } from "./words.js";

const SOURCE = {
  lost: ["bad", STALE.lost, "Check the cable, power and address of a camera, or whether the file is there. The daemon tries again by itself."],
  frozen: ["bad", STALE.frozen, "Restart the camera; its pipelines report nothing until the picture changes."],
  black: ["warn", "is black", "Look for a cap on the lens, darkness, or a shutter."],
  ended: ["note", STALE.ended, "A file without loop: true ends; the other sources continue."],
};

const MODEL = {
  rejected: ["bad", "was rejected", "The model before it serves. Change its entry in the file, or run edge-infer models retry."],
  rolled_back: ["bad", "was rolled back", "The model before it serves. See the history below; edge-infer models retry tries it again."],
  probation: ["note", "is on probation", "If it fails, the daemon brings the model before it back by itself."],
  staging: ["note", "is being loaded", "The model before it serves until then."],
};

// Return a list of `{level, what, text, remedy}`; `level` is `bad`, `warn` or `note`. `drift` is what drifts, by pipeline.
export function problems(state, drift) {
  const found = [];
  const add = (level, what, text, remedy = "") => found.push({ level, what, text, remedy });
  const { status, board } = state;
  configuration(status, add);
  connection(status, add);
  for (const [name, source] of Object.entries(status.sources)) {
    const [level, text, remedy] = SOURCE[source.state] ?? [];
    if (level) add(level, `Source ${name}`, source.error ? `${text}: ${source.error}` : text, remedy);
  }
  for (const [name, model] of Object.entries(status.models)) {
    const [level, text, remedy] = MODEL[model.state] ?? [];
    if (level) add(level, `Model ${name}`, model.reason ? `${text}: ${model.reason}` : text, remedy);
    else if (!model.sha) add("warn", `Model ${name}`, model.reason ? `does not serve: ${model.reason}` : "does not serve");
  }
  pipelines(status, add);
  for (const [name, found] of Object.entries(drift.pipelines)) {
    drifting(found).forEach((text, index) => add("warn", `Drift in ${name}`, text, drift.remedies[name]?.[index]));
  }
  device(state, status, board ?? {}, add);
  return found;
}

function configuration(status, add) {
  const { config } = status;
  if (!config) add("note", "Configuration", "is being read");
  else if (config.state === "rejected") {
    const errors = config.errors ?? [];
    add("bad", "Configuration", `was rejected: ${errors.join("\n") || "no reason given"}`, "The previous configuration stays active. Correct the file and save it.");
  }
}

function connection(status, add) {
  const { broker, outbox } = status;
  if (!broker.connected) {
    const waiting = outbox?.pending ? ` ${outbox.pending} messages wait.` : "";
    const refused = /refus|denie|not authori|credential|password/i.test(broker.text);
    add(refused ? "bad" : "warn", "Broker", broker.text, (refused
      ? "Correct username, password file or the broker's access list." : "The daemon connects again by itself.") + waiting);
  }
  if (outbox?.degraded) add("bad", "Outbox", "cannot write to the disk: what waits is kept in memory and lost at a restart", "Free space in the state directory, or replace the card.");
  const lost = Object.entries(outbox?.lost ?? {}).filter(([, count]) => count > 0);
  if (lost.length) add("warn", "Outbox", `lost ${list(lost.map(([reason, count]) => `${count} (${reason})`))}`);
}

function pipelines(status, add) {
  for (const [name, reason] of Object.entries(status.inactive)) {
    add("note", `Pipeline ${name}`, `does not run: ${reason}`, reason.startsWith("paused") ? `Resume it with edge-infer resume ${name}.` : "");
  }
  for (const [name, pipeline] of Object.entries(status.pipelines)) {
    if (pipeline.error && !Object.hasOwn(status.inactive, name)) add("bad", `Pipeline ${name}`, pipeline.error);
  }
  const limits = Object.entries(status.governor?.limits ?? {});
  if (limits.length) {
    const why = status.governor.reason ? ` because of ${status.governor.reason}` : "";
    add("warn", "Governor", `holds back ${list(limits.map(([name, fps]) => `${name} to ${fps} a second`))}${why}`);
  }
}

function device(state, status, board, add) {
  if (state.clock === "unsynced") add("warn", "Clock", "is not set, so times may be wrong", "Give the board a network time server, or a clock with a battery.");
  if (board.throttled) add("warn", "Board", `is throttled by its firmware${board.temperature == null ? "" : ` at ${board.temperature} °C`}`, "Cool it, or give it a stronger power supply.");
  if (board.memory > 0.95) add("warn", "Board", `has ${percent(board.memory)} of its memory in use`);
  for (const [name, room] of Object.entries(status.rooms)) {
    if (room.pid === null) add("warn", `Process ${name}`, "is being started again");
    else if (room.restarts > (room.planned ?? 0) && room.uptime < 600) add("warn", `Process ${name}`, `failed and was started again ${duration(room.uptime)} ago`);
  }
  const known = status.config?.errors ?? [];
  if (status.last_error && !known.includes(status.last_error.text) && state.now * 1000 - Date.parse(status.last_error.ts) < 600000) {
    add("note", "Last error", `at ${clock(status.last_error.ts)}: ${status.last_error.text}`);
  }
}

// Return the worst level, and a sentence about all problems.
export function summary(found) {
  const count = (level) => found.filter((each) => each.level === level).length;
  const bad = count("bad");
  const warn = count("warn");
  if (!bad && !warn) return { level: "good", text: "all well" };
  const words = [bad && `${bad} ${bad === 1 ? "fault" : "faults"}`, warn && `${warn} ${warn === 1 ? "warning" : "warnings"}`];
  return { level: bad ? "bad" : "warn", text: words.filter(Boolean).join(", ") };
}
