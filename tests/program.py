"""The program under test where every user may read it, as installations have it: daemons of root run as another user.

The Python of these tests may lie in a private home of root. Then the tests get a mount namespace in which that home can
be entered; nothing outside changes.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_NEWNS, _BIND, _REC, _SLAVE = 0x20000, 0x1000, 0x4000, 0x80000
_libc = ctypes.CDLL(None, use_errno=True)


def open_to_all(path: str | Path) -> bool:
    """Whether every user may enter the folders that a file lies in, wherever links lead."""
    return all(folder.stat().st_mode & 0o001 for folder in Path(path).resolve().parents)


def open_program() -> None:
    """For this process, and all that it starts from now on; nothing where it is open already, or not root's to open."""
    places = [Path(sys.executable).resolve(), Path(sys.prefix) / "bin", ROOT / "tests"]
    closed = {folder for place in places for folder in place.parents if not folder.stat().st_mode & 0o001}
    outermost = [folder for folder in closed if not closed & set(folder.parents)]
    if os.geteuid() != 0 or not outermost or _libc.unshare(_NEWNS) != 0:
        return
    _mount(None, "/", None, _REC | _SLAVE)
    for folder in outermost:
        _open(folder)


def _open(folder: Path) -> None:
    """Puts a folder with the same entries in its place."""
    entries = {path: os.open(path, os.O_PATH | os.O_NOFOLLOW) for path in folder.iterdir()}
    _mount("tmpfs", str(folder), "tmpfs", 0, "mode=755")
    for path, file in entries.items():
        mode = os.fstat(file).st_mode
        if stat.S_ISLNK(mode):
            path.symlink_to(os.readlink("", dir_fd=file))
        else:
            path.mkdir() if stat.S_ISDIR(mode) else path.touch()
            _mount(f"/proc/self/fd/{file}", str(path), None, _BIND | _REC)
        os.close(file)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    words = [word.encode() if word is not None else None for word in (source, target, kind)]
    if _libc.mount(*words, ctypes.c_ulong(flags), options.encode() if options else None):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)
