"""The page of a daemon with a fault in each part, and a model that is rolled back by the button."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broker import Broker
from tests.page.browser import Page
from tests.page.chrome import PHONE, browser
from tests.page.faulty import NAMED, cameras, make_faulty, with_sources
from tests.page.test_through_ssh import TEXT
from tests.page.tunnel import tunnel
from tests.running import CLIP, MODEL, Daemon

pytestmark = pytest.mark.long


def test_each_fault_is_named_and_the_model_rolled_back(tmp_path: Path, broker: Broker) -> None:
    (tmp_path / "box").mkdir()
    text = TEXT.format(port=broker.port, model=MODEL, clip=CLIP)
    with cameras() as port, Daemon(tmp_path / "box", with_sources(text, tmp_path, port)) as daemon:
        daemon.wait_serving(60.0)
        with Page(daemon) as page, tunnel(tmp_path, page.path) as local, browser() as chrome:
            chrome.driver.get(f"http://localhost:{local}/{page.token}")
            make_faulty(daemon)
            broker.stop()
            chrome.open(f"http://localhost:{local}", "see", PHONE)
            for words in (
                *NAMED,
                "gives no frames",
                "the same frame again",
                "is black",
                "on probation",
                "config.yaml:",
            ):
                chrome.shows(words, "#problems", 60)
            assert not chrome.scrolls_sideways()
            assert chrome.violations() == []
            chrome.press("Roll back …")
            chrome.press("Roll back")
            chrome.shows("was rolled back", "#problems", 60)
            chrome.click("#history-box summary")
            chrome.shows("rolled back face-detect@2.0.0 by", "#history")
            (tmp_path / "passwords").touch()
            (tmp_path / "strict").mkdir()
            with Broker(tmp_path / "strict", f"password_file {tmp_path / 'passwords'}", port=broker.port):
                chrome.shows("Correct username, password file or the broker's access list.", "#problems", 60)
            assert chrome.faults() == []
