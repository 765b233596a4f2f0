"""A person aims a camera and draws, in a real browser, through a real ``ssh -L``, at the page of a real daemon."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
import yaml
from selenium.webdriver.common.keys import Keys

from tests.broker import Broker, Subscriber, eventually
from tests.page.browser import Page, command_page
from tests.page.chrome import Browser, browser
from tests.page.drawing import tap
from tests.page.tunnel import tunnel
from tests.running import CLIP, MODEL, Daemon

pytestmark = pytest.mark.long

TEXT = """\
# The door of the mill.
device: {{id: mill, state_dir: state}}
mqtt: {{host: 127.0.0.1, port: {port}}}   # the broker beside it
models:
  faces: {{file: {model}}}
sources:
  door: {{kind: video, file: {clip}, loop: true}}
pipelines:
  door-faces:   # who comes in
    source: door
    model: faces
    fps: 5      # enough for people on foot
    track: true
"""


@dataclass(frozen=True)
class PageSession:
    """A browser on the page of a daemon, through a tunnel."""

    daemon: Daemon
    page: Page
    broker: Broker
    chrome: Browser
    url: str

    def open(self, view: str) -> None:
        """Shows a view with a picture."""
        self.chrome.open(self.url, view)
        if view != "see":
            self.chrome.until(BRIGHTNESS, "picture")

    def pipeline(self) -> dict[str, Any]:
        """The pipeline as the file has it now."""
        found: dict[str, Any] = yaml.safe_load(self.daemon.config.read_text())["pipelines"]["door-faces"]
        return found

    def save(self) -> None:
        """Saves the drawing."""
        self.chrome.button("Save").click()
        self.chrome.shows("Saved and applied")


BRIGHTNESS = """
const [x, y, width, height] = (arguments[0] ?? [0, 0, 1, 1]);
const canvas = document.getElementById("canvas");
const part = [x * canvas.width, y * canvas.height, width * canvas.width, height * canvas.height].map(Math.floor);
const {data} = canvas.getContext("2d").getImageData(...part);
return data.filter((_, index) => index % 4 < 3).reduce((sum, value) => sum + value, 0) / (data.length * 0.75);
"""
MASK = ((0.005, 0.005), (0.3, 0.005), (0.3, 0.3), (0.005, 0.3))
TOP_LEFT = [0.02, 0.02, 0.26, 0.26]
"""Within that mask, away from its border."""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageSession]:
    folder = tmp_path_factory.mktemp("session")
    (folder / "box").mkdir()
    with Broker(folder) as broker:
        text = TEXT.format(port=broker.port, model=MODEL, clip=CLIP)
        with Daemon(folder / "box", text) as daemon:
            daemon.wait_serving(60.0)
            with Page(daemon) as page, tunnel(folder, page.path) as port, browser() as chrome:
                chrome.driver.get(f"http://localhost:{port}/{page.token}")
                yield PageSession(daemon, page, broker, chrome, f"http://localhost:{port}")


def test_the_picture_is_there_with_boxes_and_anchors(session: PageSession) -> None:
    session.chrome.requests()
    began = time.monotonic()
    session.open("aim")
    state = session.chrome.run("return performance.getEntriesByName('state')[0].startTime") / 1000
    print(f"state after {state:.2f} s, picture after {time.monotonic() - began:.2f} s")
    session.chrome.until("return document.querySelector('#overlay .object .anchor')", "box with its anchor point")
    session.chrome.shows("face #", "#findings")
    assert session.chrome.run(BRIGHTNESS) > 10
    with Subscriber(session.broker.port) as subscriber:
        subscriber.wait("edge-infer/mill/health", lambda heard: heard.value.get("watched") is True)
        session.chrome.press("Stop pictures")
        subscriber.wait("edge-infer/mill/health", lambda heard: "watched" not in heard.value)
    assert session.chrome.foreign() == []
    assert session.chrome.faults() == []


def test_an_address_with_a_token_admits_one_browser(session: PageSession) -> None:
    before = {each["name"] for each in session.chrome.driver.get_cookies()}
    with command_page(session.daemon, "--port", "0") as command:
        try:
            assert command.stdout is not None
            (address,) = re.findall(r"http://localhost:\d+/\?token=\S+", command.stdout.readline())
            session.chrome.driver.get(address)
            session.chrome.until(BRIGHTNESS, "picture")
            assert "token" not in session.chrome.driver.current_url
            (name,) = {each["name"] for each in session.chrome.driver.get_cookies()} - before
            session.chrome.driver.delete_cookie(name)
            session.chrome.driver.get(address)
            session.chrome.shows("it works in one browser")
            session.open("aim")  # the page of the socket still knows this browser
        finally:
            command.send_signal(signal.SIGINT)


def test_no_port_is_opened(session: PageSession) -> None:
    session.open("aim")
    for pid in (session.daemon.pid, *session.daemon.pids().values(), session.page.pid):
        assert [each for each in psutil.Process(pid).net_connections() if each.status == psutil.CONN_LISTEN] == []


def test_a_mask_is_drawn_and_black_in_the_next_pictures(session: PageSession) -> None:
    session.open("draw")
    assert session.chrome.run(BRIGHTNESS, TOP_LEFT) > 10
    session.chrome.press("Add mask")
    corners = tap(session.chrome, *MASK, MASK[0])[:4]
    began = time.monotonic()
    session.chrome.press("Save")
    eventually(lambda: "mask" in session.pipeline(), "mask in the file")
    print(f"mask in the file {time.monotonic() - began:.2f} s after a click on Save, ", end="")
    eventually(lambda: session.chrome.run(BRIGHTNESS, TOP_LEFT) < 3, "black corner")
    print(f"black in the picture after {time.monotonic() - began:.2f} s")
    session.chrome.shows("Saved and applied")
    (mask,) = session.pipeline()["mask"]
    assert near(mask, corners)
    text = session.daemon.config.read_text()
    for comment in (
        "# The door of the mill.",
        "# the broker beside it",
        "# who comes in",
        "# enough for people on foot",
    ):
        assert comment in text


def near(points: list[list[float]], wanted: list[tuple[float, float]]) -> bool:
    """Whether points are at these places, to a thousandth of the frame."""
    return [[pytest.approx(value, abs=0.001) for value in place] for place in wanted] == points


def test_a_zone_is_in_force_without_a_restart(session: PageSession) -> None:
    boot = session.daemon.status()["boot"]
    with Subscriber(session.broker.port) as subscriber:
        session.open("draw")
        session.chrome.press("Add zone")
        corners = tap(session.chrome, (0.05, 0.05), (0.95, 0.05), (0.95, 0.95), (0.05, 0.95))
        session.chrome.press("Finish")
        session.save()
        subscriber.wait("edge-infer/mill/door-faces/event", lambda heard: heard.value.get("zone") == "zone-1", 60)
    assert near(session.pipeline()["zones"]["zone-1"], corners)
    assert session.daemon.status()["boot"] == boot
    assert session.daemon.command("check").returncode == 0
    session.open("see")
    session.chrome.shows("enter zone-1", "#events")
    session.chrome.click("#events button")
    session.chrome.shows("zone-1", "#why")


def test_a_file_that_was_edited_over_ssh_meanwhile_is_not_overwritten(session: PageSession) -> None:
    session.open("draw")
    session.chrome.press("Add line")
    tap(session.chrome, (0.5, 0.1), (0.5, 0.9))
    text = session.daemon.config.read_text().replace("fps: 5 ", "fps: 4 ")
    session.daemon.config.write_text(text)
    session.daemon.reload()
    session.chrome.press("Save")
    session.chrome.shows("The file was changed while you drew")
    session.chrome.shows("They changed nothing that is drawn in door-faces.")
    assert session.daemon.config.read_text() == text
    session.chrome.press("Save mine over it")
    session.chrome.shows("Saved and applied")
    pipeline = session.pipeline()
    assert (pipeline["fps"], list(pipeline["lines"])) == (4, ["line-1"])


def test_a_border_that_crosses_itself_is_refused_with_its_line(session: PageSession) -> None:
    session.open("draw")
    before = session.daemon.config.read_text()
    session.chrome.press("Add zone")
    tap(session.chrome, (0.2, 0.2), (0.8, 0.8), (0.8, 0.2), (0.2, 0.8))
    session.chrome.press("Finish")
    session.chrome.press("Save")
    session.chrome.shows("config.yaml:", "#save-errors")
    session.chrome.shows("zones.zone-2", "#save-errors")
    assert session.daemon.config.read_text() == before
    session.chrome.press("Discard")
    session.chrome.shows("zone zone-1", "#shapes")


def test_a_threshold_is_set_with_the_keyboard(session: PageSession) -> None:
    session.open("draw")
    session.chrome.shows("objects of the last", "#threshold-text")
    slider = session.chrome.find("#threshold-range")
    before = float(slider.get_attribute("value") or 0)
    slider.send_keys(Keys.ARROW_RIGHT * 5)
    session.save()
    assert session.pipeline()["threshold"] == pytest.approx(before + 0.05)


def test_a_refused_file_is_shown_with_line_and_remedy(session: PageSession) -> None:
    good = session.daemon.config.read_text()
    session.daemon.config.write_text(good.replace("track: true", "track: yes please"))
    session.daemon.reload()
    session.open("see")
    session.chrome.shows("config.yaml:", "#problems")
    session.chrome.shows("pipelines.door-faces.track")
    session.chrome.shows("The previous configuration stays active.")
    session.daemon.config.write_text(good)
    session.daemon.reload()
    session.chrome.shows("applied", "#device-cards")


def test_a_paused_pipeline_and_a_broker_that_is_away(session: PageSession) -> None:
    session.open("see")
    assert session.daemon.command("pause", "door-faces").returncode == 0
    session.chrome.shows("paused by", "#pipelines")
    assert session.daemon.command("resume", "door-faces").returncode == 0
    session.broker.stop()
    session.chrome.shows("Broker", "#problem-box", 30)
    session.chrome.shows("away", "#device-cards")
    session.broker.start()
    session.chrome.shows("connected to 127.0.0.1", "#device-cards", 60)
    session.chrome.until(
        "return !document.getElementById('problems').textContent.includes('Broker')", "end of the problem"
    )
    assert session.chrome.faults() == []
