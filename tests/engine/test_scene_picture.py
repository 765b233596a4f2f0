"""What is drawn of a scene: names that can be read, and the reason line below the picture, at any size."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edge_infer.contract.messages import Event
from edge_infer.engine.events.followed import Followed
from edge_infer.engine.replay.drawing import Canvas
from edge_infer.engine.replay.scene_picture import ScenePicture
from edge_infer.engine.tasks.detection import Detection, Detections
from edge_infer.frames.frame import Frame
from edge_infer.plan.records import LinePlan, ZonePlan
from tests.engine.plans import pipeline

ZONE = ZonePlan("drive", ((0.1, 0.5), (0.9, 0.5), (0.9, 1.0), (0.1, 1.0)))
LINE = LinePlan("gate", (0.5, 0.0), (0.5, 0.9))
PLAN = pipeline(zones=(ZONE,), lines=(LINE,))


def scene(width: int, height: int, inside: int = 1) -> Followed:
    box = (0.4 * width, 0.3 * height, 0.5 * width, 0.8 * height)
    found = Detections((Detection("cat", 0, 0.9, box, number=4),), (width, height))
    return Followed(found, (("cat", 1),), (("drive", (("cat", inside),) if inside else ()),), (("gate", 2, 1),))


def frame(width: int, height: int, wall: float = 0.0) -> Frame:
    return Frame(np.full((height, width, 3), 40, np.uint8), "rgb", wall, wall, 1)


def event(number: int) -> Event:
    return Event(1, "1970-01-01T00:00:01.000Z", "9f2c1a", 1, "enter", label="cat", id=number, zone="drive")


@pytest.mark.parametrize("size", [(32, 24), (96, 96), (640, 480), (1920, 1080), (480, 2000)])
def test_every_picture_of_a_recording_has_one_size_and_room_for_the_reason(size: tuple[int, int]) -> None:
    draw = ScenePicture(PLAN)
    quiet = draw(frame(*size), scene(*size, inside=0), [], [])
    busy = draw(frame(*size, 1.0), scene(*size), [event(4)] * 5, ["cat 0.45: below the threshold of 0.5 " * 20] * 3)
    assert quiet.shape == busy.shape
    assert max(quiet.shape) >= 480
    factor = quiet.shape[1] // size[0]
    below = slice(size[1] * factor, None)
    lines = (busy[below] > 120).any(axis=(1, 2))
    blocks = sum(1 for dark, bright in itertools.pairwise(lines.tolist()) if bright and not dark)
    assert blocks >= 6, "time and counts, three events, two lines of reasons"
    assert (quiet[below] > 120).any(axis=(1, 2)).sum() < lines.sum()


def test_an_object_is_marked_for_a_second_after_its_event() -> None:
    draw = ScenePicture(PLAN)
    size = 640, 480
    told = draw(frame(*size), scene(*size), [event(4)], [])
    later = draw(frame(*size, 1.5), scene(*size), [], [])
    rim = slice(200, 300), slice(252, 262)
    assert (told[rim] == 255).all(axis=2).any()
    assert not (later[rim] == 255).all(axis=2).any()
    other = ScenePicture(PLAN)(frame(*size), scene(*size), [event(5)], [])
    assert not (other[rim] == 255).all(axis=2).any()


def test_names_keep_out_of_each_others_way_where_there_is_room() -> None:
    canvas = Canvas(np.zeros((480, 640, 3), np.uint8))
    boxes = [(200.0 + 12 * step, 200.0, 240.0 + 12 * step, 300.0) for step in range(4)]
    canvas.names([Detection("person", 0, 0.9, box, number=index) for index, box in enumerate(boxes, 1)], 1)
    taken = canvas.taken
    assert len(taken) == 4
    for one, other in itertools.combinations(taken, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart, (one, other)
    assert all(left >= 0 and top >= 0 and right <= 640 and bottom <= 480 for left, top, right, bottom in taken)


def test_a_long_reason_is_shortened_to_its_lines() -> None:
    canvas = Canvas(np.zeros((240, 500, 3), np.uint8))
    lines = canvas.wrapped("cat 0.45: below the threshold of 0.5; " * 9, 2)
    assert len(lines) == 2
    assert lines[1].endswith("...")
    assert all(canvas.size(line)[0] <= 500 for line in lines)
    assert canvas.wrapped("short", 2) == ["short"]
    assert canvas.wrapped("", 2) == [""]
