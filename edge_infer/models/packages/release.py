"""Release of packages: completes a manifest, signs and verifies it, and lists packages in a catalogue."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from edge_infer.errors import ConfigError, ModelError
from edge_infer.models.packages.catalogue import (
    ENDING,
    Part,
    is_address,
    is_catalogue,
    read_catalogue,
    written_catalogue,
)
from edge_infer.models.packages.library import Library, Stored, belonging
from edge_infer.models.packages.manifest import Manifest
from edge_infer.models.packages.package import LARGEST_MANIFEST, MANIFEST, Package, find_package
from edge_infer.models.packages.read_files import LARGEST_MODEL, read_whole
from edge_infer.models.packages.signature import (
    LARGEST,
    check_signature,
    check_signed,
    sign,
    signature_place,
    uncovered,
)
from edge_infer.models.request import TrustedKey
from edge_infer.platform.durable_files import write_durably
from edge_infer.yamlfile.load import parse_document, validate

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


# Release of a package: complete its manifest, sign it, and verify it as a device does.

_MODE: Final = 0o644


def prepare(path: Path) -> Package:
    """Return a package with name, version and every digest in its manifest; missing digests are added.

    New lines go to the end of the manifest; the rest stays unchanged. Raises `ModelError` if an existing digest is
    wrong, and `ConfigError` if a value is missing that only the releaser can supply.
    """
    package = _described(path)
    missing = uncovered(package)
    unknown = [key for key in missing if key in ("name", "version")]
    if unknown:
        raise ConfigError(f"{package.manifest_path}: a release needs {' and '.join(unknown)}; add them there")
    digests = package.checked_digests()
    if missing:
        assert package.manifest_path is not None
        _complete(package, package.manifest_path, _lines(package, digests))
    return find_package(path)


@dataclass(frozen=True, slots=True)
class Signable:
    """A package or catalogue that can be signed: the bytes to sign, and the path of the signature file."""

    title: str
    written: bytes
    place: Path


def signable(path: Path) -> Signable:
    """Return the package or catalogue at this path, after completing a manifest; raises `ConfigError`, `ModelError`."""
    if is_catalogue(path):
        return Signable(str(path), written_catalogue(path), path.with_name(path.name + ENDING))
    package = prepare(path)
    return Signable(package.title, package.written, signature_place(package))


def write_signature(signed: Signable, key: Ed25519PrivateKey) -> None:
    """Sign a package or catalogue and write the signature file; raises `ConfigError`."""
    try:
        write_durably(signed.place, sign(signed.written, key).encode(), _MODE)
    except OSError as error:
        raise ConfigError(f"{signed.place} cannot be written: {error.strerror}") from error


def verify(path: Path, keys: Sequence[TrustedKey]) -> str:
    """Check the signature by one of the keys and the digests of the files; return a sentence that describes this.

    For a catalogue, the files beside it are checked; files at other addresses are only counted. Raises `ModelError`.
    """
    if is_catalogue(path):
        signed = signable(path)
        check_signed(signed.written, read_whole(signed.place, LARGEST), keys, signed.title, str(signed.place))
        return f"{signed.title} is signed, and {_check_listed(path)}"
    package = find_package(path)
    check_signature(package, keys)
    package.checked_digests()
    return f"the signature of {package.title} is valid, and all of its files are unchanged"


def _check_listed(path: Path) -> str:
    """Check the listed files beside a catalogue; raises `ModelError`, which names all that are missing or changed."""
    parts = [part for offer in read_catalogue(path).values() for part in offer.parts()]
    beside = [part for part in parts if not is_address(part.place)]
    if problems := [problem for part in beside if (problem := _problem(part))]:
        raise ModelError("\n".join(problems))
    here = f"the {len(beside)} files beside it are unchanged"
    elsewhere = len(parts) - len(beside)
    if not elsewhere:
        return here
    unchecked = f"files at other addresses were not checked: {elsewhere}"
    return f"{here}; {unchecked}" if beside else f"{unchecked}; none of its files is beside it"


def _problem(part: Part) -> str:
    """Return the reason why a listed file does not match the catalogue; empty if it matches."""
    try:
        found = hashlib.sha256(read_whole(Path(part.place), LARGEST_MODEL)).hexdigest()
    except ModelError as error:
        return f"{error}, and the catalogue lists it"
    if found == part.sha256:
        return ""
    return f"{part.place}: its SHA-256 is {found}, but the catalogue lists {part.sha256}"


def _described(path: Path) -> Package:
    package = find_package(path)
    if package.manifest_path is None:
        place = package.file.with_suffix(".yaml")
        raise ConfigError(
            f"a signature needs a manifest, and {package.file} has none; edge-infer inspect --manifest writes a draft "
            f"of {place}"
        )
    return package


def _lines(package: Package, digests: Mapping[str, str]) -> list[str]:
    """Return the YAML lines that a manifest lacks at its top level."""
    manifest = package.manifest
    lines = [] if manifest.file else [f"file: {json.dumps(package.file.name)}"]
    lines += [] if manifest.sha256 else [f"sha256: {digests[package.file.name]}"]
    beside = [name for name in package.named_files() if name not in manifest.digests]
    return lines + (["digests:", *(f"  {json.dumps(name)}: {digests[name]}" for name in beside)] if beside else [])


def _complete(package: Package, place: Path, lines: Sequence[str]) -> None:
    """Append lines to a manifest; raises `ConfigError` if the result would be invalid."""
    text = package.content(place, LARGEST_MANIFEST)
    more = "".join(f"{line}\n" for line in lines)
    whole = text + more.encode()
    if validate(parse_document(place, whole), Manifest)[1]:  # the manifest uses braces, or has some digests
        raise ConfigError(
            f"{place} lacks these lines, and the command cannot add them at its end; add them by hand:\n{more.rstrip()}"
        )
    try:
        write_durably(place, whole, stat.S_IMODE(place.stat().st_mode))
    except OSError as error:
        raise ConfigError(f"{place} cannot be written: {error.strerror}") from error


# Catalogue of the packages in ``NAME/VERSION/`` below one folder, for a server or a USB stick.

CATALOGUE: Final = "catalogue.yaml"


def write_listing(folder: Path) -> tuple[Path, list[str]]:
    """Write the catalogue of a folder; return its path and the titles of its packages.

    Raises `ConfigError`, and `ModelError` if a file differs from its manifest.
    """
    packages = Library(folder).packages()
    if not packages:
        raise ConfigError(f"{folder} contains no package: there is no NAME/VERSION/{MANIFEST} below it")
    models = {stored.title: _entry(stored, folder) for stored in packages}
    place = folder / CATALOGUE
    text = yaml.safe_dump({"models": models}, sort_keys=False, allow_unicode=True, width=110)
    try:
        write_durably(place, text.encode(), 0o644)
    except OSError as error:
        raise ConfigError(f"{place} cannot be written: {error.strerror}") from error
    return place, list(models)


def _entry(stored: Stored, folder: Path) -> dict[str, Any]:
    if stored.manifest is None:
        raise ConfigError(stored.problem)
    package = find_package(stored.folder)
    if package.title != stored.title:
        raise ConfigError(f"{package.manifest_path} names {package.title}; rename its folder to match")
    package.checked_digests()
    model = _facts(package, package.file)
    beside = sorted({MANIFEST, *belonging(package)} - {package.file.name})
    entry = {
        "version": stored.manifest.version,
        "about": stored.manifest.task or "",
        "url": package.file.relative_to(folder).as_posix(),
        **model,
        "licence": stored.manifest.licence or "",
        "files": {name: _facts(package, package.folder / name) for name in beside},
    }
    return {key: value for key, value in entry.items() if value != ""}


def _facts(package: Package, path: Path) -> dict[str, Any]:
    data = package.content(path, LARGEST_MODEL)
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
