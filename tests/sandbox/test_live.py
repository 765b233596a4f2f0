"""The walls of a daemon that runs: what the kernel says of each of its processes, and what others can do to them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_infer.sandbox.other_services import reached
from tests.broker import Broker, Subscriber, eventually
from tests.program import open_to_all
from tests.running import PYTHON, ROOT, Daemon, config

CAMERA = (
    "import sys, time\nwhile True:\n sys.stdout.buffer.write(bytes(64 * 48 * 3))\n sys.stdout.buffer.flush()\n"
    " time.sleep(0.05)\n"
)
LOOK_IN = """
import errno, json, os, sys
from edge_infer.sandbox import kernel, privileges
privileges.drop_capabilities()
number = kernel.machine().numbers["pidfd_getfd"]
tries = {
    "memory": lambda pid: open(f"/proc/{pid}/mem", "rb"),
    "files": lambda pid: os.readlink(f"/proc/{pid}/fd/0"),
    "environment": lambda pid: open(f"/proc/{pid}/environ").read(1),
    "a file of its own": lambda pid: os.close(kernel.call(number, os.pidfd_open(pid), 0, 0)),
    "ptrace": lambda pid: kernel.call(kernel.machine().numbers["ptrace"], 0x4206, pid, 0, 0),
}
found = {}
for pid in map(int, sys.argv[1:]):
    for name, what in tries.items():
        try:
            what(pid)
        except OSError as error:
            found[f"{name} of {pid}"] = errno.errorcode[error.errno]
        else:
            found[f"{name} of {pid}"] = "allowed"
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Subscriber]]:
    """A daemon with every kind of room, and what it publishes."""
    folder = tmp_path_factory.mktemp("live")
    (folder / "camera.py").write_text(CAMERA)
    with Broker(folder) as broker, Subscriber(broker.port) as subscriber:
        live = f"live: {{kind: exec, command: [{PYTHON}, camera.py], size: 64x48, format: rgb24}}"
        text = config(broker.port).replace("sources:\n", f"sources:\n  {live}\n")
        text = text.replace("camera.py", str(folder / "camera.py"))
        with Daemon(folder, f"{text}  live: {{source: live, model: faces, publish: every}}\n") as daemon:
            daemon.wait_serving()
            subscriber.wait("edge-infer/box/live/result")
            yield daemon, subscriber


def test_every_thread_of_every_room_is_filtered_and_has_no_power(served: tuple[Daemon, Subscriber]) -> None:
    rooms = served[0].pids()
    assert set(rooms) == {"engine", "publisher", "reader live"}
    # CAP_DAC_READ_SEARCH, where the program of these tests lies in a private home of root
    kept = 0 if os.geteuid() != 0 or open_to_all(sys.executable) else 1 << 2
    for pid in rooms.values():
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        for thread in threads:
            lines = (thread / "status").read_text().splitlines()
            found = {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
            assert (found["Seccomp"], found["NoNewPrivs"]) == ("2", "1")
            assert {int(found[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {kept}
            assert 0 not in map(int, (found["Uid"] + " " + found["Gid"]).split()) or os.geteuid() != 0
    assert len(list(Path(f"/proc/{rooms['engine']}/task").iterdir())) > 1


def test_no_room_can_leave_a_core(served: tuple[Daemon, Subscriber]) -> None:
    daemon = served[0]
    for pid in (daemon.pid, *daemon.pids().values()):
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        assert next(line.split()[4] for line in limits if line.startswith("Max core file size")) == "0"
        assert int(Path(f"/proc/{pid}/coredump_filter").read_text(), 16) == 0


def test_the_memory_of_frames_is_left_out_of_any_picture_of_a_process(served: tuple[Daemon, Subscriber]) -> None:
    rooms = served[0].pids()
    for room in ("engine", "reader live"):
        areas = re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", Path(f"/proc/{rooms[room]}/smaps").read_text())
        frames = [area for area in areas if "/memfd:edge-infer-frames" in area]
        assert frames, room
        assert all(" dd" in area.partition("VmFlags:")[2] for area in frames), room


def test_the_engine_has_a_network_without_interfaces(served: tuple[Daemon, Subscriber]) -> None:
    daemon = served[0]
    engine, publisher = daemon.pids()["engine"], daemon.pids()["publisher"]
    assert Path(f"/proc/{engine}/net/dev").read_text().count(":") == 1  # a loopback that is down
    assert Path(f"/proc/{engine}/ns/net").readlink() != Path(f"/proc/{publisher}/ns/net").readlink()
    assert Path(f"/proc/{publisher}/ns/net").readlink() == Path("/proc/self/ns/net").readlink()


def test_another_process_of_the_same_user_gets_at_nothing(served: tuple[Daemon, Subscriber]) -> None:
    daemon = served[0]
    victims = [daemon.pid, *daemon.pids().values()]
    powerless = "from edge_infer.sandbox import privileges; privileges.drop_capabilities(); print(); input()"
    command = [sys.executable, "-c", powerless]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as unprotected:
        assert unprotected.stdout is not None
        assert unprotected.stdout.readline() == b"\n"
        command = [sys.executable, "-c", LOOK_IN, *map(str, [*victims, unprotected.pid])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=ROOT)
        unprotected.communicate(b"\n", timeout=30)
    found = json.loads(done.stdout)
    open_ = {name for name, text in found.items() if text == "allowed"}
    assert {name.rpartition(" ")[2] for name in open_} == {str(unprotected.pid)}, open_
    assert {text for text in found.values() if text != "allowed"} <= {"EPERM", "EACCES"}


def test_the_subscribers_are_told_by_every_room_together(served: tuple[Daemon, Subscriber]) -> None:
    daemon, subscriber = served
    info = eventually(
        lambda: [
            heard for heard in subscriber.on("edge-infer/box/info") if "reader live" in heard.value["sandbox"]["files"]
        ],
        "info of all rooms",
    )[-1].value["sandbox"]
    assert info["files"] == "engine, publisher: enforced; reader live: enforced but for reading"
    program = "not enforced: a program that is not ours may need them"
    assert info["no_unix_sockets"] == f"engine, publisher: enforced; reader live: {program}"
    but = {"no_network"} if reached() else set()  # where this machine runs D-Bus, for example
    assert {wall for wall, text in info.items() if text != "enforced"} == {"files", "no_unix_sockets", "ports"} | but
    assert info["ports"] == "enforced for TCP"
    assert {
        *("seccomp", "no_network", "network_namespace", "no_camera", "no_microphone", "no_signals", "no_swap"),
        "no_calls_on_others",
    } <= set(info)
    for wall in ("no_network", "no_camera", "files"):
        assert wall in daemon.command("doctor", "--sandbox").stdout


def test_a_clip_elsewhere_needs_a_new_engine_and_a_model_does_not(tmp_path: Path) -> None:
    """Walls cannot be moved: another folder to read from is behind those of another engine."""
    from tests.running import CLIP, MODEL

    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/other.mp4").write_bytes(CLIP.read_bytes())
    (tmp_path / "other.tflite").write_bytes(MODEL.read_bytes() + bytes(4))
    manifest = MODEL.parent / "manifest.yaml"
    assert manifest.exists()
    with Broker(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        text = config(broker.port)
        with Daemon(tmp_path, text) as daemon:
            daemon.wait_serving()
            first = subscriber.wait("edge-infer/box/faces/result").value["boot"]
            engine, publisher = daemon.pids()["engine"], daemon.pids()["publisher"]
            daemon.config.write_text(text.replace("fps: 10", "fps: 9"))
            assert daemon.reload()["state"] == "applied"
            assert daemon.pids()["engine"] == engine
            daemon.config.write_text(text.replace(str(CLIP), str(tmp_path / "clips/other.mp4")))
            assert daemon.reload()["state"] == "applied"
            subscriber.wait("edge-infer/box/faces/result", lambda heard: heard.value["boot"] != first)
            assert daemon.pids()["engine"] != engine
            assert daemon.pids()["publisher"] == publisher
            assert daemon.status()["last_error"] is None
