"""A pipeline that gets another model: beside the old one or after it, and what happens when that cannot be loaded."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import Reason
from edge_infer.engine.input.capture import local_capture
from edge_infer.engine.input.feed import Feed
from edge_infer.engine.interpreter import Interpreter
from edge_infer.engine.model.model_load import ModelLoad
from edge_infer.engine.model.model_slot import ModelSlot
from edge_infer.engine.model.probation import SAME, Trial
from edge_infer.engine.model.serving import Serving
from edge_infer.engine.output.pipeline_output import PipelineOutput
from edge_infer.engine.output.result_sender import ResultSender
from edge_infer.engine.worker import Worker
from edge_infer.ipc.channel import Channel
from edge_infer.ipc.messages import Handover, StateSnapshot
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.plan.records import Measured, PipelinePlan, Plan, SourcePlan
from edge_infer.platform.memory import SPARE_BYTES, free_memory
from edge_infer.readers.sources import source_target
from edge_infer.supervisor.rollout.effective_plan import suffices
from tests.broker import eventually
from tests.moody import moody_model, write_model


@pytest.fixture
def ends() -> Iterator[tuple[ResultSender, Channel]]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours, theirs = Channel(left.detach(), ()), Channel(right.detach(), (Handover, StateSnapshot))
    yield ResultSender(ours, "abcdef"), theirs
    ours.close()
    theirs.close()


def plan(folder: Path, name: str, gain: float) -> PipelinePlan:
    model = resolve(ModelRequest("light", str(write_model(folder / f"{name}.tflite", gain=gain))))
    return PipelinePlan("hall", "cam", model, 0.1, publish="every")


class Hall:
    """A pipeline on a synthetic source, and what it said."""

    def __init__(self, first: PipelinePlan, outlet: ResultSender, channel: Channel) -> None:
        options: dict[str, Any] = {"width": 64, "height": 64, "fps": 50.0}
        self.feed = Feed(SourcePlan("cam", "synthetic", source_target("synthetic"), False, False, options))
        self.pipeline = Worker(first, self.feed, outlet)
        self._channel = channel
        self._records: list[Any] = []

    def __enter__(self) -> Hall:
        self.pipeline.start()
        self.feed.start(local_capture(self.feed.plan))
        return self

    def __exit__(self, *_: object) -> None:
        self.pipeline.close()
        self.feed.close()

    def heard(self) -> list[Any]:
        """Everything so far."""
        while (record := self._channel.receive()) is not None:
            self._records.append(record)
        return self._records

    def results(self, of: PipelinePlan) -> list[int]:
        """The numbers of the results of a model."""
        results = [each.message for each in self.heard() if isinstance(each, Handover)]
        return [each.seq for each in results if each.sha == of.model.sha256[:8]]

    def reasons(self) -> list[object]:
        """Why states were null."""
        return [each.state.reason for each in self.heard() if isinstance(each, StateSnapshot) and each.state.reason]


@pytest.mark.parametrize("alone", [False, True])
def test_the_next_model_answers_with_the_next_number(
    ends: tuple[ResultSender, Channel], tmp_path: Path, *, alone: bool
) -> None:
    old, new = plan(tmp_path, "old", 1.0), plan(tmp_path, "new", 0.9)
    with Hall(old, *ends) as hall:
        eventually(lambda: hall.results(old), "results of the old model")
        hall.pipeline.change(new, watched=True, alone=alone)
        eventually(lambda: hall.results(new), "results of the new model")
        running = hall.pipeline.running()
    assert (running.sha, running.fault) == (new.model.sha256, "")
    assert running.load > 0.0
    assert running.gap > 0.0
    numbers = [*hall.results(old), *hall.results(new)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert "model_changed" in hall.reasons()


def test_what_holds_a_pipeline_back_holds_its_next_model_back(
    ends: tuple[ResultSender, Channel], tmp_path: Path
) -> None:
    first, second, third = (plan(tmp_path, name, gain) for name, gain in (("a", 1.0), ("b", 0.9), ("c", 0.8)))
    outlet, _ = ends
    models = ModelSlot(first, outlet, PipelineOutput("hall", outlet))
    assert models.take_over() is not None
    models.change(second)
    models.restrain(2.0)
    eventually(models.due, "a loaded model")
    before, switch = models.serving, models.take_over()
    assert switch is not None
    assert models.serving is not before
    assert wait_of(models.serving) == pytest.approx(0.5, rel=0.4)
    models.change(third)
    eventually(models.due, "a loaded model")
    assert models.take_over() is not None
    assert wait_of(models.serving) == pytest.approx(0.5, rel=0.4)
    models.restrain(None)
    assert wait_of(models.serving) == 0.0
    models.close()


def wait_of(serving: Serving) -> float:
    """Seconds from one frame to the next."""
    now = serving.pacer.left(0.0)
    assert serving.pacer.due(now)
    return serving.pacer.left(now)


def test_a_model_that_cannot_be_loaded_leaves_the_old_one(ends: tuple[ResultSender, Channel], tmp_path: Path) -> None:
    old, new = plan(tmp_path, "old", 1.0), plan(tmp_path, "new", 0.9)
    Path(new.model.path).write_bytes(b"something else by now")
    with Hall(old, *ends) as hall:
        eventually(lambda: hall.results(old), "results of the old model")
        hall.pipeline.change(new)
        running = eventually(lambda: (r := hall.pipeline.running()).refused and r, "a refusal")
        count = len(hall.results(old))
        eventually(lambda: len(hall.results(old)) > count, "more results of the old model")
    assert (running.refused, running.sha) == (new.model.sha256, old.model.sha256)
    assert "the file has changed" in running.why


def test_what_was_refused_is_not_refused_before_it_is_tried_once_more(
    ends: tuple[ResultSender, Channel], tmp_path: Path
) -> None:
    old, new = plan(tmp_path, "old", 1.0), plan(tmp_path, "new", 0.9)
    good = Path(new.model.path).read_bytes()
    Path(new.model.path).write_bytes(b"something else by now")
    with Hall(old, *ends) as hall:
        eventually(lambda: hall.results(old), "results of the old model")
        hall.pipeline.change(new)
        eventually(lambda: hall.pipeline.running().refused, "a refusal")
        hall.pipeline.change(old)
        assert not hall.pipeline.running().refused
        Path(new.model.path).write_bytes(good)
        hall.pipeline.change(new)
        eventually(lambda: hall.pipeline.running().sha == new.model.sha256, "the new model")


def test_a_model_that_came_after_the_old_one_was_gone_and_cannot_be_loaded_makes_room_for_that_again(
    ends: tuple[ResultSender, Channel], tmp_path: Path
) -> None:
    old, new = plan(tmp_path, "old", 1.0), plan(tmp_path, "new", 0.9)
    Path(new.model.path).unlink()
    with Hall(old, *ends) as hall:
        eventually(lambda: hall.results(old), "results of the old model")
        hall.pipeline.change(new, alone=True)
        eventually(lambda: hall.pipeline.running().sha is None, "a pipeline without a model")
        hall.pipeline.change(old)
        count = len(hall.results(old))
        eventually(lambda: len(hall.results(old)) > count, "more results of the old model")


class Interrupted(PipelineOutput):
    """While it says that nothing is known, another thread wants something else."""

    def __init__(self, outlet: ResultSender) -> None:
        super().__init__("hall", outlet)
        self.another: threading.Thread | None = None

    def nothing(self, serving: Serving, reason: Reason) -> None:
        super().nothing(serving, reason)
        if self.another is not None and self.another.ident is None:
            self.another.start()
            self.another.join(0.3)  # longer than it takes, unless it has to wait for the end of the switch


def test_who_wants_the_old_model_back_in_the_middle_of_a_switch_gets_it(
    ends: tuple[ResultSender, Channel], tmp_path: Path
) -> None:
    old, new = plan(tmp_path, "old", 1.0), plan(tmp_path, "new", 0.9)
    voice = Interrupted(ends[0])
    models = ModelSlot(old, ends[0], voice)
    models.take_over()
    voice.another = threading.Thread(target=models.change, args=(old,))
    models.change(new, alone=True)
    models.take_over()
    voice.another.join(30.0)
    eventually(lambda: models.take_over() is None and models.serving.plan == old, "the old model", 30)
    assert models.plan == old
    assert models.serving.ready
    models.close()


def test_what_is_given_up_while_it_is_being_loaded_is_let_go(tmp_path: Path) -> None:
    serving = Serving(plan(tmp_path, "new", 0.9), "abcdef", lambda: 1)
    switch = ModelLoad(serving)
    switch.give_up()
    eventually(switch.done, "the end of loading")
    assert not serving.ready


def test_a_trial_tells_a_silent_model_from_a_silent_scene() -> None:
    interpreter = Interpreter(moody_model("constant", 1, 1.0))
    chance = np.random.default_rng(1)
    trial = Trial(patient(None))
    interpreter.input()[...] = 0.5
    for _ in range(2 * SAME):  # the same picture may have the same answer
        trial.given(interpreter)
        trial.told(interpreter, interpreter.invoke())
    for _ in range(SAME - 2):  # the first picture counts, too
        show(trial, interpreter, chance)
    assert not trial.doubted
    show(trial, interpreter, chance)
    assert trial.doubted


def show(trial: Trial, interpreter: Interpreter, chance: np.random.Generator) -> None:
    """One more picture, unlike all others."""
    interpreter.input()[...] = chance.random((1, 8, 8, 3))
    trial.given(interpreter)
    trial.told(interpreter, interpreter.invoke())


@pytest.mark.parametrize(
    ("seconds", "fault"),
    [((0.3, 0.1) * 20, False), ((0.25,) * 4, False), ((0.25,) * 5, True), ((1.3,), True), ((0.7, 0.6), True)],
)
def test_a_trial_tells_a_slow_model_from_a_busy_board(seconds: tuple[float, ...], *, fault: bool) -> None:
    trial = Trial(patient(0.2))
    for each in seconds:
        trial.done(each)
    assert bool(trial.fault) == fault
    assert trial.frames == len(seconds)


def patient(budget: float | None) -> Any:
    """A model that may take this long."""
    from tests.engine.plans import pipeline

    return replace(pipeline().model, measured=Measured(0.01, 1 << 20, budget))


def test_a_model_that_does_not_fit_beside_the_old_one_comes_after_it(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 900000 kB\nMemAvailable:  102400 kB\n")
    group = tmp_path / "sys/fs/cgroup/system.slice/edge"
    group.mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/system.slice/edge\n")
    assert free_memory(tmp_path) == 100 << 20
    old = plan(tmp_path, "old", 1.0)
    for limit, alone in (("max", ()), (str(90 << 20), ()), (str(69 << 20), ("hall",))):
        (group / "memory.max").write_text(f"{limit}\n")
        (group / "memory.current").write_text(f"{10 << 20}\n")
        new = plan(tmp_path, "new", 0.9)
        new = replace(new, model=replace(new.model, measured=Measured(0.01, (60 << 20) - SPARE_BYTES)))
        assert suffices(whole(old), whole(new), tmp_path) == alone
        assert suffices(whole(old), whole(old), tmp_path) == ()


def whole(pipeline: PipelinePlan) -> Plan:
    """A configuration of one pipeline."""
    from edge_infer.plan.records import MqttPlan

    mqtt = MqttPlan("broker", 1883, None, None, None, "edge-infer/box", 1, "box")
    return Plan("ab" * 32, "box", "/nowhere", mqtt, (), (pipeline,))
