"""The systemd unit: valid, hard to break out of, and without what would break cameras or crawl."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "systemd/edge-infer.service"
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
    shutil.copy(UNIT, tmp_path / "etc/systemd/system")
    program = tmp_path / "opt/edge-infer/bin/edge-infer"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    done = subprocess.run(
        [analyze, "verify", f"--root={tmp_path}", UNIT.name], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_its_exposure_is_low(analyze: str) -> None:
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", str(UNIT)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    exposure = re.search(r"exposure level for edge-infer.service: ([0-9.]+)", done.stdout)
    assert exposure is not None, done.stdout + done.stderr
    print(exposure[0])
    assert float(exposure[1]) <= MOST_EXPOSURE


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
    assert settings["StateDirectory"] == settings["RuntimeDirectory"] == "edge-infer"
    for harmful in ("ProcSubset", "PrivateDevices", "MemoryDenyWriteExecute"):
        assert harmful not in settings


def test_its_settings_are_those_that_the_promises_of_the_delivery_page_rest_on() -> None:
    """``scripts/faults frozen`` and ``systemd --hours`` measure them."""
    settings = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if re.match(r"[A-Z]\w+=", line))
    assert settings["KillMode"] == "control-group", "mixed kills engine and publisher at once after the supervisor"
    watchdog, pause = (float(settings[name].removesuffix("s")) for name in ("WatchdogSec", "RestartSec"))
    assert watchdog + pause <= 19.0, "six seconds are left for the end of the others and the start"
