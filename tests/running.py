"""A real daemon as a user starts it, for tests that pull plugs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_infer.errors import EdgeInferError
from edge_infer.supervisor.control.server import ask
from tests.broker import eventually
from tests.program import open_to_all

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "face-detect" / "1.0.0" / "face_full_range_int8.tflite"
CLIP = ROOT / "models" / "demo" / "faces.mp4"


PYTHON = sys.executable if open_to_all(sys.executable) else "/usr/bin/python3"
"""A Python for programs that a configuration names: the user that a daemon of root becomes has to be able to run it."""


def config(port: int, source: str = f"{{kind: video, file: {CLIP}, loop: true}}") -> str:
    """A configuration that publishes every outcome of a source, the shipped clip, to a broker on this port.

    It names the number of threads, so that no start measures how many are the fastest.
    """
    return f"""\
device: {{id: box, state_dir: state}}
mqtt: {{host: 127.0.0.1, port: {port}}}
models:
  faces: {{file: {MODEL}}}
sources:
  cam: {source}
pipelines:
  faces: {{source: cam, model: faces, threads: 1, publish: every, fps: 10}}
"""


def hidepid(value: int) -> tuple[str, ...]:
    """Words of a command that runs another with its own ``/proc``; 0: it hides nothing, 2: as in the unit.

    What does not run as root then sees no process of another user, and none that is protected from its own.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can mount a /proc")
    return ("unshare", "--mount", "sh", "-c", f'mount -t proc -o hidepid={value} none /proc && exec "$@"', "sh")


def alive(pid: int) -> bool:
    """Whether a process runs, zombies not counted."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Daemon:
    """``edge-infer run`` as a user starts it, in a folder of its own; killed at the end if it still runs."""

    def __init__(
        self,
        folder: Path,
        text: str,
        stdin: int = subprocess.DEVNULL,
        before: tuple[str, ...] = (),
        program: tuple[str, ...] = ("-m", "edge_infer"),
        *,
        level: str = "debug",
    ) -> None:
        """``before`` are words of a command that becomes the daemon, as ``nsenter`` does; ``program`` is for Python."""
        self.folder = folder
        self._before = before
        self._program = program
        self._level = level
        self._stdin = stdin
        self.config = folder / "config.yaml"
        self.config.write_text(text)
        self.log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            rooms = self.pids()
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(20)  # a busy machine
            except subprocess.TimeoutExpired:
                for pid in (self.pid, *rooms.values()):
                    if alive(pid):
                        os.kill(pid, signal.SIGKILL)
                self._process.wait(10)
                raise

    def start(self) -> None:
        """Starts it, again after an end; the log goes on."""
        environment = {key: value for key, value in os.environ.items() if key != "RUNTIME_DIRECTORY"}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._before,
                    sys.executable,
                    *self._program,
                    "run",
                    "-c",
                    str(self.config),
                    "--log-level",
                    self._level,
                ],
                stdin=self._stdin,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=environment,
            )

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        assert self._process is not None
        return self._process.pid

    def wait(self, timeout: float) -> int:
        """Its exit code."""
        assert self._process is not None
        return self._process.wait(timeout)

    def signal(self, number: signal.Signals) -> None:
        """To the supervisor alone."""
        assert self._process is not None
        self._process.send_signal(number)

    def status(self) -> dict[str, Any]:
        """What it says of itself; empty while it does not answer."""
        try:
            answer: dict[str, Any] = ask(self.folder / "state" / "control.sock", {"do": "status"}, timeout=10)
        except EdgeInferError:  # it does not run, or had no time for an answer on a busy machine
            return {}
        return answer

    def reload(self) -> dict[str, Any]:
        """What became of a reload, asked for without the start of another command."""
        answer: dict[str, Any] = ask(self.folder / "state" / "control.sock", {"do": "reload"}, timeout=60)
        return answer

    def pids(self) -> dict[str, int]:
        """Process ids by room."""
        return {name: room["pid"] for name, room in self.status().get("rooms", {}).items() if room["pid"]}

    def wait_serving(self, timeout: float = 60.0) -> None:
        """Until every model serves and the broker has let it in."""

        def serving() -> bool:
            status = self.status()
            models = status.get("models", {}).values()
            return bool(models) and all(m["state"] == "active" for m in models) and status["broker"]["connected"]

        eventually(serving, f"serving daemon; its log: {self.log}", timeout)

    def command(self, *words: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Another ``edge-infer`` command with this configuration."""
        return subprocess.run(
            [sys.executable, "-m", "edge_infer", *words, "-c", str(self.config)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=self.folder,
            env={key: value for key, value in os.environ.items() if key != "RUNTIME_DIRECTORY"},
        )
