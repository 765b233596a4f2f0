"""Small pictures for people at the device, and counts of scores for choosing a threshold."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_infer.engine.output.picture_for_people import png, small_picture
from edge_infer.engine.output.pipeline_output import MINUTES, ScoreCounts, scores_of
from edge_infer.engine.tasks.classification import ClassificationFindings, Scored
from edge_infer.engine.tasks.detection import Detection, Detections
from edge_infer.frames.frame import Frame
from edge_infer.plan.records import Color

LEFT = (((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),)


def frame(color: Color = "bgr", width: int = 1280, height: int = 720, value: int = 200) -> Frame:
    shape = (height, width) if color == "gray" else (height, width, 3)
    return Frame(np.full(shape, value, np.uint8), color, 0.0, 0.0, 1)


@pytest.mark.parametrize("color", ["rgb", "bgr", "gray"])
def test_a_small_picture_hides_what_is_masked(color: Color) -> None:
    whole = frame(color)
    found = small_picture(whole, LEFT, 640)
    assert found.size == (640, 360)
    pixels = cv2.imdecode(np.frombuffer(found.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert pixels[:, :312].max() < 8
    assert pixels[:, 328:].min() > 190
    assert found.light == pytest.approx(200 / 255, abs=0.01)
    assert (whole.pixels == 200).all(), "pipelines share the frame"
    assert cv2.imdecode(np.frombuffer(png(whole, LEFT), np.uint8), cv2.IMREAD_COLOR)[:, :640].max() == 0


def test_a_picture_is_never_made_larger_and_may_be_all_masked() -> None:
    assert small_picture(frame(width=64, height=48), (), 640).size == (64, 48)
    assert small_picture(frame(width=300, height=1200), (), 640).size == (160, 640)
    hidden = small_picture(frame(), (((0, 0), (1, 0), (1, 1), (0, 1)),), 640)
    assert (hidden.light, hidden.sharpness) == (None, 0.0)


def test_sharpness_grows_with_details_and_not_with_the_border_of_a_mask() -> None:
    noise = np.random.default_rng(7).integers(0, 255, (720, 1280, 3), dtype=np.uint8)
    sharp = Frame(noise, "bgr", 0.0, 0.0, 1)
    soft = Frame(np.asarray(cv2.GaussianBlur(noise, (0, 0), 4), np.uint8), "bgr", 0.0, 0.0, 1)
    found = [small_picture(each, (), 640).sharpness for each in (sharp, soft, frame())]
    assert found == sorted(found, reverse=True)
    assert found[0] > 2 * found[1]
    assert small_picture(frame(), LEFT, 640).sharpness == found[2] == 0.0


def test_scores_are_counted_for_an_hour() -> None:
    now = [0.0]
    counts = ScoreCounts(lambda: now[0])
    box = (0.0, 0.0, 1.0, 1.0)
    for score in (0.5, 0.51, 0.999, 1.0):
        counts.note(Detections((Detection("a", 0, 0.4, box), Detection("a", 0, score, box)), (9, 9)))
    counts.note(Detections((), (9, 9)))
    answer = counts.answer("door", 0.25)
    assert {at: many for at, many in enumerate(answer.counts) if many} == {40: 4, 50: 1, 51: 1, 99: 1, 100: 1}
    assert (answer.pipeline, answer.known_from, answer.seconds) == ("door", 0.25, 0.0)
    now[0] = 60.0 * (MINUTES - 1)
    counts.note(ClassificationFindings((Scored("x", 1, 0.7), Scored("y", 2, 0.2))))
    assert sum(counts.answer("door", 0.25).counts) == 9
    now[0] += 61.0
    assert {at for at, many in enumerate(counts.answer("door", 0.25).counts) if many} == {70}
    assert counts.answer("door", 0.25).seconds == 3600.0


def test_what_has_no_score_counts_nothing() -> None:
    assert scores_of(ClassificationFindings(())) == []
