"""The catalogue: public models under free licences, and where their bytes are published."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import unquote, urlsplit

import yaml
from pydantic import Field

from edge_infer.config.fields import Kind, Name, integer, text, url, written_as_is
from edge_infer.config.load import load_yaml
from edge_infer.config.section import Section
from edge_infer.errors import ConfigError
from edge_infer.models.files import LARGEST_MODEL
from edge_infer.models.manifest import VERSION, Expectation

PLACES: Final = (
    Path(__file__).parents[2] / "models" / "catalogue.yaml",
    Path(sys.prefix) / "share" / "edge-infer" / "catalogue.yaml",
)
"""In a checkout, and where the package is installed."""


class Example(Section):
    """What the model finds in an input: a file of ``of``, or for a model of text the line itself."""

    input: Annotated[str, text("the name of a picture or recording, or a line of text")]
    of: Annotated[str | None, text("where the input comes from")] = None
    expect: list[Expectation]


class Listed(Section):
    """One model: its bytes, its licence, and all that a manifest says beside that."""

    version: Annotated[str, text("a version such as 1.0.0", VERSION)]
    about: Annotated[str, text("what it does, in one line")]
    url: Annotated[str, url("https")]
    bytes: Annotated[int, integer(1, LARGEST_MODEL)]
    sha256: Annotated[str, text("64 hexadecimal digits, as sha256sum prints them", r"[0-9a-f]{64}")]
    licence: Annotated[str, text("the licence of the model")]
    source: Annotated[str, text("where the model comes from")]
    manifest: Annotated[Any, Kind(written_as_is)] = Field(default_factory=dict)
    example: Example


class Catalogue(Section):
    """A ``catalogue.yaml``."""

    models: dict[Name, Listed]


@dataclass(frozen=True, slots=True)
class Offer:
    """A model of the catalogue, by its name."""

    name: str
    listed: Listed

    @property
    def title(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.listed.version}"

    @property
    def file(self) -> str:
        """The name of the file: the last part of its address."""
        return unquote(urlsplit(self.listed.url).path).rpartition("/")[2]

    def manifest(self) -> str:
        """The manifest of the package that is made of it."""
        listed = self.listed
        said = {
            "name": self.name,
            "version": listed.version,
            "file": self.file,
            "sha256": listed.sha256,
            **listed.manifest,
            "licence": listed.licence,
            "source": f"{listed.source} ({listed.url})",
        }
        return str(yaml.safe_dump(said, sort_keys=False, allow_unicode=True, width=110))


def read_catalogue(path: Path | None = None) -> dict[str, Offer]:
    """The offers by name, of a file or of the one that comes along; raises `ConfigError`."""
    found = path or next((place for place in PLACES if place.exists()), None)
    if found is None:
        raise ConfigError(f"there is no catalogue; it should be {PLACES[-1]}, where the installation puts it")
    catalogue, problems = load_yaml(found, Catalogue)
    if catalogue is None or problems:
        raise ConfigError("\n".join(map(str, problems)))
    return {name: Offer(name, listed) for name, listed in catalogue.models.items()}


def choose(offers: dict[str, Offer], wanted: str) -> Offer:
    """The offer ``NAME`` or ``NAME@VERSION``; raises `ConfigError` naming those that are there."""
    name, _, version = wanted.partition("@")
    offer = offers.get(name)
    if offer is None:
        raise ConfigError(f"the catalogue has no {name}; it has {', '.join(sorted(offers))}")
    if version not in ("", offer.listed.version):
        raise ConfigError(f"the catalogue has {offer.title}, not {wanted}")
    return offer
