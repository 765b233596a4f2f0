"""Power cuts, simulated: what a program wrote and synced is recorded, and the disk put together as a cut leaves it.

``strace`` records every write, truncation, sync and removal of the files in a folder, and the lines that the program
says in between. At a cut, what was synced is there; of what was not, each write is there, or not, or in part (in
sectors of 512 bytes), and so is each change of a file's length.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

SECTOR = 512
_CALL = re.compile(
    r"^\d+\s+(?P<when>[\d.]+)\s+(?P<name>pwrite64|write|fdatasync|fsync|ftruncate|unlink|unlinkat)\((?P<rest>.*)\)\s+=\s+(?P<result>-?\d+)"
)
_UNFINISHED = "<unfinished ...>"
_RESUMED = re.compile(r"^\d+\s+(?P<when>[\d.]+)\s+<\.\.\. \w+ resumed>(?P<rest>.*)$")
_FD = re.compile(r"^\d+<(?P<path>[^>]*)>")
_BYTES = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True, slots=True)
class Step:
    """One call: ``what`` is write, length, sync, remove or said; ``at`` the offset or the new length.

    ``when`` is the time of day in seconds at which it was made.
    """

    what: str
    name: str
    at: int = 0
    data: bytes = b""
    when: float = 0.0


def record(program: str, folder: Path, *words: str) -> list[Step]:
    """Runs a Python program (its text) and returns what it did to files in ``folder`` and said on standard output."""
    trace = folder.with_suffix(".strace")
    calls = "trace=pwrite64,write,fdatasync,fsync,ftruncate,unlink,unlinkat"
    command = ["strace", "-f", "-ttt", "-y", "-xx", "-s", "300000", "-e", calls, "-o", str(trace)]
    subprocess.run([*command, sys.executable, "-c", program, str(folder), *words], check=True, stdout=subprocess.PIPE)
    calls_made = (call for line in _whole(trace.read_text().splitlines()) if (call := _CALL.match(line)))
    return [
        replace(step, when=float(call["when"]))
        for call in calls_made
        if int(call["result"]) >= 0 and (step := _step(call, folder))
    ]


def _whole(lines: Iterable[str]) -> Iterator[str]:
    """Calls of several threads: one that others interrupted in the text is put together where it came back."""
    begun: dict[str, str] = {}
    for line in lines:
        thread = line.split(maxsplit=1)[0]
        if line.endswith(_UNFINISHED):
            begun[thread] = line.removesuffix(_UNFINISHED).rstrip().split(maxsplit=2)[2]
        elif resumed := _RESUMED.match(line):
            yield f"{thread} {resumed['when']} {begun.pop(thread)}{resumed['rest']}"
        else:
            yield line


def _step(call: re.Match[str], folder: Path) -> Step | None:
    name, rest = call["name"], call["rest"]
    found = _BYTES.search(rest)
    data = bytes.fromhex(found[1].replace("\\x", "")) if found else b""
    if name.startswith("unlink"):
        path = Path(data.decode(errors="replace"))
        return Step("remove", path.name) if path.parent == folder else None
    opened = _FD.match(rest)
    if name == "write":
        return Step("said", "", 0, data) if rest.startswith("1<") else None
    shown = bytes.fromhex(opened["path"].replace("\\x", "")).decode() if opened else ""
    path = Path(shown)
    if path.parent != folder:
        return None
    if name in ("fdatasync", "fsync"):
        return Step("sync", path.name)
    last = int(rest.rpartition(",")[2], 0)
    return Step("length", path.name, last) if name == "ftruncate" else Step("write", path.name, last, data)


@dataclass(slots=True)
class _File:
    synced: bytearray = field(default_factory=bytearray)
    open: list[Step] = field(default_factory=list)


def cut(steps: list[Step], moment: int, into: Path, chance: random.Random) -> list[bytes]:
    """Writes the files as they are after a cut before step ``moment``; what the program had said by then."""
    files: dict[str, _File] = {}
    said = []
    for step in steps[:moment]:
        if step.what == "said":
            said.append(step.data)
        elif step.what == "remove":
            files.pop(step.name, None)
        elif step.what == "sync":
            file = files.setdefault(step.name, _File())
            for earlier in file.open:
                _apply(file.synced, earlier)
            file.open.clear()
        else:
            files.setdefault(step.name, _File()).open.append(step)
    for name, file in files.items():
        for step in file.open:
            _perhaps(file.synced, step, chance)
        (into / name).write_bytes(file.synced)
    return said


def _apply(content: bytearray, step: Step) -> None:
    if step.what == "length":
        del content[step.at :]
        content.extend(bytes(step.at - len(content)))
    else:
        content.extend(bytes(max(0, step.at - len(content))))
        content[step.at : step.at + len(step.data)] = step.data


def _perhaps(content: bytearray, step: Step, chance: random.Random) -> None:
    fate = chance.choice(["kept", "lost", "torn"])
    if fate == "kept" or (fate == "torn" and step.what == "length"):
        _apply(content, step)
    elif fate == "torn":
        for start in range(0, len(step.data), SECTOR):
            if chance.random() < 0.5:
                _apply(content, Step("write", step.name, step.at + start, step.data[start : start + SECTOR]))
