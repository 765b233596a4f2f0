"""Cameras for the readers' tests."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pytest
from typing_extensions import Self

SYSTEM_PYTHON = "/usr/bin/python3"
SERVER = Path(__file__).with_name("rtsp_server.py")
HTTP_SERVER = Path(__file__).with_name("http_server.py")


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


class CameraProcess:
    """A network camera in a process of its own, which can be stopped, killed, and started again on the same port."""

    def __init__(self, *command: str) -> None:
        self._command = command
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def say(self, line: str) -> None:
        """Gives it a line to obey."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                pipe.close()
            self._process.wait()
            self._process = None


class RtspCamera(CameraProcess):
    """A GStreamer RTSP server, which can be told another size."""

    def __init__(self, *credentials: str) -> None:
        port = free_port()
        self.url = f"rtsp://127.0.0.1:{port}/cam"
        super().__init__(SYSTEM_PYTHON, str(SERVER), str(port), *credentials)

    def resize(self, width: int, height: int) -> None:
        self.say(f"{width} {height}")


class GrayCamera(CameraProcess):
    """A GStreamer RTSP server whose frames show by their gray when they were captured."""

    def __init__(self, fps: int) -> None:
        port = free_port()
        self.url = f"rtsp://127.0.0.1:{port}/cam"
        super().__init__(SYSTEM_PYTHON, str(SERVER), str(port), f"gray={fps}")

    def captured(self) -> list[tuple[int, float]]:
        """Ends the camera; the gray and the monotonic time of each frame that it captured."""
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.terminate()
        return [(int(gray), float(moment)) for gray, moment in map(str.split, self._process.stdout)]


class HttpCamera(CameraProcess):
    """A stream at ``url`` and single pictures at ``picture``, which can be told to stand still."""

    def __init__(self) -> None:
        port = free_port()
        self.url, self.picture = f"http://127.0.0.1:{port}/stream", f"http://127.0.0.1:{port}/picture"
        super().__init__(sys.executable, str(HTTP_SERVER), str(port))


def plays_rtsp() -> bool:
    """Whether the system's Python has an RTSP server."""
    check = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    try:
        subprocess.run([SYSTEM_PYTHON, "-c", check], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


@pytest.fixture(scope="session")
def gstreamer() -> None:
    """Skips where there is no RTSP server."""
    if not plays_rtsp():
        pytest.skip(
            "no GStreamer RTSP server: install gir1.2-gst-rtsp-server-1.0, python3-gi and gstreamer1.0-plugins-ugly"
        )


@pytest.fixture
def rtsp_camera(gstreamer: None) -> Iterator[RtspCamera]:
    with RtspCamera() as camera:
        yield camera
