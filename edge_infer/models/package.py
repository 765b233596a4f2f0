"""A model file together with the manifest that lies beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edge_infer.config.load import load_yaml
from edge_infer.errors import ModelError
from edge_infer.models.files import inside
from edge_infer.models.manifest import Manifest

MANIFEST: Final = "manifest.yaml"


@dataclass(frozen=True, slots=True)
class Package:
    """A model file and its manifest; without one, ``manifest`` is empty and ``manifest_path`` is None."""

    file: Path
    manifest: Manifest = field(default_factory=Manifest)
    manifest_path: Path | None = None

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


def find_package(path: Path) -> Package:
    """The package of a model file, or of the folder of one; raises `ModelError` for a manifest that cannot be read.

    The manifest is ``X.yaml`` beside ``X.tflite``, or a ``manifest.yaml`` there whose ``file`` is that file.
    """
    try:
        path.stat()
        return _find(path)
    except FileNotFoundError as error:
        raise ModelError(f"there is no {path}; name a .tflite file or the folder of a package") from error
    except OSError as error:  # the folder is closed to this user, or its disk is broken
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error


def _find(path: Path) -> Package:
    if path.is_dir():
        if not (path / MANIFEST).exists():
            raise ModelError(f"{path} is a folder without a {MANIFEST}; name a .tflite file or the folder of a package")
        manifest = _read(path / MANIFEST)
        if manifest.file is None:
            raise ModelError(f"{path / MANIFEST}: file: is missing; for example file: model.tflite")
        return Package(inside(path, manifest.file), manifest, path / MANIFEST)
    sidecar = path.with_suffix(".yaml")
    if path.name == MANIFEST or path == sidecar:
        raise ModelError(f"{path} is a manifest; name the folder that it lies in, or the .tflite file")
    found = [candidate for candidate in (sidecar, path.parent / MANIFEST) if _belongs(candidate, path)]
    if not found:
        return Package(path)
    if len(found) > 1:
        raise ModelError(f"{found[0]} and {found[1]} both describe {path.name}; remove one of them")
    manifest = _read(found[0])
    if manifest.file is not None and manifest.file != path.name:
        raise ModelError(f"{found[0]}: file: is {manifest.file}, but it lies beside {path.name} as its manifest")
    return Package(path, manifest, found[0])


def _belongs(manifest: Path, model: Path) -> bool:
    """Whether a manifest that may be there speaks of this model."""
    if not manifest.exists():
        return False
    return manifest.name != MANIFEST or _read(manifest).file == model.name


def _read(path: Path) -> Manifest:
    manifest, problems = load_yaml(path, Manifest)
    if manifest is None or problems:
        raise ModelError("\n".join(map(str, problems)))
    return manifest
