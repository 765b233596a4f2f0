"""``edge-infer models wait``: wait until the daemon's models pass their probation, or one of them fails."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from edge_infer.cli.arguments import Actions, add_action, add_config, argument
from edge_infer.cli.waiting import Glimpse, wait
from edge_infer.config.file_edit import current_digest
from edge_infer.contract.codec import ABSENT, decode
from edge_infer.contract.messages import ModelStatus
from edge_infer.errors import ConfigError
from edge_infer.supervisor.control.server import ask, find_socket
from edge_infer.supervisor.status import Status
from edge_infer.yamlfile.units import parse_seconds

HINT: Final = (
    "a model passes its probation after 100 frames, or after a minute with at least ten; edge-infer status shows "
    "whether its source delivers frames"
)


def add(actions: Actions) -> None:
    """Declare the action."""
    purpose = (
        "waits until models have passed their probation; exit code 1 if one fails or the time is over, 2 if the "
        "configuration is rejected"
    )
    stay = add_config(add_action(actions, "wait", purpose, "faces --timeout 10m", run))
    stay.add_argument("name", metavar="NAME", nargs="?", help="model of the configuration; default: all")
    stay.add_argument("--timeout", metavar="TIME", type=argument(parse_seconds), default=300.0, help="default: 5m")


def run(args: argparse.Namespace) -> int:
    """Return 0 if active; 1 if rejected, rolled back or late; 2 if the configuration is rejected."""
    return wait(lambda: _look(find_socket(args.config), args.config, args.name), args.timeout, HINT)


def judged(status: Status, digest: str, name: str | None) -> Glimpse:
    """Return the state of one model or all in a status, for a file with this digest; raises `ConfigError`."""
    config = status.config
    if config is None or config.digest != digest:
        return Glimpse((f"the daemon has not read the current configuration yet ({digest[:8]})",))
    if config.state == "rejected":
        return Glimpse((*config.errors, "edge-infer: the configuration is rejected; the previous one stays active"), 2)
    if status.boot is None:
        return Glimpse(("the engine is starting",))
    if name is not None and name not in status.models:
        raise ConfigError(f"no pipeline has a model {name}; there are {', '.join(status.models) or 'none'}")
    models = {key: model for key, model in status.models.items() if name in (None, key)}
    bad = {key: model for key, model in models.items() if model.state in ("rejected", "rolled_back")}
    lines = tuple(_line(key, model) for key, model in (bad or models).items())
    if bad:
        return Glimpse(lines, 1)
    return Glimpse(lines, 0 if all(model.state == "active" for model in models.values()) else None)


def _look(socket: Path, config: Path, name: str | None) -> Glimpse:
    status = decode(Status, ask(socket, {"do": "status"}, timeout=30.0))
    return judged(status, current_digest(config), name)


def _line(name: str, model: ModelStatus) -> str:
    serving = f"{model.version or 'a file'} ({model.sha})" if model.sha else "no model"
    if model.reason is ABSENT:
        return f"{name}: {model.state}, {serving} serves"
    return f"{name}: {model.state}: {model.reason}; {serving} serves"
