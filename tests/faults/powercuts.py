"""Power cuts at every step of what a process writes: its system calls are recorded, and the disk rebuilt up to each.

What was synced is there. Of the rest an image has all, nothing, or some: names in their order, contents torn anywhere.
"""

from __future__ import annotations

import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from tests.broker import eventually

CALLS: Final = "openat,write,close,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat"
_LINE: Final = re.compile(r"(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)")
_TEXT: Final = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that succeeded: its name, the texts among its arguments, the rest of them, and what came back."""

    name: str
    texts: tuple[bytes, ...]
    rest: str
    result: int


class Recording:
    """strace on a running process, between enter and exit."""

    def __init__(self, pid: int, file: Path) -> None:
        self._command = ["strace", "-qq", "-xx", "-s", "10000000", "-e", f"trace={CALLS}", "-e", "signal=none"]
        self._command += ["-o", str(file), "-p", str(pid)]
        self._pid = pid
        self._file = file
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Recording:
        self._process = subprocess.Popen(self._command)
        tracer = re.compile(rf"^TracerPid:\t{self._process.pid}$", re.MULTILINE)
        eventually(lambda: tracer.search(Path(f"/proc/{self._pid}/status").read_text()), "strace that follows")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        time.sleep(0.2)  # what was written a moment ago is still on its way into the recording
        self._process.send_signal(signal.SIGINT)
        self._process.wait(10)

    def calls(self) -> list[Call]:
        """What was recorded, failures left out."""
        return [call for line in self._file.read_text().splitlines() if (call := _parsed(line)) is not None]


@dataclass(slots=True)
class Disk:
    """Files by number, with what is synced of each; names, with the synced ones and the changes since, in order."""

    contents: list[bytes] = field(default_factory=list)
    synced: list[bytes] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    changes: list[tuple[str, str]] = field(default_factory=list)
    removed: set[str] = field(default_factory=set)
    """Paths of everything that was removed so far, wherever it was."""
    _open: dict[int, int | None] = field(default_factory=dict)

    def do(self, call: Call, folder: Path) -> bool:
        """Follows a call; whether it was about this folder."""
        number = int(re.match(r"-?\d+", call.rest)[0]) if re.match(r"-?\d+", call.rest) else -1  # type: ignore[index]
        if call.name == "openat":
            return self._opened(call, folder)
        if call.name == "write" and self._open.get(number) is not None:
            self.contents[self._open[number] or 0] += call.texts[0][: call.result] if call.texts else b""
        elif call.name in ("fsync", "fdatasync") and number in self._open:
            self._sync(self._open[number])
        elif call.name.startswith("rename") and len(call.texts) == 2:
            before, after = (Path(text.decode()) for text in call.texts)
            return self._renamed(before, after, folder)
        elif call.name.startswith("unlink"):
            self.removed.add(call.texts[0].decode())
        elif call.name == "close" and number in self._open:
            del self._open[number]
        else:
            return False
        return True

    def image(self, chance: random.Random | None, *, everything: bool = False) -> dict[str, bytes]:
        """The files after a power cut now: all that was written, only what was synced, or some of it by chance."""
        if everything:
            return {name: self.contents[number] for name, number in self.names.items()}
        if chance is None:
            return {name: self.synced[number] for name, number in self.kept.items()}
        names = dict(self.kept)
        for before, after in self.changes[: chance.randint(0, len(self.changes))]:
            number = names.pop(before, None) if before != after else self.names.get(after)
            if number is not None:
                names[after] = number
        return {name: self._torn(number, chance) for name, number in names.items()}

    def _torn(self, number: int, chance: random.Random) -> bytes:
        synced, written = self.synced[number], self.contents[number]
        if synced == written:
            return written
        cut = chance.randint(len(synced), len(written))
        return written[:cut] + bytes(chance.choice((0, len(written) - cut)))

    def _opened(self, call: Call, folder: Path) -> bool:
        path = Path(call.texts[0].decode())
        self._open.pop(call.result, None)
        if path == folder and "O_DIRECTORY" in call.rest:
            self._open[call.result] = None
            return True
        if path.parent != folder or "O_CREAT" not in call.rest:
            return False
        self.contents.append(b"")
        self.synced.append(b"")
        self.names[path.name] = self._open[call.result] = len(self.contents) - 1
        self.changes.append((path.name, path.name))
        return True

    def _sync(self, number: int | None) -> None:
        if number is None:
            self.kept, self.changes = dict(self.names), []
        else:
            self.synced[number] = self.contents[number]

    def _renamed(self, before: Path, after: Path, folder: Path) -> bool:
        if after.parent != folder or before.name not in self.names:
            return False
        self.names[after.name] = self.names.pop(before.name)
        self.changes.append((before.name, after.name))
        return True


def images(calls: list[Call], folder: Path, chance: random.Random) -> Iterator[tuple[Disk, dict[str, bytes]]]:
    """Three images for a cut after each call that is about a folder, with the disk as it was at that moment."""
    disk = Disk()
    for call in calls:
        if disk.do(call, folder):
            now = replace(
                disk,
                contents=list(disk.contents),
                synced=list(disk.synced),
                names=dict(disk.names),
                removed=set(disk.removed),
            )
            yield now, now.image(None, everything=True)
            yield now, now.image(None)
            yield now, now.image(chance)


def _parsed(line: str) -> Call | None:
    found = _LINE.match(line)
    if found is None or int(found[3]) < 0:
        return None
    texts = tuple(bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(found[2]))
    return Call(found[1], texts, _TEXT.sub('""', found[2]), int(found[3]))
