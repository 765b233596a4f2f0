"""The whole examination, one look after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge_infer.doctor.board import board
from edge_infer.doctor.configuration import configuration, settings
from edge_infer.doctor.devices import accelerators, cameras
from edge_infer.doctor.finding import Finding
from edge_infer.doctor.runtime import runtime, shipped_model
from edge_infer.doctor.storage import storage
from edge_infer.doctor.walls import sandbox
from edge_infer.readers.devices import capture_devices


def examine(config: Path, root: Path = Path("/")) -> Iterator[Finding]:
    """Every finding as soon as it is made, the quick ones first; ``root`` holds ``proc``, ``sys``, ``dev``, ``run``."""
    from edge_infer.doctor.broker import broker

    found = settings(config)
    yield from board(root)
    yield storage(found.state_dir)
    yield from cameras(capture_devices(root / "dev"))
    yield accelerators(root)
    yield from configuration(config, found.state_dir)
    yield from runtime(root, shipped_model(found.state_dir))
    yield from sandbox()
    yield broker(found.mqtt)
