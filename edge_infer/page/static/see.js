// The view “See”: what the daemon does now, the last events, and why something was or was not reported.

import { get, post } from "./api.js";
import { ask } from "./ask.js";
import { delegate, el, find, show } from "./dom.js";
import { bytes, clock, counted, duration, list, number, percent, sentence } from "./words.js";

const AROUND = 30; // seconds before and after the chosen moment
const KEYS = { good: "ok", bad: "fault", warn: "warning", note: "note" };

export const card = (title, level, ...content) => el("article", { class: `card ${level}` }, el("h3", {}, title), content);
const facts = (pairs) => el("dl", {}, pairs.filter(([, value]) => value || value === 0)
  .map(([key, value]) => el("div", {}, el("dt", {}, key), el("dd", {}, value))));
export const badge = (level, text) => el("span", { class: `badge ${level}` }, text ?? KEYS[level]);

export const STALE = { lost: "gives no frames", frozen: "sends the same frame again and again", ended: "has ended" };

const LEVEL = {
  ok: "good", active: "good", starting: "note", staging: "note", probation: "warn", black: "warn", ended: "note",
  lost: "bad", frozen: "bad", rejected: "bad", rolled_back: "bad",
};

function source(name, { state, fps, rate, error, faults }) {
  const pace = rate === undefined ? `${number(fps)} frames/s` : `${number(rate)} samples/s`;
  return card(name, LEVEL[state], badge(LEVEL[state], state),
    facts([["rate", pace], ["left out", faults && number(faults, 0)], ["error", error]]));
}

function pipeline(name, { fps, latency_ms: latency, produced, dropped, error, held_back: held, motion }, status, scene) {
  const rests = Object.hasOwn(status.inactive, name);
  const state = status.sources[status.feeds[name]]?.state;
  const gone = STALE[state];
  const level = rests ? "note" : error ? "bad" : gone ? LEVEL[state] : "good";
  const limits = status.governor?.limits ?? {};
  return card(name, level, badge(level, rests ? "does not run" : error ? "fault" : gone ? "gets no frames" : "runs"),
    facts([
      ["model", scene?.pipelines[name]?.title], ["source", status.feeds[name]], ["why", rests ? status.inactive[name] : error || (gone && `the source ${gone}`)],
      ["rate", `${number(fps)} frames/s`],
      ["governor", Object.hasOwn(limits, name) && `at most ${number(limits[name])} frames/s`],
      ["latency", latency && `${number(latency.p50)} ms, 95 % under ${number(latency.p95)} ms`],
      ["results", number(produced, 0)], ["dropped", counted(dropped, "frame")],
      ["events held back", held && number(held, 0)], ["runs saved by motion", motion && percent(motion.saved)],
    ]));
}

function model(name, { state, version, sha, reason, previous, candidate, delegate: delegates, shadow }, mayEdit) {
  const level = LEVEL[state] ?? "note";
  return card(name, level, badge(level, state.replaceAll("_", " ")),
    facts([
      ["version", version], ["digest", sha], ["reason", reason], ["candidate", candidate], ["previous", previous],
      ["accelerator", delegates && list(Object.entries(delegates).map(([key, each]) => `${key}: ${each.reason ?? `${each.library}, ${percent(each.share)}`}`))],
      ["shadow", shadow && list(Object.entries(shadow).map(([key, each]) => `${key}: ${each.model} ${each.state}${each.agreement == null ? "" : `, agrees in ${percent(each.agreement)}`}`))],
    ]),
    previous && el("button", { type: "button", "data-do": "rollback", "data-model": name, "data-previous": previous, "data-now": sha, disabled: !mayEdit }, "Roll back …"));
}

function device({ status, board = {}, clock: set, watched, device: name }) {
  const { broker, outbox, config, governor, last_error: last } = status;
  const lost = Object.entries(outbox?.lost ?? {}).map(([reason, count]) => `${count} ${reason}`);
  const hot = board.throttled ? "bad" : "good";
  return [
    card("Broker", broker.connected ? "good" : "bad", badge(broker.connected ? "good" : "bad", broker.connected ? "connected" : "away"), facts([["connection", broker.text]])),
    outbox && card("Outbox", outbox.degraded ? "bad" : "good", badge(outbox.degraded ? "bad" : "good", outbox.degraded ? "no disk" : "ok"),
      facts([["delivered", number(outbox.delivered, 0)], ["waiting", `${number(outbox.pending, 0)} (${bytes(outbox.bytes)})`], ["lost", list(lost) || "none"]])),
    config && card("Configuration", config.state === "applied" ? "good" : "bad", badge(config.state === "applied" ? "good" : "bad", config.state),
      facts([["digest", config.digest.slice(0, 8)], ["since", clock(config.ts)]]),
      config.errors?.length > 0 && el("ul", { class: "errors" }, config.errors.map((error) => el("li", {}, error)))),
    card("Board", hot, badge(hot, board.throttled ? "throttled" : "ok"),
      facts([
        ["processor", percent(board.cpu)], ["memory", percent(board.memory)], ["temperature", board.temperature == null ? "unknown" : `${number(board.temperature)} °C`],
        ["clock", set === "unsynced" ? "not set" : "set"], ["governor", governor && (list(Object.keys(governor.limits)) || "holds nothing back")],
      ])),
    card("Daemon", "good", badge("good", "runs"),
      facts([["device", name], ["version", status.version], ["up for", duration(status.uptime)], ["runtime", status.runtime ?? "no engine yet"],
        ["pictures", watched ? "are being watched now" : "nobody watches"], ["last error", last && `${clock(last.ts)}: ${last.text}`]])),
  ];
}

function processes(rooms) {
  const row = ([name, { pid, restarts, planned = 0, uptime }]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, pid ?? "starts"),
    el("td", {}, duration(uptime)), el("td", {}, Math.max(0, restarts - planned)));
  const head = ["process", "pid", "up for", "failures"].map((text) => el("th", { scope: "col" }, text));
  return el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, Object.entries(rooms).map(row)));
}

function walls(rules) {
  return el("ul", { class: "walls" }, Object.entries(rules).map(([rule, text]) => {
    const level = text.startsWith("enforced") ? "good" : "warn";
    return el("li", {}, badge(level), ` ${rule.replaceAll("_", " ")}: ${text}`);
  }));
}

export function showState(overview, scene) {
  const { status } = overview;
  const entries = (values) => Object.entries(values);
  show(find("sources"), entries(status.sources).map(([name, each]) => source(name, each)));
  show(find("pipelines"), entries(status.pipelines).map(([name, each]) => pipeline(name, each, status, scene)));
  show(find("models"), entries(status.models).map(([name, each]) => model(name, each, overview.may_edit)));
  show(find("device-cards"), device(overview));
  show(find("processes"), processes(status.rooms));
  show(find("walls"), walls(status.walls));
}

async function showHistory() {
  const { history } = await get("history");
  const line = ({ ts, model: name, what, title, by, why }) => el("li", {}, el("time", { datetime: ts }, clock(ts)),
    ` ${name}: ${String(what).replaceAll("_", " ")} ${title} by ${by}${why ? `: ${why}` : ""}`);
  show(find("history"), history.length ? history.toReversed().map(line) : el("li", {}, "No model was changed yet."));
}

// The list of events, and the time line above it on which a moment is chosen.
export class Events {
  constructor() {
    this.events = [];
    this.span = 600; // seconds
    this.now = Date.now() / 1000;
    this.moment = null; // seconds since the epoch; null: the present
    find("moment").addEventListener("input", () => this.choose(this.now - this.span + Number(find("moment").value)));
    find("span").addEventListener("change", () => {
      this.span = Number(find("span").value);
      find("moment").max = this.span;
      this.choose(null);
    });
    find("ask-why").addEventListener("click", () => this.why());
    find("timeline").addEventListener("click", (event) => {
      const { left, width } = find("timeline").getBoundingClientRect();
      this.choose(this.now - this.span + ((event.clientX - left) / width) * this.span);
      this.why();
    });
    delegate(find("events"), "click", { moment: (button) => { this.choose(Number(button.dataset.at)); this.why(); find("why").scrollIntoView({ block: "nearest" }); } });
  }

  async look(now) {
    try {
      const { events } = await get("events");
      this.events = events.map(({ pipeline: name, event }) => ({ ...event, pipeline: name }));
    } catch (error) {
      show(find("events"), el("tr", {}, el("td", { colspan: 3 }, error.message)));
      return;
    }
    if (this.moment === null) this.now = now;
    this.draw();
    const rows = this.events.toReversed().map((event) => el("tr", { "data-key": `${event.pipeline} ${event.boot} ${event.seq}` },
      el("td", {}, el("button", { type: "button", class: "link", "data-do": "moment", "data-at": Date.parse(event.ts) / 1000, title: "Why?" }, clock(event.ts))),
      el("td", {}, event.pipeline), el("td", {}, sentence(event))));
    show(find("events"), rows.length ? rows : el("tr", {}, el("td", { colspan: 3 }, "No event yet.")));
  }

  choose(moment) {
    this.moment = moment;
    find("moment").value = moment === null ? this.span : moment - this.now + this.span;
    this.draw();
  }

  draw() {
    const names = [...new Set(this.events.map((event) => event.pipeline))];
    const at = (seconds) => ((seconds - this.now) / this.span + 1) * 1000;
    const height = Math.max(1, names.length) * 24;
    const shown = this.events.filter((event) => at(Date.parse(event.ts) / 1000) >= 0);
    find("timeline").setAttribute("viewBox", `0 0 1000 ${height}`);
    show(find("timeline"),
      names.map((_, row) => el("line", { x1: 0, x2: 1000, y1: row * 24 + 12, y2: row * 24 + 12, class: "rail" })),
      shown.map((event) => el("rect", { x: at(Date.parse(event.ts) / 1000) - 2, y: names.indexOf(event.pipeline) * 24 + 4, width: 4, height: 16, class: `tick ${event.type}` })),
      el("rect", { x: Math.max(0, at((this.moment ?? this.now) - AROUND)), y: 0, width: (2 * AROUND * 1000) / this.span, height, class: "window" }));
    show(find("rails"), names.length > 1 && `From above: ${list(names)}.`);
    show(find("moment-text"), this.moment === null ? "now" : clock(this.moment * 1000));
  }

  async why() {
    const target = find("why");
    const moment = this.moment ?? this.now;
    show(target, el("p", {}, "…"));
    try {
      const { lines, notes } = await get("why", { since: moment - AROUND, until: moment + AROUND, pipeline: find("why-pipeline").value });
      show(target,
        el("p", {}, `Decisions within ${AROUND} s of ${clock(moment * 1000)}, the oldest first:`),
        lines.length ? el("ol", {}, lines.map((line) => el("li", {}, line))) : el("p", {}, "Nothing came close to being reported then, as far as the engine remembers."),
        notes.map((note) => el("p", { class: "hint" }, note)));
    } catch (error) {
      show(target, el("p", { class: "error" }, error.message));
    }
  }
}

export function watchRollbacks(tell) {
  delegate(find("models"), "click", {
    async rollback({ dataset }) {
      const yes = await ask(`Roll back model ${dataset.model}?`,
        [`It goes back from ${dataset.now} to ${dataset.previous}, between two frames. The daemon does not try ${dataset.now} again until its entry in the file changes.`],
        [["Roll back", "yes", "danger"], ["Cancel", ""]]);
      if (yes !== "yes") return;
      try {
        tell((await post("rollback", { model: dataset.model })).done);
        await showHistory();
      } catch (error) {
        tell(error.message, true);
      }
    },
  });
  find("history-box").addEventListener("toggle", () => find("history-box").open && showHistory().catch((error) => tell(error.message, true)));
}

