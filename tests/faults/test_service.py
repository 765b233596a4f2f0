"""The judgement of ``scripts/faults systemd --hours``, on accounts made by hand."""

from __future__ import annotations

import json

from tests.faults.service import Booked, Message, judge

FAULTS = ["KILL both", "broker", "STOP publisher"]


def received(*numbers: int, boot: str = "aa", kind: str = "result") -> list[Message]:
    return [Message(1.0, f"edge-infer/vm/faces/{kind}", json.dumps({"boot": boot, "seq": each})) for each in numbers]


def look(delivered: int, unknown: int, produced: int) -> dict[str, object]:
    return {"delivered": delivered, "pending": 0, "lost": {"unknown": unknown}, "produced": produced}


def values(looks: list[dict[str, object]], heard: list[Message], **booked: Booked) -> list[float]:
    found = judge(FAULTS, looks, heard, {("faces", boot, "result"): each for boot, each in booked.items()})
    return [promise.value for promise in found]


def test_what_is_unknown_may_have_been_received_or_not() -> None:
    even = [look(2, 1, 3), look(3, 1, 4)]
    for heard in (received(1, 2, 3), received(1, 2, 3, 4), received(1, 1, 2, 3)):
        assert values(even, heard, aa=Booked(4, 0, {"unknown": 1})) == [0, 0, 0, 0.5, 0, 0]


def test_each_broken_rule_is_counted() -> None:
    looks = [look(3, 0, 3), look(2, 0, 3)]
    heard = [*received(1), *received(1, 2, boot="bb"), *received(1, boot="cc")]
    assert values(looks, heard, aa=Booked(3, 1, {}), bb=Booked(2, 0, {"full": 1})) == [0, 1, 2, 0, 1, 1]
