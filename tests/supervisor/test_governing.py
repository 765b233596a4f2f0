"""A daemon on a board that gets hot: what its pipelines, subscribers, `status` and `why` make of it."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.broker import Broker, Subscriber, eventually
from tests.running import MODEL, Daemon
from tests.supervisor import governed

CONFIG = """\
device: {{id: box, state_dir: state}}
mqtt: {{host: 127.0.0.1, port: {port}}}
governor: {{max_temperature: 80, shed: [yard, door]}}
models:
  faces: {{file: {file}}}
sources:
  cam: {{kind: synthetic, size: 320x240, seed: 1, fps: 8}}
pipelines:
  door: {{source: cam, model: faces, threads: 1, publish: every, fps: 4}}
  yard: {{source: cam, model: faces, threads: 1, publish: every, fps: 4}}
  hall: {{source: cam, model: faces, threads: 1, publish: every, fps: 4}}
"""
FLOOR = {"yard": 1.0, "door": 1.0}
"""Of 4 frames a second, and of what a busy machine makes of them."""


class Box:
    """The daemon and the files of its board."""

    def __init__(self, folder: Path, port: int) -> None:
        self._zone = folder / "board/sys/class/thermal/thermal_zone0/temp"
        self._zone.parent.mkdir(parents=True)
        self.heat(50)
        program = (str(governed.__file__), str(folder / "board"))
        self.daemon = Daemon(folder, CONFIG.format(port=port, file=MODEL), program=program)

    def heat(self, degrees: float) -> None:
        """All at once, as the daemon may look at any moment."""
        written = self._zone.with_name("next")
        written.write_text(f"{degrees * 1000:.0f}\n")
        written.replace(self._zone)

    def vanish(self) -> None:
        """The sensor goes."""
        self._zone.unlink()

    def governor(self) -> dict[str, Any] | None:
        """What `status` says of it."""
        said: dict[str, Any] | None = self.daemon.status().get("governor")
        return said

    def limited(self, wanted: dict[str, float]) -> None:
        """Waits for these limits."""
        eventually(lambda: (self.governor() or {}).get("limits") == wanted, lambda: f"{wanted}: {self.governor()}", 60)

    def steps(self) -> list[tuple[str, float | None]]:
        """Every step that the log tells of: which pipeline, and how many frames a second, None as configured."""
        lines = [line.partition(" governor: ")[2] for line in self.daemon.log.read_text().splitlines()]
        found = re.findall(r"(\w+) (?:at ([0-9.]+) fps at most|as configured)", "\n".join(lines))
        return [(name, float(limit) if limit else None) for name, limit in found]

    def edit(self, before: str, after: str) -> None:
        """Changes the configuration, and has it applied."""
        text = self.daemon.config.read_text()
        assert before in text
        self.daemon.config.write_text(text.replace(before, after))
        assert self.daemon.reload()["state"] == "applied"


@pytest.fixture
def box(broker: Broker, tmp_path: Path) -> Iterator[Box]:
    box = Box(tmp_path, broker.port)
    with box.daemon as daemon:
        daemon.wait_serving(60)

        def running() -> bool:
            pipelines = daemon.status().get("pipelines", {})
            return len(pipelines) == 3 and all(each["fps"] > 3 for each in pipelines.values())

        eventually(running, lambda: f"running pipelines: {daemon.status().get('pipelines')}", 60)
        yield box


def gap(subscriber: Subscriber, pipeline: str) -> float:
    """Mean time between the last six frames with a result, of one boot; 0 while there are not so many."""
    results = [heard.value for heard in subscriber.on(f"edge-infer/box/{pipeline}/result")]
    last = [result["ts"] for result in results if result["boot"] == results[-1]["boot"]][-6:]
    seconds = [datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp() for moment in last]
    return (seconds[-1] - seconds[0]) / 5 if len(seconds) == 6 else 0.0


def slow(subscriber: Subscriber, pipeline: str) -> bool:
    """A frame a second; the first of them may have come early."""
    return gap(subscriber, pipeline) > 0.9


def quick(subscriber: Subscriber, pipeline: str) -> bool:
    return 0.0 < gap(subscriber, pipeline) < 0.6


def told(subscriber: Subscriber, wanted: dict[str, Any] | None, after: float = 0.0) -> None:
    """Waits until health says this of the governor."""

    def last() -> Any:
        heard = [heard for heard in subscriber.on("edge-infer/box/health") if heard.at > after]
        return json.loads(heard[-1].payload).get("governor") if heard else "nothing"

    eventually(lambda: last() == wanted, lambda: f"{wanted}: {last()}", 40)


def test_a_hot_board_slows_down_in_the_declared_order_and_comes_back(box: Box, subscriber: Subscriber) -> None:
    told(subscriber, {"limits": {}})
    box.heat(76)
    box.limited(FLOOR)
    down = box.steps()
    assert [name for name, _ in down] == ["yard", "yard", "door", "door"]
    assert down[1::2] == [("yard", 1.0), ("door", 1.0)]
    assert all(limit is not None and 1.0 < limit <= 2.0 for _, limit in down[::2])
    told(subscriber, {"limits": FLOOR, "reason": "temperature"})
    eventually(lambda: slow(subscriber, "yard") and slow(subscriber, "door"), "slow pipelines", 40)
    eventually(lambda: quick(subscriber, "hall"), "a pipeline that keeps its rate", 40)
    assert "temperature: yard at most 1 fps, door at most 1 fps" in box.daemon.command("status").stdout
    why = box.daemon.command("why", "--pipeline", "door").stderr
    assert "door: the governor limits it to 1 fps now (temperature)" in why
    assert "yard: " not in why
    box.heat(60)
    box.limited({})
    back = box.steps()[4:]
    assert [name for name, _ in back] == ["door", "door", "yard", "yard"]
    assert back[1::2] == [("door", None), ("yard", None)]
    told(subscriber, {"limits": {}})
    eventually(lambda: quick(subscriber, "yard") and quick(subscriber, "door"), "pipelines as before", 40)
    log = box.daemon.log.read_text()
    assert "governor: 76.0 °C, limit 80 °C: yard at " in log
    assert log.count("governor: cannot lower any frame rate further") == 1


def test_an_engine_and_a_publisher_that_die_are_told_again(box: Box, subscriber: Subscriber) -> None:
    box.heat(90)
    box.limited(FLOOR)
    pids, killed, boot = box.daemon.pids(), time.monotonic(), box.daemon.status()["boot"]
    os.kill(pids["engine"], signal.SIGKILL)
    os.kill(pids["publisher"], signal.SIGKILL)
    told(subscriber, {"limits": FLOOR, "reason": "temperature"}, after=killed + 0.5)

    def another() -> bool:
        results = subscriber.on("edge-infer/box/yard/result")
        return bool(results) and results[-1].value["boot"] != boot

    eventually(lambda: another() and slow(subscriber, "yard"), "slow frames of another engine", 60)
    eventually(lambda: quick(subscriber, "hall"), "a pipeline that keeps its rate", 40)


def test_a_reload_changes_the_governor_and_nothing_else(box: Box, subscriber: Subscriber) -> None:
    log = box.daemon.log.read_text
    served = log().count(" runs on source cam")
    box.heat(60)
    box.edit("80, shed: [yard, door]", "65, shed: [hall]")
    box.limited({"hall": 1.0})
    box.vanish()
    box.limited({})
    assert "governor: cannot read the temperature any more" in log()
    box.heat(65)
    box.limited({"hall": 1.0})
    box.edit("governor: {", "governor: false  # {")
    eventually(lambda: box.governor() is None, "no governor")
    told(subscriber, None)
    eventually(lambda: quick(subscriber, "hall"), "hall as before", 40)
    assert log().count(" runs on source cam") == served
    assert log().count("engine started") == 1
