"""A state directory in which root put back a copy: what the daemon cannot do without is told, with the remedy."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker import Broker
from tests.running import Daemon, config

OWNER = 61503

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can copy back files of its own")


@pytest.fixture
def box() -> Iterator[tuple[Path, str]]:
    """The folder of a daemon that ran, with its configuration."""
    with tempfile.TemporaryDirectory() as name, Broker(Path(name)) as broker:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "state").mkdir(mode=0o750)
        os.chown(folder / "state", OWNER, OWNER)  # whom root becomes
        with Daemon(folder, config(broker.port)) as daemon:
            daemon.wait_serving()
        yield folder, daemon.config.read_text()


def taken(*places: Path) -> None:
    """Makes these root's, and closes them for all others, as a copy that root made is."""
    for place in places:
        for path in (place, *place.rglob("*")):
            os.chown(path, 0, 0)
            path.chmod(0o700 if path.is_dir() else 0o600)


def command(name: str, folder: Path) -> str:
    words = [sys.executable, "-m", "edge_infer", name, "-c", str(folder / "config.yaml")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=180, check=False)
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_a_whole_copy_is_refused_with_the_command_that_gives_it_back(box: tuple[Path, str]) -> None:
    folder, text = box
    state = folder / "state"
    taken(*state.iterdir())
    daemon = Daemon(folder, text)
    daemon.log.unlink()
    with daemon:
        assert daemon.wait(30) == 3
    last = daemon.log.read_text().splitlines()[-1]
    remedy = f"sudo chown -R --reference={state} {state}"
    assert last == (
        f"edge-infer: {state}/blobs belongs to another user than its state directory {state}, so no daemon can start "
        f"with this state; give the directory's owner everything in it: {remedy}"
    )
    assert "Traceback" not in daemon.log.read_text()
    assert f"warning: {folder}/config.yaml:1: device.state_dir: {state}/blobs belongs to" in command("check", folder)
    assert f"fail  state: {state}/blobs belongs to" in command("doctor", folder)
    subprocess.run(shlex.split(remedy)[1:], check=True)
    with Daemon(folder, text) as daemon:
        daemon.wait_serving()


def test_without_the_results_of_trials_it_starts(box: tuple[Path, str]) -> None:
    folder, text = box
    trials = folder / "state" / "trials"
    taken(trials)
    (folder / "state" / "applied.json").unlink()  # so it reads the configuration before it starts
    assert f"warn  state: {trials} belongs to another user" in command("doctor", folder)
    daemon = Daemon(folder, text)
    daemon.log.unlink()
    with daemon:
        daemon.wait_serving()
    log = daemon.log.read_text()
    assert f"{trials} belongs to another user than its state directory {trials.parent}, so the daemon works" in log
    assert "Traceback" not in log
