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
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from demo_picture import message_line

ROOT: Final = Path(__file__).resolve().parent.parent
MODEL: Final = ROOT / "models" / "face-detect" / "1.0.0" / "face_full_range_int8.tflite"
CLIP: Final = ROOT / "models" / "demo" / "faces.mp4"
EDGE_INFER: Final = (sys.executable, "-m", "edge_infer")
BROKER_SECONDS: Final = 20.0
STOP_SECONDS: Final = 8.0
LAST_SECONDS: Final = 1.0
NEXT: Final = """
Where to go next:
  README.md              a configuration of ten lines, for a camera of your own
  docs/install.md        install it as a service on a board
  docs/configure.md      every key of the configuration
  .venv/bin/edge-infer doctor      what this machine offers and lacks
"""


class DemoError(Exception):
    """The demo cannot go on; the text says which part of it failed, with the end of its log."""


class Stop:
    """Whether Ctrl-C was pressed or another signal asked for the end."""

    def __init__(self) -> None:
        """Takes over the signals."""
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
        """Raises `DemoError` when it has ended."""
        if (code := self.process.poll()) is not None:
            raise DemoError(f"The {self.name} ended with code {code}:\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of its log, indented."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
        return "\n".join(f"    {line}" for line in lines) or "    (it said nothing)"

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for one that does not listen; may be called twice."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                print(f"The {self.name} did not stop in {STOP_SECONDS:.0f} s and was killed.", file=sys.stderr)
                self.process.kill()
                self.process.wait()


def main() -> int:
    """0 if results were received, else 1."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, metavar="N", help="end after N seconds; else Ctrl-C ends it")
    parser.add_argument("--json", action="store_true", help='print nothing but {"topic":…,"payload":…} lines')
    parser.add_argument("--broker", required=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    stop, results = Stop(), 0
    try:
        for line in messages(stop, args.broker, args.seconds):
            message = json.loads(line)
            results += message["topic"].endswith("/result")
            print(line if args.json else message_line(message["topic"], message["payload"]), flush=True)
    except DemoError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read this has gone; the interpreter shall not stumble over it at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    print(f"\n{results} results received." + ("" if args.json else f"\n{NEXT}"), file=sys.stderr)
    return 0 if results else 1


def messages(stop: Stop, broker: str, seconds: float | None) -> Iterator[str]:
    """What the subscriber receives, as JSON lines, from the start of everything to the daemon's farewell."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-infer-demo-")))
        port = start_broker(stack, broker, folder)
        address = ("--host", "127.0.0.1", "--port", str(port))
        watch = start(stack, "subscriber", [*EDGE_INFER, "watch", *address, "--json"], folder)
        config = folder / "config.yaml"
        config.write_text(configuration(port, folder), encoding="utf-8")
        daemon = start(stack, "daemon", [*EDGE_INFER, "run", "-c", str(config)], folder)
        print(f"Broker: {broker} at 127.0.0.1:{port}. Ctrl-C ends the demo.\n", file=sys.stderr)
        end = time.monotonic() + seconds if seconds is not None else float("inf")
        try:
            yield from received(watch, (daemon,), stop, end)
        finally:
            daemon.stop()
        yield from received(watch, (), Stop(), time.monotonic() + LAST_SECONDS)


def received(watch: Child, needed: tuple[Child, ...], stop: Stop, end: float) -> Iterator[str]:
    """Lines of the subscriber until ``end``, a signal, or (raising `DemoError`) the death of a process."""
    pipe = watch.process.stdout
    assert pipe is not None
    kept = b""
    with selectors.DefaultSelector() as ready:
        ready.register(pipe, selectors.EVENT_READ)
        while not stop.asked and (left := end - time.monotonic()) > 0:
            for child in (watch, *needed):
                child.check()
            if ready.select(min(left, 0.2)):
                *lines, kept = (kept + os.read(pipe.fileno(), 1 << 16)).split(b"\n")
                yield from (line.decode() for line in lines)


def start(stack: ExitStack, name: str, command: list[str], folder: Path) -> Child:
    """A process in a session of its own, so that Ctrl-C reaches the demo alone, which stops them in order."""
    log = folder / f"{name}.log"
    with log.open("wb") as diagnostics:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if name == "subscriber" else diagnostics,
            stderr=diagnostics,
            start_new_session=True,
            cwd=folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    child = Child(name, process, log)
    stack.callback(child.stop)
    return child


def start_broker(stack: ExitStack, program: str, folder: Path) -> int:
    """The port on which it listens. A port that somebody else took in between costs another attempt."""
    for attempt in range(1, 4):
        port = free_port()
        config = folder / f"broker-{attempt}.conf"
        config.write_text(broker_configuration(program, port), encoding="utf-8")
        broker = start(stack, "broker", [program, "-c", str(config)], folder)
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
    """A loopback port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def broker_configuration(program: str, port: int) -> str:
    """For mosquitto, or for the broker from the package index."""
    if Path(program).name == "mosquitto":
        return f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
    return (
        f"listeners: {{default: {{type: tcp, bind: '127.0.0.1:{port}'}}}}\n"
        "plugins: {amqtt.plugins.authentication.AnonymousAuthPlugin: {allow_anonymous: true}}\n"
    )


def configuration(port: int, folder: Path) -> str:
    """The daemon's configuration; JSON strings are valid YAML, whatever the paths contain."""

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
