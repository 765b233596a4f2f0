"""What a locked process could hold others up with: sockets that linger, open files, leases."""

from __future__ import annotations

import pytest

from tests.sandbox.locked import ATTEMPT, run

LEASES = (
    ATTEMPT
    + """
import fcntl, os
file = os.open("/usr/bin/env", os.O_RDONLY)
attempt(lambda: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK))
"""
)
LINGERS = (
    ATTEMPT
    + """
import socket, struct
way = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
attempt(lambda: way.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600)))
attempt(lambda: way.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))
"""
)
SENDS = (
    ATTEMPT
    + """
import os, socket
attempt(lambda: socket.send_fds(ours, [b"x"], [0]))
attempt(lambda: ours.send(b"x"))
attempt(lambda: os.write(ours.fileno(), b"x"))
"""
)
PAIR = "import socket; ours, theirs = socket.socketpair()"


@pytest.mark.parametrize("room", ["engine", "probe", "publisher", "reader"])
def test_it_leases_no_file(room: str) -> None:
    assert run("", LEASES) == "allowed"
    assert run(room, LEASES) == "EPERM"


def test_what_it_connects_does_not_linger() -> None:
    assert run("", LINGERS).split() == ["allowed", "allowed"]
    assert run("publisher", LINGERS).split() == ["EPERM", "allowed"]
    assert run("reader", LINGERS, network=True).split() == ["EPERM", "allowed"]


@pytest.mark.parametrize("room", ["engine", "probe"])
def test_it_sends_no_open_files(room: str) -> None:
    assert run("", SENDS, before=PAIR).split() == ["allowed"] * 3
    assert run(room, SENDS, before=PAIR).split() == ["EPERM", "EPERM", "allowed"]
