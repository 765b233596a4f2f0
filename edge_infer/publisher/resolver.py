"""A process that resolves the broker's name for the publisher, which then needs neither UDP nor Unix sockets.

The publisher forks this process before either of them enters its sandbox. The process knows the names from the
configuration. The publisher asks for a name by its number, so it cannot send data in a name. The process ends with the
publisher.
"""

from __future__ import annotations

import gc
import ipaddress
import json
import logging
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from edge_infer.platform.event_loop import readable
from edge_infer.sandbox import Fence, kernel, lock
from edge_infer.sandbox.fence import UnixUse
from edge_infer.sandbox.name_look_up import need_unix
from edge_infer.sandbox.system_paths import network

log = logging.getLogger(__name__)
LookUp = Callable[[str], Sequence[str]]
"""Function that returns the addresses of a host, the best one first; raises OSError."""
_QUESTION: Final = struct.Struct("=IB")
"""The number of the question, and the position of the name in the list."""
_PORTS: Final = (53,)
"""TCP ports for answers that are too long for UDP."""
_PR_SET_PDEATHSIG: Final = 1
MAX_ANSWER_BYTES, MAX_ADDRESSES = 4096, 16
TIMEOUT: Final = 30.0
"""Seconds for one question. The C library tries several servers several times."""
EVERY: Final = 1.0
"""Minimum seconds between two look-ups, because the publisher can choose their times."""


class ResolverEndedError(OSError):
    """The resolver process has ended. The publisher must restart, because it cannot start another resolver."""


class Resolver:
    """Asks the process that resolves names. A thread that waits here for an answer may be abandoned."""

    def __init__(self, names: Sequence[str], channel: socket.socket) -> None:
        self._names = tuple(names)
        self._channel = channel
        self._count = 0
        self._lock = threading.Lock()
        self.ended = False

    def __call__(self, host: str) -> Sequence[str]:
        """Return the addresses of ``host``; raises OSError, or `ResolverEndedError` if the process does not answer."""
        if host not in self._names:
            return addresses_of(host)
        with self._lock:
            try:
                return self._asked(self._names.index(host))
            except ConnectionError as error:
                self.ended = True
                raise ResolverEndedError("the process that resolves names has ended") from error

    def _asked(self, place: int) -> Sequence[str]:
        self._count += 1
        self._channel.send(_QUESTION.pack(self._count, place))
        deadline = time.monotonic() + TIMEOUT
        while (left := deadline - time.monotonic()) > 0:
            if not readable([self._channel.fileno()], timeout=left):
                break
            answer = self._channel.recv(MAX_ANSWER_BYTES)
            if not answer:
                raise ConnectionResetError
            number, found = _read(answer)
            if number == self._count:  # otherwise it answers a question of a caller that did not wait
                return found()
        raise TimeoutError(f"the name was not resolved within {TIMEOUT:.0f} s")


def addresses_of(host: str) -> Sequence[str]:
    """Return the addresses of a host, resolved in this process.

    For an address and for ``localhost`` no socket is needed.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))[:MAX_ADDRESSES]


def start(names: Sequence[str]) -> Resolver:
    """Fork the process that resolves these names. Call it before any thread runs, and before `lock`."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent = os.getpid()
    gc.freeze()  # a collection would write to the memory pages that the processes share
    if os.fork() == 0:
        status = 1
        try:
            kernel.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            keep = theirs.detach()
            os.closerange(3, keep)
            os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))
            if os.getppid() == parent:
                serve(names, keep)
            status = 0
        except Exception:
            log.exception("resolver stops: unexpected exception")
        finally:
            os._exit(status)
    gc.unfreeze()
    theirs.close()
    return Resolver(names, ours)


def serve(names: Sequence[str], file: int) -> None:
    """Enter the sandbox, and answer questions until the publisher is gone."""
    for each in (signal.SIGINT, signal.SIGTERM):  # the process ends with the publisher, which may still need it
        signal.signal(each, signal.SIG_IGN)
    unix: UnixUse = "names" if any(map(need_unix, names)) else ""
    lock("resolver", fence=Fence(reads=network(), ports=_PORTS, unix=unix, datagrams=True))
    with socket.socket(fileno=file) as channel:
        while True:
            question = channel.recv(_QUESTION.size)
            while readable([file]) and question:  # only the newest question still matters
                question = channel.recv(_QUESTION.size)
            if not question:
                return
            number, place = _QUESTION.unpack(question)
            channel.send(json.dumps(_answer(number, names[place])).encode())
            time.sleep(EVERY)


def _answer(number: int, host: str) -> dict[str, Any]:
    try:
        return {"number": number, "addresses": addresses_of(host)}
    except socket.gaierror as error:
        return {"number": number, "gaierror": error.errno, "text": error.strerror}
    except OSError as error:
        return {"number": number, "errno": error.errno, "text": error.strerror}


def _read(answer: bytes) -> tuple[int, Callable[[], Sequence[str]]]:
    """Return the number of a question, and a function that returns its addresses or raises its error.

    The answer comes from a process that parses data of any name server, so only addresses are accepted from it.
    """
    try:
        found = json.loads(answer)
        number = int(found["number"])
        if "addresses" in found:
            addresses = tuple(str(ipaddress.ip_address(each)) for each in found["addresses"][:MAX_ADDRESSES])
            return number, lambda: addresses
        kind = socket.gaierror if "gaierror" in found else OSError
        error = kind(int(found.get("gaierror", found.get("errno"))), str(found["text"])[:200])
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as fault:
        raise ConnectionResetError("the process that resolves names sent an invalid answer") from fault

    def fail() -> Sequence[str]:
        raise error

    return number, fail
