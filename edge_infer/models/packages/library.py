"""The model store: packages in ``<state_dir>/models/<name>/<version>/``, added atomically and never changed."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_infer.errors import ConfigError, EdgeInferError, ModelError, StartError
from edge_infer.models.packages.manifest import Manifest
from edge_infer.models.packages.package import LARGEST_MANIFEST, MANIFEST, Package, find_package, package_to_copy
from edge_infer.models.packages.read_files import LARGEST_MODEL, inside, read_whole
from edge_infer.models.packages.versions import rank
from edge_infer.platform.durable_files import with_disk_remedy
from edge_infer.platform.permissions import is_of_service

log = logging.getLogger(__name__)

TEXTS: Final = ("LICENCE", "LICENSE", "NOTICE", "PROVENANCE.md", "README.md")
"""Files that belong to a package although its manifest does not name them."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A package of the store; ``problem`` is the reason if its manifest cannot be read."""

    folder: Path
    manifest: Manifest | None
    problem: str = ""

    @property
    def title(self) -> str:
        """Return ``name@version``, the form that `use` takes in the configuration."""
        return f"{self.folder.parent.name}@{self.folder.name}"

    def damage(self) -> str:
        """Return a sentence about a file that is missing or differs from its digest in the manifest, with the remedy.

        The text is empty for a whole package.
        """
        try:
            find_package(self.folder).checked_digests()
        except ModelError as error:
            return f"{error}; remove {self.folder} and pull or add the package again"
        return ""


class Library:
    """The packages below one folder.

    ``user`` is the name of the user to which this command has changed from root; empty if it did not change its user.
    """

    def __init__(self, folder: Path, user: str = "") -> None:
        self.folder = folder
        self._user = user

    def packages(self) -> list[Stored]:
        """Return all packages, sorted by name and version."""
        try:
            with suppress(FileNotFoundError):
                os.scandir(self.folder).close()  # glob silently skips a folder that this user cannot read
            found = [path.parent for path in self.folder.glob(f"[!.]*/*/{MANIFEST}")]
        except PermissionError as error:
            if not self._user:
                raise StartError(f"this user cannot read {self.folder}; try it with sudo") from error
            raise StartError(
                f"this command, started by root, runs as {self._user}, because other users than root may change the "
                f"configuration; {self._user} cannot read {self.folder}"
            ) from error
        return [_stored(folder) for folder in sorted(found, key=_place_in_order)]

    def find(self, wanted: str) -> list[Stored]:
        """Return the packages ``NAME``, or the one package ``NAME@VERSION``."""
        return [stored for stored in self.packages() if wanted in (stored.title, stored.title.partition("@")[0])]

    def has(self, title: str) -> bool:
        """Return whether the store has the package ``NAME@VERSION``."""
        return self._place(title).exists()

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """Yield a temporary folder in which a package is built.

        The folder's remains are removed at the end. Raises `StartError`.
        """
        try:
            self.folder.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o750, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.folder, prefix=".incoming-") as folder:
                package = Path(folder) / "package"
                package.mkdir()
                yield package
        except EdgeInferError:
            raise
        except PermissionError as error:
            path = error.filename or self.folder
            by_sudo = not self._user and is_of_service(path)
            remedy = "run it with sudo" if by_sudo else "run the command as the daemon's user"
            raise StartError(f"this user cannot write {path}; {remedy}") from error
        except OSError as error:
            raise StartError(f"the model store {self.folder} cannot be written: {with_disk_remedy(error)}") from error

    def place(self, package: Path, title: str) -> Path:
        """Move a complete package durably to the folder where ``use: NAME@VERSION`` finds it; return that folder."""
        target = self._place(title)
        for path in (*package.rglob("*"), package):
            path.chmod(0o755 if path.is_dir() else 0o644)
            _sync(path)
        target.parent.mkdir(mode=0o755, exist_ok=True)
        try:
            package.rename(target)
        except OSError as error:
            if not target.exists():
                raise
            raise ConfigError(f"another process has just added {title} to the store, as {target}") from error
        _sync(target.parent)
        _sync(self.folder)
        return target

    def parts(self) -> Path:
        """Return the folder of partial downloads."""
        return self.folder / ".parts"

    def _place(self, title: str) -> Path:
        name, _, version = title.partition("@")
        return self.folder / name / version


def gather(path: Path, into: Path, private: tuple[str, ...] = ()) -> str:
    """Copy the files of a package, and no others, into a folder and return its title; raises `ModelError`.

    The ``private`` files, and others that are more private than the manifest, do not belong to a package. One of the
    `TEXTS` that may not be copied, and that the manifest does not name, is left out with a warning.
    """
    package = package_to_copy(path, private)
    manifest = package.manifest
    if package.manifest_path is None or manifest.name is None or manifest.version is None:
        missing = " and ".join(f"{key}:" for key in ("name", "version") if getattr(manifest, key) is None)
        where = package.manifest_path or package.file.with_suffix(".yaml")
        raise ModelError(f"the store needs the name and the version of {package.file}; set {missing} in {where}")
    optional = {*TEXTS} - {package.file.name, *package.named_files()}
    for name in sorted(belonging(package)):
        source = inside(package.folder, name)
        try:
            data = read_whole(source, LARGEST_MODEL, folder=package.home)
        except ModelError as error:
            if name not in optional:
                raise
            log.warning("left out of the package: %s", error)
        else:
            _write(data, source, into / name)
    text = package.content(package.manifest_path, LARGEST_MANIFEST).decode()
    if manifest.file is None:
        text = f"file: {package.file.name}\n{text}"
    (into / MANIFEST).write_text(text, encoding="utf-8")
    return f"{manifest.name}@{manifest.version}"


def same(one: Path, other: Path) -> bool:
    """Return whether two packages have the same files with the same bytes."""
    files = [
        {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()} for folder in (one, other)
    ]
    return files[0].keys() == files[1].keys() and all(
        path.read_bytes() == files[1][name].read_bytes() for name, path in files[0].items()
    )


def belonging(package: Package) -> set[str]:
    """Return the names of all files of a package except its manifest."""
    signature = package.file.name + ".sig"
    beside = {name for name in (*TEXTS, signature) if (package.folder / name).is_file()}
    return {package.file.name, *package.named_files()} | beside


def _write(data: bytes, source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    except OSError as error:
        raise StartError(f"{source} cannot be copied into the store: {with_disk_remedy(error)}") from error


def _place_in_order(folder: Path) -> tuple[object, ...]:
    return folder.parent.name, rank(folder.name), folder.name


def _stored(folder: Path) -> Stored:
    try:
        return Stored(folder, find_package(folder).manifest)
    except ModelError as error:
        return Stored(folder, None, str(error))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
