"""``edge-infer models use``: switch a model to another package of the store by editing the configuration file."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from edge_infer.cli.arguments import Actions, add_action, add_config
from edge_infer.cli.edit import apply_edit, tell
from edge_infer.config.edit import using
from edge_infer.config.file_edit import current_digest, read
from edge_infer.config.parts import file_of
from edge_infer.contract.codec import decode
from edge_infer.contract.messages import ConfigStatus
from edge_infer.errors import ConfigError, ModelError
from edge_infer.platform.paths import hinted
from edge_infer.supervisor.control.server import ask, find_socket
from edge_infer.supervisor.status import Status


def add(actions: Actions) -> None:
    """Declare the action."""
    purpose = "makes a package the model of this name: edits the configuration and applies it"
    take = add_config(add_action(actions, "use", purpose, "faces face-detect@1.1.0", run))
    take.add_argument("name", metavar="NAME", help="model of the configuration")
    take.add_argument("package", metavar="PACKAGE@VERSION", help="package of the store")


def run(args: argparse.Namespace) -> int:
    """Return 0 if applied or unchanged, 2 if rejected (the file is restored); exit code 1 without a daemon."""
    socket = find_socket(args.config)
    standing = decode(Status, ask(socket, {"do": "status"}, timeout=30.0)).config
    file = file_of(args.config, "models", args.name)
    data = read(file)
    digest = _digest(hinted(args.config) / "models", args.package)
    edited, before = using(file, data, args.name, args.package, digest)
    news = f"{file}: models.{args.name}: use: {args.package}"
    if edited == data:
        print(f"{news}, as before")
        return _applied(socket, args.config, standing)
    applied = apply_edit(file, socket, data, edited, [f"{news} (before: {before})"])
    if applied is None:
        return 2
    print(f"applied {applied}; to wait for the end of the probation: edge-infer models wait {args.name}")
    return 0


def _digest(store: Path, title: str) -> str:
    """Return the digest of a package's model file; raises `ConfigError` unless the package is in the store."""
    from edge_infer.models.packages.library import Library
    from edge_infer.models.packages.package import find_package
    from edge_infer.models.packages.read_files import LARGEST_MODEL

    found = [stored for stored in Library(store).packages() if stored.title == title]
    if not found:
        raise ConfigError(f"{store} contains no {title}; edge-infer models add PATH adds a package")
    try:
        package = find_package(found[0].folder)
        return hashlib.sha256(package.content(package.file, LARGEST_MODEL)).hexdigest()
    except ModelError as error:
        raise ConfigError(f"{title} cannot be used: {error}") from error


def _applied(socket: Path, config: Path, standing: ConfigStatus | None) -> int:
    """Let the daemon apply a file that needs no edit, unless it is active; return 0, or 2 if it is rejected."""
    if standing and standing.state == "applied" and standing.digest == current_digest(config):
        return 0
    answer = ask(socket, {"do": "reload"})
    if answer.get("state") == "applied":
        print(f"applied {answer['digest'][:8]}")
        return 0
    tell(answer)
    return 2
