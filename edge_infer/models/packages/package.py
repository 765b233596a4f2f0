"""A model file together with its manifest."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from edge_infer.contract.codec import replace
from edge_infer.errors import ModelError, ModelKey
from edge_infer.models.packages.guarded_folder import GuardedFolder
from edge_infer.models.packages.manifest import Manifest
from edge_infer.models.packages.read_files import LARGEST_MODEL, file_options, inside, read_whole, read_with_status
from edge_infer.models.trials.file_handover import ReceivedCopies
from edge_infer.platform.permissions import why_unreadable
from edge_infer.sandbox import privileges
from edge_infer.sandbox.safe_open import KnownFolder, look_beneath
from edge_infer.yamlfile.load import Document, parse_document, validate
from edge_infer.yamlfile.scalars import Written

# Canonical bytes of a manifest, over which signatures are made.

_AS_JSON: Final = {".inf": "Infinity", "-.inf": "-Infinity", ".nan": "NaN"}
"""Values that Python's ``json`` spells differently than YAML; signatures cover the JSON spelling."""


def canonical(value: Any) -> bytes:
    """Return a manifest's content as UTF-8 JSON: keys sorted by code point, no spaces, minimal escapes.

    Comments, order and layout of the YAML do not matter. A number keeps the spelling of the manifest, because text
    fields use that spelling: ``version: 1.1000`` is another version than ``1.1``. Where Python's ``json`` would spell
    the value differently (``1.1000``, ``007``, ``0x10``), the bytes are not valid JSON, and no other content has the
    same bytes.
    """
    return _spelled(value).encode()


def _spelled(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{','.join(f'{_plain(key)}:{_spelled(value[key])}' for key in sorted(value))}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_spelled, value))}]"
    if isinstance(value, Written):
        return _AS_JSON.get(value.text, value.text)
    return _plain(value)


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


MANIFEST: Final = "manifest.yaml"
LARGEST_MANIFEST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Package:
    """A model file and its manifest; without a manifest, ``manifest`` is empty and ``manifest_path`` is None.

    With ``roots``, no file of the package is opened through a link (see `open_beneath`). Without, links may not lead
    out of ``home``, the folder of the manifest. ``whole`` is true if the caller named the folder instead of the model
    file. ``written`` is the canonical form of the manifest, which a signature covers. In a probe process, ``handed``
    holds the only files that the process can open. ``document`` is the manifest with its lines, for messages, and
    ``status`` the status of its file.
    """

    file: Path
    manifest: Manifest = field(default_factory=Manifest)
    manifest_path: Path | None = None
    roots: tuple[str, ...] = ()
    written: bytes = b""
    handed: ReceivedCopies | None = None
    home: KnownFolder | None = None
    whole: bool = False
    document: Document | None = None
    status: os.stat_result | None = None

    @property
    def folder(self) -> Path:
        """The folder to which the manifest's paths are relative."""
        return (self.manifest_path or self.file).parent

    @property
    def title(self) -> str:
        """The manifest's ``name@version``, otherwise the file name, in characters that a message may contain."""
        if self.manifest.name and self.manifest.version:
            return f"{self.manifest.name}@{self.manifest.version}"
        stem = "".join(letter if letter.isascii() and letter.isprintable() else "-" for letter in self.file.stem)
        return stem[:128] or "model"

    def read(self, name: str, most: int) -> tuple[Path, bytes]:
        """Return path and bytes of a file that the manifest names; raises `ModelError` if its digest is wrong."""
        path = inside(self.folder, name)
        data = self.content(path, most)
        wanted = self.manifest.digests.get(name)
        found = _sha256(data)
        if wanted is not None and wanted.lower() != found:
            raise ModelError(f"{path}: its SHA-256 is {found}, but {self.manifest_path} lists {wanted.lower()}")
        return path, data

    def checked_digests(self) -> Mapping[str, str]:
        """Return the files' digests by name; raises `ModelError` if one is missing or has another digest."""
        said = self.manifest.sha256
        digest = _sha256(self.content(self.file, LARGEST_MODEL))
        if said is not None and said.lower() != digest:
            raise ModelError(f"{self.file}: its SHA-256 is {digest}, but {self.manifest_path} lists {said.lower()}")
        beside = {name: _sha256(self.read(name, LARGEST_MODEL)[1]) for name in self.named_files()}
        return {self.file.name: digest, **beside}

    def content(self, path: Path, most: int, *, key: ModelKey = "file") -> bytes:
        """Return the bytes of any file of the package or the request; raises `ModelError`."""
        if self.handed is not None:
            return self.handed.read(path, most, key=key)
        return read_whole(path, most, key=key, roots=self.roots, folder=self.home_of(path))

    def home_of(self, path: Path) -> KnownFolder | None:
        """Return the folder out of which no link to this file may lead; None for a model file that the user named."""
        return self.home if self.whole or path != self.file else None

    def place(self, path: Path) -> str:
        """Return a path that opens a file of the package in this process."""
        return str(path.absolute()) if self.handed is None else self.handed.place(path)

    def fault(self, key: str, text: str) -> str:
        """Return an error text about a key of the manifest, with file and line; without a manifest, only the text."""
        return str(self.document.problem((key,), text)) if self.document is not None else f"{key}: {text}"

    @property
    def manifest_digest(self) -> str:
        """Return a digest of the manifest's content; its layout and comments do not matter."""
        return _sha256(self.written)

    def named_files(self) -> tuple[str, ...]:
        """Return the files that the manifest names in addition to the model, each once."""
        manifest = self.manifest
        labels = manifest.labels if isinstance(manifest.labels, str) else None
        options = file_options(manifest.decoder.options).values() if manifest.decoder else ()
        said = (labels, manifest.input.vocabulary, *options, *(golden.input for golden in manifest.golden))
        return tuple(dict.fromkeys(name for name in said if name is not None))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def find_package(path: Path, roots: tuple[str, ...] = ()) -> Package:
    """Return the package of a model file or of a package folder; raises `ModelError` for an unreadable manifest.

    The manifest is ``X.yaml`` beside ``X.tflite``, or a ``manifest.yaml`` there with that file as ``file``. Without
    ``roots``, a process that may read every file opens no file that is more private than the manifest.
    """
    package = _found(path, roots)
    return _guarded(package) if not roots and privileges.may_read_any_file() else package


def package_to_copy(path: Path, private: tuple[str, ...] = ()) -> Package:
    """Return the package as `find_package` does, for its copy in the store: no private, hidden or foreign file."""
    return _guarded(_found(path, ()), copied=True, private=private)


def _guarded(package: Package, *, copied: bool = False, private: tuple[str, ...] = ()) -> Package:
    """Return the package with a folder that refuses private files."""
    manifest, home = package.manifest_path, package.home
    if manifest is None or home is None or package.status is None:
        return package
    public, given = [(manifest, package.status)], (manifest,) if package.whole else (manifest, package.file)
    with suppress(OSError, ValueError):  # the error is reported when the model is opened
        public.append((package.file, package.file.stat()))
    guard = GuardedFolder(
        home.path, home.device, home.inode, tuple(public), given, copied, flat=not package.whole, private=private
    )
    return replace(package, home=guard)


def _found(path: Path, roots: tuple[str, ...]) -> Package:
    try:
        found = look_beneath(path, roots) if roots else path.stat()
        return _find(path, roots, folder=stat.S_ISDIR(found.st_mode))
    except FileNotFoundError as error:
        raise ModelError(f"there is no {path}; name a .tflite file or the folder of a package") from error
    except (OSError, ValueError) as error:  # no permission for the folder, a broken disk, or a NUL in the path
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path} {why_unreadable(path, error)}") from error


def handed_package(file: Path, manifest_path: Path | None, handed: ReceivedCopies) -> Package:
    """Return the package of files that the parent process found and handed over; raises `ModelError`."""
    if manifest_path is None:
        return Package(file, handed=handed)
    manifest, document = parsed(manifest_path, handed.read(manifest_path, LARGEST_MANIFEST))
    return Package(file, manifest, manifest_path, handed=handed, document=document)


def _find(path: Path, roots: tuple[str, ...], *, folder: bool) -> Package:
    if folder:
        if not (path / MANIFEST).exists():
            raise ModelError(f"{path} is a folder without a {MANIFEST}; name a .tflite file or the folder of a package")
        whole = _read(path / MANIFEST, path, roots)
        if whole.manifest.file is None:
            raise ModelError(f"{path / MANIFEST}: file: is missing; for example file: model.tflite")
        return replace(whole, file=inside(path, whole.manifest.file), whole=True)
    sidecar = path.with_suffix(".yaml")
    if path.name == MANIFEST or path == sidecar:
        raise ModelError(f"{path} is a manifest; name its folder, or the .tflite file")
    found = [package for place in (sidecar, path.parent / MANIFEST) if (package := _beside(place, path, roots))]
    if not found:
        return Package(path, roots=roots)
    if len(found) > 1:
        places = " and ".join(str(package.manifest_path) for package in found)
        raise ModelError(f"{places} both describe {path.name}; remove one of them")
    manifest = found[0].manifest
    if manifest.file is not None and manifest.file != path.name:
        raise ModelError(
            f"{found[0].manifest_path}: file: is {manifest.file}, but its name makes it the manifest of {path.name}"
        )
    return found[0]


def _beside(manifest: Path, model: Path, roots: tuple[str, ...]) -> Package | None:
    """Return the package if the manifest exists and describes this model, else None."""
    if not os.path.lexists(manifest):
        return None
    package = _read(manifest, model, roots)
    return package if manifest.name != MANIFEST or package.manifest.file == model.name else None


def _read(path: Path, model: Path, roots: tuple[str, ...]) -> Package:
    home = None if roots else KnownFolder.at(path.parent)
    data, status = read_with_status(path, LARGEST_MANIFEST, roots=roots, folder=home)
    manifest, document = parsed(path, data)
    written = canonical(document.value)
    return Package(model, manifest, path, roots, written, home=home, document=document, status=status)


def parsed(path: Path, data: bytes) -> tuple[Manifest, Document]:
    """Return the manifest, and the document that it was read from; raises `ModelError` with all problems."""
    document = parse_document(path, data)
    manifest, problems = validate(document, Manifest)
    if manifest is None or problems:
        raise ModelError("\n".join(map(str, problems)))
    return manifest, document
