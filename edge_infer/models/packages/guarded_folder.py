"""The folder of a package; its manifest must not name private files.

A command of root may read every file, and the store shows its files to everyone and publishes labels. Therefore a
manifest may name only files that are no more private than the manifest itself and its model.
"""

from __future__ import annotations

import os
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

from edge_infer.errors import ModelError
from edge_infer.sandbox.safe_open import KnownFolder


@dataclass(frozen=True, slots=True)
class GuardedFolder(KnownFolder):
    """A folder that opens a file only if every user who may read the ``public`` files may also read this file.

    ``public`` are the manifest and its model. The files in ``given`` are not checked, because the user named them. With
    ``copied``, the files are to be copied into the store: hidden files and files with further hard links are refused.
    With ``flat``, files in subfolders are also refused. No file is one of the ``private`` files, or in a ``private``
    folder.
    """

    public: tuple[tuple[Path, os.stat_result], ...] = ()
    given: tuple[Path, ...] = ()
    copied: bool = False
    flat: bool = False
    private: tuple[str, ...] = ()

    def open(self, path: Path) -> int:
        """Open a regular file in the folder as `KnownFolder.open` does; raise `ModelError` for a private file."""
        handle = KnownFolder.open(self, path)
        try:
            if path not in self.given:
                self._check(handle, path)
        except BaseException:
            os.close(handle)
            raise
        return handle

    def _check(self, handle: int, path: Path) -> None:
        found = os.fstat(handle)
        real = Path(f"/proc/self/fd/{handle}").readlink()  # the place of the open file, also after a link
        folders = self._folders(real, path)
        if any(_is(each, other) for each in (found, *(folder.stat() for folder in folders)) for other in self.private):
            raise ModelError(
                f"{path} belongs to the configuration or its secrets, and is no file of a model; keep models elsewhere"
            )
        if self.copied:
            self._check_place(real, folders, path)
            if found.st_nlink > 1:
                copy = shlex.quote(f"{path}.copy")
                raise ModelError(
                    f"{path} has {found.st_nlink} names (hard links), so it may be no part of the package; if it is, "
                    f"run: cp -p {shlex.quote(str(path))} {copy} && mv {copy} {shlex.quote(str(path))}"
                )
        for other, readers in self.public:
            if path == other:
                continue
            for folder in folders:
                if not _admits(folder.stat(), stat.S_IXOTH, readers):
                    raise ModelError(
                        _stricter(path, other, f"let the same users enter its folder: {_enter(folder, readers)}")
                    )
            if not _admits(found, stat.S_IROTH, readers):
                same = f"--reference={shlex.quote(str(other))} {shlex.quote(str(path))}"
                owner = (found.st_uid, found.st_gid) != (readers.st_uid, readers.st_gid)
                remedy = f"chown {same} && chmod {same}" if owner else f"chmod {same}"
                raise ModelError(_stricter(path, other, f"run: {remedy}"))

    def _folders(self, real: Path, path: Path) -> list[Path]:
        """Return the folders between this one and an open file."""
        folders: list[Path] = []
        for folder in real.parents:
            status = folder.stat()
            if (status.st_dev, status.st_ino) == (self.device, self.inode):
                return folders
            folders.append(folder)
        raise ModelError(f"{path} was moved while it was read; try again")

    def _check_place(self, real: Path, folders: list[Path], path: Path) -> None:
        """Check the place of a file that the store would get."""
        if hidden := next((each for each in (real, *folders) if each.name.startswith(".")), None):
            raise ModelError(
                f"{path} is hidden ({hidden.name}), so it may be no part of the package; if it is, copy it to a name "
                "without a dot at its beginning"
            )
        if folders and self.flat:
            raise ModelError(
                f"{path} is in a subfolder. Beside a single model file, a manifest may name only files of its own "
                f"folder: copy the file to {self.path}, or make a folder of the package alone, with its "
                "manifest.yaml, and name that folder"
            )


def _admits(found: os.stat_result, everyone: int, readers: os.stat_result) -> bool:
    """Return whether all users who may read a file with the status ``readers`` have a permission for another file.

    ``everyone`` is the bit of that permission for others in the file mode.
    """
    mode = found.st_mode
    if mode & everyone and mode & everyone << 3:
        return True
    owner = found.st_uid == readers.st_uid and mode & everyone << 6
    group = found.st_gid == readers.st_gid and mode & everyone << 3
    return bool(owner and (group or not readers.st_mode & stat.S_IRGRP) and not readers.st_mode & stat.S_IROTH)


def _stricter(path: Path, other: Path, remedy: str) -> str:
    return f"{path} is more private than {other}, so it may be no part of the package; if it is, {remedy}"


def _enter(folder: Path, readers: os.stat_result) -> str:
    return f"chmod {'a' if readers.st_mode & stat.S_IROTH else 'ug'}+x {shlex.quote(str(folder))}"


def _is(found: os.stat_result, other: str) -> bool:
    try:
        return os.path.samestat(found, os.stat(other))  # noqa: PTH116 - a descriptor's status is compared
    except (OSError, ValueError):
        return False
