"""Sources that the engine reads itself: their rate limit, and how fast they let go."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_infer.contract.codec import JsonValue
from edge_infer.engine.input.capture import local_capture
from edge_infer.engine.input.feed import Feed
from edge_infer.plan.records import SourcePlan
from edge_infer.readers.sources import source_target


def plan_of(kind: str, options: Mapping[str, JsonValue], fps: float | None = None) -> SourcePlan:
    return SourcePlan("cam", kind, source_target(kind), live=False, network=False, options=options, fps=fps)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(6):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8, 3), number, np.uint8))
    return tmp_path


def test_a_lossless_source_waits_for_its_turn_and_loses_nothing(folder: Path) -> None:
    feed = Feed(plan_of("images", {"path": str(folder)}, fps=20.0))
    cursor = feed.attach()
    feed.start(local_capture(feed.plan))
    frames = [frame for _ in range(6) if (frame := feed.next(cursor, 10.0)) is not None]
    feed.close()
    assert [int(frame.pixels[0, 0, 0]) for frame in frames] == [0, 1, 2, 3, 4, 5]
    assert cursor.dropped == 0
    assert frames[5].monotonic - frames[0].monotonic > 3.5 / 20  # each is read while the one before waits


def test_frames_beyond_the_limit_are_left_out_and_not_counted(assets: Path) -> None:
    file = str(assets / "video" / "vtest_first160.avi")
    feed = Feed(plan_of("video", {"file": file, "realtime": True}, fps=4.0))
    cursor = feed.attach()
    feed.start(local_capture(feed.plan))
    frames = [frame for _ in range(5) if (frame := feed.next(cursor, 10.0)) is not None]
    feed.close()
    assert [frame.number for frame in frames] == [1, 2, 3, 4, 5]
    assert frames[4].monotonic - frames[0].monotonic > 3 / 4
    assert cursor.dropped == 0


def test_a_source_that_waits_for_hours_lets_go_at_once(folder: Path) -> None:
    feed = Feed(plan_of("images", {"path": str(folder), "realtime": True, "every": 3600.0}))
    cursor = feed.attach()
    feed.start(local_capture(feed.plan))
    assert feed.next(cursor, 10.0) is not None
    thread = feed._thread
    assert thread is not None
    feed.close()
    assert not thread.is_alive()
    assert feed.health().state != "ended"


def test_of_a_clip_no_more_is_decoded_than_its_pipelines_look_at(assets: Path) -> None:
    """As long as all of them say how much that is; the clip goes on at its own pace."""
    file = str(assets / "video" / "vtest_first160.avi")
    feed = Feed(plan_of("video", {"file": file, "realtime": True, "loop": True}))
    cursor = feed.attach()
    cursor.most = 4.0
    feed.start(local_capture(feed.plan))
    few = [frame for _ in range(6) if (frame := feed.next(cursor, 10.0)) is not None]
    cursor.most = None
    many = [frame for _ in range(6) if (frame := feed.next(cursor, 10.0)) is not None]
    feed.close()
    assert few[5].monotonic - few[0].monotonic > 4 / 4
    assert [frame.number for frame in few] == [1, 2, 3, 4, 5, 6]
    gaps = [later.monotonic - earlier.monotonic for earlier, later in pairwise(many[1:])]
    assert min(gaps) < 1 / 5, "on a busy machine some of them come late"
