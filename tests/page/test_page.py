"""The page's process beside a real daemon: what it shows, what it writes, who is told of it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest

from tests.broker import Broker, Subscriber, eventually
from tests.page.browser import Page, command_page, pss
from tests.page.conftest import TEXT
from tests.running import MODEL, Daemon

pytestmark = pytest.mark.long

CORNER = [[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]]
MAX_PSS = 15 << 20


def pixels(jpeg: bytes) -> Any:
    """The picture of a JPEG."""
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


def corner(picture: Any) -> float:
    """The brightness within `CORNER`, without its border, where JPEG mixes both sides."""
    height, width = picture.shape[:2]
    return float(picture[: height // 2 - 8, : width // 2 - 8].mean())


def problems(page: Page) -> list[str]:
    """What the page's process complained about: of its sandbox, or of requests."""
    lines = [line for line in page.log.splitlines() if "the daemon rejects the edit" not in line]  # of the writer
    return [line for line in lines if "WARNING" in line or "ERROR" in line or "Traceback" in line]


def test_a_camera_is_aimed_a_mask_drawn_and_the_next_picture_has_it(page: Page, port: int) -> None:
    overview = page.get("/api/overview").json
    assert (overview["device"], overview["may_edit"], overview["watched"]) == ("box", True, False)
    assert overview["status"]["models"]["faces"]["state"] == "active"
    with Subscriber(port, topic="edge-infer/box/health") as subscriber:
        look, jpeg = page.look()
        assert (look["width"], look["height"], look["size"]) == (640, 360, [1280, 720])
        assert pixels(jpeg).shape == (360, 640, 3)
        assert corner(pixels(jpeg)) > 5
        assert look["inputs"]["door"] == look["inputs"]["yard"]
        assert 0 < look["light"] < 1
        assert look["best"] >= look["sharpness"] > 0
        eventually(lambda: "door" in page.look()[0]["findings"], "findings with the picture")
        eventually(lambda: any(each.value.get("watched") for each in subscriber.heard), "watched", 5.0)
        eventually(lambda: "watched" not in subscriber.heard[-1].value, "nobody watches", 10.0)
    scene = page.get("/api/scene").json
    assert scene["pipelines"]["door"]["zones"]["drive"]["polygon"] == [[0.1, 0.5], [0.9, 0.5], [0.9, 1]]
    assert scene["pipelines"]["yard"]["may_track"]
    assert "track: true" in scene["pipelines"]["yard"]["why_no_places"]
    before = page.daemon.config.read_text()
    saved = page.edit("yard", {"what": "mask", "name": 0, "points": CORNER})
    assert saved.status == 200, saved.body
    assert saved.json["done"] == ["pipelines.yard.mask[0]: added"]
    eventually(lambda: corner(pixels(page.look()[1])) < 2, "a black corner", 10.0)
    after = page.daemon.config.read_text()
    mask = "[[[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]]]"
    assert after == before.replace("fps: 2}   #", f"fps: 2, mask: {mask}}}   #")
    assert page.get("/api/scene").json["digest"] == saved.json["digest"] == page.daemon.status()["config"]["digest"]
    log = page.daemon.log.read_text()
    assert "showing pictures of source cam to root" in log
    assert "stopped showing pictures of source cam to root" in log
    assert problems(page) == []
    if size := pss(page.pid):
        print(f"PSS of the page's process: {size / (1 << 20):.1f} MB")
        assert size <= MAX_PSS


def test_a_zone_and_a_threshold_are_in_the_file_and_in_force(page: Page) -> None:
    points = [[0.12344, 0.5], [0.9, 0.50006], [0.9, 1], [0.1, 0.99999]]
    boot = page.daemon.status()["boot"]
    saved = page.edit(
        "door",
        {"what": "zone", "name": "drive", "points": points},
        {"what": "line", "points": [[0.5, 0.2], [0.5, 1]]},
        {"what": "threshold", "value": 0.45},
    )
    assert saved.status == 200, saved.body
    text = page.daemon.config.read_text()
    assert "      drive: [[0.1234, 0.5], [0.9, 0.5001], [0.9, 1], [0.1, 1]]   # up to the gate\n" in text
    assert "    lines: {line-1: {from: [0.5, 0.2], to: [0.5, 1]}}\n    threshold: 0.45\n" in text
    assert "    fps: 5       # enough\n" in text
    door = page.get("/api/scene").json["pipelines"]["door"]
    assert (list(door["zones"]), list(door["lines"]), door["threshold"]) == (["drive"], ["line-1"], 0.45)
    told = [line for line in page.log.splitlines() if "edited on the page by" in line]
    assert "pipelines.door.zones.drive: changed; pipelines.door.lines.line-1: added" in told[-1]
    assert page.daemon.command("check").returncode == 0
    assert page.daemon.status()["boot"] == boot, "no process was restarted"


def waiting(daemon: Daemon) -> list[int]:
    """The processes that wait to read the next edit of the file."""
    pids = []
    for child in psutil.Process(daemon.pid).children():
        with suppress(psutil.Error):  # another child may end while it is read
            pids += [child.pid] if child.cmdline()[-1:] == ["--wait"] else []
    return pids


def test_while_somebody_draws_one_process_waits_to_read_the_edit(page: Page) -> None:
    assert waiting(page.daemon) == []
    assert page.get("/api/drawing").status == 200
    pids = eventually(lambda: waiting(page.daemon), "a process that waits")
    assert page.get("/api/drawing").status == 200
    assert waiting(page.daemon) == pids
    assert page.edit("door", {"what": "mask", "name": 0, "points": CORNER}).status == 200
    assert waiting(page.daemon) == []
    assert not psutil.pid_exists(pids[0])


def test_two_people_draw_and_the_second_is_told(page: Page) -> None:
    digest = page.get("/api/scene").json["digest"]
    mask = {"what": "mask", "name": 0, "points": CORNER}
    assert page.edit("door", mask, digest=digest).status == 200
    text = page.daemon.config.read_text()
    late = page.edit("yard", mask, digest=digest)
    assert (late.status, late.json["kind"]) == (409, "conflict")
    assert "has changed since you opened it" in late.json["error"]
    assert page.daemon.config.read_text() == text
    page.daemon.config.write_text(text + "# over SSH\n")
    late = page.edit("yard", mask)
    assert (late.status, late.json["kind"]) == (409, "conflict")
    assert page.daemon.config.read_text() == text + "# over SSH\n"


def test_what_the_daemon_rejects_is_restored_and_told_with_line_and_remedy(page: Page) -> None:
    before = page.daemon.config.read_text()
    crossed = [[0.1, 0.1], [0.9, 0.9], [0.9, 0.1], [0.1, 0.9]]
    refused = page.edit("door", {"what": "zone", "points": crossed})
    assert (refused.status, refused.json["kind"]) == (422, "rejected")
    assert any("config.yaml:" in line and "zones.zone-1" in line for line in refused.json["errors"]), refused.body
    assert page.daemon.config.read_text() == before
    assert page.daemon.status()["config"]["state"] == "applied", "the restored file is read already"
    for edit, part in (
        ({"what": "exec", "name": "x", "points": CORNER}, "as the kind of edit"),
        ({"what": "zone", "name": "bow", "points": CORNER}, "expected the name of one of the zones, or none"),
        ({"what": "zone", "name": "drive", "rename": "way", "points": CORNER}, "rename it in the configuration"),
        ({"what": "mask", "name": 7, "points": CORNER}, "expected the number of a mask"),
        ({"what": "mask", "name": 0, "points": [[0, 0], [2, 0], [1, 1]]}, "between 0 and 1"),
        ({"what": "threshold", "value": "0.5; x"}, "expected a threshold between 0 and 1"),
        ({"what": "track", "value": {"lost": "1s"}}, "track can only be added"),
    ):
        refused = page.edit("door", edit)
        assert (refused.status, refused.json["kind"]) == (400, "request"), refused.body
        assert part in refused.json["error"]
    assert page.daemon.config.read_text() == before


def test_records_of_the_engine_are_shown(page: Page) -> None:
    scores = page.get("/api/scores?pipeline=door").json
    assert (len(scores["counts"]), scores["known_from"] < 0.6) == (101, True)
    assert page.get("/api/scores?pipeline=nobody").status == 422
    assert isinstance(page.get("/api/events").json["events"], list)
    now = time.time()
    why = page.get(f"/api/why?since={now - 60:.0f}&until={now:.0f}&pipeline=door").json
    assert isinstance(why["lines"], list)
    assert page.get("/api/history").json["history"][0]["model"] == "faces"
    rolled = page.post("/api/rollback", {"model": "faces"})
    assert (rolled.status, rolled.json["kind"]) == (422, "rejected")
    absent = page.get("/api/look?source=nobody")
    assert (absent.status, absent.json["kind"]) == (404, "request")
    assert "there is no source" in absent.json["error"]


def test_drift_is_shown_but_not_accepted(page: Page) -> None:
    assert page.get("/api/drift").json == {"pipelines": {}, "error": "", "remedies": {}}
    text = page.daemon.config.read_text()
    page.daemon.config.write_text(text.replace("fps: 5 ", "drift: true\n    fps: 5 "))
    assert page.daemon.reload()["state"] == "applied"
    eventually(lambda: "door" in page.get("/api/drift").json.get("pipelines", ()), "drift of a pipeline", 20.0)
    found = page.get("/api/drift?action=accept").json
    assert found["pipelines"]["door"]["camera_part"]["learned"] < 1
    assert found["remedies"] == {"door": []}
    assert page.post("/api/drift", {"action": "accept"}).status == 404
    assert problems(page) == []


def test_a_daemon_that_is_away_and_comes_back(page: Page) -> None:
    page.daemon.__exit__()
    gone = page.get("/api/overview")
    assert (gone.status, gone.json["kind"]) == (503, "away")
    saved = page.edit("door", {"what": "threshold", "value": 0.5}, digest="0" * 64)
    assert (saved.status, saved.json["kind"]) == (503, "away")
    page.daemon.start()
    page.daemon.wait_serving(60.0)
    assert page.get("/api/overview").status == 200


def test_pictures_come_at_most_twice_a_second_however_many_look(page: Page) -> None:
    begun, numbers = time.monotonic(), []

    def watch() -> None:
        while time.monotonic() < begun + 4.0:
            numbers.append(page.look()[0]["number"])

    people = [threading.Thread(target=watch) for _ in range(5)]
    for each in people:
        each.start()
    for each in people:
        each.join()
    taken = len(set(numbers))
    assert taken <= 2 * (time.monotonic() - begun) + 1
    assert len(numbers) > taken, "they share the pictures"


THIEF = """\
import socket, sys, time
def ask(target):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect("{path}")
        client.sendall(f"{{target}} HTTP/1.1\\r\\nHost: localhost\\r\\nX-Edge-Infer: page\\r\\n\\r\\n".encode())
        return client.recv(4096).split()[1].decode()
found = False
while True:
    sys.stdout.buffer.write(bytes(64 * 48 * 3))
    sys.stdout.buffer.flush()
    time.sleep(0.1)
    try:
        if not found:
            found = [ask("GET " + target) for target in ("/api/look?source=cam", "/api/scene", "/?token=x")]
            with open("{found}", "w") as file:
                print(*found, file=file)
    except OSError:
        pass
"""
"""A program of a source that asks the page for pictures of another source."""


def test_the_socket_gives_processes_of_the_daemon_nothing(tmp_path: Path, broker: Broker) -> None:
    (tmp_path / "found").touch()
    (tmp_path / "found").chmod(0o666)
    (tmp_path / "thief.py").write_text(THIEF.format(path=tmp_path / "page.sock", found=tmp_path / "found"))
    command = json.dumps([sys.executable, str(tmp_path / "thief.py")])
    text = (
        TEXT.format(port=broker.port, model=MODEL)
        .replace("sources:\n", f"sources:\n  evil: {{kind: exec, command: {command}, size: 64x48, format: rgb24}}\n")
        .replace("pipelines:\n", "pipelines:\n  evil: {source: evil, model: faces}\n")
    )
    with Daemon(tmp_path, text) as daemon:
        daemon.wait_serving(60.0)
        with Page(daemon) as page:
            page.path.chmod(0o666)  # if root runs the test, the daemon has another user
            said = eventually((tmp_path / "found").read_text, lambda: f"attempt:\n{daemon.log.read_text()}", 60.0)
            assert said == "401 401 401\n"
            assert page.get("/api/scene").status == 200
            assert page.look()[1]


def test_on_loopback_a_token_admits_one_browser(page: Page) -> None:
    with command_page(page.daemon, "--port", "0") as command:
        assert command.stdout is not None
        address = command.stdout.readline().split()[-1]
        port = int(address.split(":")[2].partition("/")[0])
        curl = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", "--max-time", "20"]

        def fetch(*words: str) -> str:
            return subprocess.run([*curl, *words], capture_output=True, text=True, check=False).stdout.strip()

        mark = ["-H", "X-Edge-Infer: page", f"http://localhost:{port}/api/overview"]
        jar = str(page.daemon.folder / "jar")
        assert fetch(*mark) == "401"
        assert fetch("-c", jar, address) == f"303 http://localhost:{port}/"
        assert fetch("-b", jar, *mark) == "200"
        assert fetch(address) == "401", "the token is used up"
        assert fetch("-b", "edge-infer-page=guess", *mark) == "401"
        listening = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=False).stdout
        assert f"127.0.0.1:{port} " in listening
        assert f"0.0.0.0:{port} " not in listening
        command.send_signal(2)
        command.wait(20)


def test_a_file_of_another_form_is_not_damaged(page: Page) -> None:
    """Anchors repeat a pipeline's keys: an edit would change both."""
    text = page.daemon.config.read_text().replace("  yard: {", "  yard: &same {").replace("  # people", "  # People")
    page.daemon.config.write_text(text + "  shed: *same\n")
    assert page.daemon.reload()["state"] == "applied"
    refused = page.edit("yard", {"what": "mask", "name": 0, "points": CORNER})
    assert (refused.status, refused.json["kind"]) == (422, "rejected")
    assert "anchors" in refused.json["error"]
    assert page.daemon.config.read_text() == text + "  shed: *same\n"
