"""The store of a running daemon: what may come into it, what goes out of it, and what happens when it has no room."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from edge_infer.platform.folder_tidy import MAX_STEPS
from tests.attacker import attacking
from tests.broker import Broker, Subscriber, eventually
from tests.moody import write_model
from tests.running import MODEL, Daemon, alive, config
from tests.swapping import P, Swapping, short, swapping


def blobs(box: Path) -> set[str]:
    return {path.name[:8] for path in (box / "state" / "blobs").iterdir()}


def rejected(running: Swapping, file: Path) -> str:
    """What a reload with this model is refused with."""
    running.daemon.config.write_text(running.text(file))
    outcome = running.daemon.reload()
    assert outcome["state"] == "rejected"
    running.subscriber.wait(f"{P}/config", lambda heard: heard.value["errors"] == outcome["errors"])
    return "\n".join(outcome["errors"])


def test_no_older_version_comes_unasked_and_what_nobody_needs_goes(tmp_path: Path) -> None:
    box = tmp_path / "box"
    files = [tmp_path / str(number) / "m.tflite" for number in range(4)]
    for number, file in enumerate(files):
        file.parent.mkdir()
        write_model(file, gain=1 - number / 10, version=f"1.{number}.0")
    zero, one, two, three = files
    with swapping(box, one) as running:
        assert "m 1.0.0 is older than 1.1.0, which has served here" in rejected(running, zero)
        assert running.model(state="rejected")["sha"] == short(one), "what serves is named beside what was refused"
        for file in (two, three):
            running.edit(file)
            running.model(state="active", sha=short(file), deadline=30)
        assert "m 1.1.0 is older than 1.3.0" in rejected(running, one)
        assert blobs(box) == {short(two), short(three)}
        assert running.daemon.command("models", "rollback", "light").returncode == 0
        running.model(sha=short(two))
        running.daemon.config.write_text(running.text(two))  # to name what was gone back to is no step back
        assert running.daemon.reload()["state"] == "applied"
        running.model(state="active", sha=short(two))


@contextmanager
def small(folder: Path) -> Iterator[Path]:
    """A box whose state directory has 4 MB."""
    (folder / "state").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder / "state")], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder / "state")], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def filled(folder: Path, left: int) -> Iterator[None]:
    """A disk with only some bytes left."""
    filler = folder / "filler"
    with suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(65536))
            file.flush()
    os.truncate(filler, filler.stat().st_size - left)
    try:
        yield
    finally:
        filler.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_store_without_room_costs_a_reason(tmp_path: Path, broker: Broker, subscriber: Subscriber) -> None:
    other = tmp_path / "other"
    shutil.copytree(MODEL.parent, other)
    manifest = other / "manifest.yaml"
    manifest.write_text(re.sub("^sha256:.*\n", "", manifest.read_text(), flags=re.MULTILINE))
    with (other / MODEL.name).open("ab") as file:
        file.write(bytes(16))
    with small(tmp_path / "box") as box, Daemon(box, config(broker.port)) as daemon:
        daemon.wait_serving()
        before = blobs(box)
        daemon.config.write_text(config(broker.port).replace(str(MODEL), str(other)))
        with read_only(box / "state" / "blobs"):
            outcome = daemon.reload()
            assert outcome["state"] == "rejected"
            assert f"the model store {box}/state/blobs cannot be written: Read-only file system" in outcome["errors"][0]
        with filled(box / "state", 300_000):
            outcome = daemon.reload()
            assert outcome["state"] == "rejected"
            assert (
                f"the model store {box}/state/blobs cannot be written: No space left on device" in outcome["errors"][0]
            )
            assert blobs(box) == before
            subscriber.wait(f"{P}/config", lambda heard: heard.value["errors"] == outcome["errors"])
            assert daemon.status()["models"]["faces"]["sha"] == short(MODEL)
        assert daemon.reload()["state"] == "applied"
        subscriber.wait(f"{P}/faces/result", lambda heard: heard.value["sha"] == short(other / MODEL.name))


LEFT_BEHIND = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open({place!r}, "w") as file:
            file.write(f"{{os.getpid()}} ")
        os.closerange(0, 4096)
        time.sleep(600)
    os._exit(0)
"""


def test_a_process_that_a_reading_leaves_behind_ends_with_it(tmp_path: Path, broker: Broker) -> None:
    place = tmp_path / "pid"
    place.touch()
    place.chmod(0o666)  # a daemon of root becomes another user
    code = LEFT_BEHIND.format(place=str(place))
    with attacking(tmp_path, {"edge_infer.config": code}), Daemon(tmp_path, config(broker.port)) as daemon:
        daemon.wait_serving()
        left = int(eventually(place.read_text, "process", 30.0))
        eventually(lambda: not alive(left), "its end", 30.0)
        place.write_text("")
        assert daemon.reload()["state"] == "applied"
        assert not alive(int(eventually(place.read_text, "process", 30.0)))


def test_a_store_full_of_folders_is_emptied_beside_the_work(tmp_path: Path, broker: Broker) -> None:
    store = tmp_path / "state" / "blobs"
    for number in range(MAX_STEPS + 100):
        (store / "x" / str(number)).mkdir(parents=True)
    (tmp_path / "state" / "lock").touch()  # of an earlier daemon
    with Daemon(tmp_path, config(broker.port)) as daemon:
        daemon.wait_serving()
        eventually(lambda: not [path for path in store.iterdir() if path.is_dir()], "an empty store", 60.0)
        log = daemon.log.read_text()
        assert re.findall("blobs: removed .*", log) == ["blobs: removed 1 entry: x"]
        assert "more such entries remain" in log
