"""The catalogue that ``edge-infer models`` reads, and ``models catalogue``, which writes one for packages."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_infer.cli.arguments import Actions, add_action
from edge_infer.errors import ConfigError
from edge_infer.sandbox.foreign import refuse_foreign

if TYPE_CHECKING:
    from edge_infer.models.packages.catalogue import Offer
    from edge_infer.models.request import TrustedKey

CATALOGUE: Final = "EDGE_INFER_CATALOGUE"


def add(actions: Actions) -> None:
    """Declare the action."""
    purpose = "writes catalogue.yaml into a folder of packages, for --catalogue"
    make = add_action(actions, "catalogue", purpose, "packages/", _write)
    make.add_argument("folder", metavar="FOLDER", type=Path, help="folder with packages in NAME/VERSION/")


def add_choice(child: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options of an action that reads a catalogue."""
    child.add_argument(
        "--catalogue",
        metavar="PLACE",
        default=os.environ.get(CATALOGUE) or None,
        help=f"a catalogue of your own instead of the public one: a file, or an address; default: ${CATALOGUE}",
    )
    child.add_argument(
        "--keys",
        metavar="PATH",
        type=Path,
        help="trusted keys for a catalogue from an address; default: security.keys of the configuration",
    )
    return child


def offers(args: argparse.Namespace) -> Mapping[str, Offer]:
    """Return the models of the chosen catalogue; raises `ConfigError`, `DownloadError`."""
    from edge_infer.models.packages.catalogue import fetch_catalogue, is_address, read_catalogue

    named: str | None = args.catalogue
    if named is None:
        return read_catalogue()
    if is_address(named):
        return fetch_catalogue(named, _keys(args))
    return read_catalogue(Path(named))


def _keys(args: argparse.Namespace) -> Sequence[TrustedKey]:
    from edge_infer.config.compile.model_policy import key_folder
    from edge_infer.models.packages.signature import trusted_keys

    place: Path = args.keys or key_folder(args.config)
    if not place.exists():
        raise ConfigError(
            f"a catalogue from an address needs a signature by one of your keys, and there is no {place}; put public "
            "keys (*.pem) there, or name some with --keys"
        )
    return trusted_keys(place)


def _write(args: argparse.Namespace) -> int:
    from edge_infer.models.packages.release import write_listing

    refuse_foreign(args.folder)
    place, titles = write_listing(args.folder.absolute())
    print(f"edge-infer: wrote {place}, which lists {', '.join(titles)}", file=sys.stderr)
    return 0
