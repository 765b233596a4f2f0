"""Named pipes that the supervisor holds open: their writers wait, and what they have written stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_infer.supervisor.processes.readers import HeldPipes

DATA = b"a row\n"


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def read(path: Path) -> bytes:
    """What a reader finds in the pipe."""
    end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.read(end, 4096)
    except BlockingIOError:
        return b""
    finally:
        os.close(end)


def test_what_is_written_while_no_reader_runs_stays(pipe: Path) -> None:
    with HeldPipes() as held:
        held.hold([str(pipe)])
        writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)  # fails where nobody reads
        os.write(writer, DATA)
        held.hold([str(pipe)])  # a reader starts again
        assert read(pipe) == DATA
        os.write(writer, DATA)
        held.hold([])
        with pytest.raises(BrokenPipeError):
            os.write(writer, DATA)
        os.close(writer)


def test_a_pipe_that_takes_the_place_of_another_is_held(pipe: Path) -> None:
    with HeldPipes() as held:
        held.hold([str(pipe)])
        pipe.unlink()
        os.mkfifo(pipe)
        held.hold([str(pipe)])
        writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        os.write(writer, DATA)
        assert read(pipe) == DATA
        os.close(writer)


def test_what_is_no_pipe_or_not_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    before = set(Path("/proc/self/fd").iterdir())
    with HeldPipes() as held:
        held.hold([str(tmp_path / "file"), str(tmp_path / "none"), str(tmp_path), "/dev/null", ""])
        assert set(Path("/proc/self/fd").iterdir()) == before
