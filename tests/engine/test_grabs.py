"""Pictures that the engine makes on order: the supervisor hears from it between two of them."""

from __future__ import annotations

import os

from edge_infer.engine.process import Engine
from edge_infer.ipc.activity_table import ActivityTable, new_activity_table
from edge_infer.ipc.messages import EngineHello, EngineReport, Grab, GrabDone
from edge_infer.platform import memfd
from tests.engine.cascade.test_held import channels


def test_it_reports_between_two_pictures() -> None:
    (control, orders), (results, said) = channels(EngineReport, GrabDone), channels(EngineHello)
    engine = Engine(control, results, {}, "abcdef", ActivityTable(new_activity_table()))
    files = [memfd.create("picture") for _ in range(2)]
    for number, file in enumerate(files, 1):
        orders.send(Grab("cam", 0, number), (file,))
        os.close(file)
    for number in (1, 2):
        assert engine._handle_control(), "a report is due"
        assert orders.receive() == GrabDone("cam", "there is no source 'cam'; there is none", number=number)
        assert orders.receive() is None
    assert not engine._handle_control()
    for channel in (control, orders, results, said):
        channel.close()
