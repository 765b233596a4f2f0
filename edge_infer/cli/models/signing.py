"""``edge-infer models sign`` and ``verify``, for the releaser of model packages or of a catalogue of them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from edge_infer.cli.arguments import Actions, add_action
from edge_infer.cli.output import complain
from edge_infer.errors import ModelError
from edge_infer.sandbox.foreign import refuse_foreign

_PACKAGE: Final = "a package's folder, X.tflite with X.yaml beside it, or a catalogue (.yaml)"


def add(actions: Actions) -> None:
    """Declare the actions."""
    purpose = "signs a package: adds the digests that its manifest lacks, and writes FILE.sig beside the model"
    sign = add_action(actions, "sign", purpose, "person/1.2.0 --key release.key", _sign)
    sign.add_argument("path", metavar="PACKAGE", type=Path, help=_PACKAGE)
    how = sign.add_mutually_exclusive_group(required=True)
    how.add_argument(
        "--key", metavar="FILE", type=Path, help="private key; openssl genpkey -algorithm ed25519 creates one"
    )
    how.add_argument(
        "--print", action="store_true", help="print the bytes to sign instead, for a key on another machine"
    )
    purpose = (
        "checks a package as a device with require_signature does: its signature, and the digest of every file; of a "
        "catalogue, the files beside it"
    )
    verify = add_action(actions, "verify", purpose, "person/1.2.0 --keys keys/", _verify)
    verify.add_argument("path", metavar="PACKAGE", type=Path, help=_PACKAGE)
    verify.add_argument(
        "--keys", metavar="PATH", type=Path, required=True, help="a public key (PEM), or a folder of them (*.pem)"
    )


def _sign(args: argparse.Namespace) -> int:
    from edge_infer.models.packages.release import signable, write_signature
    from edge_infer.models.packages.signature import private_key

    refuse_foreign(args.path)
    key = private_key(args.key) if args.key else None
    signed = signable(args.path.absolute())
    if key is None:
        sys.stdout.buffer.write(signed.written)
        return 0
    write_signature(signed, key)
    print(f"edge-infer: {signed.title} is signed: {signed.place}", file=sys.stderr)
    return 0


def _verify(args: argparse.Namespace) -> int:
    from edge_infer.models.packages.release import verify
    from edge_infer.models.packages.signature import trusted_keys

    keys = trusted_keys(args.keys)
    try:
        checked = verify(args.path.absolute(), keys)
    except ModelError as error:
        complain(error)
        return 1
    print(f"edge-infer: {checked}", file=sys.stderr)
    return 0
