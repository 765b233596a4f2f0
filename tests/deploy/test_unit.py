"""The systemd unit: valid, hard to break out of, and without what would break cameras or crawl."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_infer.sandbox.other_services import AVAHI, CLOSED, RESOLVED

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "systemd/edge-infer.service"
PAGE = ROOT / "systemd/edge-infer-page.service"
WRITER = ROOT / "systemd/edge-infer-draw@.service"
SYSTEM_UNITS = Path("/usr/lib/systemd/system")
MOST_EXPOSURE = 1.5


@pytest.fixture
def analyze() -> str:
    """``systemd-analyze``."""
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not installed")
    return found


def test_systemd_finds_nothing_wrong_with_it(analyze: str, tmp_path: Path) -> None:
    """In a root that has the units of this system and the program where ``deploy/install`` puts it."""
    shutil.copytree(SYSTEM_UNITS, tmp_path / "usr/lib/systemd/system", symlinks=True)
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    units = sorted((ROOT / "systemd").iterdir())
    for unit in units:
        shutil.copy(unit, tmp_path / "etc/systemd/system")
    for name in ("bin/edge-infer", "current/bin/python"):
        program = tmp_path / "opt/edge-infer" / name
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    names = [unit.name.replace("@.", "@1.") for unit in units]
    done = subprocess.run(
        [analyze, "verify", f"--root={tmp_path}", *names], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", [UNIT, PAGE, WRITER], ids=lambda unit: str(unit.name))
def test_its_exposure_is_low(analyze: str, unit: Path) -> None:
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    exposure = re.search(r"exposure level for edge-infer[^:]*: ([0-9.]+)", done.stdout)
    assert exposure is not None, done.stdout + done.stderr
    print(exposure[0])
    assert float(exposure[1]) <= MOST_EXPOSURE


def _settings(unit: Path) -> dict[str, str]:
    lines = unit.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_the_page_has_no_network_and_cannot_open_what_the_daemon_keeps() -> None:
    page, writer = _settings(PAGE), _settings(WRITER)
    for unit in (page, writer):
        assert unit["PrivateNetwork"] == "yes"
        assert unit["RestrictAddressFamilies"] == "AF_UNIX"
        assert unit["CapabilityBoundingSet"] == ""
        assert unit["ProtectSystem"] == "strict"
    names = [unit["SyslogIdentifier"] for unit in (page, writer)]
    assert names == ["edge-infer-page", "edge-infer-draw"], "otherwise the journal shows their lines as python"
    assert (page["StartLimitIntervalSec"], page["StartLimitBurst"]) == ("1min", "30"), "a person may restart it often"
    assert page["User"] == "edge-infer-page"
    assert page["OOMPolicy"] == "continue", "otherwise a process that takes all memory resets the limit of its output"
    assert "\nInaccessiblePaths=-/etc/edge-infer -/var/lib/edge-infer " in PAGE.read_text()
    assert "ReadWritePaths" not in page
    assert writer["ReadWritePaths"] == "/etc/edge-infer"
    count = "%t/" + writer["RuntimeDirectory"]
    assert (writer["ExecStart"].rpartition("/")[0].split()[-1], writer["RuntimeDirectoryMode"]) == (count, "0700")
    assert writer["RuntimeDirectoryPreserve"] == "yes", "otherwise each edit would be the first"
    opened, written = (_settings(ROOT / f"systemd/edge-infer-{name}.socket") for name in ("page", "draw"))
    assert (opened["SocketGroup"], opened["SocketMode"]) == ("edge-infer-pictures", "0660")
    assert (written["SocketUser"], written["SocketMode"]) == (page["User"], "0600")
    for socket in (opened, written):
        assert socket["ListenStream"].startswith("/run/edge-infer-page/"), "a folder that the daemon does not own"


def _closed(unit: Path) -> list[str]:
    lines = [line for line in unit.read_text().splitlines() if line.startswith("InaccessiblePaths=")]
    return [path for line in lines for path in line.partition("=")[2].split()]


@pytest.mark.parametrize("unit", [PAGE, WRITER], ids=lambda unit: str(unit.name))
def test_the_page_reaches_neither_the_journal_nor_d_bus_nor_look_ups(unit: Path) -> None:
    assert {"-/run/systemd/journal", "-/run/dbus", f"-{AVAHI}", f"-{Path(RESOLVED).parent}"} <= set(_closed(unit))


def test_it_closes_the_services_that_the_drop_in_closes() -> None:
    """``edge-infer unit`` prints the list again, without those that a name needs."""
    assert sorted(_closed(UNIT)) == sorted(f"-{path}" for path in CLOSED)


def test_it_stops_before_a_broker_of_the_same_box() -> None:
    """systemd stops units in the opposite order of their start."""
    (after,) = [line for line in UNIT.read_text().splitlines() if line.startswith("After=")]
    assert "mosquitto.service" in after.removeprefix("After=").split()
    assert not re.search(r"^(Wants|Requires|BindsTo)=.*mosquitto", UNIT.read_text(), re.MULTILINE)


def test_it_says_what_the_daemon_relies_on() -> None:
    settings = dict(
        line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line and not line.startswith("#")
    )
    assert settings["Type"] == "notify"
    assert settings["Restart"] == "always"
    assert settings["StartLimitIntervalSec"] == "0"
    assert settings["ExecReload"].split()[1] == "reload"
    assert settings["ExecReload"].startswith("!"), "the daemon does not answer processes of its user that it cannot see"
    assert settings["PrivateUsers"] == "identity", "otherwise everybody who asks is nobody"
    assert settings["DynamicUser"] == "yes"
    assert settings["User"] != settings["Group"], "a group of this name is there, so a user of it would have to be"
    assert settings["StateDirectory"] == "edge-infer"
    assert settings["RuntimeDirectory"].split() == ["edge-infer", "edge-infer/tmp"]
    assert "TMPDIR=%t/edge-infer/tmp" in settings["Environment"].split(), "the control socket is in the folder above"
    assert settings["TemporaryFileSystem"].startswith("%t/edge-infer/tmp:"), "files of programs would fill /run"
    for harmful in ("ProcSubset", "PrivateDevices", "MemoryDenyWriteExecute"):
        assert harmful not in settings


def test_its_settings_are_those_that_the_promises_of_the_delivery_page_rest_on() -> None:
    """``scripts/faults frozen`` and ``systemd --hours`` measure them."""
    settings = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if re.match(r"[A-Z]\w+=", line))
    assert settings["KillMode"] == "control-group", "mixed kills engine and publisher at once after the supervisor"
    watchdog, pause = (float(settings[name].removesuffix("s")) for name in ("WatchdogSec", "RestartSec"))
    assert watchdog + pause <= 19.0, "six seconds are left for the end of the others and the start"
