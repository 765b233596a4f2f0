"""What the kernel enforces in all processes together, in a text that a record can hold."""

from __future__ import annotations

from pathlib import Path

from edge_infer.supervisor.processes.supervisor import MAX_TEXT_CHARACTERS, together
from tests.broker import eventually
from tests.readers.conftest import free_port
from tests.running import Daemon, config


def test_many_processes_that_agree_are_counted() -> None:
    readers = {f"reader gate-camera-number-{number:02}": {"files": "but for reading"} for number in range(64)}
    text = together({"engine": {"files": "enforced"}, **readers})["files"]
    assert text == (
        "engine: enforced; reader gate-camera-number-00, reader gate-camera-number-01 and 62 more: but for reading"
    )
    assert together({"a": {"x": "no"}, "b": {"x": "no"}, "c": {"x": "yes"}}) == {"x": "a, b: no; c: yes"}
    long = together({f"reader {number}{'x' * 60}": {"files": f"reason {number}"} for number in range(64)})["files"]
    assert len(long) == MAX_TEXT_CHARACTERS
    assert long.endswith("…")


def test_status_names_nine_commands_with_long_names(tmp_path: Path) -> None:
    source = "{kind: exec, command: [sleep, '60'], size: 64x64, format: gray}"
    more = "".join(f"  gate-camera-number-{number:02}: {source}\n" for number in range(9))
    text = config(free_port()).replace("pipelines:", f"{more}pipelines:")
    with Daemon(tmp_path, text) as daemon:
        eventually(lambda: "files" in daemon.status().get("walls", {}), "the walls", 60.0)
        eventually(lambda: daemon.status()["walls"]["files"].count("gate-camera") >= 2, "all readers", 90.0)
        status = daemon.command("status")
        assert status.returncode == 0, status.stderr
        assert "gate-camera-number-08" in status.stdout
