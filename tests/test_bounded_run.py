"""Child processes whose output is collected: all of it, or nothing if it is too long."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from edge_infer.platform.bounded_run import BoundedRun, run_bounded


def command(code: str) -> list[str]:
    return [sys.executable, "-c", f"import os, sys, time\n{code}"]


def test_input_and_output_longer_than_a_pipe_pass() -> None:
    data = bytes(range(256)) * 4096
    echo = command("sys.stdout.buffer.write(sys.stdin.buffer.read()); sys.stdout.flush(); os._exit(3)")
    assert run_bounded(echo, data, most=len(data)) == BoundedRun(data, 3)


def test_an_output_without_end_ends_the_process() -> None:
    assert run_bounded(command("while True: os.write(1, bytes(65536))"), most=1 << 20) == BoundedRun(
        b"", -signal.SIGKILL
    )


def test_one_byte_too_many_is_too_long() -> None:
    assert run_bounded(command("os.write(1, b'12345'); time.sleep(60)"), most=4).output == b""


def test_a_process_that_does_not_read_gets_no_input() -> None:
    assert run_bounded(command("os.close(0); os.write(1, b'yes')"), bytes(1 << 20), most=10) == BoundedRun(b"yes", 0)


@pytest.mark.parametrize("code", ["time.sleep(60)", "os.close(1); time.sleep(60)"])
def test_one_that_hangs_is_ended(code: str) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run_bounded(command(code), most=10, seconds=0.5)
