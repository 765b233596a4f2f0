"""``edge-infer models``: the model store, and the catalogue of public models that fills it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_infer.cli.arguments import add_action, add_config
from edge_infer.cli.as_owner import act_on, act_on_state, make_state_dir, start_afresh
from edge_infer.cli.models import catalogues, evaluation, of_daemon, promote, signing, use, wait
from edge_infer.cli.output import say
from edge_infer.errors import ConfigError
from edge_infer.platform.environment import with_taken
from edge_infer.platform.paths import hinted, may_exist

if TYPE_CHECKING:
    from edge_infer.models.packages.acquire import Arrival
    from edge_infer.models.packages.catalogue import Example, Offer
    from edge_infer.models.packages.library import Library, Stored
    from edge_infer.sandbox.identity import Identity

MIRROR: Final = "EDGE_INFER_MIRROR"
BAR: Final = 30


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = "example: edge-infer models pull person-present"
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    purpose = "lists the packages of the store and the models of the catalogue"
    catalogues.add_choice(add_config(add_action(actions, "list", purpose, "", _list)))
    purpose = "shows all details of a package or a model of the catalogue"
    show = catalogues.add_choice(add_config(add_action(actions, "show", purpose, "person-present", _show)))
    show.add_argument(
        "name", metavar="NAME[@VERSION]", help="name from edge-infer models list, or a model of the configuration"
    )
    purpose = "tries your package and copies it into the store"
    into = add_config(add_action(actions, "add", purpose, "person/1.2.0", _add))
    into.add_argument("path", metavar="PATH", type=Path, help="a package's folder, or X.tflite with X.yaml beside it")
    evaluation.add(into)
    for others in (of_daemon, promote, use, wait):
        others.add(actions)
    purpose = "downloads a model of the catalogue, tries it and puts it into the store"
    example = "person-present --from downloads"
    fetch = catalogues.add_choice(add_config(add_action(actions, "pull", purpose, example, _pull)))
    fetch.add_argument(
        "name", metavar="NAME[@VERSION]", help="model of the catalogue; edge-infer models list shows the names"
    )
    fetch.add_argument(
        "--mirror",
        metavar="URL",
        default=os.environ.get(MIRROR) or None,
        help=f"download from this mirror, as NAME/VERSION/FILE or FILE below it; default: ${MIRROR}",
    )
    fetch.add_argument(
        "--from", dest="folder", metavar="DIR", type=Path, help="take the file from this folder, without internet"
    )
    catalogues.add(actions)
    signing.add(actions)


def run(args: argparse.Namespace) -> int:
    """Run one action and return its exit code."""
    done: int = args.do(args)
    return done


def _library(args: argparse.Namespace) -> Library:
    state_dir = hinted(args.config).absolute()
    user = act_on(args, args.config)
    from edge_infer.models.packages.library import Library

    return Library(state_dir / "models", "" if user is None else user.name)


def _writable_library(args: argparse.Namespace) -> tuple[Library, Identity | None]:
    """Return the store, and the user that root became to write there."""
    state_dir = hinted(args.config).absolute()
    user = act_on_state(args, args.config, make_state_dir(state_dir))
    return _library(args), user


def _list(args: argparse.Namespace) -> int:
    packages = _library(args).packages()
    _print(_table(_rows(packages, catalogues.offers(args).values())))
    return 0


def _add(args: argparse.Namespace) -> int:
    from edge_infer.models.packages.acquire import add as add_package

    if args.evaluate is not None:
        start_afresh(args, args.config, writes=True)
    library, user = _writable_library(args)
    wish, again = evaluation.condition(args, library, user), bool(args.at_least or args.at_most)
    private = _private_files(args.config)
    _tell(add_package(args.path.absolute(), library, wish, again=again, private=private))
    return 0


def _private_files(config: Path) -> tuple[str, ...]:
    """Return the files of the configuration and its secrets, which no package may contain; raises `ConfigError`."""
    from edge_infer.config.compile.named_files import private_files
    from edge_infer.config.parts import read_config

    document = read_config(config, with_taken())
    if document.value is None and may_exist(config):
        problems = "\n".join(map(str, document.problems))
        raise ConfigError(
            f"the configuration cannot be read, so it is unknown which files are its secrets:\n{problems}"
        )
    return private_files(document)


def _pull(args: argparse.Namespace) -> int:
    from edge_infer.models.packages.acquire import pull
    from edge_infer.models.packages.catalogue import choose

    library, _ = _writable_library(args)
    offer = choose(catalogues.offers(args), args.name)
    with _DownloadProgress(offer.title) as bar:
        arrival = pull(offer, library, bar, args.mirror, args.folder.absolute() if args.folder else None)
    _tell(arrival)
    return 0


def _tell(arrival: Arrival) -> None:
    if arrival.beside:  # the manifest names these files
        say([f"edge-infer: copied with the model and its manifest: {', '.join(arrival.beside)}"], sys.stderr)
    state = "is in the store now" if arrival.new else "is in the store already"
    print(f"edge-infer: {arrival.title} {state}: {arrival.folder}", file=sys.stderr)
    print(arrival.title)


def _rows(stored: Sequence[Stored], offers: Iterable[Offer]) -> Iterable[tuple[str, ...]]:
    here = {package.title: package for package in stored}
    for title, package in here.items():
        manifest = package.manifest
        if manifest is None:
            yield title, "broken", "", "", package.problem.splitlines()[0]
        elif damage := package.damage():
            yield title, "damaged", "", "", damage
        else:
            yield title, "here", _size(package), manifest.licence or "", manifest.task or ""
    for offer in offers:
        if offer.title not in here:
            yield offer.title, "pull it", _megabytes(offer.listed.bytes), offer.listed.licence, offer.listed.about


def _show(args: argparse.Namespace) -> int:
    name, running = args.name, of_daemon.serving(args.config, args.name)
    packages = _library(args).find(name)
    offers = [offer for offer in catalogues.offers(args).values() if name in (offer.name, offer.title)]
    if not packages and not offers and not running:
        raise ConfigError(
            f"neither the store nor the catalogue contains {name}; edge-infer models list shows their contents"
        )
    _print(running)
    for package in packages:
        _print([f"{package.title}: in the store", *_table([("folder", str(package.folder)), *_known(package)])])
    for offer in offers:
        _print([f"{offer.title}: in the catalogue", *_table(_listed(offer))])
        manifest = offer.manifest()
        _print(["manifest:", *_indented(manifest)] if manifest else [])
    return 0


def _listed(offer: Offer) -> Iterable[tuple[str, str]]:
    listed = offer.listed
    said = {"about": listed.about, "address": offer.place, "size": f"{listed.bytes} bytes", "sha256": listed.sha256}
    said |= {"licence": listed.licence, "source": listed.source}
    said |= {"example": _example(offer.listed.example) if offer.listed.example else ""}
    yield from ((key, text) for key, text in said.items() if text)
    yield from (("file", f"{name}, {beside.bytes} bytes") for name, beside in listed.files.items())


def _known(package: Stored) -> Iterable[tuple[str, str]]:
    if package.manifest is None:
        yield "problem", package.problem
        return
    if damage := package.damage():
        yield "problem", damage
    manifest = package.manifest
    said = {"task": manifest.task, "sha256": manifest.sha256, "licence": manifest.licence, "source": manifest.source}
    yield from ((key, " ".join(text.split())) for key, text in said.items() if text)
    yield "use it", f"models: {{NAME: {{use: {package.title}}}}} in the configuration"


def _example(example: Example) -> str:
    labels = ", ".join(expected.label for expected in example.expect)
    return f"{labels} in {example.input}" + (f" of {example.of}" if example.of else "")


def _size(package: Stored) -> str:
    return _megabytes(sum(path.stat().st_size for path in package.folder.rglob("*") if path.is_file()))


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _indented(text: str) -> Iterable[str]:
    return (f"  {line}" for line in text.splitlines())


def _table(rows: Iterable[Sequence[str]]) -> Iterable[str]:
    found = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*found, strict=True)] if found else []
    for row in found:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _print(lines: Iterable[str]) -> None:
    """Print lines without control characters: foreign text must not control the terminal."""
    for line in lines:
        print("".join(letter if letter.isprintable() else " " for letter in line))


class _DownloadProgress:
    """Progress bar of a download on standard error, shown only on a terminal."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._shown = ""

    def __enter__(self) -> _DownloadProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print(file=sys.stderr)

    def __call__(self, have: int, whole: int) -> None:
        if not sys.stderr.isatty():
            return
        done = "#" * (have * BAR // whole)
        text = f"\r{self._title} [{done:<{BAR}}] {have * 100 // whole:3} % of {_megabytes(whole)}"
        if text != self._shown:
            self._shown = text
            print(text, end="", file=sys.stderr, flush=True)
