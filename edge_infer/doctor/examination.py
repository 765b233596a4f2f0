"""The complete examination, one check after another."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge_infer.config.compile.compile import Connection, compile_config, connection, usual_connection
from edge_infer.doctor.finding import Finding, fail, ok, warn
from edge_infer.doctor.machine import accelerators, board, cameras, storage
from edge_infer.doctor.outbox import outbox, put_aside
from edge_infer.doctor.runtime import runtime
from edge_infer.doctor.walls import sandbox
from edge_infer.errors import ConfigError
from edge_infer.models.trials.fast_path import shipped_model
from edge_infer.platform.paths import config_option
from edge_infer.readers.devices import capture_devices
from edge_infer.sandbox.name_look_up import closed_look_up
from edge_infer.sandbox.needs import look_ups
from edge_infer.supervisor.reload.watch import is_missing
from edge_infer.supervisor.status import Status

# Check of the configuration, and settings that other checks need even if the configuration is invalid.


def settings(path: Path) -> Connection | None:
    """Return the settings of the file; the defaults if there is no file; None if they are invalid or unreadable."""
    if is_missing(path):
        return usual_connection()
    try:
        return connection(path)
    except ConfigError:
        return None  # `configuration` reports these errors


def configuration(path: Path, state_dir: Path) -> Iterator[Finding]:
    """Check whether the daemon could run with this file and the models in the state directory."""
    if is_missing(path):
        yield warn("configuration", f"there is no {path}, so doctor examines the defaults", "name yours with -c FILE")
    elif closed := [place for place in (path, state_dir) if _closed(place)]:
        yield warn("configuration", f"not checked: this user cannot read {closed[0]}", "run: sudo edge-infer doctor")
    else:
        compiled = compile_config(path)
        if compiled.plan is None:
            count = len(compiled.problems)
            fact = f"{count} problem{'' if count == 1 else 's'}, first {compiled.problems[0]}"
            yield fail("configuration", fact, f"see all of them: edge-infer check{config_option(path)}")
        else:
            count = len(compiled.plan.pipelines)
            yield ok("configuration", f"{path} is valid, {count} pipeline{'' if count == 1 else 's'}")
            for _, host in look_ups(compiled.plan):
                if trouble := closed_look_up(host):
                    fact, _, remedy = trouble.partition(": ")
                    yield warn("name look-up", fact, remedy)


def _closed(place: Path) -> bool:
    """Return whether the file exists and this user may not read it, or may not enter its folder."""
    try:
        place.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return not os.access(place, os.R_OK, effective_ids=True)


def examine(
    config: Path, root: Path = Path("/"), status: Status | None = None, judged: Sequence[Finding] | None = None
) -> Iterator[Finding]:
    """Yield each finding once it is known, quick checks first; ``root`` holds ``proc``, ``sys``, ``dev``, ``run``.

    ``status`` is the answer of the daemon, if it runs; ``judged`` are its findings about its configuration and broker.
    """
    from edge_infer.doctor.broker import broker

    found = settings(config)
    state_dir = (found or usual_connection()).state_dir
    yield from board(root)
    yield from storage(state_dir)
    yield from outbox(state_dir, status)
    yield from put_aside(state_dir, status)
    yield from cameras(capture_devices(root / "dev"))
    yield accelerators(root)
    yield from configuration(config, state_dir) if judged is None else judged
    yield from runtime(root, shipped_model(state_dir))
    yield from sandbox(status)
    if judged is not None:
        return
    if found:
        yield broker(found.mqtt)
    else:
        yield warn("broker", "not examined: the configuration cannot be used", "correct that first")
