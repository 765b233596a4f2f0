"""System calls that the kernel refused to processes and logged, as found in the kernel's log."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_infer.doctor.finding import Finding, ok, warn
from edge_infer.sandbox import kernel

_REFUSED: Final = re.compile(r"type=1326 .*?pid=(\d+) .*?exe=\"([^\"]*)\" .*?syscall=(\d+) .*?code=0x5[0-9a-f]{4}\b")
_MAX_RECORD_BYTES: Final = 8192
_AUDITD: Final = Path("/run/auditd.pid")
MAX_NAMED: Final = 8


def refusals(pids: Collection[int], log: Path = Path("/dev/kmsg")) -> Iterator[Finding]:
    """Yield the calls that the kernel refused to processes of this Python and logged.

    ``pids`` are the running processes.
    """
    if _AUDITD.exists():
        yield ok("refused calls", "the audit service records them: ausearch -m SECCOMP")
        return
    try:
        records = list(_records(log))
    except OSError as error:
        remedy = "run it as root, or read the kernel's log with: sudo dmesg | grep type=1326"
        if os.geteuid() == 0:
            remedy = "the system forbids it even to root; outside of this container: sudo dmesg | grep type=1326"
        yield warn("refused calls", f"not examined: {log} cannot be read: {error.strerror or error}", remedy)
        return
    now, before = _counted(records, pids)
    if now or before:
        found = ((now, "running processes"), (before, "earlier ones"))
        parts = [f"{_named(calls)} by {whom}" for calls, whom in found if calls]
        remedy = "report it with the lines of: sudo dmesg | grep type=1326"
        yield warn("refused calls", f"the kernel logged {' and '.join(parts)}", remedy)
    else:
        yield ok("refused calls", "the kernel's log has none")


def _counted(records: Iterable[str], pids: Collection[int]) -> tuple[Counter[str], Counter[str]]:
    machine = kernel.machine()
    names = {number: name for name, number in machine.numbers.items()} if machine else {}
    program = os.path.realpath(sys.executable)
    now: Counter[str] = Counter()
    before: Counter[str] = Counter()
    for record in records:
        if (found := _REFUSED.search(record)) and found[2] == program:
            name = names.get(int(found[3]), f"call {found[3]}")
            (now if int(found[1]) in pids else before)[name] += 1
    return now, before


def _named(calls: Counter[str]) -> str:
    named = [f"{name} {count} times" if count > 1 else name for name, count in calls.most_common(MAX_NAMED)]
    return ", ".join([*named, *(["others"] if len(calls) > MAX_NAMED else [])])


def _records(log: Path) -> Iterator[str]:
    """Yield the records that are in the kernel's log now."""
    file = os.open(log, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        with suppress(BlockingIOError):
            while True:
                try:
                    record = os.read(file, _MAX_RECORD_BYTES)
                except BrokenPipeError:
                    continue  # newer records have overwritten the next one
                if not record:
                    return
                yield from record.decode("utf-8", "replace").splitlines()
    finally:
        os.close(file)
