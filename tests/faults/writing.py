"""``python -m tests.faults.writing PATTERN FILE [--half]``: writes standard input to a file as some program does it.

With ``--half`` it stops in the middle, says so, and waits to be killed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

Pause = Callable[[], None]
PIECE: Final = 10


def truncate(path: Path, data: bytes, pause: Pause) -> None:
    """The shell's ``>``, scp and nano: the same file, emptied and written."""
    with path.open("wb", buffering=0) as file:
        _in_two(file.fileno(), data, pause)


def rename(path: Path, data: bytes, pause: Pause) -> None:
    """rsync and Ansible: a file of another name, renamed when it is whole."""
    fresh = path.with_name(f".{path.name}.a8f3xq")
    with fresh.open("wb", buffering=0) as file:
        _in_two(file.fileno(), data, pause)
    fresh.rename(path)


def backup(path: Path, data: bytes, pause: Pause) -> None:
    """vim: the old file is renamed to a backup, a new one written under the name, the backup removed."""
    kept = path.with_name(f"{path.name}~")
    path.rename(kept)
    with path.open("xb", buffering=0) as file:
        _in_two(file.fileno(), data, pause)
    kept.unlink()


def sed(path: Path, data: bytes, pause: Pause) -> None:
    """The real ``sed -i``, which puts a whole new file in the place of the old one; halfway there is only its own."""
    script = path.with_name(".edit.sed")
    fresh = path.with_name(".edit.new")
    fresh.write_bytes(data)
    script.write_text(f"1r {fresh}\n1,$d\n")
    pause()
    subprocess.run(["sed", "-i", "-f", str(script), str(path)], check=True)


def link(path: Path, data: bytes, pause: Pause) -> None:
    """Kubernetes: the file is a link through ``..data``, a link to a folder, that is put in the place of another."""
    folder = path.parent / f"..{time.time_ns()}"
    folder.mkdir()
    with (folder / path.name).open("wb", buffering=0) as file:
        _in_two(file.fileno(), data, pause)
    fresh, through = path.parent / "..data_tmp", path.parent / "..data"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.name)
    fresh.rename(through)
    if not path.is_symlink():
        aside = path.with_name("link.tmp")
        aside.symlink_to(f"..data/{path.name}")
        aside.rename(path)


def append(path: Path, data: bytes, pause: Pause) -> None:
    """A slow line: the file comes in pieces, each a moment after the other."""
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(data), PIECE):
            os.write(file.fileno(), data[start : start + PIECE])
            time.sleep(0.02)
            if start + PIECE > len(data) // 2 and not data[: start + PIECE].endswith(b"\n"):
                pause()


PATTERNS: Final[Mapping[str, Callable[[Path, bytes, Pause], None]]] = {
    "truncate": truncate,
    "rename": rename,
    "backup": backup,
    "sed": sed,
    "link": link,
    "append": append,
}


def _in_two(file: int, data: bytes, pause: Pause) -> None:
    middle = data.rindex(b"\n") - 3  # in the last line, where what is there so far makes a whole of its own
    os.write(file, data[:middle])
    pause()
    os.write(file, data[middle:])
    os.fsync(file)


def _stop_here() -> None:
    print("half", flush=True)
    time.sleep(3600)


def main() -> int:
    """Writes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("pattern", choices=PATTERNS)
    parser.add_argument("file", type=Path)
    parser.add_argument("--half", action="store_true")
    args = parser.parse_args()
    PATTERNS[args.pattern](args.file, sys.stdin.buffer.read(), _stop_here if args.half else lambda: None)
    return 0


def save(pattern: str, path: Path, data: bytes) -> None:
    """Writes the whole file in this way, in a process of its own."""
    with _writer(pattern, path, data) as process:
        assert process.wait(30) == 0


def save_half(pattern: str, path: Path, data: bytes) -> None:
    """Writes half of it, and is killed."""
    with _writer(pattern, path, data, "--half") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()


def _writer(pattern: str, path: Path, data: bytes, *more: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.writing", pattern, str(path), *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.close()
    process.stdin = None
    return process


if __name__ == "__main__":
    sys.exit(main())
