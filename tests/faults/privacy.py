"""Raw data never leaves: an audit of some minutes, and what the same detections from other pixels publish."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.broker import Broker, Subscriber, eventually
from tests.faults import oneway
from tests.running import CLIP, MODEL, Daemon

AUDITED = f"""\
device: {{id: box, state_dir: state}}
models:
  faces: {{file: {MODEL}}}
sources:
  cam: {{kind: synthetic}}
pipelines:
  faces: {{source: cam, model: faces, fps: 10}}
"""
PICTURES = """\
device: {{id: box, state_dir: state}}
mqtt: {{host: 127.0.0.1, port: {port}}}
models:
  faces: {{file: {model}}}
sources:
  cam: {{kind: images, path: {folder}}}
pipelines:
  faces:
    source: cam
    model: faces
    publish: every
    mask:
      - [[0, 0], [0.25, 0], [0.25, 1], [0, 1]]
      - [[0.7, 0], [1, 0], [1, 1], [0.7, 1]]
      - [[0, 0.6], [1, 0.6], [1, 1], [0, 1]]
"""
_OF_THE_RUN = re.compile(rb'"(?:ts":"[^"]*"|boot":"[^"]*"|ms":[0-9.]+|seq":[0-9]+)')
"""Time and number, which differ from run to run."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table: what was looked at, what was found, and whether that keeps the promise; None: not seen."""

    what: str
    found: str
    kept: bool | None

    def __str__(self) -> str:
        """The line."""
        kept = {True: "kept", False: "BROKEN", None: "not shown"}[self.kept]
        return f"{self.what:<60} {self.found:<38} {kept}"


def audit(folder: Path, seconds: float) -> list[Finding]:
    """The audit of the product in a namespace of its own, as an operator runs it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(AUDITED)
    command = [sys.executable, "-m", "edge_infer", "privacy", "-c", str(folder / "config.yaml"), "--json"]
    done = subprocess.run(
        [*command, "--seconds", str(seconds)], capture_output=True, text=True, timeout=seconds + 300, check=False
    )
    found: dict[str, Any] = json.loads(done.stdout)
    elsewhere, seen = sum(found["elsewhere"].values()), sum(found["control"].values())
    packets = f"{elsewhere} of {found['packets']} packets"
    return [
        Finding(
            f"{seconds:g} s on a loopback: packets to any but the broker",
            packets,
            elsewhere == 0 and found["packets"] is not None,
        ),
        Finding(f"hits of the canary in {found['searched']} bytes", str(len(found["hits"])), not found["hits"]),
        Finding("deliberate leaks seen", f"{seen} of {len(found['control'])}", seen == len(found["control"])),
        Finding("bytes per result", str(found["bytes_per_result"]["faces"]), found["results"]["faces"] > seconds),
        Finding("audit", "passed" if found["passed"] else "failed", found["passed"] and done.returncode == 0),
    ]


def one_way_out(folder: Path, seconds: float) -> list[Finding]:
    """A daemon as an operator starts it, behind one wire to the broker, seen from the other end of it."""
    seen = oneway.watch(folder, seconds)
    if isinstance(seen, str):
        return [Finding("one way out", f"not to be had here: {seen}", None)]
    elsewhere, caught = sum(seen.elsewhere.values()), sum(seen.control.values())
    whither = "".join(f", {count} to {place}" for place, count in seen.elsewhere.items())
    kernel = ", ".join(f"{count} {what}" for what, count in seen.kernel.items())
    whole = seen.missed == 0 and seen.packets > seen.results
    return [
        Finding(
            f"{seconds:g} s of one way out: packets to any but the broker",
            f"{elsewhere} of {seen.packets}{whither}",
            elsewhere == 0 and whole,
        ),
        Finding("  of the kernel itself, to find the broker", kernel or "none", True),
        Finding(
            f"  hits of the canary in {seen.searched} bytes, {seen.results} results",
            str(len(seen.hits)),
            not seen.hits and seen.results > seconds,
        ),
        Finding("  deliberate leaks seen", f"{caught} of {len(seen.control)}", caught == len(seen.control)),
    ]


def other_pixels(folder: Path) -> Finding:
    """A face, and the same with every pixel below the masks another: the same bytes but for time and number."""
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    first = _face()
    height, width = first.shape[:2]
    second = 255 - first
    rows, columns = slice(0, round(0.62 * height)), slice(round(0.23 * width), round(0.72 * width))
    second[rows, columns] = first[rows, columns]  # a little more than what the masks leave
    differ = float((first != second).any(axis=2).mean())
    for number, pixels in enumerate((first, second)):
        assert cv2.imwrite(str(pictures / f"{number}.png"), pixels)
    with Broker(folder) as broker, Subscriber(broker.port) as subscriber:
        text = PICTURES.format(port=broker.port, model=MODEL, folder=pictures)
        with Daemon(folder, text):
            topic = "edge-infer/box/faces/result"
            results = eventually(lambda: len(found := subscriber.on(topic)) >= 2 and found, "results", 30)
    assert results[0].value["objects"], "a face is seen"
    one, other = (_OF_THE_RUN.sub(b"", heard.payload) for heard in results[:2])
    found = f"{len(one)} bytes, {differ:.0%} of pixels differ"
    return Finding("same detections from other pixels", found, one == other and differ > 0.5)


def _face() -> NDArray[np.uint8]:
    """A picture of the clip."""
    clip = cv2.VideoCapture(str(CLIP))
    try:
        for _ in range(61):
            good, frame = clip.read()
            assert good
    finally:
        clip.release()
    pixels: NDArray[np.uint8] = np.asarray(frame, np.uint8)
    return pixels
