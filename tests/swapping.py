"""A daemon whose one pipeline changes its model, as operators do it: by an edit of the file."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.broker import DEADLINE, Broker, Heard, Subscriber, eventually
from tests.running import MODEL, Daemon

P = "edge-infer/box"
CONFIG = """\
device: {{id: box, state_dir: state}}
mqtt: {{host: 127.0.0.1, port: {port}}}
models:
  light: {{file: {file}}}
sources:
  cam: {{kind: synthetic, size: {size}, seed: 1, fps: {fps}}}
pipelines:
  hall: {{source: cam, model: light, threads: 1, publish: every}}
"""


def short(path: Path) -> str:
    """The beginning of a file's digest, as messages have it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def detector(path: Path, version: str, behind: int) -> Path:
    """The shipped detector with its manifest beside it, and so many bytes behind it that nobody reads."""
    path.write_bytes(MODEL.read_bytes() + bytes(behind))
    manifest = (MODEL.parent / "manifest.yaml").read_text().partition("golden:")[0]
    manifest = re.sub(r"^sha256: .*\n", "", manifest, flags=re.MULTILINE)
    manifest = re.sub(r"^version: .*$", f"version: {version}", manifest, flags=re.MULTILINE)
    path.with_suffix(".yaml").write_text(manifest.replace(MODEL.name, path.name))
    return path


class Swapping:
    """The daemon, what is heard of it, and the edit."""

    def __init__(self, daemon: Daemon, subscriber: Subscriber, broker: Broker, size: str, fps: int) -> None:
        self.daemon = daemon
        self.subscriber = subscriber
        self.broker = broker
        self._size = size
        self.fps = fps

    def text(self, file: Path) -> str:
        """The configuration with this model."""
        return CONFIG.format(port=self.broker.port, file=file, size=self._size, fps=self.fps)

    def edit(self, file: Path) -> float:
        """Saves the configuration with this model; when that was."""
        moment = time.monotonic()
        self.daemon.config.write_text(self.text(file))
        return moment

    def model(self, deadline: float = DEADLINE, name: str = "light", **wanted: Any) -> dict[str, Any]:
        """What ``status`` says of the model once it says this."""

        def fits() -> dict[str, Any] | None:
            said: dict[str, Any] = self.daemon.status().get("models", {}).get(name, {})
            return said if all(said.get(key) == value for key, value in wanted.items()) else None

        found: dict[str, Any] = eventually(
            fits, lambda: f"{wanted} of {name}: {self.daemon.status().get('models')}", deadline
        )
        return found

    def result(self, sha: str, moment: float = 0.0, deadline: float = DEADLINE) -> Heard:
        """The first result of a file after a moment."""
        return self.subscriber.wait(
            f"{P}/hall/result", lambda heard: heard.at > moment and heard.value["sha"] == sha, deadline
        )

    def results(self) -> list[dict[str, Any]]:
        """All results so far."""
        return [heard.value for heard in self.subscriber.on(f"{P}/hall/result")]


@contextmanager
def swapping(folder: Path, file: Path, size: str = "64x64", fps: int = 25) -> Iterator[Swapping]:
    """A broker, a subscriber and a daemon that serves with this model, so many frames of this size a second."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(folder))
        subscriber = stack.enter_context(Subscriber(broker.port))
        text = CONFIG.format(port=broker.port, file=file, size=size, fps=fps)
        daemon = stack.enter_context(Daemon(folder, text))
        daemon.wait_serving()
        running = Swapping(daemon, subscriber, broker, size, fps)
        running.result(short(file))
        yield running
