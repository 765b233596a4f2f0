"""An attacker in each process of a daemon that has this folder in ``PYTHONPATH``: it acts once the process is locked.

It makes the supervisor look as if it could have no message queues, which once made any process a person, and asks it
for what people ask for. What became of it goes into a file that was opened before the process locked itself.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import socket
import struct
import sys
import threading
import time
from contextlib import suppress

NOTES = os.open(os.environ["INTRUDER_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
SOCKET = os.environ["INTRUDER_SOCKET"]
SOURCE = os.environ["INTRUDER_SOURCE"]
HEAVY = {"numpy", "cv2", "paho", "pydantic"}
"""What a room imports after it has locked itself."""
MAKES_PROCESSES = "edge_infer.config"
"""Reads a configuration, and could leave one behind."""


class Ambush:
    """Attacks on the first import of something heavy in a thread that is locked, whose rights a new thread has."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        del path, target
        if name in HEAVY and locked():
            sys.meta_path.remove(self)
            threading.Thread(target=attack, args=(module(),)).start()
            if module() == MAKES_PROCESSES:
                leave_behind(f"{module()} orphan")


def leave_behind(name: str) -> None:
    """Attacks from a process whose parents have ended, and which has nothing of theirs but the notes."""
    if child := os.fork():
        os.waitpid(child, 0)
        return
    os.setsid()
    os.closerange(0, NOTES)
    os.closerange(NOTES + 1, 1024)
    if os.fork() == 0:
        while os.getppid() == os.getsid(0):
            time.sleep(0.01)
        attack(name)
    os._exit(0)


def module() -> str:
    """What ``python -m`` runs here."""
    return next((after for word, after in zip(sys.orig_argv, sys.orig_argv[1:]) if word == "-m"), "")  # noqa: B905


def locked() -> bool:
    with open("/proc/thread-self/status") as status:  # noqa: PTH123
        return any(line.split() == ["Seccomp:", "2"] for line in status)


def attack(name: str, patience: float = 60.0) -> None:
    """Notes what became of each request: ``answered``, ``refused`` or the error that kept it from being sent."""
    lowered, answers = [], {}
    pictures = 0
    for pid in {os.getppid(), os.getpid(), supervisor()} - {int(os.environ["INTRUDER_SPARES"])}:
        try:
            resource.prlimit(pid, resource.RLIMIT_MSGQUEUE, (0, 0))
            lowered.append(pid)
        except OSError:
            continue
    for request in ({"do": "status"}, {"do": "grab", "source": SOURCE}, {"do": "reload"}):
        try:
            with socket.socket(socket.AF_UNIX) as way:
                way.settimeout(patience)
                way.connect(SOCKET)
                answers[request["do"]], size = asked(way, request)
                pictures += size
        except OSError as error:
            answers[request["do"]] = errno.errorcode.get(error.errno or 0, "sent, and no answer")
    found = {
        "name": name,
        "pid": os.getpid(),
        "lowered": lowered,
        "answers": answers,
        "bytes": pictures,
    }
    os.write(NOTES, json.dumps(found).encode() + b"\n")


def supervisor() -> int:
    """The process that listens, where that can be asked."""
    try:
        with socket.socket(socket.AF_UNIX) as way:
            way.connect(SOCKET)
            return int(struct.unpack("3i", way.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
    except OSError:
        return os.getppid()


def asked(way: socket.socket, request: dict[str, str]) -> tuple[str, int]:
    """Sends a request; returns what became of it, and how many bytes of a picture came."""
    told = b""
    with suppress(ConnectionError):
        way.sendall(json.dumps(request).encode() + b"\n")
    with suppress(ConnectionError):
        while part := way.recv(1 << 20):
            told += part
    answer, _, picture = told.partition(b"\n")
    return "refused" if not answer or b'"refused"' in answer else "answered", len(picture)


if module():
    sys.meta_path.insert(0, Ambush())
