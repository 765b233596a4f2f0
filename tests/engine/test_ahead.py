"""The next frame, prepared while one is in the model: the same input, each frame once, of a camera a fresh one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from edge_infer.contract.codec import replace
from edge_infer.engine.input.feed import Cursor, Feed
from edge_infer.engine.input.prefetch import Ahead
from edge_infer.engine.model.loaded_model import LoadedModel, Staged
from edge_infer.engine.model.serving import Serving
from edge_infer.frames.frame import Frame
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.plan.records import InputPlan, PipelinePlan, SourcePlan
from tests.broker import eventually
from tests.running import MODEL

CORNER = ((0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.5))


def frame(number: int) -> Frame:
    random = np.random.default_rng(number)
    return Frame(random.integers(0, 256, (96, 128, 3)).astype(np.uint8), "bgr", 1.0, 1.0, number)


def plan(tiles: tuple[int, int] = (1, 1), **settings: object) -> PipelinePlan:
    model = resolve(ModelRequest("faces", str(MODEL)))
    assert isinstance(model.input, InputPlan)
    model = replace(model, input=replace(model.input, tiles=tiles))
    settings = {"ahead": "always", "mask": (CORNER,), **settings}
    return replace(PipelinePlan("door", "cam", model, 0.5), **settings)  # type: ignore[arg-type]


def loaded(wanted: PipelinePlan) -> Serving:
    serving = Serving(wanted, "abcdef", lambda: 1)
    serving.load()
    return serving


@pytest.fixture
def feed() -> Feed:
    return Feed(SourcePlan("cam", "video", "x:Y", live=False, network=False, options={}))


@pytest.fixture
def cursor(feed: Feed) -> Cursor:
    return feed.attach()


@pytest.fixture
def ahead(feed: Feed, cursor: Cursor) -> Iterator[Ahead]:
    with Ahead(feed, cursor, "door") as made:
        yield made


def offer(feed: Feed, *numbers: int) -> None:
    """What a capture thread does; a lossless feed lets it go on only when each frame has been taken."""
    for number in numbers:
        feed.offer(number, lambda number=number: frame(number))  # type: ignore[misc]


def input_of(model: LoadedModel, parts: object) -> list[bytes]:
    contents = []
    for part in parts:  # type: ignore[attr-defined]
        model.feed(part)
        contents.append(model.interpreter.input().tobytes())
    return contents


def early(ahead: Ahead, cursor: Cursor, number: int) -> Frame:
    """The frame of this number, once it was taken ahead of the worker."""
    eventually(lambda: cursor.last == number, "the frame is taken")
    taken = ahead.next(10.0)
    assert isinstance(taken, Frame)
    assert taken.number == number
    return taken


@pytest.mark.parametrize("tiles", [(1, 1), (3, 2)])
def test_what_is_prepared_is_what_would_have_been(
    feed: Feed, cursor: Cursor, ahead: Ahead, tiles: tuple[int, int]
) -> None:
    feed.lossless = True
    serving = loaded(plan(tiles))
    threading.Thread(target=offer, args=(feed, 1, 2, 3), daemon=True).start()
    for number in (1, 2, 3):
        ahead.begin(serving)
        taken = early(ahead, cursor, number)
        visible, parts = serving.prepared(taken)
        assert all(isinstance(part, Staged) for part in parts)
        assert len(parts) == tiles[0] * tiles[1]
        prepared = input_of(serving.model, parts)
        again, inline = serving.prepared(taken)
        assert not any(isinstance(part, Staged) for part in inline)  # what was prepared is used once
        assert prepared == input_of(serving.model, inline)
        assert isinstance(visible, Frame)
        assert isinstance(again, Frame)
        assert (visible.pixels == again.pixels).all()
        assert not visible.pixels[:48, :64].any()  # masked
    assert cursor.dropped == 0
    serving.close()


def test_after_a_change_of_models_a_frame_is_prepared_again(feed: Feed, cursor: Cursor, ahead: Ahead) -> None:
    feed.lossless = True
    before, fresh = loaded(plan(mask=())), loaded(plan())
    threading.Thread(target=offer, args=(feed, 1, 2), daemon=True).start()
    ahead.begin(before)
    taken = early(ahead, cursor, 1)
    visible, parts = fresh.prepared(taken)
    assert not isinstance(parts[0], Staged)
    assert isinstance(visible, Frame)
    assert not visible.pixels[:48, :64].any()
    ahead.begin(fresh)
    following = ahead.next(10.0)
    assert isinstance(following, Frame)
    assert following.number == 2
    before.close()
    fresh.close()


def test_of_a_live_source_the_newest_frame_is_taken_late(feed: Feed, cursor: Cursor, ahead: Ahead) -> None:
    serving = loaded(plan())
    offer(feed, 1)
    ahead.done(3600.0)  # the model takes an hour: it is not time before the worker asks
    ahead.begin(serving)
    offer(feed, 2, 3)
    taken = ahead.next(10.0)
    assert isinstance(taken, Frame)
    assert taken.number == 3
    assert not isinstance(serving.prepared(taken)[1][0], Staged)
    assert cursor.dropped == 2
    serving.close()


def test_what_a_live_source_showed_before_a_pause_is_passed_over(feed: Feed, cursor: Cursor, ahead: Ahead) -> None:
    serving = loaded(plan())
    offer(feed, 1)
    ahead.begin(serving)  # no time is known yet: at once
    eventually(lambda: cursor.last == 1, "the frame is taken")
    offer(feed, 2)
    ahead.pass_over()
    taken = ahead.next(10.0)
    assert isinstance(taken, Frame)
    assert taken.number == 2
    assert cursor.dropped == 1
    serving.prepared(taken)
    assert not serving._prepared  # a camera has few places for frames: one that is kept is one less
    serving.close()


def test_without_a_new_frame_the_worker_waits_for_one_itself(feed: Feed, ahead: Ahead) -> None:
    serving = loaded(plan())
    ahead.begin(serving)
    assert ahead.next(0.01) is None
    offer(feed, 1)
    assert ahead.next(0.01) is not None
    serving.close()


def test_while_the_model_waits_for_a_camera_nothing_is_taken_ahead(feed: Feed, cursor: Cursor, ahead: Ahead) -> None:
    serving = loaded(plan())
    threading.Timer(0.05, offer, (feed, 1)).start()
    assert ahead.next(10.0) is not None  # it came after the model was ready
    ahead.begin(serving)
    assert all(each.name != "ahead-door" for each in threading.enumerate()), "no thread is woken"
    offer(feed, 2)
    assert ahead.next(10.0) is not None  # it was there already
    ahead.begin(serving)
    offer(feed, 3)
    early(ahead, cursor, 3)
    serving.close()


def test_a_limit_of_frames_is_kept(feed: Feed, cursor: Cursor, ahead: Ahead) -> None:
    serving = loaded(plan(fps=0.01))
    assert serving.pacer.due(time.monotonic())
    offer(feed, 1)
    ahead.begin(serving)  # the next frame is due in a minute and more
    assert ahead.next(0.01) is not None  # by the worker, which asked all the same
    assert not isinstance(serving.prepared(frame(1))[1][0], Staged)
    serving.close()


def test_who_cannot_be_masked_or_resized_is_the_workers_to_tell(feed: Feed, ahead: Ahead) -> None:
    serving = loaded(plan())
    broken = replace(frame(1), pixels=np.zeros((0, 0, 3), np.uint8))
    feed.offer(1, lambda: broken)
    ahead.begin(serving)
    assert ahead.next(10.0) is broken
    with pytest.raises(Exception, match=r"."):
        serving.model.feed(serving.prepared(broken)[1][0])
    serving.close()


def test_a_frame_that_cannot_be_taken_is_the_workers_to_tell_and_the_next_one_is_taken(
    feed: Feed, cursor: Cursor, ahead: Ahead
) -> None:
    def no_memory() -> Frame:
        raise MemoryError

    serving = loaded(plan())
    feed.offer(1, no_memory)
    ahead.begin(serving)
    eventually(lambda: cursor.last == 1, "an attempt to take it")
    with pytest.raises(MemoryError):
        ahead.next(10.0)
    offer(feed, 2)
    ahead.begin(serving)
    taken = ahead.next(10.0)
    assert taken is not None
    assert taken.number == 2
    serving.close()


@pytest.mark.parametrize(("word", "prepares"), [("always", True), ("never", False)])
def test_the_configuration_has_the_last_word(word: str, prepares: bool) -> None:
    serving = loaded(plan(ahead=word))
    assert serving.prepares is prepares
    serving.close()


def test_closing_ends_the_thread_and_may_be_repeated(feed: Feed, cursor: Cursor) -> None:
    serving = loaded(plan())
    with Ahead(feed, cursor, "gone") as made:
        made.begin(serving)
        made.close()
    eventually(lambda: all(each.name != "ahead-gone" for each in threading.enumerate()), "end of the thread")
    serving.close()
