"""The bounds of what a process reports to the supervisor."""

from __future__ import annotations

import pytest

from edge_infer.contract.codec import decode, encode
from edge_infer.contract.messages import SourceHealth
from edge_infer.errors import WireError
from edge_infer.ipc.messages import MAX_NAMES, EngineReport


def test_a_report_names_no_more_sources_than_a_status_has_room_for() -> None:
    health = SourceHealth("ok", 1.0)
    for count in (MAX_NAMES, MAX_NAMES + 1):
        report = encode(EngineReport("9f2c1a", "0" * 64, {}, {f"s{number}": health for number in range(count)}, {}))
        if count == MAX_NAMES:
            assert len(decode(EngineReport, report).sources) == MAX_NAMES
        else:
            with pytest.raises(WireError, match="sources"):
                decode(EngineReport, report)
