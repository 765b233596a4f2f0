"""Who is held back, for how long, and from when on that is forgotten."""

from __future__ import annotations

from edge_infer.contract.codec import replace
from edge_infer.supervisor.rollout.crash_loops import (
    FIRST_QUARANTINE_SECONDS,
    MAX_QUARANTINE_SECONDS,
    PAROLE_SECONDS,
    EngineDeath,
    PipelineQuarantine,
)
from tests.engine.plans import pipeline
from tests.supervisor.test_slots import plan

DOOR = replace(pipeline(), name="door")
YARD = replace(pipeline(), name="yard")
BOTH = plan(DOOR, YARD)
HOW = "engine was killed by SIGSEGV"


class Clock:
    """Time passes when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_each_time_is_longer_until_it_runs_well() -> None:
    clock = Clock()
    holds = PipelineQuarantine(clock)
    for pause in (FIRST_QUARANTINE_SECONDS, 2 * FIRST_QUARANTINE_SECONDS, 4 * FIRST_QUARANTINE_SECONDS):
        holds.hold([DOOR], HOW)
        assert holds.held(BOTH)["door"].startswith("the engine was killed by SIGSEGV while door was at work; it is")
        assert holds.on_parole(BOTH) == frozenset()
        clock.now += pause - 1
        assert holds.held(BOTH).keys() == {"door"}
        clock.now += 1
        assert holds.held(BOTH) == {}
        assert holds.on_parole(BOTH) == {"door"}
    clock.now += PAROLE_SECONDS
    assert holds.on_parole(BOTH) == frozenset()
    for _ in range(9):
        holds.hold([DOOR], HOW)
    clock.now += MAX_QUARANTINE_SECONDS
    assert holds.held(BOTH) == {}


def test_another_model_is_another_matter() -> None:
    holds = PipelineQuarantine(Clock())
    holds.hold([DOOR, YARD], HOW)
    better = replace(DOOR, model=replace(DOOR.model, sha256="cd" * 32))
    assert holds.held(plan(better, YARD)).keys() == {"yard"}
    assert holds.held(BOTH).keys() == {"yard"}


def test_a_person_lets_them_run() -> None:
    holds = PipelineQuarantine(Clock())
    holds.hold([DOOR], HOW)
    assert not holds.free(["yard"])
    assert holds.free(["door", "yard"])
    assert holds.held(BOTH) == {}
    assert holds.on_parole(BOTH) == frozenset()


def death(*busy: str, fell: bool = True) -> EngineDeath:
    return EngineDeath(HOW, frozenset(busy), fell)


def test_one_of_several_suspects_is_cleared_by_a_death_without_it() -> None:
    clock = Clock()
    holds = PipelineQuarantine(clock)
    holds.hold([DOOR], HOW, "suspect")
    assert holds.relapsed(death("yard"), BOTH) == frozenset()
    assert holds.suspects(frozenset({"door", "yard"})) == {"yard"}
    assert holds.suspects(frozenset({"door"})) == {"door"}
    assert holds.held(BOTH).keys() == {"door"}
    clock.now += FIRST_QUARANTINE_SECONDS
    assert holds.on_parole(BOTH) == frozenset()
    assert holds.relapsed(death("door", "yard"), BOTH) == frozenset()
    clock.now += PAROLE_SECONDS
    assert holds.held(BOTH) == {}
    assert holds.suspects(frozenset({"door", "yard"})) == {"door", "yard"}


def test_a_kill_from_outside_clears_no_suspect() -> None:
    clock = Clock()
    holds = PipelineQuarantine(clock)
    holds.hold([DOOR], HOW, "suspect")
    assert holds.relapsed(death("yard", fell=False), BOTH) == frozenset()
    clock.now += FIRST_QUARANTINE_SECONDS
    assert holds.relapsed(death("door", "yard", fell=False), BOTH) == frozenset()
    assert holds.relapsed(death("door", "yard"), BOTH) == {"door"}


def test_of_two_on_parole_the_one_that_was_once_the_only_suspect_is_blamed() -> None:
    clock = Clock()
    holds = PipelineQuarantine(clock)
    holds.hold([DOOR], HOW, "suspect")
    holds.hold([YARD], HOW)
    clock.now += FIRST_QUARANTINE_SECONDS
    assert holds.on_parole(BOTH) == {"door", "yard"}
    assert holds.relapsed(death("door", "yard"), BOTH) == {"yard"}
    holds.hold([YARD], HOW, "suspect")
    clock.now += 2 * FIRST_QUARANTINE_SECONDS
    assert holds.relapsed(death("door", "yard"), BOTH) == {"yard"}, "it stays the only suspect"
    assert holds.relapsed(death("door"), BOTH) == {"door"}
