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
class Desk:
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
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    (folder / "box").mkdir()
    with Broker(folder) as broker:
        text = TEXT.format(port=broker.port, model=MODEL, clip=CLIP)
        with Daemon(folder / "box", text) as daemon:
            daemon.wait_serving(60.0)
            with Page(daemon) as page, tunnel(folder, page.path) as port, browser() as chrome:
                yield Desk(daemon, page, broker, chrome, f"http://localhost:{port}")


def test_the_picture_is_there_with_boxes_and_anchors(desk: Desk) -> None:
    desk.chrome.requests()
    began = time.monotonic()
    desk.open("aim")
    state = desk.chrome.run("return performance.getEntriesByName('state')[0].startTime") / 1000
    print(f"state after {state:.2f} s, picture after {time.monotonic() - began:.2f} s")
    desk.chrome.until("return document.querySelector('#overlay .object .anchor')", "box with its anchor point")
    desk.chrome.shows("face #", "#findings")
    assert desk.chrome.run(BRIGHTNESS) > 10
    with Subscriber(desk.broker.port) as subscriber:
        subscriber.wait("edge-infer/mill/health", lambda heard: heard.value.get("watched") is True)
        desk.chrome.press("Stop pictures")
        subscriber.wait("edge-infer/mill/health", lambda heard: "watched" not in heard.value)
    assert desk.chrome.foreign() == []
    assert desk.chrome.faults() == []


def test_an_address_with_a_token_admits_one_browser(desk: Desk) -> None:
    with command_page(desk.daemon, "--port", "0") as command:
        try:
            assert command.stdout is not None
            (address,) = re.findall(r"http://localhost:\d+/\?token=\S+", command.stdout.readline())
            desk.chrome.driver.get(address)
            desk.chrome.until(BRIGHTNESS, "picture")
            assert "token" not in desk.chrome.driver.current_url
            desk.chrome.driver.delete_all_cookies()
            desk.chrome.driver.get(address)
            desk.chrome.shows("it admits one browser")
        finally:
            command.send_signal(signal.SIGINT)


def test_no_port_is_opened(desk: Desk) -> None:
    desk.open("aim")
    for pid in (desk.daemon.pid, *desk.daemon.pids().values(), desk.page.pid):
        assert [each for each in psutil.Process(pid).net_connections() if each.status == psutil.CONN_LISTEN] == []


def test_a_mask_is_drawn_and_black_in_the_next_pictures(desk: Desk) -> None:
    desk.open("draw")
    assert desk.chrome.run(BRIGHTNESS, TOP_LEFT) > 10
    desk.chrome.press("Add mask")
    corners = tap(desk.chrome, *MASK, MASK[0])[:4]
    began = time.monotonic()
    desk.chrome.press("Save")
    eventually(lambda: "mask" in desk.pipeline(), "mask in the file")
    print(f"mask in the file {time.monotonic() - began:.2f} s after a click on Save, ", end="")
    eventually(lambda: desk.chrome.run(BRIGHTNESS, TOP_LEFT) < 3, "black corner")
    print(f"black in the picture after {time.monotonic() - began:.2f} s")
    desk.chrome.shows("Saved and applied")
    (mask,) = desk.pipeline()["mask"]
    assert near(mask, corners)
    text = desk.daemon.config.read_text()
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


def test_a_zone_is_in_force_without_a_restart(desk: Desk) -> None:
    boot = desk.daemon.status()["boot"]
    with Subscriber(desk.broker.port) as subscriber:
        desk.open("draw")
        desk.chrome.press("Add zone")
        corners = tap(desk.chrome, (0.05, 0.05), (0.95, 0.05), (0.95, 0.95), (0.05, 0.95))
        desk.chrome.press("Finish")
        desk.chrome.type("#shapes input[type=text]", "inside")
        desk.save()
        subscriber.wait("edge-infer/mill/door-faces/event", lambda heard: heard.value.get("zone") == "inside", 60)
    assert near(desk.pipeline()["zones"]["inside"], corners)
    assert desk.daemon.status()["boot"] == boot
    assert desk.daemon.command("check").returncode == 0
    desk.open("see")
    desk.chrome.shows("enter inside", "#events")
    desk.chrome.click("#events button")
    desk.chrome.shows("inside", "#why")


def test_a_file_that_was_edited_over_ssh_meanwhile_is_not_overwritten(desk: Desk) -> None:
    desk.open("draw")
    desk.chrome.press("Add line")
    tap(desk.chrome, (0.5, 0.1), (0.5, 0.9))
    text = desk.daemon.config.read_text().replace("fps: 5 ", "fps: 4 ")
    desk.daemon.config.write_text(text)
    desk.daemon.reload()
    desk.chrome.press("Save")
    desk.chrome.shows("The file was changed while you drew")
    desk.chrome.shows("They changed nothing that is drawn in door-faces.")
    assert desk.daemon.config.read_text() == text
    desk.chrome.press("Save mine over it")
    desk.chrome.shows("Saved and applied")
    pipeline = desk.pipeline()
    assert (pipeline["fps"], list(pipeline["lines"])) == (4, ["line-1"])


def test_a_border_that_crosses_itself_is_refused_with_its_line(desk: Desk) -> None:
    desk.open("draw")
    before = desk.daemon.config.read_text()
    desk.chrome.press("Add zone")
    tap(desk.chrome, (0.2, 0.2), (0.8, 0.8), (0.8, 0.2), (0.2, 0.8))
    desk.chrome.press("Finish")
    desk.chrome.press("Save")
    desk.chrome.shows("config.yaml:", "#save-errors")
    desk.chrome.shows("zones.zone-1", "#save-errors")
    assert desk.daemon.config.read_text() == before
    desk.chrome.press("Discard")
    desk.chrome.shows("zone inside", "#shapes")


def test_a_threshold_is_set_with_the_keyboard(desk: Desk) -> None:
    desk.open("draw")
    desk.chrome.shows("results of the last", "#threshold-text")
    slider = desk.chrome.find("#threshold-range")
    before = float(slider.get_attribute("value") or 0)
    slider.send_keys(Keys.ARROW_RIGHT * 5)
    desk.save()
    assert desk.pipeline()["threshold"] == pytest.approx(before + 0.05)


def test_a_refused_file_is_shown_with_line_and_remedy(desk: Desk) -> None:
    good = desk.daemon.config.read_text()
    desk.daemon.config.write_text(good.replace("track: true", "track: yes please"))
    desk.daemon.reload()
    desk.open("see")
    desk.chrome.shows("config.yaml:", "#problems")
    desk.chrome.shows("pipelines.door-faces.track")
    desk.chrome.shows("The previous configuration stays active.")
    desk.daemon.config.write_text(good)
    desk.daemon.reload()
    desk.chrome.shows("applied", "#device-cards")


def test_a_paused_pipeline_and_a_broker_that_is_away(desk: Desk) -> None:
    desk.open("see")
    assert desk.daemon.command("pause", "door-faces").returncode == 0
    desk.chrome.shows("paused by", "#pipelines")
    assert desk.daemon.command("resume", "door-faces").returncode == 0
    desk.broker.stop()
    desk.chrome.shows("Broker", "#problem-box", 30)
    desk.chrome.shows("away", "#device-cards")
    desk.broker.start()
    desk.chrome.shows("connected to 127.0.0.1", "#device-cards", 60)
    desk.chrome.until(
        "return !document.getElementById('problems').textContent.includes('Broker')", "end of the problem"
    )
    assert desk.chrome.faults() == []
