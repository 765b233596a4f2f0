"""Catalogues: models by name and version, and the places where their files are published.

The bundled catalogue lists public models under free licences. A custom catalogue has the same form; its model files are
in its folder or at other URLs. A catalogue from a network address is accepted only with a signature.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

import yaml
from pydantic import Field

from edge_infer.contract.messages import NAME_PATTERN
from edge_infer.errors import ConfigError, DownloadError, ModelError
from edge_infer.models.packages.download import fetch
from edge_infer.models.packages.manifest import VERSION, Expectation, inside_folder
from edge_infer.models.packages.package import MANIFEST, canonical
from edge_infer.models.packages.read_files import LARGEST_MODEL
from edge_infer.models.packages.signature import LARGEST as LARGEST_SIGNATURE
from edge_infer.models.packages.signature import check_signed
from edge_infer.models.packages.versions import is_preview, rank
from edge_infer.models.request import TrustedKey
from edge_infer.models.trials.checked_package import MAX_BESIDE_BYTES
from edge_infer.yamlfile.fields import Kind, integer, text, url, written_as_is
from edge_infer.yamlfile.load import LARGEST, Document, Steps, parse_document, read_document, spell, validate
from edge_infer.yamlfile.section import Section

PLACES: Final = (
    Path(__file__).parents[3] / "models" / "catalogue.yaml",
    Path(sys.prefix) / "share" / "edge-infer" / "catalogue.yaml",
)
"""Paths of the bundled catalogue: in a checkout, and where the package is installed."""
ENDING: Final = ".sig"
_SHA256: Final = text("64 hexadecimal digits, as sha256sum prints them", r"[0-9a-f]{64}")
_TITLE: Final = text("NAME or NAME@VERSION", rf"{NAME_PATTERN}(@{VERSION})?", 200)


def _address(value: Any) -> str:
    """Parse the location of a model file: an address, or a path relative to the catalogue."""
    if isinstance(value, str) and "://" in value:
        return str(url("https").parse(value))
    try:
        return inside_folder(value)
    except ValueError as error:
        raise ValueError(
            f"expected https://HOST/PATH, or a path below the catalogue's folder, not {value!r}"
        ) from error


class Example(Section):
    """The findings that a model must give for an input: a file from ``of`` or, for a text model, the line itself."""

    input: Annotated[str, text("the name of a picture or recording, or a line of text")]
    of: Annotated[str | None, text("the origin of the input")] = None
    expect: list[Expectation]


class Beside(Section):
    """A file of a package in addition to its model."""

    bytes: Annotated[int, integer(0, MAX_BESIDE_BYTES)]
    sha256: Annotated[str, _SHA256]


class Listed(Section):
    """One model: its bytes and its manifest. The manifest is either in the keys here or one of its ``files``."""

    version: Annotated[str, text("a version such as 1.0.0", VERSION)]
    about: Annotated[str, text("its purpose, in one line")] = ""
    url: Annotated[str, Kind(_address)]
    bytes: Annotated[int, integer(1, LARGEST_MODEL)]
    sha256: Annotated[str, _SHA256]
    licence: Annotated[str, text("the licence of the model")] = ""
    source: Annotated[str, text("the origin of the model")] = ""
    manifest: Annotated[Any, Kind(written_as_is)] = Field(default_factory=dict)
    files: dict[Annotated[str, Kind(inside_folder)], Beside] = Field(default_factory=dict)
    example: Example | None = None


class Catalogue(Section):
    """A ``catalogue.yaml``."""

    models: dict[Annotated[str, _TITLE], Listed]


@dataclass(frozen=True, slots=True)
class Part:
    """A file of an offer: its name in the package, its address or path, and its expected size and digest."""

    name: str
    place: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Offer:
    """A model in the catalogue at the address or path ``origin``; ``key`` is the key of its entry in ``document``."""

    name: str
    listed: Listed
    origin: str
    key: str = ""
    document: Document | None = field(default=None, compare=False, repr=False)

    @property
    def title(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.listed.version}"

    @property
    def file(self) -> str:
        """Return the name of the model's file: the last part of its address."""
        url = self.listed.url
        return (unquote(urlsplit(url).path) if is_address(url) else url).rpartition("/")[2]

    @property
    def place(self) -> str:
        """Return the address or path of the model's file."""
        url = self.listed.url
        if is_address(url):
            return url
        return urljoin(self.origin, quote(url)) if is_address(self.origin) else str(Path(self.origin).parent / url)

    def parts(self) -> Iterator[Part]:
        """Yield the model's file, then the files beside it."""
        place = self.place
        yield Part(self.file, place, self.listed.bytes, self.listed.sha256)
        for name, beside in self.listed.files.items():
            path = urljoin(place, quote(name)) if is_address(place) else str(Path(place).parent / name)
            yield Part(name, path, beside.bytes, beside.sha256)

    def line(self, path: str) -> str:
        """Return the position of a manifest key of the entry, as errors name it: file, line and path."""
        steps: Steps = ("models", self.key, "manifest")
        steps += tuple(int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]]+", path))
        line = self.document.line(steps) if self.document is not None else 1
        return f"{self.origin}:{line}: {spell(steps)}"

    def manifest(self) -> str | None:
        """Return the manifest text for the new package; None if the manifest is one of the offer's files."""
        listed = self.listed
        if MANIFEST in listed.files:
            return None
        said = {
            "name": self.name,
            "version": listed.version,
            "file": self.file,
            "sha256": listed.sha256,
            **listed.manifest,
            **({"licence": listed.licence} if listed.licence else {}),
            "source": f"{listed.source} ({self.place})" if listed.source else self.place,
        }
        return str(yaml.safe_dump(said, sort_keys=False, allow_unicode=True, width=110))


def is_address(named: str) -> bool:
    """Return whether a catalogue has a network address; otherwise it is a path."""
    return urlsplit(named).scheme in ("http", "https")


def read_catalogue(path: Path | None = None) -> dict[str, Offer]:
    """Return the offers of a catalogue file (default: the bundled one) by key; raises `ConfigError`."""
    found = path or next((place for place in PLACES if place.exists()), None)
    if found is None:
        raise ConfigError(f"there is no catalogue; the installation puts it at {PLACES[-1]}")
    return _offers(read_document(found), str(found.absolute()))


def fetch_catalogue(address: str, keys: Sequence[TrustedKey]) -> dict[str, Offer]:
    """Fetch a catalogue that one of the keys has signed, and return its offers; raises `ConfigError`, `DownloadError`.

    The server, or an attacker on the network, can withhold a newer catalogue. The content is therefore authentic, but
    may be outdated.
    """
    data, place = fetch(address, LARGEST), signature_address(address)
    try:
        signature = fetch(place, LARGEST_SIGNATURE)
    except DownloadError as error:
        raise DownloadError(f"a catalogue from an address needs a signature: {error}") from error
    document = parse_document(Path(address), data)
    try:
        check_signed(canonical(document.value), signature, keys, address, place)
    except ModelError as error:
        raise ConfigError(str(error)) from error
    return _offers(document, address)


def signature_address(address: str) -> str:
    """Return the address of a catalogue's signature, which lies beside the catalogue."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(path=parts.path + ENDING))


def _offers(document: Document, origin: str) -> dict[str, Offer]:
    catalogue, problems = validate(document, Catalogue)
    if catalogue is None or problems:
        raise ConfigError("\n".join(map(str, problems)))
    offers = {
        key: Offer(key.partition("@")[0], listed, origin, key, document) for key, listed in catalogue.models.items()
    }
    wrong = [document.problem(("models", key), why) for key, why in _contradictions(offers)]
    if wrong:
        raise ConfigError("\n".join(map(str, wrong)))
    return offers


def _contradictions(offers: Mapping[str, Offer]) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for key, offer in offers.items():
        if key not in (offer.name, offer.title):
            yield key, f"its version is {offer.listed.version}"
        if offer.title in seen:
            yield key, f"{offer.title} is listed twice; remove one of them"
        seen.add(offer.title)
        if not offer.file or "/" in offer.file or offer.file in (MANIFEST, *offer.listed.files):
            yield key, f"url: ends in {offer.file!r}, which is not a valid name for a model file"


def choose(offers: Mapping[str, Offer], wanted: str) -> Offer:
    """Return the offer ``NAME@VERSION``, or the newest ``NAME``; raises `ConfigError` that lists the available offers.

    A preview (``2.0.0-rc.1``) counts as the newest only if there is no release; otherwise it must be named by its
    version.
    """
    name = wanted.partition("@")[0]
    found = sorted((each for each in offers.values() if each.name == name), key=lambda each: rank(each.listed.version))
    if not found:
        names = sorted({offer.name for offer in offers.values()})
        raise ConfigError(f"the catalogue has no {name}; it has {', '.join(names) or 'nothing'}")
    fitting = [offer for offer in found if wanted in (offer.name, offer.title)]
    if not fitting:
        raise ConfigError(f"the catalogue has {', '.join(offer.title for offer in found)}, not {wanted}")
    fitting = [offer for offer in fitting if not is_preview(offer.listed.version)] or fitting
    return max(fitting, key=lambda each: rank(each.listed.version))


def is_catalogue(path: Path) -> bool:
    """Return whether a file is a catalogue and not a manifest or a model."""
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return False
    value = read_document(path).value
    return isinstance(value, dict) and "models" in value


def written_catalogue(path: Path) -> bytes:
    """Return the bytes of a catalogue that a signature covers: canonical JSON, as with manifests.

    Raises `ConfigError` for an invalid catalogue.
    """
    read_catalogue(path)
    return canonical(read_document(path).value)
