"""A network camera in the whole daemon: found, lost, found again; and a camera that hangs in the driver."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.broker import eventually
from tests.readers.conftest import RtspCamera, free_port
from tests.running import Daemon, alive, config


def state(daemon: Daemon) -> str:
    found = daemon.status().get("sources", {}).get("cam", {})
    return str(found.get("state", "")) if isinstance(found, dict) else ""


def test_a_camera_that_hangs_is_lost_after_five_seconds(rtsp_camera: RtspCamera, tmp_path: Path) -> None:
    source = f"{{kind: rtsp, url: '{rtsp_camera.url}'}}"
    with Daemon(tmp_path, config(free_port(), source)) as daemon:
        eventually(lambda: state(daemon) in ("ok", "black"), "frames", 60.0)
        rtsp_camera.signal(signal.SIGSTOP)
        eventually(lambda: state(daemon) == "lost", "the loss", 9.0)  # five, and what a busy machine takes
        rtsp_camera.signal(signal.SIGCONT)


def test_a_camera_goes_and_comes_back(rtsp_camera: RtspCamera, tmp_path: Path) -> None:
    source = f"{{kind: rtsp, url: '{rtsp_camera.url}'}}"
    with Daemon(tmp_path, config(free_port(), source)) as daemon:
        eventually(lambda: state(daemon) in ("ok", "black"), "frames", 60.0)
        rtsp_camera.kill()
        eventually(lambda: state(daemon) == "lost", "the loss", 30.0)
        assert "cannot be opened" in str(daemon.status()["sources"]["cam"])
        rtsp_camera.start()
        eventually(lambda: state(daemon) in ("ok", "black"), "its return", 10.0)
        engine = daemon.pids()["engine"]
        rtsp_camera.resize(240, 320)
        eventually(lambda: "changed its frame size" in daemon.log.read_text(), "the new size", 30.0)
        eventually(lambda: state(daemon) in ("ok", "black"), "frames of the new size", 30.0)
        assert alive(engine)
        assert daemon.pids()["engine"] == engine
