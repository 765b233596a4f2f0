"""``edge-infer models sign`` and ``verify``: for the person who releases a model package."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_infer.cli.action import Actions, add_action
from edge_infer.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from edge_infer.models.request import TrustedKey

_PACKAGE: Final = "a package's folder, or X.tflite with X.yaml beside it"


def add(actions: Actions) -> None:
    """Declares the actions."""
    purpose = "signs a package: adds the digests that its manifest lacks, and writes FILE.sig beside the model"
    sign = add_action(actions, "sign", purpose, "person/1.2.0 --key release.key", _sign)
    sign.add_argument("path", metavar="PACKAGE", type=Path, help=_PACKAGE)
    how = sign.add_mutually_exclusive_group(required=True)
    how.add_argument(
        "--key", metavar="FILE", type=Path, help="private key: openssl genpkey -algorithm ed25519 makes one"
    )
    how.add_argument(
        "--print", action="store_true", help="print the bytes to be signed instead, for a key that lies elsewhere"
    )
    purpose = "checks a package as a device with require_signature does: its signature, and the digest of every file"
    verify = add_action(actions, "verify", purpose, "person/1.2.0 --keys keys/", _verify)
    verify.add_argument("path", metavar="PACKAGE", type=Path, help=_PACKAGE)
    verify.add_argument(
        "--keys", metavar="PATH", type=Path, required=True, help="a public key (PEM), or a folder with some (*.pem)"
    )


def _sign(args: argparse.Namespace) -> int:
    from edge_infer.models.release import prepare, signature_file
    from edge_infer.models.signature import private_key

    key = private_key(args.key) if args.key else None
    package = prepare(args.path.absolute())
    if key is None:
        sys.stdout.buffer.write(package.written)
        return 0
    place = signature_file(package, key)
    print(f"edge-infer: {package.title} is signed: {place}", file=sys.stderr)
    return 0


def _verify(args: argparse.Namespace) -> int:
    from edge_infer.models.release import verify

    keys = _keys(args.keys)
    try:
        package = verify(args.path.absolute(), keys)
    except ModelError as error:
        print(f"edge-infer: {error}", file=sys.stderr)
        return 1
    print(f"edge-infer: {package.title} is signed, and all of its files are as they were then", file=sys.stderr)
    return 0


def _keys(path: Path) -> list[TrustedKey]:
    from edge_infer.models.signature import trusted_key

    files = sorted(path.glob("*.pem")) if path.is_dir() else [path]
    if not files:
        raise ConfigError(f"{path} holds no key (*.pem)")
    return [trusted_key(file) for file in files]
