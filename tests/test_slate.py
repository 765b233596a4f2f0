"""What is noted in shared memory outlives whoever noted it, whole or not at all."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import zlib

import pytest

from edge_infer.ipc.crash_safe_note import HALF, LAST, CrashSafeNote, new_note

WRITING = """
import sys
from edge_infer.ipc.crash_safe_note import CrashSafeNote as Slate
slate = Slate(int(sys.argv[1]))
for number in range(10**9):
    slate.write(b"%d " % number * 20000)
    if number == 20:
        print("begun", flush=True)
"""


def test_the_next_one_reads_what_was_noted_last() -> None:
    fd = new_note()
    with CrashSafeNote(os.dup(fd)) as first:
        assert first.read() is None
        for text in (b"one", b"", b"three"):
            first.write(text)
    with CrashSafeNote(os.dup(fd)) as second:
        assert second.read() == b"three"
        second.write(b"four")
        with pytest.raises(ValueError, match="do not fit"):
            second.write(bytes(HALF))
    with CrashSafeNote(fd) as third:
        assert third.read() == b"four"


def test_a_kill_in_the_middle_leaves_one_value_whole() -> None:
    fd = new_note()
    for _ in range(10):
        process = subprocess.Popen([sys.executable, "-c", WRITING, str(fd)], pass_fds=(fd,), stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        with CrashSafeNote(os.dup(fd)) as slate:
            found = slate.read()
        assert found
        first, _, rest = found.partition(b" ")
        assert found == (first + b" ") * 20000, rest[:50]
    os.close(fd)


def test_what_somebody_else_wrote_there_is_nothing() -> None:
    fd = new_note()
    os.pwrite(fd, b"x" * 100, 0)
    with CrashSafeNote(fd) as slate:
        assert slate.read() is None


@pytest.mark.parametrize(
    ("generation", "found"), [(2**64 - 1, None), (LAST + 1, None), (LAST, b"spoiled"), (LAST - 1, b"spoiled")]
)
def test_notes_go_on_after_a_number_that_nothing_follows(generation: int, found: bytes | None) -> None:
    """A publisher in wrong hands wrote the highest one, once, and every publisher after it died of its first note."""
    fd = new_note()
    head = struct.pack("<QII", generation, len(b"spoiled"), zlib.crc32(b"spoiled"))
    for at in (0, HALF):
        os.pwrite(fd, head + b"spoiled", at)
    for number in range(4):
        with CrashSafeNote(os.dup(fd)) as slate:
            assert slate.read() == found
            found = b"%d" % number
            slate.write(found)
    os.close(fd)


def test_it_holds_no_more_than_two_notes() -> None:
    """Whoever has it may fill it, and it outlives them: it must not take the memory of the box."""
    fd = new_note()
    try:
        for grow in (lambda: os.pwrite(fd, b"x", 2 * HALF), lambda: os.ftruncate(fd, 4 * HALF)):
            with pytest.raises(PermissionError):
                grow()
        assert os.pwrite(fd, b"x", 2 * HALF - 1) == 1
    finally:
        os.close(fd)
