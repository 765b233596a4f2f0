"""Ways into the model store: from the catalogue over the network or from a folder, or a package of one's own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from edge_infer.errors import ConfigError, InputError, ModelError
from edge_infer.models.catalogue import Offer
from edge_infer.models.download import Progress, Wanted, download
from edge_infer.models.files import LARGEST_MODEL, read_whole
from edge_infer.models.library import Library, gather, same
from edge_infer.models.package import MANIFEST
from edge_infer.models.probe import probe
from edge_infer.models.request import ModelRequest

MOST_LOOKED_AT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Arrival:
    """A package that is in the store now; ``new`` unless it was there before."""

    title: str
    folder: Path
    new: bool


def pull(
    offer: Offer,
    library: Library,
    progress: Progress = lambda _have, _all: None,
    mirror: str | None = None,
    folder: Path | None = None,
) -> Arrival:
    """Brings a model of the catalogue into the store, from its address, a mirror, or a folder of files.

    Raises `DownloadError`, `InputError`, and `ModelError` where it does not work on this board.
    """
    if library.has(offer.title):
        return Arrival(offer.title, library.find(offer.title)[0].folder, new=False)
    listed = offer.listed
    part = library.parts() / listed.sha256
    data = _from_folder(offer, folder) if folder else None
    if data is None:
        download(Wanted(_address(offer, mirror), listed.bytes, listed.sha256), part, progress)
    with library.incoming() as package:
        if data is None:
            part.rename(package / offer.file)
        else:
            (package / offer.file).write_bytes(data)
        (package / MANIFEST).write_text(offer.manifest(), encoding="utf-8")
        probe(ModelRequest(offer.name, str(package)))
        return Arrival(offer.title, library.place(package, offer.title), new=True)


def add(path: Path, library: Library) -> Arrival:
    """Copies a package into the store once it has been tried; raises `ModelError`, `ConfigError`, `StartError`."""
    with library.incoming() as package:
        title = gather(path, package)
        if library.has(title):
            there = library.find(title)[0].folder
            if same(package, there):
                return Arrival(title, there, new=False)
            raise ConfigError(
                f"{title} is in the store with other content, and what is there stays: give a new version"
            )
        try:
            probe(ModelRequest(title.partition("@")[0], str(package)))
        except ModelError as error:  # people know the package by the place that they named
            text = str(error).replace(str(package), str(path if path.is_dir() else path.parent))
            raise ModelError(text, key=error.key, tried=error.tried) from error
        return Arrival(title, library.place(package, title), new=True)


def _address(offer: Offer, mirror: str | None) -> str:
    if mirror is None:
        return offer.listed.url
    if urlsplit(mirror).scheme not in ("http", "https") or not urlsplit(mirror).hostname:
        raise ConfigError(f"the mirror {mirror} is no address; expected one such as https://HOST/PATH/")
    return f"{mirror.rstrip('/')}/{quote(offer.file)}"


def _from_folder(offer: Offer, folder: Path) -> bytes:
    """The bytes of the offer from a folder, whatever the file is called there; raises `InputError`."""
    for path in _candidates(offer, folder):
        data = read_whole(path, LARGEST_MODEL)
        if hashlib.sha256(data).hexdigest() == offer.listed.sha256:
            return data
    raise InputError(
        f"{folder} holds no file with the {offer.listed.bytes} bytes and the SHA-256 {offer.listed.sha256} of "
        f"{offer.title}; get it from {offer.listed.url}"
    )


def _candidates(offer: Offer, folder: Path) -> Iterator[Path]:
    try:
        for path in sorted(folder.iterdir())[:MOST_LOOKED_AT]:
            if path.is_file() and path.stat().st_size == offer.listed.bytes:
                yield path
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}") from error
