"""``edge-infer status``: print the state of the running daemon."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_infer.cli.arguments import argument
from edge_infer.cli.message_lines import delegate_lines
from edge_infer.cli.output import as_json, say
from edge_infer.cli.panel import pace_of
from edge_infer.cli.waiting import wait_until_it_serves
from edge_infer.contract.codec import ABSENT, decode
from edge_infer.contract.messages import DriftHealth
from edge_infer.models.trials.fast_path import LEAST_GAIN
from edge_infer.platform.paths import DEFAULT_CONFIG, publisher_folder
from edge_infer.supervisor.control.server import ask, find_socket
from edge_infer.supervisor.processes.publisher_folder import remedy
from edge_infer.supervisor.status import DEGRADED, Status, held_back
from edge_infer.yamlfile.units import parse_seconds, rough_duration


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("-c", "--config", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--wait",
        action="store_true",
        help="wait until every pipeline has an outcome or lacks its source; exit code 1 after --timeout, unless only a "
        "first frame is missing",
    )
    parser.add_argument("--timeout", metavar="TIME", type=argument(parse_seconds), default=120.0, help="default: 2m")
    parser.epilog = "example: edge-infer status --wait --timeout 1m"


def run(args: argparse.Namespace) -> int:
    """Return 0 if a daemon answered and, with ``--wait``, if it serves; otherwise 1."""
    if args.wait and (code := wait_until_it_serves(args.config, args.timeout)):
        return code
    answer = ask(find_socket(args.config), {"do": "status"}, timeout=10.0)
    if args.json:
        print(as_json(answer, indent=2))
    else:
        say(_lines(decode(Status, answer, "answer")))
    return 0


def _lines(status: Status) -> list[str]:
    config = status.config
    lines = [f"edge-infer {status.version}, up {rough_duration(status.uptime)}, {status.runtime or 'no engine yet'}"]
    lines.append(f"broker    {status.broker.word:<4}  {status.broker.text}")
    if status.outbox is not None:
        lost = ", ".join(f"{count} {reason}" for reason, count in status.outbox.lost.items()) or "none"
        lines.append(
            f"outbox    {status.outbox.delivered} delivered, {status.outbox.pending} pending "
            f"({status.outbox.bytes} bytes), lost: {lost}{_degraded(status) if status.outbox.degraded else ''}"
        )
    lines += [f"aside     {path} may hold messages; {remedy(path, status.put_aside)}" for path in status.put_aside]
    if config is not None:
        lines.append(f"config    {config.state} {config.digest[:8]} at {config.ts}")
        lines += [f"          {error}" for error in config.errors]
    if status.governor is not None:
        lines.append(f"governor  {held_back(status.governor)}")
    if status.fast_path is not None:
        lines.append(f"fast path {_fast_path(status.fast_path)}")
    for name, source in status.sources.items():
        error = f"  {source.error}" if source.error is not ABSENT else ""
        faults = f", {source.faults} skipped" if source.faults is not ABSENT else ""
        lines.append(f"source    {name}: {source.state}, {pace_of(source)}{faults}{error}")
    for name, pipeline in status.pipelines.items():
        latency = f", p95 {pipeline.latency_ms.p95:g} ms" if pipeline.latency_ms else ""
        error = f"  {pipeline.error}" if pipeline.error is not ABSENT else ""
        error = f"  {status.inactive[name]}" if name in status.inactive else error
        saved = f", {pipeline.motion.saved:.0%} of the model runs saved" if pipeline.motion is not ABSENT else ""
        lines.append(
            f"pipeline  {name}: {pipeline.fps:g} fps{latency}, {_counted(pipeline.produced, 'result')}, "
            f"{_counted(pipeline.dropped, 'frame')} dropped{saved}{error}"
        )
    lines += [f"drift     {name}: {_drift(drift)}" for name, drift in status.drift.items()]
    lines += [f"drift     {name}: not watched now: {reason}" for name, reason in status.unwatched.items()]
    for name, model in status.models.items():
        reason = f"  {model.reason}" if model.reason is not ABSENT else ""
        words = (model.state, model.version, model.sha)
        lines.append(f"model     {name}: {' '.join(word for word in words if word)}{reason}")
        lines += [f"          {line}" for line in delegate_lines(model)]
    for name, room in status.rooms.items():
        state = f"pid {room.pid}, up {rough_duration(room.uptime)}" if room.pid else "is starting"
        lines.append(f"room      {name}: {state}, {_counted(room.failures, 'restart')}")
    if status.last_error is not None:
        lines.append(f"last error at {status.last_error.ts}: {status.last_error.text}")
    return lines


def _degraded(status: Status) -> str:
    where = f" ({publisher_folder(status.state_dir)})" if status.state_dir is not None else ""
    return f"{DEGRADED}{where}; edge-infer doctor shows the remedy"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _drift(drift: DriftHealth) -> str:
    parts = [
        f"{title} {state.replace('_', ' ')}"
        for title, state in (("camera", drift.camera), ("answers", drift.outcome))
        if state is not ABSENT
    ]
    return ", ".join(parts) + (" (edge-infer drift shows what to do)" if drift.present else "")


def _fast_path(gain: float) -> str:
    off = "" if gain >= LEAST_GAIN else "OFF   "
    told = f"{off}a model runs {gain:g} times as fast with it as without"
    return f"{told}; edge-infer doctor shows the remedy" if off else told
