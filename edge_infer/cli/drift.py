"""``edge-infer drift``: compare cameras and models with the references that the running daemon has learned."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from edge_infer.cli.output import as_json, say
from edge_infer.cli.pause import tell
from edge_infer.contract.codec import decode, encode
from edge_infer.errors import ConfigError, EdgeInferError
from edge_infer.ipc.drift import CAMERA_HOURS, DriftAnswer, DriftHistogram, PartDrift, PipelineDrift
from edge_infer.ipc.drift_remedies import remedies
from edge_infer.platform.paths import DEFAULT_CONFIG, config_option
from edge_infer.supervisor.control.server import ask, find_socket
from edge_infer.supervisor.status import Status
from edge_infer.yamlfile.error_text import suggestion
from edge_infer.yamlfile.units import format_duration

BAR: Final = 24
"""Length of a full bar in characters."""
MOST_SIGNALS: Final = 4
"""Maximum number of signals shown for each part: those nearest to their thresholds."""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "words", nargs="*", metavar="[accept] [PIPELINE ...]",
        help="show only these pipelines; accept: the change was intended, so learn the drifting parts again",
    )  # fmt: skip
    parser.add_argument("-c", "--config", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s")
    parser.add_argument(
        "--whole",
        nargs="*",
        metavar="PIPELINE",
        help="with accept: learn camera and answers again, even if they do not drift",
    )
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")
    parser.epilog = "example: edge-infer drift"


def run(args: argparse.Namespace) -> int:
    """Return 0 without drift, 1 with drift; raises `EdgeInferError` with the daemon's reason."""
    if args.words[:1] == ["accept"]:
        return _accept(args)
    if args.whole is not None:
        names = " ".join([*args.words, *args.whole])
        raise ConfigError(f"--whole needs accept: edge-infer drift accept --whole {names}".rstrip())
    found, inactive = _compared(args.config)
    known = [*found, *inactive]
    if unknown := [name for name in args.words if name not in known]:
        raise EdgeInferError(f"no pipeline {unknown[0]!r} watches for drift; {suggestion(unknown[0], known)}")
    found = {name: drift for name, drift in found.items() if not args.words or name in args.words}
    inactive = {name: reason for name, reason in inactive.items() if not args.words or name in args.words}
    if args.json:
        paused = {name: {"inactive": reason} for name, reason in inactive.items()}
        say([as_json({name: _as_json(drift) for name, drift in found.items()} | paused)])
    elif not known:
        say(["no pipeline watches for drift: add drift: true to the configuration"])
    else:
        say(line for name, drift in found.items() for line in lines(name, drift, config_option(args.config)))
        say(f"{name}: not watched now: {reason}" for name, reason in inactive.items())
    return int(any(each.camera or each.outcome for each in found.values()))


def _compared(config: Path) -> tuple[Mapping[str, PipelineDrift], Mapping[str, str]]:
    """Return the drift of the running pipelines that watch for it, and the inactive pipelines with the reasons."""
    socket = find_socket(config)
    said = ask(socket, {"do": "drift"}, timeout=10.0)
    if error := said.get("error"):
        raise EdgeInferError(str(error))
    found = decode(DriftAnswer, said).pipelines
    unwatched = decode(Status, ask(socket, {"do": "status"}, timeout=10.0), "answer").unwatched
    return found, {name: reason for name, reason in unwatched.items() if name not in found}


def _accept(args: argparse.Namespace) -> int:
    for name in dict.fromkeys([*args.words[1:], *(args.whole or ())]) or [None]:
        order = {"do": "drift", "action": "accept", "pipeline": name, "whole": args.whole is not None}
        tell(args.config, order)
    return 0


def _as_json(drift: PipelineDrift) -> dict[str, Any]:
    """Return the comparison as JSON, with the words of ``health``.

    The value of each existing part is ``ok``, ``learning`` or the kind of drift.
    """
    found: Any = encode(drift)
    for name, part in (("camera", drift.camera_part), ("outcome", drift.outcome_part)):
        if part is None:
            del found[name], found[f"{name}_part"]
        elif found[name] is None:
            found[name] = "ok" if part.learned >= 1.0 else "learning"
    return dict(found)


def lines(name: str, drift: PipelineDrift, option: str = "") -> Iterator[str]:
    """Yield the lines about a pipeline; ``option`` names the configuration in the commands that the lines contain."""
    yield f"{name}: {_verdict(drift)}"
    for remedy in remedies(name, drift.camera, drift.outcome, option):
        yield f"  {remedy}"
    for part, title, days in (
        (drift.camera_part, "camera", 2 * CAMERA_HOURS / 24),
        (drift.outcome_part, "answers", drift.learn / 86400),
    ):
        if part is not None:
            yield from _part(title, part, days)
    for what, histogram in drift.histograms.items():
        yield from _histogram(what, histogram)
    yield f"  expected time between two false alarms: {format_duration(drift.false_alarm)}"


def _verdict(drift: PipelineDrift) -> str:
    found = [
        f"{what} {kind.replace('_', ' ')}{_by(drift) if kind == 'moved' else ''}{_since(part)}"
        for what, kind, part in (
            ("camera", drift.camera, drift.camera_part),
            ("answers:", drift.outcome, drift.outcome_part),
        )
        if kind is not None
    ]
    if found:
        return ", ".join(found)
    parts = [each for each in (drift.camera_part, drift.outcome_part) if each is not None]
    if any(each.learned < 1.0 for each in parts):
        return "learning; no drift in the learned parts" if any(each.learned >= 1.0 for each in parts) else "learning"
    return "as learned"


def _by(drift: PipelineDrift) -> str:
    if drift.shift is None:
        return ""
    right, down = drift.shift
    return f" (content {right:+.0%} of the width, {down:+.0%} of the height)"


def _since(part: PartDrift | None) -> str:
    return f" since {part.since}" if part is not None and part.since else ""


def _part(title: str, part: PartDrift, days: float) -> Iterator[str]:
    if part.learned < 1.0:
        left = f"about {max(0.1, (1 - part.learned) * days):.1f} days left; no report before that"
        yield f"  {title:8} learned {_bar(part.learned)} {part.learned:.0%}, {left}"
        return
    telling = [(name, signal) for name, signal in part.signals.items() if signal.telling]
    nearest = sorted(telling, key=lambda item: -item[1].score)[:MOST_SIGNALS]
    for number, (name, signal) in enumerate(nearest):
        bar = _bar(min(1.0, signal.score))
        yield f"  {'' if number else title:8} {name:17}{bar} {signal.score:.0%} of the threshold"
    blind = [name for name, signal in part.signals.items() if not signal.telling]
    if blind:
        yield f"  {'':8} not reported, because it always changes too much: {', '.join(blind)}"


def _histogram(what: str, histogram: DriftHistogram) -> Iterator[str]:
    title = {"score": "mean score in a frame", "objects": "objects in a frame"}.get(what, what)
    yield f"  {title}: learned, and now (index {histogram.psi:.3f}; without drift about {histogram.noise:.3f})"
    most = max((*histogram.reference, *histogram.now), default=0.0) or 1.0
    for label, before, now in zip(histogram.bins, histogram.reference, histogram.now, strict=True):
        if before or now:
            yield f"    {label:>8} {_bar(before / most)} {before:4.0%}  {_bar(now / most)} {now:4.0%}"


def _bar(share: float) -> str:
    full = round(share * BAR)
    return "█" * full + "·" * (BAR - full)
