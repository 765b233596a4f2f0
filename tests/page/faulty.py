"""A daemon with a fault in each part, for the page that has to name them all."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from tests.broker import free_port
from tests.running import MODEL, Daemon
from tests.swapping import detector

SOURCES: Final = """\
  yard: {{kind: rtsp, url: "rtsp://127.0.0.1:{closed}/stream"}}
  shed: {{kind: http, url: "http://127.0.0.1:{port}/same.jpg", snapshot: 500ms}}
  cellar: {{kind: http, url: "http://127.0.0.1:{port}/dark.jpg", snapshot: 500ms}}
pipelines:
  yard-faces: {{source: yard, model: spare, fps: 1}}
  shed-faces: {{source: shed, model: spare, fps: 1}}
  cellar-faces: {{source: cellar, model: spare, fps: 1}}
"""
NAMED: Final = (
    "Source yard",
    "Source shed",
    "Source cellar",
    "Model faces",
    "Pipeline door-faces",
    "Broker",
    "Configuration",
)
"""What the page then names as wrong."""


class _Camera(BaseHTTPRequestHandler):
    """Gives one picture again and again, or another black one each time."""

    def do_GET(self) -> None:
        """Sends a picture."""
        if self.path == "/same.jpg":
            pixels = np.arange(120 * 160 * 3, dtype=np.uint32).reshape(120, 160, 3).astype(np.uint8)
        else:
            pixels = np.random.default_rng().integers(0, 4, (120, 160, 3), np.uint8)
        body = cv2.imencode(".jpg", pixels)[1].tobytes()
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keeps quiet."""


@contextmanager
def cameras() -> Iterator[int]:
    """Yields the port of a network camera that is frozen and of one that is black."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Camera)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def with_sources(text: str, folder: Path, port: int) -> str:
    """A configuration with sources that fail, each in a way of its own, and a model that can be replaced."""
    model = detector(folder / "faces.tflite", "1.0.0", 0)
    text = text.replace(str(MODEL), str(model)).replace("models:\n", f"models:\n  spare: {{file: {MODEL}}}\n")
    return text.replace("pipelines:\n", SOURCES.format(closed=free_port(), port=port))


def make_faulty(daemon: Daemon) -> None:
    """Puts another model on probation, pauses the pipeline before that is over, and has a file refused."""
    detector(daemon.folder / "next.tflite", "2.0.0", 64)
    good = re.sub(r"/\S+/faces\.tflite", str(daemon.folder / "next.tflite"), daemon.config.read_text())
    assert daemon.command("pause", "door-faces").returncode == 0
    daemon.config.write_text(good)
    assert daemon.reload()["state"] == "applied"
    daemon.config.write_text(good.replace("fps: 5", "fps: fast"))
    assert daemon.reload()["state"] == "rejected"
