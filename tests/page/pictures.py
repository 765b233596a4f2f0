"""Makes the pictures of docs/page.md: the page of a running daemon, of one with many faults, and of made-up drift.

usage: python -m tests.page.pictures
"""

from __future__ import annotations

import base64
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from tests.broker import Broker
from tests.page import canned
from tests.page.browser import Page
from tests.page.chrome import Browser, browser
from tests.page.faulty import NAMED, cameras, make_faulty, with_sources
from tests.page.tunnel import tunnel
from tests.running import CLIP, MODEL, Daemon

PICTURES: Final = Path(__file__).resolve().parents[2] / "docs" / "pictures"
QUALITY: Final = 82
PHONE: Final = (360, 1300)
TALL: Final = (1000, 1500)
WELL: Final = """\
device: {{id: mill, state_dir: state}}
mqtt: {{host: 127.0.0.1, port: {port}}}
models:
  faces: {{file: {model}}}
sources:
  door: {{kind: video, file: {clip}, loop: true}}
pipelines:
  door-faces:
    source: door
    model: faces
    fps: 5
    threshold: 0.5
    track: true
    mask: [[[0, 0], [0.18, 0], [0.18, 0.2], [0, 0.2]]]
    zones: {{drive: [[0.02, 0.25], [0.48, 0.25], [0.48, 0.95], [0.02, 0.95]]}}
    lines: {{gate: {{from: [0.55, 0.1], to: [0.55, 0.95]}}}}
"""


@contextmanager
def opened_page(folder: Path, broker: Broker, text: str) -> Iterator[tuple[Daemon, Browser, str]]:
    """A daemon and a browser on its page."""
    folder.mkdir()
    with Daemon(folder, text) as daemon:
        daemon.wait_serving(60.0)
        with Page(daemon) as page, tunnel(folder, page.path) as port, browser() as chrome:
            chrome.driver.get(f"http://localhost:{port}/{page.token}")
            yield daemon, chrome, f"http://localhost:{port}"


def picture(chrome: Browser) -> np.ndarray:
    """What the window shows."""
    data = chrome.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)


def write(name: str, *pictures: np.ndarray) -> None:
    """Writes pictures side by side."""
    cv2.imwrite(str(PICTURES / name), np.hstack(pictures), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def working(folder: Path, broker: Broker, text: str) -> np.ndarray:
    """Makes the pictures of each view; returns that of a phone."""
    with opened_page(folder, broker, text) as (_, chrome, url):
        chrome.open(url, "aim", (1280, 640))
        chrome.until("return document.querySelectorAll('#overlay .object').length > 1", "two faces", 60)
        write("page-aim.jpg", picture(chrome))
        chrome.open(url, "draw", (1280, 820), "dark")
        chrome.until("return document.querySelector('#overlay .object')", "face", 60)
        chrome.press("zone drive")
        chrome.shows("objects of the last", "#threshold-text")
        write("page-draw.jpg", picture(chrome))
        chrome.open(url, "see", TALL)
        chrome.shows("drive", "#events", 60)
        chrome.click("#events button")
        chrome.until("return document.querySelector('#why li')", "reason")
        chrome.run("scrollTo(0, 0)")
        write("page-see.jpg", picture(chrome))
        chrome.open(url, "draw", PHONE, "dark")
        chrome.until("return document.querySelector('#overlay .object')", "face", 60)
        chrome.press("zone drive")
        return picture(chrome)


def faulty(folder: Path, broker: Broker, text: str) -> np.ndarray:
    """Brings a daemon into many states, and returns the picture of a phone that shows them."""
    with (
        cameras() as port,
        opened_page(folder, broker, with_sources(text, folder.parent, port)) as (daemon, chrome, url),
    ):
        make_faulty(daemon)
        broker.stop()
        chrome.open(url, "see", PHONE)
        for words in NAMED:
            chrome.shows(words, "#problems", 60)
        return picture(chrome)


def drift() -> None:
    """Makes the picture of drift, of made-up answers: a camera is learned for days."""
    with canned.serving() as page, browser() as chrome:
        moved, lower = canned.DRIFTS["moved"], canned.DRIFTS["scores_lower"]
        page.answers["drift"] = canned.drift(yard_people=moved, door_people=lower)
        chrome.open(page.url, "see", (700, 1200))
        chrome.shows("stability index", "#drift")
        chrome.run("document.getElementById('drift-panel').scrollIntoView()")
        height = int(chrome.run("return document.getElementById('drift-panel').offsetHeight"))
        write("page-drift.jpg", picture(chrome)[:height])


def main() -> int:
    """Makes all of them."""
    drift()
    with tempfile.TemporaryDirectory() as name, Broker(Path(name)) as broker:
        Path(name).chmod(0o755)  # root's daemon becomes another user
        text = WELL.format(port=broker.port, model=MODEL, clip=CLIP)
        write(
            "page-phone.jpg", working(Path(name) / "working", broker, text), faulty(Path(name) / "faulty", broker, text)
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
