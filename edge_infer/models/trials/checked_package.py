"""The files of one model: a trusted process reads and checks them, and hands them to the process that tries the model.

The trusted process finds the files and checks digest, signature and version before any code parses the model. The probe
process gets sealed copies in memory, so it needs no file access and cannot change the checked bytes.
"""

from __future__ import annotations

import hashlib
import os
from importlib import metadata
from pathlib import Path
from typing import Final

from edge_infer import __version__
from edge_infer.contract.codec import dumps, replace
from edge_infer.errors import ModelError, ModelKey
from edge_infer.models.packages.labels import LARGEST as LARGEST_LABELS
from edge_infer.models.packages.package import LARGEST_MANIFEST, Package, canonical, find_package, parsed
from edge_infer.models.packages.read_files import inside, largest_here
from edge_infer.models.packages.signature import check_trust
from edge_infer.models.request import ModelRequest, Policy
from edge_infer.models.trials.file_handover import SealedCopies

RUNTIMES: Final = ("ai-edge-litert", "tflite-runtime")
MAX_BESIDE_BYTES: Final = 64 << 20
"""Maximum size in bytes of a file that a manifest names."""


class CheckedPackage(SealedCopies):
    """The ``package`` of a request, with its files copied and checked; raises `ModelError`."""

    def __init__(self, request: ModelRequest) -> None:
        super().__init__()
        self._private = request.private
        self.package = find_package(Path(request.file), request.roots)
        try:
            self.sha256 = self._add_own(self.package.file, largest_here())
            self.signed = check_trust(self.package, self.sha256, request)
            """The trusted key (in hexadecimal) that signed the package, if the request requires one."""
            if self.package.manifest_path is not None:
                self._add_manifest(self.package.manifest_path)
            if request.labels_file is not None:
                self._add_labels(Path(request.labels_file), request)
            self._add_all_named(self.package)
            self.question = self._digest_of_all(request)
            """A digest of everything on which the answer depends: the request, every file, this program, the
            runtime."""
        except BaseException:
            self.close()
            raise

    def _digest_of_all(self, request: ModelRequest) -> str:
        asked = replace(request, roots=(), policy=Policy(), private=())
        files = [(path, self.digest(path)) for path in self.paths]
        here = os.uname()
        facts = [__version__, _runtimes(), here.nodename, here.machine, dumps(asked).decode(), str(files)]
        return hashlib.sha256("\n".join(facts).encode(errors="surrogateescape")).hexdigest()

    def _add_own(self, path: Path, most: int) -> str:
        """Copy a file of the package and return its SHA-256."""
        return self.add(path, most, roots=self.package.roots, folder=self.package.home_of(path))

    def _add_manifest(self, path: Path) -> None:
        """Copy the manifest; raises `ModelError` if it differs from the manifest that was checked."""
        self._add_own(path, LARGEST_MANIFEST)
        if canonical(parsed(path, self.read(path))[1].value) != self.package.written:
            raise ModelError(f"{path} changed during the read; try again when it is complete")

    def _add_labels(self, path: Path, request: ModelRequest) -> None:
        try:
            self._refuse_private(path, "name another file as labels", key="labels")
            self.add(path, LARGEST_LABELS, key="labels", roots=request.roots)
        except ModelError as error:
            raise ModelError(f"{self.package.file}: {error}", key=error.key) from error

    def _add_all_named(self, package: Package) -> None:
        """Copy the files that the manifest names, including golden inputs."""
        golden = {each.input for each in package.manifest.golden}
        for name in package.named_files():
            try:
                self._add_named(package, name)
            except ModelError as error:
                what = f"{package.manifest_path}: golden input " if name in golden else f"{package.file}: "
                raise ModelError(what + str(error), key=error.key) from error

    def _add_named(self, package: Package, name: str) -> None:
        path = inside(package.folder, name)
        self._refuse_private(path, "keep models elsewhere")
        found = self._add_own(path, MAX_BESIDE_BYTES)
        wanted = package.manifest.digests.get(name)
        if wanted is not None and wanted.lower() != found:
            raise ModelError(f"{path}: its SHA-256 is {found}, but {package.manifest_path} lists {wanted.lower()}")

    def _refuse_private(self, path: Path, remedy: str, *, key: ModelKey = "file") -> None:
        if any(_is_same(path, other) for other in self._private):
            raise ModelError(
                f"{path} is the configuration or one of its secrets, not a file of a model; {remedy}", key=key
            )


def _runtimes() -> str:
    """Return the installed runtimes with versions, because another runtime may give another result."""
    found = []
    for name in RUNTIMES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def _is_same(path: Path, other: str) -> bool:
    try:
        return path.samefile(other)
    except (OSError, ValueError):
        return False
