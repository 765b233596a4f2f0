"""The actions of ``edge-infer models`` that the running daemon answers: ``history``, ``rollback``, ``retry``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from edge_infer.cli.arguments import Actions, add_action, add_config
from edge_infer.cli.message_lines import delegate_lines
from edge_infer.cli.output import say
from edge_infer.contract.codec import ABSENT, decode
from edge_infer.contract.messages import ModelStatus, ShadowStatus
from edge_infer.errors import EdgeInferError
from edge_infer.models.serving_record import Happened, What
from edge_infer.supervisor.control.server import NotRunningError, ask, find_socket
from edge_infer.yamlfile.error_text import suggestion

WORDS: Final[dict[What, str]] = {
    "first": "first",
    "tried": "tried",
    "committed": "committed",
    "rejected": "rejected",
    "rolled_back": "rolled-back",
    "superseded": "superseded",
    "held_back": "held-back",
    "retry": "retried",
    "shadow_off": "shadow off",
}

SWITCH_SECONDS: Final = 30.0
"""Maximum time that `rollback` waits for the engine to run the previous model."""


def add(actions: Actions) -> None:
    """Declare the actions."""
    purpose = "shows the model changes of the running daemon: time, reason and initiator"
    past = add_config(add_action(actions, "history", purpose, "faces", run))
    past.add_argument("name", metavar="NAME", nargs="?", help="model of the configuration; default: all")
    purpose = "returns to the previous model; the current one is not tried again"
    back = add_config(add_action(actions, "rollback", purpose, "faces", run))
    back.add_argument("name", metavar="NAME", help="model of the configuration")
    purpose = "retries a model that was rejected or rolled back"
    more = add_config(add_action(actions, "retry", purpose, "faces", run))
    more.add_argument("name", metavar="NAME", help="model of the configuration")


def run(args: argparse.Namespace) -> int:
    """Return 0 when the daemon has done the action; raises `EdgeInferError` with the daemon's reason."""
    answer = _ask(args, {"do": "models", "action": args.action, "name": getattr(args, "name", None)})
    if args.action == "history":
        history = decode(tuple[Happened, ...], answer.get("history"), "answer.history")
        told = [each for each in history if args.name in (None, each.model)]
        if args.name is not None and not told:
            _check_known(args.name, args.config)
        say(_lines(told))
        return 0
    late = args.action == "rollback" and not _has_switched(args.config, args.name)
    done = decode(str, answer.get("done"), "answer.done")
    say([f"{done}, as soon as the engine has loaded it" if late else done])
    return 0


def _has_switched(config: Path, name: str) -> bool:
    """Wait, and return whether the engine runs the model to which the daemon rolls back."""
    end = time.monotonic() + SWITCH_SECONDS
    while time.monotonic() < end:
        with suppress(EdgeInferError):  # busy or restarting: the daemon has stored the rollback
            status = ask(find_socket(config), {"do": "status"}, timeout=30.0).get("models", {}).get(name)
            # Without a report of the engine, which may be restarting, there is no status.
            if status is not None and decode(ModelStatus, status).state not in ("staging", "probation"):
                return True
        time.sleep(0.1)
    return False


def _ask(args: argparse.Namespace, request: dict[str, Any]) -> Any:
    answer = ask(find_socket(args.config), request, timeout=30.0)
    if "error" in answer:
        raise EdgeInferError(str(answer["error"]))
    return answer


def _check_known(name: str, config: Path) -> None:
    """Raise `EdgeInferError` if the daemon has no model of this name, which may be mistyped."""
    known = ask(find_socket(config), {"do": "status"}, timeout=30.0)["models"]
    if name not in known:
        raise EdgeInferError(f"there is no model {name!r}; {suggestion(name, known)}")


def _lines(history: list[Happened]) -> Iterator[str]:
    if not history:
        print("edge-infer: the daemon has not activated, changed or rejected any model yet", file=sys.stderr)
    for each in history:
        why = f": {each.why}" if each.why else ""
        yield f"{each.ts}  {each.model}  {WORDS[each.what]:<11}  {each.title} {each.sha[:8]}  by {each.by}{why}"


def serving(config: Path, name: str) -> list[str]:
    """Return lines with the daemon's status of a configured model and of its shadows; empty without a daemon."""
    try:
        models = ask(find_socket(config), {"do": "status"}, timeout=30.0)["models"]
    except NotRunningError:
        return []
    known = {model: decode(ModelStatus, status) for model, status in models.items()}
    return [line for model, status in known.items() for line in _standing(model, status, name)]


def _standing(model: str, status: ModelStatus, name: str) -> Iterator[str]:
    if model == name:
        reason = "" if status.reason is ABSENT else f": {status.reason}"
        yield f"{model}: {status.state} {status.version or ''} {status.sha or ''}{reason}"
        yield from (f"  {line}" for line in delegate_lines(status))
    for pipeline, shadow in status.shadow.items() if isinstance(status.shadow, Mapping) else ():
        if name in (model, shadow.model):
            yield f"  shadow of {model} in {pipeline}: {shadow.model} {shadow.sha} {shadow.state}{_figures(shadow)}"


def _figures(shadow: ShadowStatus) -> str:
    """Describe the results of a shadow's comparison."""
    parts = [] if shadow.agreement is None else [f"{shadow.agreement:.1%} of {shadow.frames} frames agree"]
    parts += [] if shadow.matched is ABSENT else [f"{shadow.matched:.1%} of boxes matched"]
    parts += [] if shadow.difference is ABSENT else [f"scores differ by {shadow.difference:g}"]
    parts += [] if shadow.latency is ABSENT else [f"{shadow.latency:g} times the latency"]
    parts += [f"{shadow.skipped} frames skipped"] if shadow.skipped else []
    parts += [f"{shadow.errors} failed"] if shadow.errors else []
    parts += [] if shadow.reason is ABSENT else [shadow.reason]
    return "".join(f", {part}" for part in parts)
