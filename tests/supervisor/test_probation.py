"""What is made of what the engine says of a model on probation, and of how it dies."""

from __future__ import annotations

import pytest

from edge_infer.contract.codec import replace
from edge_infer.ipc.messages import EngineReport, Running
from edge_infer.plan.records import Measured
from edge_infer.plan.switch_time import SLOWER
from edge_infer.supervisor.rollout.crash_loops import CRASH_LOOP_SECONDS, CrashLoopDetector, EngineDeath
from edge_infer.supervisor.rollout.probation import HUNG, LOADS, SILENT, Verdict, hung_loads, judge, silence
from tests.engine.plans import pipeline

DOOR, YARD = replace(pipeline(), name="door"), replace(pipeline(), name="yard")
SHA, OTHER = DOOR.model.sha256, "ef" * 32
LIMIT = DOOR.model.patience()
WELL = Running(SHA, seconds=5.0, frames=50)


def report(door: Running, yard: Running = WELL, loading: tuple[str, ...] = ()) -> EngineReport:
    return EngineReport("abcdef", "", {}, {}, {"door": door, "yard": yard}, loading=loading)


@pytest.mark.parametrize(
    ("door", "loading", "what", "words"),
    [
        (WELL, (), "good", "loaded in 0 ms"),
        (replace(WELL, frames=49), (), None, ""),
        (replace(WELL, sha=OTHER), (), None, ""),
        (replace(WELL, fault="nan"), (), "rolled_back", "«nan»"),
        (replace(WELL, sha=OTHER, fault="of another"), (), None, ""),
        (replace(WELL, sha=OTHER, refused=SHA, why="too large"), (), "rejected", "it cannot be loaded: «too large»"),
        (replace(WELL, busy=LIMIT + HUNG + 1), (), "stuck", f"one frame of pets for more than {LIMIT + HUNG:.1f} s"),
        (replace(WELL, busy=LIMIT + HUNG - 0.1, frames=0), (), None, ""),
        (replace(WELL, busy=LIMIT + HUNG + 1), ("yard",), None, ""),
        (replace(WELL, fault="nan"), ("yard",), "rolled_back", "«nan»"),
    ],
)
def test_verdicts(door: Running, loading: tuple[str, ...], what: str | None, words: str) -> None:
    verdict = judge([DOOR, YARD], SHA, report(door, loading=loading), 5.0)
    assert (verdict.what if verdict else None) == what
    assert words in (verdict.why if verdict else "")


def test_the_gap_is_told_where_both_outcomes_were_seen() -> None:
    seen = judge([DOOR], SHA, report(replace(WELL, frames=100, gap=0.04)), 5.0)
    assert seen is not None
    assert seen.why.endswith("0 ms at most; 40 ms between two outcomes")
    restarted = judge([DOOR], SHA, report(replace(WELL, frames=100)), 5.0)
    assert restarted is not None
    assert restarted.why == "loaded in 0 ms, other pipelines waited 0 ms at most"


def test_few_frames_will_do_after_a_minute() -> None:
    slow = replace(WELL, seconds=60.0, frames=5)
    assert judge([DOOR, YARD], SHA, report(slow, slow), 60.0) is not None
    assert judge([DOOR, YARD], SHA, report(slow, replace(slow, seconds=59.0)), 60.0) is None


def test_what_does_not_load_is_given_up() -> None:
    before = report(Running(OTHER), loading=("door",))
    assert judge([DOOR, YARD], SHA, before, LOADS - 1) is None
    assert judge([DOOR, YARD], SHA, before, LOADS + 1) == Verdict("stuck", "has been loading pets for 60 s")
    assert judge([YARD], SHA, before, LOADS + 1) is None, "another one loads"


def test_a_first_model_has_ten_times_the_time_of_its_trial_to_load() -> None:
    slow = replace(YARD, model=replace(YARD.model, measured=Measured(load=20.0)))
    quick = replace(DOOR, model=replace(DOOR.model, measured=Measured(load=0.1)))
    both = report(WELL, loading=("door", "yard"))
    assert hung_loads([quick, slow], both, LOADS - 1) == {}
    assert hung_loads([quick, slow], both, LOADS + 1) == {"door": LOADS}
    assert set(hung_loads([quick, slow], both, 201.0)) == {"door", "yard"}
    assert set(hung_loads([DOOR], both, SLOWER * LOADS - 1)) == set(), "nothing was measured"
    assert hung_loads([quick], report(WELL), 1000.0) == {}, "it has been loaded"


def test_how_long_an_engine_may_be_silent() -> None:
    assert silence([]) is None
    assert silence([DOOR]) == max(SILENT, LIMIT + HUNG)


def test_who_was_at_work_at_every_fall() -> None:
    now = [0.0]
    deaths = CrashLoopDetector(lambda: now[0])
    assert deaths.add(EngineDeath("engine fell", frozenset({"door", "yard"}), fell=True)) is None
    assert deaths.add(EngineDeath("engine fell", frozenset({"door"}), fell=True)) is None
    now[0] = CRASH_LOOP_SECONDS
    how = "engine was killed by SIGSEGV, 3 times within 60 s"
    loop = deaths.add(EngineDeath("engine was killed by SIGSEGV", frozenset({"door", "hall"}), fell=True))
    assert loop == EngineDeath(how, frozenset({"door"}), fell=True)
    loop = deaths.add(EngineDeath("engine was killed by SIGSEGV", frozenset({"hall"}), fell=True))
    assert loop == EngineDeath(how, frozenset({"door", "hall"}), fell=True, others=True), "there are several causes"
    loop = deaths.add(EngineDeath("engine was killed by SIGSEGV", frozenset(), fell=True))
    assert loop == EngineDeath(how, frozenset({"door", "hall"}), fell=True, others=True), "once between two frames"
    for _ in range(3):
        loop = deaths.add(EngineDeath("engine was killed by SIGSEGV", frozenset({"door"}), fell=False))
    assert loop == EngineDeath(how, frozenset({"door"}), fell=False), "somebody else had to do with it"
    loop = deaths.add(EngineDeath("engine was killed by SIGSEGV", frozenset({"hall"}), fell=True, memory=True))
    assert loop == EngineDeath(how, frozenset(), fell=False, memory=True)
    now[0] += CRASH_LOOP_SECONDS + 1
    assert deaths.add(EngineDeath("engine fell", frozenset({"door"}), fell=True)) is None
    deaths.clear()
    assert deaths.add(EngineDeath("engine fell", frozenset({"door"}), fell=True)) is None
