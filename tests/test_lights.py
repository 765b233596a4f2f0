"""Who was at work when a process died: memory says it when the process cannot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from edge_infer.ipc.activity_table import (
    MOST,
    ActivityTable,
    active_pipelines,
    new_activity_table,
    numbers_given,
    reset_activity,
)

WORK = """
import os, signal, sys
from edge_infer.ipc.activity_table import ActivityTable as Lights
lights = Lights(int(sys.argv[1]))
with lights.of("yard"):
    pass
lights.numbered("yard", "result", 7)
lights.numbered("yard", "event", 2)
lights.numbered("yard", "result", 8)
with lights.of("door"):
    os.kill(os.getpid(), signal.SIGSEGV)
"""


def test_a_crash_leaves_the_light_of_whoever_was_at_work() -> None:
    fd = new_activity_table()
    done = subprocess.run([sys.executable, "-c", WORK, str(fd)], pass_fds=(fd,), check=False)
    assert done.returncode == -signal.SIGSEGV
    assert active_pipelines(fd) == {"door"}
    assert numbers_given(fd) == {("yard", "result"): 8, ("yard", "event"): 2}
    reset_activity(fd)
    assert active_pipelines(fd) == frozenset()
    assert numbers_given(fd) == {}
    os.close(fd)


def test_lights_go_on_and_off_and_there_are_only_so_many() -> None:
    fd = new_activity_table()
    lights = ActivityTable(os.dup(fd))
    with lights.of("a"), lights.of("b" * 64):
        assert active_pipelines(fd) == {"a", "b" * 64}
        with lights.of("a"):
            pass
    assert active_pipelines(fd) == frozenset()
    for number in range(MOST):
        lights.numbered(f"p{number}", "result", number + 1)
        with lights.of(f"p{number}"):
            assert active_pipelines(fd) <= {f"p{number}"}
    assert len(numbers_given(fd)) == MOST - 2  # a and b have given none, and the last two have no place
    os.close(fd)


def test_an_engine_cannot_take_it_from_under_the_supervisor() -> None:
    fd = new_activity_table()
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 1)
    assert active_pipelines(fd) == frozenset()
    os.close(fd)
