"""The demo: a broker, the daemon on the shipped clip and model, and a subscriber whose messages are shown.

Each is a process of its own; they are stopped, the newest first, when the demo ends, and their folder is removed.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from edge_infer.cli.message_lines import Painter

ROOT: Final = Path(__file__).resolve().parent.parent
MODEL: Final = ROOT / "models" / "face-detect" / "1.0.0" / "face_full_range_int8.tflite"
CLIP: Final = ROOT / "models" / "demo" / "faces.mp4"
EDGE_INFER: Final = (sys.executable, "-m", "edge_infer")
BROKER_SECONDS: Final = 20.0
STOP_SECONDS: Final = 8.0
LAST_SECONDS: Final = 1.0
CLOSING: Final = """
{count} results were received. The last one as it came, topic and payload:
{last}

Where to go next:
  README.md              a configuration of ten lines, for a camera of your own
  docs/install.md        install it as a service on a board
  docs/configure.md      every key of the configuration
  .venv/bin/edge-infer doctor      what this machine offers and lacks
"""


class DemoError(Exception):
    """A part of the demo failed; the text names the part and contains the end of its log."""


class Stop:
    """Records whether Ctrl-C was pressed or another signal asked the demo to end."""

    def __init__(self) -> None:
        """Install the signal handlers."""
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        self.asked = True


@dataclass(frozen=True, slots=True)
class Child:
    """One process of the demo; its diagnostics go to ``log``."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise `DemoError` if the process has ended."""
        if (code := self.process.poll()) is not None:
            raise DemoError(f"The {self.name} ended with code {code}:\n{self.last_words()}")

    def last_words(self) -> str:
        """Return the end of its log, indented."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
        return "\n".join(f"    {line}" for line in lines) or "    (it said nothing)"

    def stop(self) -> None:
        """Stop the process with SIGTERM, and with SIGKILL if it does not end; may be called twice."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                print(f"The {self.name} did not stop in {STOP_SECONDS:.0f} s and was killed.", file=sys.stderr)
                self.process.kill()
                self.process.wait()


class Subscription:
    """The lines of the subscriber; the beginning of an incomplete line is kept."""

    def __init__(self, watch: Child) -> None:
        self._watch = watch
        self._kept = b""

    def lines(self, needed: tuple[Child, ...], stop: Stop, end: float) -> Generator[str, None, None]:
        """Yield the lines that arrive until ``end`` or a signal; raises `DemoError` if a process ends."""
        pipe = self._watch.process.stdout
        assert pipe is not None
        with selectors.DefaultSelector() as ready:
            ready.register(pipe, selectors.EVENT_READ)
            while not stop.asked and (left := end - time.monotonic()) > 0:
                for child in (self._watch, *needed):
                    child.check()
                if ready.select(min(left, 0.2)):
                    *whole, self._kept = (self._kept + os.read(pipe.fileno(), 1 << 16)).split(b"\n")
                    yield from (line.decode() for line in whole)


def main() -> int:
    """Return 0 if results were received; otherwise exit with 1 and the reason."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, metavar="N", help="end after N seconds; else Ctrl-C ends it")
    parser.add_argument("--json", action="store_true", help='print nothing but {"topic":…,"payload":…} lines')
    parser.add_argument("--broker", required=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    stop = Stop()
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal may not support every letter
    painter = Painter(color=sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    count, last = 0, ""
    try:
        with closing(messages(stop, args.broker, args.seconds)) as lines:
            for line in lines:
                message = json.loads(line)
                if message["topic"].endswith("/result"):
                    count, last = count + 1, line
                print(line if args.json else painter.line(message["topic"], raw(message["payload"])), flush=True)
    except DemoError as error:
        sys.exit(f"\n{error}")
    except BrokenPipeError:  # the reader of the pipe is gone; the interpreter must not fail when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if not args.json:
        print(CLOSING.format(count=count, last=last), file=sys.stderr)
    return 0


def raw(payload: Any) -> bytes:
    """Return a payload as the broker sent it: JSON, plain text, or nothing if it cleared a topic."""
    if payload is None:
        return b""
    return (payload if isinstance(payload, str) else json.dumps(payload)).encode()


def messages(stop: Stop, broker: str, seconds: float | None) -> Generator[str, None, None]:
    """Start everything; yield the messages that the subscriber receives, as JSON lines, up to the daemon's last one."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-infer-demo-")))
        folder.chmod(0o711)  # a daemon that root starts runs as another user, who works below this folder
        port = start_broker(stack, broker, folder)
        address = ("--host", "127.0.0.1", "--port", str(port))
        received = Subscription(start(stack, "subscriber", [*EDGE_INFER, "watch", *address, "--json"], folder))
        config = folder / "config.yaml"
        config.write_text(configuration(port, folder), encoding="utf-8")
        daemon = start(stack, "daemon", [*EDGE_INFER, "run", "-c", str(config)], folder)
        print(f"Broker: {broker} at 127.0.0.1:{port}. Ctrl-C ends the demo.\n", file=sys.stderr)
        end = time.monotonic() + seconds if seconds is not None else float("inf")
        came = False
        try:
            for line in received.lines((daemon,), stop, end):
                came = came or '/result"' in line
                yield line
        finally:
            daemon.stop()
        yield from received.lines((), Stop(), time.monotonic() + LAST_SECONDS)
        if not came:
            raise DemoError(f"No result was received. The daemon said:\n{daemon.last_words()}")


def start(stack: ExitStack, name: str, command: list[str], folder: Path) -> Child:
    """Start a process in a session of its own: Ctrl-C then reaches only the demo, which stops its processes in
    order."""
    log = folder / f"{name}.log"
    with log.open("wb") as diagnostics:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if name == "subscriber" else diagnostics,
            stderr=diagnostics,
            start_new_session=True,
            cwd=folder,
            env={**os.environ, "PYTHONUTF8": "1"},
        )
    child = Child(name, process, log)
    stack.callback(child.stop)
    return child


def start_broker(stack: ExitStack, program: str, folder: Path) -> int:
    """Start the broker and return its port. If another program takes the port in between, try again."""
    for attempt in range(1, 4):
        port = free_port()
        broker = start(stack, "broker", broker_command(program, port, folder / f"broker-{attempt}.conf"), folder)
        end = time.monotonic() + BROKER_SECONDS
        while broker.process.poll() is None and time.monotonic() < end:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return port
            time.sleep(0.05)
        broker.stop()
    raise DemoError(f"The broker {program} does not start:\n{broker.last_words()}")


def free_port() -> int:
    """Return a loopback port that no program uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def broker_command(program: str, port: int, config: Path) -> list[str]:
    """Return the command of mosquitto with its own configuration or, for a Python with amqtt, of `demo_broker.py`."""
    if Path(program).name.startswith("python"):
        return [program, str(ROOT / "scripts" / "demo_broker.py"), str(port)]
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n", encoding="utf-8")
    return [program, "-c", str(config)]


def configuration(port: int, folder: Path) -> str:
    """Return the daemon's configuration. Paths are JSON strings, which are valid YAML whatever they contain."""

    def quoted(value: Any) -> str:
        return json.dumps(str(value))

    return f"""\
device: {{id: demo, state_dir: {quoted(folder / "state")}}}
mqtt: {{host: 127.0.0.1, port: {port}}}
models:
  faces: {{file: {quoted(MODEL)}}}
sources:
  clip: {{kind: video, file: {quoted(CLIP)}, loop: true}}
pipelines:
  faces: {{source: clip, model: faces, fps: 5, publish: every}}
"""


if __name__ == "__main__":
    sys.exit(main())
