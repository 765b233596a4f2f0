"""Interpreters that pipelines share: no more than can run at a time, the same findings, and nothing that others see."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_infer.contract.codec import replace
from edge_infer.engine.decoders.blazeface import BlazeFace
from edge_infer.engine.interpreter import Interpreter
from edge_infer.engine.model.interpreter_pool import InterpreterPool, InterpreterPools, Loan
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.records import Candidates
from edge_infer.errors import ModelError
from edge_infer.frames.frame import Frame
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.plan.records import DecoderPlan, PipelinePlan
from tests.broker import eventually
from tests.engine.sounds import WAKE_WORD, put
from tests.running import MODEL

FACE = MODEL.parent / "golden" / "astronaut.png"


class Faulty(BlazeFace):
    """A decoder of another package that fails with the tensors in its hands, but not when the model is warmed."""

    calls = 0

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Candidates:
        self.calls += 1
        if self.calls > 1:
            raise IndexError("a fault of a plug-in")
        return super().__call__(tensors)


class Comparing(BlazeFace):
    """A decoder of another package that compares what came out with what went in."""

    wants_input = True

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Candidates:
        *outputs, given = tensors
        assert given.shape[-1] == 3
        return super().__call__(outputs)


class Unbuilt(BlazeFace):
    """A decoder of another package that cannot even be made."""

    def __init__(self, *_: object) -> None:
        raise TypeError("a fault of a plug-in")


class Made:
    """Interpreters in the order in which they were made."""

    def __init__(self, *, remember: bool = False) -> None:
        self.all: list[Interpreter] = []
        self._remember = remember

    def __call__(self) -> Interpreter:
        made = Interpreter(str(MODEL))
        made.remembers = made.remembers or self._remember
        self.all.append(made)
        return made

    @property
    def open(self) -> list[Interpreter]:
        """Those that were not closed."""
        return [each for each in self.all if each._runtime is not None]


def plan(decoder: type = BlazeFace, **settings: Any) -> PipelinePlan:
    model = resolve(ModelRequest("faces", str(MODEL)))
    model = replace(model, decoder=DecoderPlan("b", f"{decoder.__module__}:{decoder.__name__}", model.decoder.options))
    return replace(PipelinePlan("door", "cam", model, 0.5), **settings)


def frame() -> Frame:
    return Frame(cv2.imread(str(FACE)), "bgr", 1.0, 1.0, 1)


def test_as_many_as_can_run_at_a_time_and_no_more_than_are_wanted() -> None:
    shelf, made = InterpreterPool(most=2), Made()
    counts = []
    for _ in range(4):
        shelf.join(made)
        counts.append(len(made.open))
    for _ in range(4):
        shelf.leave()
        counts.append(len(made.open))
    assert counts == [1, 2, 2, 2, 2, 2, 1, 0]


def test_what_is_in_use_when_its_pipeline_goes_is_closed_once_it_is_given_back() -> None:
    shelf, made = InterpreterPool(most=2), Made()
    for _ in range(2):
        shelf.join(made)
    one, two = shelf.take(made), shelf.take(made)
    shelf.leave()
    shelf.put(one)
    assert len(made.open) == 1
    shelf.put(two)
    assert shelf.take(made) in made.open


def test_one_is_lent_to_one_at_a_time_the_last_one_first() -> None:
    shelf, made = InterpreterPool(most=2), Made()
    for _ in range(3):
        shelf.join(made)
    one, two = shelf.take(made), shelf.take(made)
    waiting: list[Interpreter] = []
    threading.Thread(target=lambda: waiting.append(shelf.take(made)), daemon=True).start()
    shelf.put(one)
    eventually(lambda: waiting == [one], "the one that was given back")
    shelf.put(two)
    shelf.put(one)
    assert shelf.take(made) is one
    assert len(made.all) == 2


def test_in_the_place_of_one_that_does_not_come_back_there_is_another() -> None:
    shelf, made = InterpreterPool(most=1), Made()
    shelf.join(made)
    shelf.join(made)
    lost, other = shelf.take(made), shelf.take(made)
    assert other is not lost
    other.invoke()
    shelf.put(other)
    assert shelf.take(made) is other
    for each in (lost, other):  # it has come back after all
        shelf.put(each)
    assert len(made.open) == 2
    for _ in range(2):
        shelf.leave()
    assert made.open == []


@pytest.mark.long
def test_another_one_is_of_the_same_bytes(tmp_path: Path) -> None:
    copied, pool = tmp_path / MODEL.name, InterpreterPools(1)
    copied.write_bytes(MODEL.read_bytes())
    moved = plan()
    moved = replace(moved, model=replace(moved.model, path=str(copied)))
    with LoadedModel(moved, pool) as model:
        assert isinstance(model.lent, Loan)
        copied.unlink()  # the one that is open stays as it was
        copied.write_bytes(MODEL.read_bytes() + b" ")
        with model.lent, pytest.raises(ModelError, match="the file has changed"):
            model.lent.shelf.take(model.lent._make)
        assert model.find(frame()).essence


def test_one_that_remembers_what_it_saw_is_for_one_pipeline_alone() -> None:
    shelf, made = InterpreterPool(most=1), Made(remember=True)
    assert shelf.join(made) is not shelf.join(made)
    assert len(made.open) == 2


def test_what_is_the_same_for_two_pipelines(assets: Path, tmp_path: Path) -> None:
    pool, first = InterpreterPools(4), plan()
    shelf = pool.shelf(first)
    assert shelf is not None
    assert pool.shelf(plan(name="yard", threshold=0.9, priority=1)) is shelf
    assert pool.shelf(plan(threads=2)) is not shelf
    assert pool.shelf(plan(affinity=(0,))) is not shelf
    assert pool.shelf(replace(first, model=replace(first.model, sha256="00" * 32))) is not shelf
    assert pool.shelf(replace(first, model=replace(first.model, state=(("a", "b"),)))) is None
    heard = resolve(ModelRequest("wake", str(put(assets, tmp_path, WAKE_WORD))))
    assert pool.shelf(PipelinePlan("ear", "mic", heard, 0.5)) is None


def test_two_models_by_turns_find_what_each_finds_alone() -> None:
    pool, black = InterpreterPools(1), Frame(np.zeros((480, 640, 3), np.uint8), "bgr", 1.0, 1.0, 1)
    with LoadedModel(plan()) as alone:
        wanted = alone.find(frame())
    with LoadedModel(plan(), pool) as one, LoadedModel(plan(threshold=0.1), pool) as other:
        assert one.interpreter is other.interpreter
        interpreter = one.interpreter
        for _ in range(3):
            assert one.find(frame()) == wanted
            assert other.find(black).essence != wanted.essence
    assert interpreter._runtime is None


def test_who_wants_to_see_the_input_sees_it_whoever_has_the_model_beside() -> None:
    pool = InterpreterPools(1)
    with LoadedModel(plan(Comparing), pool) as comparing, LoadedModel(plan(), pool) as other:
        wanted = other.find(frame())
        assert comparing.find(frame()) == wanted
        assert other.find(frame()) == wanted


def test_who_closes_twice_takes_nothing_from_the_others() -> None:
    pool = InterpreterPools(1)
    with LoadedModel(plan(), pool) as one, LoadedModel(plan(), pool) as other:
        one.close()
        one.close()
        assert other.find(frame()).essence


def test_a_fault_with_the_tensors_in_hand_is_none_of_the_others() -> None:
    pool = InterpreterPools(1)
    with LoadedModel(plan(Faulty), pool) as faulty, LoadedModel(plan(), pool) as other:
        with pytest.raises(IndexError) as caught:  # and is kept, as a log keeps it
            faulty.find(frame())
        assert other.find(frame()).essence
        assert isinstance(caught.value, IndexError)


def test_a_model_that_could_not_be_read_as_wanted_keeps_no_place() -> None:
    pool = InterpreterPools(4)
    with LoadedModel(plan(), pool) as good:
        assert isinstance(good.lent, Loan)
        with pytest.raises(TypeError):
            LoadedModel(plan(Unbuilt), pool).__enter__()
        shelf = good.lent.shelf
    made = Made()
    shelf.join(made)  # the first again
    assert len(made.all) == 1
