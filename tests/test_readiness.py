"""Waiting for descriptors of any number, with the answers that select(2) gives."""

from __future__ import annotations

import fcntl
import os
import resource
import select
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from edge_infer.platform.event_loop import readable

HIGH = 1500
"""More than the highest descriptor of select(2)."""


@pytest.fixture
def _many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * HIGH), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("_many_files")
def test_descriptors_beyond_those_of_select() -> None:
    left, right = socket.socketpair()
    high = fcntl.fcntl(left, fcntl.F_DUPFD_CLOEXEC, HIGH)
    with left, right:
        with pytest.raises(ValueError, match="range"):
            select.select([high], [], [], 0)
        assert readable([high]) == []
        right.sendall(b"x")
        assert readable([high], [high], 10.0) == [high]
    os.close(high)


def test_it_answers_as_select_does() -> None:
    left, right = socket.socketpair()
    reading, writing = os.pipe()
    left.setblocking(False)
    with left, right:
        files = [left.fileno(), right.fileno(), reading]

        def same() -> None:
            for reads in (files, files[:1], []):
                for writes in ([], [left.fileno()], [left.fileno(), right.fileno(), writing]):
                    assert sorted(readable(reads, writes)) == sorted(select.select(reads, writes, [], 0)[0])

        same()
        os.write(writing, b"x")
        same()
        with suppress(BlockingIOError):
            while True:
                left.send(bytes(65536))
        same()
        assert readable([], [left.fileno()], 0.01) == []
        left.shutdown(socket.SHUT_WR)
        same()
        os.close(writing)
        writing = right.fileno()
        same()
        right.close()
        files = [left.fileno(), reading]
        writing = left.fileno()
    os.close(reading)


def test_a_closed_descriptor_is_an_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    with pytest.raises(OSError, match="Bad file descriptor"):
        readable([reading], timeout=10.0)
    with pytest.raises(ValueError, match="negative"):
        readable([-1])


def test_more_descriptors_than_a_limit_that_was_lowered() -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    files = [each.fileno() for pair in pairs for each in pair]
    pairs[0][1].sendall(b"x")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        assert readable(files, files[:1], 10.0) == [files[0]]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for left, right in pairs:
        left.close()
        right.close()


def test_a_time_that_has_passed_is_no_wait_without_end() -> None:
    reading, writing = os.pipe()
    assert readable([reading], timeout=-1.0) == []
    os.close(reading)
    os.close(writing)
