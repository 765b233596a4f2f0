"""At its end the engine leaves in the channel what no publisher has acknowledged: the reader of it may have died."""

from __future__ import annotations

import threading

from edge_infer.engine.process import Engine
from edge_infer.ipc.activity_table import ActivityTable, new_activity_table
from edge_infer.ipc.messages import (
    Acked,
    ApplyPlan,
    EngineHello,
    EngineReport,
    Handover,
    ModelFile,
    StateSnapshot,
    Stop,
)
from tests.broker import eventually
from tests.engine.cascade.test_held import channels, newest, plan
from tests.running import MODEL

BOOT = "abcdef"


def numbers(records: list[object]) -> list[int]:
    return [record.message.seq for record in records if isinstance(record, Handover) and record.pipeline == "faces"]


def test_it_leaves_what_nobody_acknowledged_once_more_and_in_order() -> None:
    (control, orders), (results, said) = channels(EngineReport), channels(EngineHello, Handover, StateSnapshot)
    engine = Engine(control, results, {}, BOOT, ActivityTable(new_activity_table()))
    thread = threading.Thread(target=engine.run, daemon=True)
    thread.start()
    with MODEL.open("rb") as model:
        orders.send(ModelFile(str(MODEL)), (model.fileno(),))
    orders.send(ApplyPlan(plan(publish="every")))
    taken: list[object] = []
    eventually(lambda: len(numbers(newest(said, taken))) >= 3, lambda: str(taken))
    said.send(Acked("faces", BOOT, "result", 1))
    eventually(lambda: engine._outlet.kept < len(numbers(newest(said, taken))), "the acknowledgement")
    orders.send(Stop())
    thread.join(30.0)
    assert not thread.is_alive()
    left: list[object] = newest(said, [])
    hello = next(at for at, record in enumerate(left) if isinstance(record, EngineHello))
    last = max(numbers(taken + left))
    assert numbers(left[hello:]) == list(range(2, last + 1))
    assert numbers(taken + left[:hello]) == list(range(1, last + 1))
    for channel in (control, orders, results, said):
        channel.close()
