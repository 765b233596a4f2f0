"""Which pipeline answers for three deaths of the engine, by what killed it and by who was at work."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_infer.contract.codec import replace
from edge_infer.ipc.activity_table import ActivityTable
from edge_infer.ipc.messages import ApplyPlan, EngineReport
from edge_infer.models.serving_record import Fit, ServingRecord, Slot
from edge_infer.platform.memory import MemoryKills
from edge_infer.supervisor.processes.supervisor import ProcessSupervisor
from edge_infer.supervisor.rollout.crash_loops import FIRST_QUARANTINE_SECONDS, EngineDeath, PipelineQuarantine
from edge_infer.supervisor.rollout.rollout import ModelRollout
from tests.engine.plans import pipeline
from tests.supervisor.test_holds import Clock
from tests.supervisor.test_slots import plan

BEFORE, LATER = "2026-01-01T00:00:00.000Z", "2026-01-02T00:00:00.000Z"
NAMES = ("door", "yard", "gate")
PIPELINES = {
    name: replace(pipeline(), name=name, model=replace(pipeline().model, name=f"of-{name}", sha256=name[0] * 64))
    for name in NAMES
}
PLAN = plan(*PIPELINES.values())


class House(ProcessSupervisor):
    """Has no processes."""

    def apply(self, order: ApplyPlan) -> None:
        self._plan = order.plan


class Box:
    """Three pipelines; ``door`` and, a day later, ``yard`` got the model that they run in the place of another."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.house = House("info")
        self.house._memory_kills = MemoryKills(folder)
        self.vmstat = folder / "proc" / "vmstat"
        self.rollout = ModelRollout(self.house)
        self.rollout._holds = PipelineQuarantine(self.clock)
        self.rollout.open(folder)
        slots = {name: Slot(Fit.of(PIPELINES[name]), _former(name), BEFORE) for name in NAMES}
        slots["yard"] = replace(slots["yard"], ts=LATER)
        slots["gate"] = replace(slots["gate"], previous=None)
        self.rollout._ledger.keep(ServingRecord(slots=slots))
        self.rollout.apply(PLAN)

    def kills(self, count: int) -> None:
        """The kernel has killed this many processes for lack of memory."""
        self.vmstat.parent.mkdir(exist_ok=True)
        self.vmstat.write_text(f"pgfault 7\noom_kill {count}\noom_kill_other 99\n")

    def dies(self, *busy: str, memory: bool = False, fell: bool = True) -> None:
        self.rollout.engine_died(EngineDeath("engine was killed by SIGKILL", frozenset(busy), fell, memory))

    def rolled_back(self) -> set[str]:
        return {name.removeprefix("of-") for name in self.rollout.record.refused}

    def held(self) -> set[str]:
        return set(self.rollout._holds.held(PLAN))


def _former(name: str) -> Fit:
    model = PIPELINES[name].model
    return Fit.of(replace(PIPELINES[name], model=replace(model, sha256="0" * 64)))


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    found = Box(tmp_path)
    yield found
    found.house._plan = None
    found.house.close()


def test_the_pipeline_that_was_at_work_at_each_kill_for_lack_of_memory_is_held_back(box: Box) -> None:
    for others in (("yard",), (), ("door", "yard")):
        box.dies("gate", *others, memory=True)
    assert (box.held(), box.rolled_back()) == ({"gate"}, set())
    for pause in (FIRST_QUARANTINE_SECONDS, 2 * FIRST_QUARANTINE_SECONDS):
        box.clock.now += pause
        assert box.held() == set()
        box.dies("gate", memory=True)
        assert (box.held(), box.rolled_back()) == ({"gate"}, set()), "the next one is enough"


@pytest.mark.parametrize("others", [(), ("gate",)])
def test_a_lack_of_memory_takes_no_model_away(box: Box, others: tuple[str, ...]) -> None:
    for _ in range(3):
        box.dies("yard", *others, memory=True)
    pause = FIRST_QUARANTINE_SECONDS
    for _ in range(3):
        assert (box.held(), box.rolled_back()) == ({"yard"}, set()), "another program may have taken the memory"
        box.clock.now += pause - 1
        assert box.held() == {"yard"}, "each time for longer"
        box.clock.now += 1
        assert box.held() == set()
        box.dies("yard", *others, memory=True)
        pause *= 2


def test_a_program_that_takes_the_memory_takes_no_model_away(box: Box) -> None:
    for _ in range(3):
        box.dies("yard", memory=True)
    box.dies("door", memory=True)
    box.clock.now += FIRST_QUARANTINE_SECONDS
    box.dies("yard", memory=True)
    box.dies("gate", memory=True)
    assert (box.held(), box.rolled_back()) == (set(), set())
    for _ in range(2):
        box.dies("gate", "yard", memory=True)
    assert (box.held(), box.rolled_back()) == ({"gate"}, set())


def test_a_crash_of_one_pipeline_rolls_its_model_back(box: Box) -> None:
    for _ in range(3):
        box.dies("door")
    assert (box.held(), box.rolled_back()) == (set(), {"door"})


def test_a_pipeline_cannot_have_the_model_of_another_one_rolled_back(box: Box) -> None:
    for _ in range(3):
        box.dies("gate", "yard")
    assert (box.held(), box.rolled_back()) == ({"yard"}, set())
    box.clock.now += FIRST_QUARANTINE_SECONDS
    box.dies("gate", "yard")
    assert (box.held(), box.rolled_back()) == ({"yard"}, set()), "either may be the cause"
    box.clock.now += FIRST_QUARANTINE_SECONDS
    assert box.held() == {"yard"}, "for longer"
    for _ in range(4):
        box.dies("gate")
    assert (box.held(), box.rolled_back()) == ({"gate", "yard"}, set()), "the cause has been found"


def test_a_suspect_that_crashes_the_engine_alone_after_its_pause_is_rolled_back(box: Box) -> None:
    for _ in range(3):
        box.dies("gate", "yard")
    box.clock.now += FIRST_QUARANTINE_SECONDS
    box.dies("yard", memory=True)
    assert (box.held(), box.rolled_back()) == ({"yard"}, set())
    box.clock.now += 2 * FIRST_QUARANTINE_SECONDS
    box.dies("yard")
    assert (box.held(), box.rolled_back()) == (set(), {"yard"})


def test_a_pipeline_that_was_cleared_cannot_have_the_model_of_another_one_rolled_back(box: Box) -> None:
    for _ in range(3):
        box.dies("door", "yard")
    box.dies("gate")  # by chance, or for another pipeline
    box.clock.now += FIRST_QUARANTINE_SECONDS
    box.rollout._deaths.clear()
    for _ in range(3):
        box.dies("door", "yard")
    assert (box.held(), box.rolled_back()) == ({"door"}, set())


def test_of_pipelines_that_crash_the_engine_by_turns_one_is_held_back(box: Box) -> None:
    for name in ("door", "gate", "door"):
        box.dies(name)
    assert box.rolled_back() == set(), "the newest replacement was not at work"
    (first,) = box.held()
    (other,) = {"door", "gate"} - {first}
    for _ in range(3):
        box.dies(other)
    assert box.held() | box.rolled_back() == {"door", "gate"}


def test_a_crash_between_two_frames_takes_no_model_of_an_idle_pipeline_away(box: Box) -> None:
    for busy in (("door",), ("gate",), ()):
        box.dies(*busy)
    assert box.rolled_back() == set(), "the newest replacement was not at work"
    assert len(box.held()) == 1


def test_a_pipeline_that_was_at_work_at_one_crash_of_three_keeps_its_model(box: Box) -> None:
    for busy in ((), ("door",), ()):
        box.dies(*busy)
    assert (box.held(), box.rolled_back()) == ({"door"}, set())


def hangs(box: Box, monkeypatch: pytest.MonkeyPatch, *stuck: str, active: tuple[str, ...] = NAMES) -> None:
    """The engine reports that it is stuck in these pipelines, is killed and dies while some are at work."""
    table = ActivityTable(os.dup(box.house._lights))
    for name in active:
        table.of(name).__enter__()
    box.house.heard.engine = EngineReport("abcdef", "", {}, {}, {}, stuck=stuck)
    monkeypatch.setattr(box.house.engine, "ended", iter([-signal.SIGKILL, None]).__next__)
    for death in box.house.serve():
        box.rollout.engine_died(death)


def test_a_hang_counts_only_against_the_pipelines_in_which_the_engine_is_stuck(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        hangs(box, monkeypatch, "gate")
    assert (box.held(), box.rolled_back()) == ({"gate"}, set())
    for pause in (FIRST_QUARANTINE_SECONDS, 2 * FIRST_QUARANTINE_SECONDS):
        box.clock.now += pause
        hangs(box, monkeypatch, "gate")
        assert (box.held(), box.rolled_back()) == ({"gate"}, set())


def test_a_pipeline_that_others_may_have_starved_keeps_its_model(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow model may take the processor from a quick one for longer than the quick one may take for a frame."""
    for _ in range(3):
        hangs(box, monkeypatch, "door")
    assert (box.held(), box.rolled_back()) == ({"door"}, set())
    box.clock.now += FIRST_QUARANTINE_SECONDS
    hangs(box, monkeypatch, "door")
    assert (box.held(), box.rolled_back()) == ({"door"}, set())


def test_a_pipeline_that_hangs_alone_gets_its_model_of_before(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        hangs(box, monkeypatch, "door", active=("door",))
    assert (box.held(), box.rolled_back()) == (set(), {"door"})


def test_a_hang_in_an_unknown_pipeline_counts_against_those_at_work(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        hangs(box, monkeypatch, "nobody")
    assert (box.held(), box.rolled_back()) == ({"yard"}, set())


def test_a_person_who_kills_the_engine_takes_no_model_of_an_idle_pipeline_away(box: Box) -> None:
    for _ in range(3):
        box.dies("gate", fell=False)
    assert (box.held(), box.rolled_back()) == (set(), set())
    for _ in range(3):
        box.dies("gate", "door", fell=False)
    assert (box.held(), box.rolled_back()) == (set(), {"door"})


def test_without_anyone_at_work_at_each_kill_the_newest_replacement_is_rolled_back(box: Box) -> None:
    for name in ("door", "gate", "door"):
        box.dies(name, fell=False)
    assert (box.held(), box.rolled_back()) == (set(), {"yard"})


KERNEL = " (by the kernel, for lack of memory: see journalctl -k, and MemoryMax= of the service)"
PERHAPS = " (if nobody sent it, the kernel did for lack of memory: see journalctl -k, and MemoryMax= of the service)"


@pytest.mark.parametrize(("counted", "told"), [((3, 4), KERNEL), ((3, 3), ""), ((), PERHAPS)])
def test_the_kernel_counts_its_kills_for_lack_of_memory(
    box: Box, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, counted: tuple[int, ...], told: str
) -> None:
    caplog.set_level(logging.INFO)
    for count in counted[:1]:
        box.kills(count)
    box.house._memory_kills.forget()
    for count in counted[1:]:
        box.kills(count)
    monkeypatch.setattr(box.house.engine, "ended", lambda: -signal.SIGKILL)
    (death,) = box.house.serve()
    assert death.fell == death.memory == bool(told)
    assert death.how == f"engine was killed by SIGKILL{told}"
    assert f"{death.how}; restarting it" in caplog.text
    assert box.house.heard.trouble is not None
    assert box.house.heard.trouble.text == death.how
    if counted == (3, 4):
        (death,) = box.house.serve()
        assert not death.memory, "one kill explains one death"


def test_an_engine_that_the_supervisor_kills_was_not_killed_for_its_memory(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.house.kill_engine("is stuck in door")
    monkeypatch.setattr(box.house.engine, "ended", lambda: -signal.SIGKILL)
    (death,) = box.house.serve()
    assert (death.fell, death.memory) == (True, False)
