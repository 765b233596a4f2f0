"""Memory that is handed to another process holds data, never a program."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_infer.ipc.activity_table import new_activity_table
from edge_infer.ipc.crash_safe_note import new_note
from edge_infer.ipc.delivered_numbers import new_delivered_numbers
from edge_infer.platform import memfd

SEAL_EXEC = 0x20
"""``F_SEAL_EXEC`` of Linux 6.3."""


@pytest.mark.parametrize("make", [lambda: memfd.create("any"), new_note, new_activity_table, new_delivered_numbers])
def test_no_program_can_be_run_from_it_where_the_kernel_knows_how(make: Callable[[], int]) -> None:
    fd = make()
    try:
        sealed = fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEAL_EXEC
        assert sealed or tuple(map(int, os.uname().release.split(".")[:2])) < (6, 3)
        assert not (sealed and os.fstat(fd).st_mode & (stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH))
    finally:
        os.close(fd)


def test_a_copy_cannot_be_changed_and_can_be_read_again_by_its_place(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as file:
        fd, digest = memfd.copied(file.fileno(), "any")
    try:
        assert digest == hashlib.sha256(data).hexdigest()
        assert memfd.content(fd) == data
        for change in (lambda: os.write(fd, b"x"), lambda: os.ftruncate(fd, 1), lambda: os.ftruncate(fd, 1 << 30)):
            with pytest.raises(PermissionError):
                change()
        assert Path(memfd.place(fd)).read_bytes() == data
    finally:
        os.close(fd)
