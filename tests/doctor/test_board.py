"""Facts of boards, read from folders laid out like ``/proc``, ``/sys`` and ``/dev`` of the real ones."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from edge_infer.doctor import examination, machine, runtime
from edge_infer.doctor.finding import fail, ok, warn
from edge_infer.models.trials.fast_path import Timed
from edge_infer.platform.clock import synchronised
from edge_infer.readers.devices import CaptureDevice
from edge_infer.sandbox.identity import Identity
from edge_infer.supervisor.statedir import locked


@pytest.fixture
def pi(tmp_path: Path) -> Path:
    """A Raspberry Pi Zero 2 W with a Coral accelerator, too hot."""
    files = {
        "proc/device-tree/model": "Raspberry Pi Zero 2 W Rev 1.0\0",
        "proc/meminfo": "MemTotal:         438272 kB\nMemAvailable:     200000 kB\n",
        "proc/self/cgroup": "0::/system.slice/edge-infer.service\n",
        "proc/cpuinfo": "",
        "sys/fs/cgroup/system.slice/memory.max": "max\n",
        "sys/fs/cgroup/system.slice/edge-infer.service/memory.max": "268435456\n",
        "sys/class/thermal/thermal_zone0/temp": "81234\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
        "sys/bus/usb/devices/1-1/idVendor": "1a6e\n",
        "sys/bus/usb/devices/1-1/idProduct": "089a\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_a_small_hot_board_tells_so(pi: Path) -> None:
    found = {finding.what: finding for finding in machine.board(pi)}
    assert found["board"].fact.startswith("Raspberry Pi Zero 2 W Rev 1.0, ")
    assert found["memory"] == warn(
        "memory",
        "428 MiB, limited to 256 MiB by its control group",
        "use one small quantized model, or a board with more memory",
    )
    assert found["temperature"] == warn("temperature", "81 °C", "cool the board")
    assert found["power"].level == "warn"


def test_an_empty_root_is_survived(tmp_path: Path) -> None:
    levels = {finding.what: finding.level for finding in machine.board(tmp_path)}
    assert levels["memory"] == "ok"
    assert "temperature" not in levels


@pytest.mark.parametrize(
    ("synced", "level", "text"),
    [(True, "ok", "synchronised, without"), (False, "warn", "not synchronised"), (None, "ok", "does not report")],
)
def test_a_clock_that_nobody_keeps_is_told(tmp_path: Path, synced: bool | None, level: str, text: str) -> None:
    found = machine.clock(tmp_path, synced)
    assert found.level == level
    assert text in found.fact


def test_a_time_service_is_started_where_there_is_one_and_else_installed(tmp_path: Path) -> None:
    assert machine.clock(tmp_path, False).remedy == "install a time service: sudo apt install systemd-timesyncd"
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "usr/sbin/chronyd").touch()
    assert machine.clock(tmp_path, False).remedy == "start a time service: timedatectl set-ntp true"


def test_a_battery_clock_and_a_time_service_are_seen(tmp_path: Path) -> None:
    (tmp_path / "sys/class/rtc/rtc0").mkdir(parents=True)
    (tmp_path / "run/systemd/timesync").mkdir(parents=True)
    (tmp_path / "run/systemd/timesync/synchronized").touch()
    assert synchronised(tmp_path) is True
    assert "with a battery clock" in machine.clock(tmp_path, True).fact
    assert synchronised(Path("/nonexistent")) in (True, False, None)  # the kernel of this machine answers


def test_cameras_are_listed_by_name_and_what_is_the_matter_with_others() -> None:
    closed = CaptureDevice(
        "/dev/video1", problem="cannot be opened: Permission denied; add your user to the group `video`"
    )
    assert list(machine.cameras([CaptureDevice("/dev/video0", "HD Webcam C270"), closed])) == [
        ok("cameras", "/dev/video0 (HD Webcam C270)"),
        warn("cameras", "/dev/video1 cannot be opened: Permission denied", "add your user to the group `video`"),
    ]


def test_no_camera_is_a_warning_with_the_ways_that_are_left() -> None:
    (found,) = machine.cameras([])
    assert found.level == "warn"
    assert "kind: exec" in found.remedy


def test_accelerators_are_named_and_nothing_is_promised(pi: Path, tmp_path: Path) -> None:
    assert machine.accelerators(pi) == ok("accelerators", "Edge TPU (USB) (models run on the processor)")
    assert machine.accelerators(tmp_path / "none") == ok("accelerators", "none")


@pytest.mark.parametrize(
    ("child", "level", "text"),
    [
        (Timed("ai-edge-litert 2.3.0", 10.0, 41.0), "ok", "4.1 times faster"),
        (Timed("ai-edge-litert 2.3.0", 230.0, 229.0), "warn", "makes no difference"),
        (Timed("tflite-runtime 2.14.0", 55.0, 55.0), "warn", "makes no difference"),
        (Timed(error="no interpreter works here (a). Install one: pip install b"), "fail", "no interpreter works here"),
    ],
)
def test_the_fast_path_is_judged_by_its_gain(child: Timed, level: str, text: str) -> None:
    found = runtime.verdict(child)
    assert found.level == level
    assert text in found.fact
    assert bool(found.remedy) == (level != "ok")


def test_a_runtime_that_dies_is_a_failure_and_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_text("this is no model")
    assert runtime.timed(tmp_path / "model.tflite").level == "fail"


def test_a_system_without_cpuinfo_fails(tmp_path: Path) -> None:
    assert [finding.level for finding in runtime.runtime(tmp_path, None)] == ["fail", "warn"]


def test_a_state_directory_that_is_not_there_yet_is_fine(tmp_path: Path) -> None:
    (found,) = machine.storage(tmp_path / "a/b")
    assert found.level == "ok"
    assert "MiB free" in found.fact
    (found,) = machine.storage(Path("/proc/none"))
    assert found.what == "state"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
def test_a_small_disk_that_is_empty_is_fine(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", tmp_path], check=True)
    try:
        state = tmp_path / "state"
        with locked(state):
            pass
        assert [(each.what, each.level) for each in machine.storage(state)] == [("state", "ok")]
        (tmp_path / "full").write_bytes(bytes(7 << 20))
        assert [(each.what, each.level) for each in machine.storage(state)] == [("state", "warn")]
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
def test_a_read_only_disk_is_remounted_before_the_service_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A mount namespace of the service keeps its own view of the disk, so a remount alone changes nothing for it."""
    state = tmp_path / "state"
    with locked(state):
        pass
    monkeypatch.setenv("STATE_DIRECTORY", str(state))
    subprocess.run(["mount", "--bind", state, state], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", state], check=True)
        (found,) = machine.storage(state)
        with locked(state):
            pass
    finally:
        subprocess.run(["umount", "-l", state], check=True)
    assert (found.level, "remount it, then restart the service" in found.remedy) == ("fail", True)
    assert "systemctl restart edge-infer; or set device.state_dir" in found.remedy
    assert caplog.messages[-1].endswith("; remount it, then run: systemctl restart edge-infer")


def test_a_folder_that_is_closed_to_this_user_is_no_fault(closed: Path) -> None:
    (found,) = machine.storage(closed / "state")
    assert (found.level, "sudo edge-infer doctor" in found.fact) == ("ok", True)
    (told,) = examination.configuration(Path("/etc/hostname"), closed / "state")
    assert (told.level, told.fact) == ("warn", f"not checked: this user cannot read {closed / 'state'}")
    assert examination.settings(closed / "config.yaml") is None
    (told,) = examination.configuration(closed / "config.yaml", closed / "state")
    assert (told.level, told.fact) == ("warn", f"not checked: this user cannot read {closed / 'config.yaml'}")


def test_the_user_of_the_service_counts_if_it_is_installed() -> None:
    (found,) = machine.user(Identity(64812, 64812))
    assert found == ok("user", "a daemon started by root without systemd runs as user 64812 (uid 64812)")
    (found,) = machine.user(Identity(64812, 64812), "edge-inferd")
    assert found == ok("user", "the service runs as edge-inferd (User= of its unit)")


def test_a_finding_reads_as_a_line() -> None:
    assert str(fail("state", "full", "free space")) == "fail  state: full; free space"
    assert str(ok("board", "Pi")) == "ok    board: Pi"
