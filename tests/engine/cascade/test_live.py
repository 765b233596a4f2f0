"""Cascades in the real daemon with a real broker: against crops made by hand, and through the life of their parent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_infer.cli import main
from edge_infer.contract.codec import decode, decode_json
from edge_infer.contract.messages import Result, State
from tests.broker import Broker, Heard, Subscriber, eventually
from tests.running import MODEL, Daemon
from tests.swapping import detector, short

P = "edge-infer/box"
MARGIN = 0.1
CLOSE = 0.02
"""How far points may be apart, as a share of the crop's longer side: the box is told to four decimals."""


def results(subscriber: Subscriber, pipeline: str) -> list[dict[str, Any]]:
    found = [heard.value for heard in list(subscriber.heard) if heard.topic == f"{P}/{pipeline}/result"]
    assert all(decode(Result, each) for each in found)
    return found


def states(subscriber: Subscriber, pipeline: str) -> list[dict[str, Any]]:
    heard: list[Heard] = [each for each in list(subscriber.heard) if each.topic == f"{P}/{pipeline}/state"]
    found = [each.value for each in heard if each.payload]
    assert all(decode_json(State, each.payload) for each in heard if each.payload)
    return found


def by_hand(picture: Path, box: list[float], into: Path) -> tuple[int, int, int, int]:
    """Writes what lies in a box and its margin; left, top, width and height."""
    pixels = cv2.imread(str(picture))
    assert pixels is not None
    height, width = pixels.shape[:2]
    xmin, ymin, xmax, ymax = (side * size for side, size in zip(box, (width, height, width, height), strict=True))
    aside, above = MARGIN * (xmax - xmin), MARGIN * (ymax - ymin)
    left, top = max(0, int(np.floor(xmin - aside))), max(0, int(np.floor(ymin - above)))
    right, bottom = min(width, int(np.ceil(xmax + aside))), min(height, int(np.ceil(ymax + above)))
    cv2.imwrite(str(into), pixels[top:bottom, left:right])
    return left, top, right - left, bottom - top


def test_a_crop_is_what_one_would_cut_out_by_hand(
    tmp_path: Path, broker: Broker, assets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, poses = assets / "images" / "bus.jpg", assets / "models" / "movenet_single_pose_lightning_ptq.tflite"
    text = f"""\
device: {{id: box, state_dir: state}}
mqtt: {{host: 127.0.0.1, port: {broker.port}}}
models:
  coco: {{file: {assets}/models/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite}}
  pose: {{file: {poses}}}
sources:
  still: {{kind: images, path: {picture}}}
pipelines:
  people: {{source: still, model: coco, threshold: 0.6, labels: [person]}}
  bodies: {{source: {{crops: people, margin: {MARGIN}, most: 2}}, model: pose}}
"""
    with Subscriber(broker.port) as subscriber, Daemon(tmp_path, text):
        found = eventually(lambda: len(got := results(subscriber, "bodies")) >= 2 and got, "poses", 60)
        (people,) = eventually(lambda: results(subscriber, "people"), "people")
        ended = eventually(lambda: [s for s in states(subscriber, "bodies") if "ended" in s.get("reason", "")], "end")
    assert len(people["objects"]) == 3
    assert (ended[-1]["counts"], ended[-1]["reason"]) == (None, "source_ended")
    best = sorted(people["objects"], key=lambda each: -each["score"])[:2]
    assert [{key: each["parent"][key] for key in ("label", "score", "box")} for each in found] == best
    for index, each in enumerate(found):
        assert (each["ts"], each["boot"], each["parent"]["seq"]) == (people["ts"], people["boot"], people["seq"])
        crop = tmp_path / f"crop{index}.png"
        left, top, width, height = by_hand(picture, each["parent"]["box"], crop)
        capsys.readouterr()
        assert main(["infer", str(poses), str(crop)]) == 0
        (line,) = capsys.readouterr().out.splitlines()
        (expected,), (pose,) = json.loads(line)["poses"], each["poses"]
        whole = np.array(cv2.imread(str(picture)).shape[1::-1])  # type: ignore[union-attr]
        there = np.array(pose["points"])[:, :2] * whole
        here = np.array(expected["points"])[:, :2] * (width, height) + (left, top)
        assert np.abs(there - here).max() <= CLOSE * max(width, height)
        assert pose["score"] == pytest.approx(expected["score"], abs=0.1)


def pictures(folder: Path) -> Path:
    """A face, and the same a little darker: two equal frames in a row would look like a camera that is stuck."""
    folder.mkdir()
    pixels = cv2.imread(str(MODEL.parent / "golden" / "astronaut.png"))
    assert pixels is not None
    for number in range(2):
        cv2.imwrite(str(folder / f"{number}.png"), pixels - np.minimum(pixels, number))
    return folder


def living(port: int, faces: Path, classes: Path, *, loop: bool = True, child: bool = True) -> str:
    crops = "{crops: faces, margin: 0.5, again: 1s}"
    text = f"""\
device: {{id: box, state_dir: state}}
mqtt: {{host: 127.0.0.1, port: {port}}}
models:
  faces: {{file: {faces}}}
  classes: {{file: {classes}, labels: [nobody, person]}}
sources:
  clip: {{kind: images, path: pictures, loop: {str(loop).lower()}, realtime: true, every: 200ms}}
pipelines:
  faces: {{source: clip, model: faces, track: true, publish: every}}
"""
    more = f"  seen: {{source: {crops}, model: classes, threshold: 0.4, publish: every}}\n"
    return text + (more if child else "")


def changed(daemon: Daemon, text: str) -> None:
    daemon.config.write_text(text)
    answer = daemon.reload()
    assert answer.get("state") == "applied", answer


def test_through_the_life_of_the_parent(tmp_path: Path, broker: Broker, assets: Path) -> None:
    classes = assets / "models" / "vww_96_int8.tflite"
    pictures(tmp_path / "pictures")
    first, second = detector(tmp_path / "one.tflite", "1.0.0", 4), detector(tmp_path / "two.tflite", "2.0.0", 8)
    with Subscriber(broker.port) as subscriber, Daemon(tmp_path, living(broker.port, first, classes)) as daemon:

        def after(number: int, told: Callable[[dict[str, Any]], bool] = bool) -> Any:
            return [each for each in states(subscriber, "seen")[number:] if told(each)]

        seen = eventually(lambda: results(subscriber, "seen"), "a face that was looked at", 90)
        told = {each["seq"]: each for each in results(subscriber, "faces")}
        for each in seen[:5]:
            parent = each["parent"]
            same = next(it for it in told[parent["seq"]]["objects"] if it.get("id") == parent["id"])
            assert (same["box"], told[parent["seq"]]["ts"]) == (parent["box"], each["ts"])
        known = eventually(lambda: after(0, lambda it: bool(it.get("answers"))), "answers")[0]
        assert sum(known["counts"].values()) == len([each for each in known["answers"] if each["class"]])

        def why() -> str:
            return daemon.command("why", "--last", "5m", "--pipeline", "seen", "--label", "face").stdout

        eventually(lambda: "#1 not examined again: the last time was " in why(), why, 30)

        # The parent gets another model: nothing of what was found before is known any more.
        begun = len(states(subscriber, "seen"))
        changed(daemon, living(broker.port, second, classes))
        news = eventually(
            lambda: [each for each in results(subscriber, "faces") if each["sha"] == short(second) and each["objects"]],
            "the next model", 30,
        )  # fmt: skip
        eventually(
            lambda: [each for each in results(subscriber, "seen") if each["parent"]["seq"] >= news[0]["seq"]],
            "a face of the next model that was looked at", 60,
        )  # fmt: skip

        # The cascade is removed: its topic is cleared, and the parent goes on.
        changed(daemon, living(broker.port, second, classes, child=False))
        eventually(
            lambda: any(h.topic == f"{P}/seen/state" and not h.payload for h in list(subscriber.heard)), "cleared"
        )
        count = len(results(subscriber, "faces"))
        eventually(lambda: len(results(subscriber, "faces")) > count, "the parent going on", 30)

        # It is there again, and the pictures have an end.
        begun = len(states(subscriber, "seen"))
        changed(daemon, living(broker.port, second, classes, loop=False))
        eventually(lambda: after(begun, lambda it: it.get("reason") == "source_ended"), "the end of the pictures", 60)
        ended = {"state": "ended", "error": "pipeline faces: source ended"}
        eventually(lambda: ended.items() <= daemon.status()["sources"]["seen"].items(), "the status of it")
        health = eventually(lambda: [h.value for h in list(subscriber.heard) if h.topic == f"{P}/health"], "health")
        assert health[-1]["egress"]["rejected"] == 0
