"""Child processes whose output is collected: all of it, or nothing if it is too long."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_infer.platform.bounded_run import BoundedRun, run_bounded

TERMINALS = """
terminals = [number for number in map(int, os.listdir("/proc/self/fd")) if os.isatty(number)]
print(terminals, os.getsid(0) == os.getpid(), end="", file=open(sys.argv[1], "w") if sys.argv[1:] else sys.stdout)
"""
"""Tells the terminals that a process has on its descriptors, and whether it has a session of its own."""


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


def test_its_words_come_when_it_has_ended_and_control_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    said = command("os.write(2, b'one\\x1b]0;x\\ntwo' + bytes(1 << 17)); os.write(1, b'yes')")
    assert run_bounded(said, most=10) == BoundedRun(b"yes", 0)
    error = capfd.readouterr().err
    assert error.startswith("one\ufffd]0;x\ntwo\ufffd")
    assert "\x1b" not in error
    assert len(error) == len("\n") + (1 << 16)


def test_one_that_leaves_a_process_behind_is_not_waited_for() -> None:
    left = "import subprocess; p = subprocess.Popen(['sleep', '60'], stdout=2); os.write(1, str(p.pid).encode())"
    done = run_bounded(command(left), most=10, seconds=30)
    assert done.status == 0
    os.kill(int(done.output), signal.SIGKILL)


def on_a_terminal(code: str) -> str:
    """What the code prints, in a process with a terminal; ``t`` is this module."""
    ours, theirs = pty.openpty()
    words = [sys.executable, "-c", f"import sys, tests.test_bounded_run as t\n{code}"]
    done = subprocess.run(words, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    os.close(theirs)
    os.close(ours)
    return done.stdout


def test_it_has_no_terminal_of_ours() -> None:
    """The user that it becomes could read the keys that root types, or type there as root."""
    assert on_a_terminal("print(t.run_bounded(t.command(t.TERMINALS), most=1000).output.decode())") == "[] True\n"


def test_nor_has_the_one_that_receives_the_results_of_a_benchmark(tmp_path: Path) -> None:
    told = tmp_path / "told"
    code = (
        "from edge_infer.bench import receiver\n"
        f"receiver.own_module = lambda *_: [*t.command(t.TERMINALS), {str(told)!r}]\n"
        "with receiver.taker(): pass\n"
    )
    on_a_terminal(code)
    assert told.read_text() == "[] True"
