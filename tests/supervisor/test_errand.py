"""Children that do one thing: what became of them, whatever they do."""

from __future__ import annotations

import os
import select
import signal
import time

import pytest

from edge_infer.supervisor.processes.helper_process import LONGEST, MAX_PIECES, HelperProcess, HelperResult
from edge_infer.supervisor.processes.output import Output
from tests.running import alive


def outcome(module: str, *words: str, seconds: float = 60.0) -> HelperResult:
    with HelperProcess(module, *words, seconds=seconds, output=Output("helper")) as errand:
        end = time.monotonic() + 60
        while (said := errand.said()) is None and time.monotonic() < end:
            select.select([errand.fileno()], [], [], 0.1)
        errand.close()
    assert said is not None
    return said


def test_what_it_said_and_how_it_ended() -> None:
    assert outcome(
        "timeit", "-n", "1", "-r", "1", "print('yes', flush=True); __import__('os')._exit(3)"
    ) == HelperResult(b"yes\n", 3)


def test_a_crash_is_an_end() -> None:
    said = outcome("timeit", "-n", "1", "-r", "1", "import os; os.abort()")
    assert said.status == -signal.SIGABRT


def test_a_descendant_that_keeps_its_output_open_keeps_nobody_waiting() -> None:
    code = """
import os, time
if (left := os.fork()) == 0:
    time.sleep(600)
os.write(1, f"{left}".encode())
os._exit(3)
"""
    said = outcome("timeit", "-n", "1", "-r", "1", code)
    left = int(said.output)
    try:
        assert said.status == 3
        assert alive(left)
    finally:
        os.kill(left, signal.SIGKILL)


@pytest.mark.parametrize("before", ["", "print('so far', flush=True);"])
def test_one_that_hangs_is_ended(before: str) -> None:
    said = outcome("timeit", "-n", "1", "-r", "1", f"import time; {before} time.sleep(600)", seconds=3.0)
    assert said.status is None
    assert bool(said.output) == bool(before)


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("while True: os.write(1, bytes(60000))", f"more than {LONGEST} bytes"),
        ("while True: os.write(1, b' '); time.sleep(0.0001)", f"more than {MAX_PIECES} pieces"),
    ],
)
def test_one_that_says_too_much_or_in_crumbs_is_ended_and_that_is_told(code: str, what: str) -> None:
    said = outcome("timeit", "-n", "1", "-r", "1", f"import os, time\n{code}")
    assert what in said.excess
    assert said == HelperResult(b"", -signal.SIGKILL, said.excess)


def test_a_child_that_cannot_be_is_an_end_too() -> None:
    assert outcome("edge_infer.there_is_none").status == 1


def test_one_that_takes_its_time_to_end_keeps_nobody_waiting_and_its_exit_code() -> None:
    code = "import os, time; os.close(1); time.sleep(2.5); os._exit(3)"
    with HelperProcess("timeit", "-n", "1", "-r", "1", code, seconds=60.0, output=Output("helper")) as errand:
        asked, end = 0, time.monotonic() + 60
        while (said := errand.said()) is None and time.monotonic() < end:
            asked += 1
            select.select([errand.fileno()], [], [], 0.5)
    assert said == HelperResult(b"", 3)
    assert asked > 1  # it answered "not yet", rather than wait for the end


@pytest.mark.parametrize(("seconds", "ended"), [(0.5, -signal.SIGKILL), (60.0, 0)])
def test_one_that_hangs_at_its_end_is_killed(seconds: float, ended: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_infer.supervisor.processes.helper_process.END_WAIT", seconds)
    code = "import os, time; os.write(1, b'all'); os.close(1); time.sleep(2); os._exit(0)"
    assert outcome("timeit", "-n", "1", "-r", "1", code) == HelperResult(b"all", ended)
