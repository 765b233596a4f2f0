"""A daemon with a made-up camera, and its page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.broker import Broker
from tests.page.browser import Page
from tests.running import MODEL, Daemon

TEXT = """\
# The yard of the mill.
device: {{id: box, state_dir: state}}
mqtt: {{host: 127.0.0.1, port: {port}}}
models:
  faces: {{file: {model}}}   # finds faces
sources:
  cam: {{kind: synthetic, size: 1280x720, fps: 10}}
pipelines:
  # people at the door
  door:
    source: cam
    model: faces
    fps: 5       # enough
    track: true
    zones:
      drive: [[0.1, 0.5], [0.9, 0.5], [0.9, 1]]   # up to the gate
  yard: {{source: cam, model: faces, fps: 2}}   # no tracking here
"""
"""A configuration with comments, in block and in flow style."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, int]]:
    """A page beside its daemon, and the port of the broker."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "box").mkdir()
    with Broker(folder) as broker, Daemon(folder / "box", TEXT.format(port=broker.port, model=MODEL)) as daemon:
        daemon.wait_serving(60.0)
        with Page(daemon) as page:
            yield page, broker.port


@pytest.fixture
def page(running: tuple[Page, int]) -> Page:
    """The page, with the configuration as it was at first."""
    page, port = running
    text = TEXT.format(port=port, model=MODEL)
    if page.daemon.config.read_text() != text:
        page.daemon.config.write_text(text)
        assert page.daemon.reload()["state"] == "applied"
    return page


@pytest.fixture
def port(running: tuple[Page, int]) -> int:
    """The port of the broker."""
    return running[1]
