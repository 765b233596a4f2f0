"""Adds packages to the model store: from a catalogue (network or folder) or from a local path."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit

import yaml

from edge_infer.errors import ConfigError, DownloadError, InputError, ModelError
from edge_infer.models.packages.catalogue import Offer, Part, is_address
from edge_infer.models.packages.download import DownloadRequest, Progress, download
from edge_infer.models.packages.library import Library, belonging, gather, same
from edge_infer.models.packages.package import MANIFEST, find_package
from edge_infer.models.packages.read_files import LARGEST_MODEL, read_whole
from edge_infer.models.request import ModelRequest
from edge_infer.models.trials.probe import probe
from edge_infer.plan.records import ModelPlan

MOST_LOOKED_AT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Arrival:
    """A package that is now in the store; ``new`` is false if the store already had it.

    ``beside`` are the names of the files that were copied from a local path with the model and the manifest.
    """

    title: str
    folder: Path
    new: bool
    beside: tuple[str, ...] = ()


def pull(
    offer: Offer,
    library: Library,
    progress: Progress = lambda _have, _all: None,
    mirror: str | None = None,
    folder: Path | None = None,
) -> Arrival:
    """Copy a model of a catalogue into the store: from its published address, a mirror, or a local folder.

    Raises `ConfigError`, `DownloadError` and `InputError`, and `ModelError` if the model does not work on this board.
    """
    if library.has(offer.title):
        there = _folder_of(library, offer.title)
        if not _is_offered(there, offer):
            raise ConfigError(
                f"the content of {offer.title} in the store differs from {offer.origin}; to replace it, remove "
                f"{there} and pull again (a model in use has its own copy)"
            )
        return Arrival(offer.title, there, new=False)
    files = [
        (part, _brought(part, library, progress, _places(part, offer.title, mirror), folder)) for part in offer.parts()
    ]
    with library.incoming() as package:
        for part, here in files:
            target = package / part.name
            target.parent.mkdir(parents=True, exist_ok=True)
            here.rename(target) if isinstance(here, Path) else target.write_bytes(here)
        manifest = offer.manifest()
        if manifest is not None:
            (package / MANIFEST).write_text(manifest, encoding="utf-8")
        try:
            _check_who_it_is(package, offer)
            probe(ModelRequest(offer.name, str(package)))
        except ModelError as error:  # errors name the catalogue, not the temporary copies
            raise ModelError(
                _as_listed(str(error), package, offer), key=error.key, tried=error.tried, foreign=error.foreign
            ) from error
        except ConfigError as error:
            raise ConfigError(_as_listed(str(error), package, offer)) from error
        return Arrival(offer.title, library.place(package, offer.title), new=True)


def _folder_of(library: Library, title: str) -> Path:
    """Return the folder of a package in the store; raises `ConfigError` for the remains of a broken one."""
    if not (found := library.find(title)):
        place = library.folder / title.replace("@", "/", 1)
        raise ConfigError(f"{place} is not a complete package: it has no {MANIFEST}; remove that folder and try again")
    return found[0].folder


def _is_offered(package: Path, offer: Offer) -> bool:
    """Return whether a package in the store has the bytes and the manifest of the offer, from any origin."""
    try:
        for part in offer.parts():
            if hashlib.sha256(read_whole(package / part.name, LARGEST_MODEL)).hexdigest() != part.sha256:
                return False
        manifest = offer.manifest()
        stored = (package / MANIFEST).read_text(encoding="utf-8") if manifest is not None else ""
        return manifest is None or _without_source(stored) == _without_source(manifest)
    except (ModelError, OSError, UnicodeDecodeError, yaml.YAMLError):
        return False


def _without_source(manifest: str) -> dict[str, Any]:
    said = yaml.safe_load(manifest)
    return {key: value for key, value in said.items() if key != "source"} if isinstance(said, dict) else {}


def _brought(
    part: Part, library: Library, progress: Progress, places: Sequence[str], folder: Path | None
) -> Path | bytes:
    """Return the verified bytes of a file of an offer, or the path of its download.

    The download uses the first of the ``places`` that has the file.
    """
    if folder is not None:
        return _from_folder(part, folder)
    if not is_address(places[0]):
        return _from_file(part, Path(places[0]))
    fetched = library.parts() / part.sha256
    for place in places:
        try:
            download(DownloadRequest(place, part.bytes, part.sha256), fetched, progress)
        except DownloadError as error:
            if place == places[-1] or not _is_missing(error):
                raise
        else:
            break
    return fetched


def _is_missing(error: DownloadError) -> bool:
    """Return whether the server does not have the file. Some servers refuse access to files that do not exist."""
    cause = error.__cause__
    return isinstance(cause, HTTPError) and cause.code in {403, 404, 410}


def _as_listed(text: str, package: Path, offer: Offer) -> str:
    """Return an error about a package, with positions in the catalogue instead of positions in the copies.

    A manifest that was generated from the keys of an entry has line numbers that differ from the catalogue.
    """
    manifest = str(package / MANIFEST)
    if offer.manifest() is not None:
        text = re.sub(
            rf"^{re.escape(manifest)}:\d+: ([^:\s]+)", lambda found: offer.line(found[1]), text, flags=re.MULTILINE
        )
        text = text.replace(manifest, offer.line("").removesuffix(": "))
    for part in offer.parts():
        text = text.replace(str(package / part.name), part.place)
    return text.replace(f"{package}/", "")


def _check_who_it_is(package: Path, offer: Offer) -> None:
    """Raise `ConfigError` if the manifest in the package names another package or file than the offer does."""
    found = find_package(package)
    if (found.manifest.name, found.manifest.version) != (offer.name, offer.listed.version):
        raise ConfigError(f"the catalogue lists {offer.title}, but its manifest names {found.title}")
    if found.file.name != offer.file:
        raise ConfigError(f"the manifest of {offer.title} names the file {found.file.name}, the catalogue {offer.file}")


def add(
    path: Path,
    library: Library,
    condition: Callable[[ModelPlan], None] | None = None,
    *,
    again: bool = False,
    private: tuple[str, ...] = (),
) -> Arrival:
    """Copy a package into the store after a successful trial; raises `ModelError`, `ConfigError`, `StartError`.

    No manifest may name one of the ``private`` files.
    ``condition`` may refuse the package with one of these errors. For a package that is already in the store it is
    called only with ``again``.
    """
    with library.incoming() as package:
        title = gather(path, package, private)
        if library.has(title):
            there = _folder_of(library, title)
            if same(package, there):
                if condition is not None and again:
                    condition(probe(ModelRequest(title.partition("@")[0], str(there))))
                return Arrival(title, there, new=False)
            raise ConfigError(f"{title} is already in the store with other content: give your package a new version")
        try:
            copied = find_package(package)
            beside = tuple(sorted(belonging(copied) - {copied.file.name}))
            plan = probe(ModelRequest(title.partition("@")[0], str(package)))
            if condition is not None:
                condition(plan)
        except ModelError as error:  # the error must name the user's path, not the temporary copy
            text = str(error).replace(str(package), str(path if path.is_dir() else path.parent))
            raise ModelError(text, key=error.key, tried=error.tried, foreign=error.foreign) from error
        return Arrival(title, library.place(package, title), new=True, beside=beside)


def _places(part: Part, title: str, mirror: str | None) -> tuple[str, ...]:
    """Return the addresses of a file, or its path.

    On a mirror there are three, in this order: with the path in the store, the path in the package, the file name
    alone.
    """
    if mirror is None:
        return (part.place,)
    if not is_address(mirror) or not urlsplit(mirror).hostname:
        raise ConfigError(f"the mirror {mirror} is not an address; expected one such as https://HOST/PATH/")
    whole, package = mirror.rstrip("/"), title.replace("@", "/", 1)
    paths = dict.fromkeys((f"{package}/{part.name}", part.name, Path(part.name).name))
    return tuple(f"{whole}/{quote(path)}" for path in paths)


def _from_file(part: Part, path: Path) -> bytes:
    """Return the bytes of a file that a local catalogue names; raises `InputError`."""
    try:
        data = read_whole(path, LARGEST_MODEL)
    except ModelError as error:
        raise InputError(str(error)) from error
    found = hashlib.sha256(data).hexdigest()
    if found != part.sha256:
        raise InputError(f"{path}: its SHA-256 is {found}, but the catalogue lists {part.sha256}")
    return data


def _from_folder(part: Part, folder: Path) -> bytes:
    """Return the bytes of the file in ``folder`` with the right digest, under any name; raises `InputError`."""
    for path in _candidates(part, folder):
        data = read_whole(path, LARGEST_MODEL)
        if hashlib.sha256(data).hexdigest() == part.sha256:
            return data
    raise InputError(
        f"{folder} contains no file with the {part.bytes} bytes and the SHA-256 {part.sha256} of {part.name}; get it "
        f"from {part.place}"
    )


def _candidates(part: Part, folder: Path) -> Iterator[Path]:
    """Yield files of the right size: first those in the folder itself, then those in its subfolders."""
    try:
        found = islice(chain(folder.iterdir(), folder.glob("*/**/*")), MOST_LOOKED_AT)
        for path in sorted(found, key=lambda path: (len(path.parts), path)):
            if path.is_file() and path.stat().st_size == part.bytes:
                yield path
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}") from error
