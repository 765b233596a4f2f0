"""Who is held back, for how long, and from when on that is forgotten."""

from __future__ import annotations

from edge_infer.codec import replace
from edge_infer.supervisor.holds import FIRST, LONGEST, PAROLE, Holds
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
    holds = Holds(clock)
    for pause in (FIRST, 2 * FIRST, 4 * FIRST):
        holds.hold([DOOR], HOW)
        assert holds.held(BOTH)["door"].startswith("the engine was killed by SIGSEGV while door was at work; it is")
        assert holds.on_parole(BOTH) == frozenset()
        clock.now += pause - 1
        assert holds.held(BOTH).keys() == {"door"}
        clock.now += 1
        assert holds.held(BOTH) == {}
        assert holds.on_parole(BOTH) == {"door"}
    clock.now += PAROLE
    assert holds.on_parole(BOTH) == frozenset()
    for _ in range(9):
        holds.hold([DOOR], HOW)
    clock.now += LONGEST
    assert holds.held(BOTH) == {}


def test_another_model_is_another_matter() -> None:
    holds = Holds(Clock())
    holds.hold([DOOR, YARD], HOW)
    better = replace(DOOR, model=replace(DOOR.model, sha256="cd" * 32))
    assert holds.held(plan(better, YARD)).keys() == {"yard"}
    assert holds.held(BOTH).keys() == {"yard"}


def test_a_person_lets_them_run() -> None:
    holds = Holds(Clock())
    holds.hold([DOOR], HOW)
    assert not holds.free(["yard"])
    assert holds.free(["door", "yard"])
    assert holds.held(BOTH) == {}
    assert holds.on_parole(BOTH) == frozenset()
