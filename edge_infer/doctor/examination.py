"""The complete examination, one check after another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge_infer.config.connection import usual_connection
from edge_infer.doctor.board import board
from edge_infer.doctor.configuration import configuration, settings
from edge_infer.doctor.devices import accelerators, cameras
from edge_infer.doctor.finding import Finding, warn
from edge_infer.doctor.runtime import runtime
from edge_infer.doctor.storage import storage
from edge_infer.doctor.walls import sandbox
from edge_infer.models.fastpath import shipped_model
from edge_infer.readers.devices import capture_devices


def examine(config: Path, root: Path = Path("/")) -> Iterator[Finding]:
    """Yield each finding once it is known, quick checks first; ``root`` holds ``proc``, ``sys``, ``dev``, ``run``."""
    from edge_infer.doctor.broker import broker

    found = settings(config)
    state_dir = (found or usual_connection()).state_dir
    yield from board(root)
    yield storage(state_dir)
    yield from cameras(capture_devices(root / "dev"))
    yield accelerators(root)
    yield from configuration(config, state_dir)
    yield from runtime(root, shipped_model(state_dir))
    yield from sandbox()
    if found:
        yield broker(found.mqtt)
    else:
        yield warn("broker", "not examined: the configuration does not say where it is", "correct that first")
