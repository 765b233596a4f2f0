"""A model file together with the manifest that lies beside it."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from edge_infer.config.load import parse_document, validate
from edge_infer.errors import ModelError
from edge_infer.models.beneath import look_beneath
from edge_infer.models.canonical import canonical
from edge_infer.models.files import file_options, inside, read_whole
from edge_infer.models.manifest import Manifest

MANIFEST: Final = "manifest.yaml"
LARGEST_MANIFEST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Package:
    """A model file and its manifest; without one, ``manifest`` is empty and ``manifest_path`` is None.

    With ``roots`` no file of it is opened through a link (see `open_beneath`). ``written`` is what a signature of the
    manifest is made over.
    """

    file: Path
    manifest: Manifest = field(default_factory=Manifest)
    manifest_path: Path | None = None
    roots: tuple[str, ...] = ()
    written: bytes = b""

    @property
    def folder(self) -> Path:
        """Where the paths of the manifest begin."""
        return (self.manifest_path or self.file).parent

    @property
    def title(self) -> str:
        """``name@version`` of the manifest, else the file's name, in characters that fit into a message."""
        if self.manifest.name and self.manifest.version:
            return f"{self.manifest.name}@{self.manifest.version}"
        stem = "".join(letter if letter.isascii() and letter.isprintable() else "-" for letter in self.file.stem)
        return stem[:128] or "model"

    def read(self, name: str, most: int) -> tuple[Path, bytes]:
        """A file that the manifest names, and its bytes; raises `ModelError` unless they have the digest it says."""
        path = inside(self.folder, name)
        data = read_whole(path, most, roots=self.roots)
        wanted = self.manifest.digests.get(name)
        found = hashlib.sha256(data).hexdigest()
        if wanted is not None and wanted.lower() != found:
            raise ModelError(f"{path}: its SHA-256 is {found}, but {self.manifest_path} wants {wanted.lower()}")
        return path, data

    def named_files(self) -> tuple[str, ...]:
        """The files beside the model that the manifest names, each once."""
        manifest = self.manifest
        labels = manifest.labels if isinstance(manifest.labels, str) else None
        options = file_options(manifest.decoder.options).values() if manifest.decoder else ()
        said = (labels, manifest.input.vocabulary, *options, *(golden.input for golden in manifest.golden))
        return tuple(dict.fromkeys(name for name in said if name is not None))


def find_package(path: Path, roots: tuple[str, ...] = ()) -> Package:
    """The package of a model file, or of the folder of one; raises `ModelError` for a manifest that cannot be read.

    The manifest is ``X.yaml`` beside ``X.tflite``, or a ``manifest.yaml`` there whose ``file`` is that file.
    """
    try:
        found = look_beneath(path, roots) if roots else path.stat()
        return _find(path, roots, folder=stat.S_ISDIR(found.st_mode))
    except FileNotFoundError as error:
        raise ModelError(f"there is no {path}; name a .tflite file or the folder of a package") from error
    except (OSError, ValueError) as error:  # the folder is closed to this user, its disk is broken, or a zero byte
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _find(path: Path, roots: tuple[str, ...], *, folder: bool) -> Package:
    if folder:
        if not (path / MANIFEST).exists():
            raise ModelError(f"{path} is a folder without a {MANIFEST}; name a .tflite file or the folder of a package")
        whole = _read(path / MANIFEST, path, roots)
        if whole.manifest.file is None:
            raise ModelError(f"{path / MANIFEST}: file: is missing; for example file: model.tflite")
        return replace(whole, file=inside(path, whole.manifest.file))
    sidecar = path.with_suffix(".yaml")
    if path.name == MANIFEST or path == sidecar:
        raise ModelError(f"{path} is a manifest; name the folder that it lies in, or the .tflite file")
    found = [package for place in (sidecar, path.parent / MANIFEST) if (package := _beside(place, path, roots))]
    if not found:
        return Package(path, roots=roots)
    if len(found) > 1:
        places = " and ".join(str(package.manifest_path) for package in found)
        raise ModelError(f"{places} both describe {path.name}; remove one of them")
    manifest = found[0].manifest
    if manifest.file is not None and manifest.file != path.name:
        raise ModelError(
            f"{found[0].manifest_path}: file: is {manifest.file}, but it lies beside {path.name} as its manifest"
        )
    return found[0]


def _beside(manifest: Path, model: Path, roots: tuple[str, ...]) -> Package | None:
    """The package, if a manifest is there and speaks of this model."""
    if not os.path.lexists(manifest):
        return None
    package = _read(manifest, model, roots)
    return package if manifest.name != MANIFEST or package.manifest.file == model.name else None


def _read(path: Path, model: Path, roots: tuple[str, ...]) -> Package:
    document = parse_document(path, read_whole(path, LARGEST_MANIFEST, roots=roots))
    manifest, problems = validate(document, Manifest)
    if manifest is None or problems:
        raise ModelError("\n".join(map(str, problems)))
    return Package(model, manifest, path, roots, canonical(document.value))
