"""The engine runs models from memory: what becomes of the store meanwhile does not reach it."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker import eventually
from tests.moody import write_model
from tests.running import alive
from tests.swapping import P, Swapping, short, swapping


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Swapping]:
    file = write_model(tmp_path / "m.tflite")
    with swapping(tmp_path / "box", file) as running:
        running.daemon.config.write_text(text(running, file))
        assert running.daemon.reload()["state"] == "applied"
        yield running


def text(running: Swapping, file: Path, threads: int = 1) -> str:
    """The configuration with this model, of which every score is published."""
    return running.text(file).replace(
        "threads: 1, publish: every", f"threads: {threads}, publish: every, threshold: 0.001"
    )


def copy_of(running: Swapping) -> Path:
    (copy,) = (running.daemon.folder / "state" / "blobs").iterdir()
    return copy


def scores(running: Swapping) -> list[float]:
    """Those of a result of now."""
    moment = time.monotonic()
    value = running.subscriber.wait(f"{P}/hall/result", lambda heard: heard.at > moment + 0.5).value
    found = [each["score"] for each in value["classes"]]
    assert len(found) == 3
    return found


def memory_files(pid: int) -> int:
    """How many files in memory that hold models a process has."""
    places = [path.readlink() for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()]
    return sum("edge-infer-model" in str(place) for place in places)


def settled_files(pid: int) -> int:
    """The same once it has stayed for a second: a change loads the next model before it drops the present one."""
    seen: list[int] = []

    def stays() -> bool:
        seen.append(memory_files(pid))
        return len(seen) > 50 and len(set(seen[-50:])) == 1  # one look in 20 ms

    eventually(stays, lambda: f"steady number of files; the last were {seen[-5:]}", 40)
    return seen[-1]


def test_a_copy_that_changes_on_the_disk_does_not_reach_the_engine(running: Swapping, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other" / "m.tflite", gain=0.5)
    before, copy, engine = scores(running), copy_of(running), running.daemon.pids()["engine"]
    with copy.open("r+b") as file:  # the same file, which the runtime would have mapped
        file.write(other.read_bytes())
    assert scores(running) == pytest.approx(before, rel=0.1)
    running.daemon.config.write_text(text(running, tmp_path / "m.tflite", threads=2))
    assert running.daemon.reload()["state"] == "applied"
    assert scores(running) == pytest.approx(before, rel=0.1)
    assert running.daemon.pids()["engine"] == engine


def test_a_copy_that_is_gone_is_missed_by_the_next_engine_by_its_name(running: Swapping, tmp_path: Path) -> None:
    copy, daemon = copy_of(running), running.daemon
    copy.unlink()
    assert scores(running), "what runs goes on"
    os.kill(daemon.pids()["engine"], signal.SIGKILL)
    words = re.escape(f"model light ({copy}): it cannot be read: No such file or directory")
    eventually(lambda: re.search(words, daemon.log.read_text()), words, 60)
    daemon.config.write_text(text(running, tmp_path / "m.tflite", threads=2))
    assert daemon.reload()["state"] == "applied"
    running.result(short(tmp_path / "m.tflite"), time.monotonic())
    assert copy.is_file()


def test_the_engine_keeps_the_files_of_its_plan_and_no_others(running: Swapping, tmp_path: Path) -> None:
    daemon, engine = running.daemon, running.daemon.pids()["engine"]
    alone = settled_files(engine)
    assert alone >= 1
    other = write_model(tmp_path / "other.tflite", gain=0.9)
    running.edit(other)
    running.model(state="active", sha=short(other), deadline=60)
    assert daemon.pids()["engine"] == engine
    assert settled_files(engine) == alone
    assert memory_files(daemon.pid) == 0
    os.kill(engine, signal.SIGKILL)
    eventually(lambda: not alive(engine), "the end of the engine")
    again = eventually(
        lambda: daemon.pids().get("engine", engine) != engine and daemon.pids()["engine"], "an engine", 30
    )
    running.result(short(other), time.monotonic(), deadline=30)
    assert settled_files(again) == alone


NO_ROOM = """
import edge_infer.platform.memory as memory
memory.free_memory = lambda root=None: 0
"""


def test_where_two_models_have_no_room_the_file_of_the_next_comes_when_the_present_one_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "sitecustomize.py").write_text(NO_ROOM)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'full'}:{os.environ.get('PYTHONPATH', '')}")
    old, new = write_model(tmp_path / "old.tflite"), write_model(tmp_path / "new.tflite", gain=0.9)
    with swapping(tmp_path / "box", old) as running:
        engine = running.daemon.pids()["engine"]
        running.edit(new)
        running.model(state="active", sha=short(new), deadline=60)
        assert running.daemon.pids()["engine"] == engine
        switched = running.subscriber.on(f"{P}/hall/state")
        assert "model_changed" in {heard.value.get("reason") for heard in switched}
