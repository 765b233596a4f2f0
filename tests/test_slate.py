"""What is noted in shared memory outlives whoever noted it, whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from edge_infer.slate import HALF, Slate, new_slate

WRITING = """
import sys
from edge_infer.slate import Slate
slate = Slate(int(sys.argv[1]))
for number in range(10**9):
    slate.write(b"%d " % number * 20000)
    if number == 20:
        print("begun", flush=True)
"""


def test_the_next_one_reads_what_was_noted_last() -> None:
    fd = new_slate()
    with Slate(os.dup(fd)) as first:
        assert first.read() is None
        for text in (b"one", b"", b"three"):
            first.write(text)
    with Slate(os.dup(fd)) as second:
        assert second.read() == b"three"
        second.write(b"four")
        with pytest.raises(ValueError, match="do not fit"):
            second.write(bytes(HALF))
    with Slate(fd) as third:
        assert third.read() == b"four"


def test_a_kill_in_the_middle_leaves_one_value_whole() -> None:
    fd = new_slate()
    for _ in range(10):
        process = subprocess.Popen([sys.executable, "-c", WRITING, str(fd)], pass_fds=(fd,), stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        with Slate(os.dup(fd)) as slate:
            found = slate.read()
        assert found
        first, _, rest = found.partition(b" ")
        assert found == (first + b" ") * 20000, rest[:50]
    os.close(fd)


def test_what_somebody_else_wrote_there_is_nothing() -> None:
    fd = new_slate()
    os.pwrite(fd, b"x" * 100, 0)
    with Slate(fd) as slate:
        assert slate.read() is None
