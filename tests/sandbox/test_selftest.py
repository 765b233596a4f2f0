"""Trying the walls costs no time, whatever the kernel answers."""

from __future__ import annotations

import os

import pytest

from edge_infer.sandbox import kernel, selftest
from edge_infer.sandbox.fence import Fence


def test_a_port_is_tried_without_waiting_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = kernel.machine()
    assert machine is not None
    call, waits = kernel.call, []

    def watched(number: int, *arguments: int) -> int:
        if number == machine.numbers["connect"]:
            waits.append(os.get_blocking(arguments[0]))
        return call(number, *arguments)

    monkeypatch.setattr(kernel, "call", watched)
    found = selftest.fences(Fence(ports=(554,)), selftest.look(), selftest.ENFORCED)
    assert waits == [False]
    assert found["ports"] == "unavailable: the kernel is older than 6.7"  # nothing was locked here
