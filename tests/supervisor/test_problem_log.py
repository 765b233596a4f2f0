"""The log lines about problems of a configuration are bounded, whatever the process that reads it answers."""

from __future__ import annotations

import logging

import pytest

from edge_infer.plan.records import Problem
from edge_infer.supervisor.processes.output import MAX_BURST_BYTES
from edge_infer.supervisor.reload.compilation import MAX_LOGGED_PROBLEMS, ProblemLog


def problems(count: int, text: str) -> list[Problem]:
    return [Problem("config.yaml", number, "mqtt", text) for number in range(1, count + 1)]


def test_usual_problems_are_all_logged(caplog: pytest.LogCaptureFixture) -> None:
    found = problems(MAX_LOGGED_PROBLEMS, "is not known here; did you mean host")
    ProblemLog().write(logging.ERROR, found)
    assert caplog.messages == [str(each) for each in found]


def test_many_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    ProblemLog().write(logging.WARNING, problems(MAX_LOGGED_PROBLEMS + 7, "odd"))
    assert len(caplog.messages) == MAX_LOGGED_PROBLEMS + 1
    assert caplog.messages[-1] == "… and 7 more such lines; edge-infer check prints them all"
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_long_ones_are_bounded_over_all_readings(caplog: pytest.LogCaptureFixture) -> None:
    written = ProblemLog()
    for _ in range(50):
        written.write(logging.WARNING, problems(3000, "PIXELS" * 600))
    assert MAX_BURST_BYTES // 2 < sum(map(len, caplog.messages)) < MAX_BURST_BYTES + 50 * 100
    assert caplog.messages[-1] == "… and 3000 more such lines; edge-infer check prints them all"


def test_none_looks_like_another_line(caplog: pytest.LogCaptureFixture) -> None:
    ProblemLog().write(
        logging.WARNING, problems(1, "x\n05:00:00 ERROR   supervisor: the camera was stolen\x1b[2J\ud800")
    )
    (line,) = caplog.messages
    assert line == "config.yaml:1: mqtt: x 05:00:00 ERROR   supervisor: the camera was stolen\ufffd[2J\ufffd"
