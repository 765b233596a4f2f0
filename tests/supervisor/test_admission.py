"""No shadow pushes a small board out of memory: it waits, says what for, and comes in when there is room."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_infer.contract.codec import replace
from edge_infer.ipc.messages import EngineReport
from edge_infer.models.serving_record import ServingRecord
from edge_infer.plan.records import Measured, MqttPlan, PipelinePlan, Plan, ShadowPlan
from edge_infer.platform.memory import SPARE_BYTES, free_memory
from edge_infer.supervisor.rollout.shadows import AGAIN, Admission, compared
from tests.engine.plans import pipeline

MB = 1 << 20
MQTT = MqttPlan("127.0.0.1", 1883, None, None, None, "edge-infer/box", 1, "box")
SETTLED = EngineReport("abcdef", "", {}, {}, {})


class Board:
    """Its kernel's word on memory, and time that passes when it is told to."""

    now = 100.0

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc").mkdir()

    def __call__(self) -> float:
        return self.now

    def has(self, size: int) -> None:
        (self.root / "proc" / "meminfo").write_text(f"MemTotal: 1000000 kB\nMemAvailable: {size >> 10} kB\n")


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def shadowed(name: str, digest: str, memory: int | None) -> PipelinePlan:
    plain = replace(pipeline(), name=name)
    model = replace(plain.model, name=f"next-{name}", sha256=digest * 32, measured=Measured(0.01, memory))
    return replace(plain, shadow=ShadowPlan(model, 0.5))


def plan(*pipelines: PipelinePlan) -> Plan:
    return Plan("0" * 64, "box", "/nowhere", MQTT, (), pipelines)


def names(plan: Plan) -> list[str]:
    return [each.name for each in plan.shadows()]


def test_a_shadow_waits_for_memory_and_comes_in_when_it_is_there(board: Board) -> None:
    door = shadowed("door", "cd", 100 * MB)
    admission = Admission(board.root, board)
    board.has(SPARE_BYTES + 99 * MB)
    assert names(admission.admitted(plan(door))) == []
    assert not admission.next_one(SETTLED)
    lack = "waits for memory: «it needs 100 MiB, and 32 MiB of the 131 MiB free have to stay free»"
    assert admission.reasons == {"door": lack}
    told = compared(ServingRecord(), [door], SETTLED, admission.reasons)
    assert isinstance(told, dict)
    assert (told["door"].state, told["door"].reason) == ("starting", f"it {lack}")
    board.has(SPARE_BYTES + 100 * MB)
    assert not admission.next_one(SETTLED), "looked at again in a while"
    board.now += AGAIN
    assert admission.next_one(SETTLED)
    assert names(admission.admitted(plan(door))) == ["next-door"]
    assert admission.reasons == {}


def test_one_comes_after_the_other_and_none_while_something_loads(board: Board) -> None:
    both = plan(shadowed("door", "cd", 100 * MB), shadowed("yard", "ef", 100 * MB))
    admission = Admission(board.root, board)
    board.has(SPARE_BYTES + 150 * MB)
    admission.admitted(both)
    assert not admission.next_one(replace(SETTLED, loading=("door",)))
    assert admission.next_one(SETTLED)
    assert names(admission.admitted(both)) == ["next-door"]
    board.has(SPARE_BYTES + 50 * MB)
    assert not admission.next_one(SETTLED)
    assert set(admission.reasons) == {"yard"}
    without = plan(*(replace(each, shadow=None) for each in both.pipelines))
    assert names(admission.admitted(without)) == []
    assert admission.reasons == {}
    assert names(admission.admitted(both)) == [], "one that was away comes in anew"


def test_what_nobody_measured_is_tried(board: Board) -> None:
    admission = Admission(board.root, board)
    board.has(0)
    admission.admitted(plan(shadowed("door", "cd", None)))
    assert admission.next_one(SETTLED)


@pytest.mark.parametrize("version", [1, 2])
def test_what_a_group_would_give_back_is_free(board: Board, version: int) -> None:
    controllers, counted = ("memory", "total_inactive_file") if version == 1 else ("", "inactive_file")
    limit, used = (
        ("memory.limit_in_bytes", "memory.usage_in_bytes") if version == 1 else ("memory.max", "memory.current")
    )
    (board.root / "proc" / "self").mkdir()
    (board.root / "proc" / "self" / "cgroup").write_text(f"3:{controllers}:/unit\n")
    group = board.root / "sys" / "fs" / "cgroup" / controllers / "unit"
    group.mkdir(parents=True)
    (group / limit).write_text(f"{300 * MB}\n")
    (group / used).write_text(f"{290 * MB}\n")
    (group / "memory.stat").write_text(f"cache 5\n{counted} {200 * MB}\n")
    board.has(900 * MB)
    assert free_memory(board.root) == 210 * MB
