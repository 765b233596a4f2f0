"""``edge-infer cameras``: list capture devices, save one picture of a configured source, or try an address."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from edge_infer.cli.output import say
from edge_infer.errors import ConfigError, EdgeInferError
from edge_infer.platform.logs import printable
from edge_infer.platform.paths import DEFAULT_CONFIG


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--grab", metavar="SOURCE", help="save one picture of this configured source")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to save it: a .png or .jpg file")
    parser.add_argument("--grid", action="store_true", help="draw a grid of fractions, to read off masks and zones")
    parser.add_argument("--probe", metavar="URL", help="try this rtsp: or http: address, and print how to configure it")
    parser.add_argument("--username", help="with --probe: user name at the camera")
    parser.add_argument("--password-file", metavar="FILE", help="with --probe: file with the password")
    parser.add_argument("--transport", choices=("tcp", "udp"), help="with --probe: transport of RTSP, default tcp")
    parser.add_argument("--ca-file", metavar="FILE", help="with --probe: certificate of an rtsps: camera to trust")
    parser.add_argument("-c", "--config", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s")
    parser.epilog = "example: edge-infer cameras --grab door -o door.png --grid"


def run(args: argparse.Namespace) -> int:
    """Return 0 when done; exit code 1 without a camera or a picture, 2 for wrong arguments."""
    if args.probe is not None:
        if args.grab or args.output or args.grid:
            raise ConfigError("--probe tries an address; --grab, -o and --grid need a configured source")
        return _probe(args)
    if args.username or args.password_file or args.transport or args.ca_file:
        raise ConfigError("--username, --password-file, --transport and --ca-file need --probe URL")
    if args.grab is None:
        if args.output or args.grid:
            raise ConfigError("-o and --grid need --grab SOURCE")
        return _list()
    if args.output is None:
        raise ConfigError("--grab needs -o FILE to save the picture in")
    if args.output.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ConfigError(f"{args.output} must end in .png or .jpg")
    from edge_infer.readers.environment import prepare

    prepare(os.environ)
    from edge_infer.snapshot.request import grab

    how = grab(args.config, args.grab, args.output, grid=args.grid)
    print(f"{args.output}: a picture of {args.grab}, {how}", file=sys.stderr)
    return 0


def _probe(args: argparse.Namespace) -> int:
    """Print the format of the pictures from an address, and its section of the configuration; return 0."""
    from edge_infer.snapshot.probe import Address, block, described, probe

    if args.transport is not None and not args.probe.startswith("rtsp"):
        raise ConfigError("--transport needs an rtsp: address")
    if args.ca_file is not None and not args.probe.startswith("rtsps:"):
        raise ConfigError("--ca-file needs an rtsps: address")
    secret, authority = (str(Path(file).absolute()) if file else None for file in (args.password_file, args.ca_file))
    address = Address(args.probe, args.username, secret, args.transport, authority)
    found = probe(address)
    if found.error:
        raise EdgeInferError(found.error)
    print(printable(f"it works: {described(found)}"), file=sys.stderr)
    print(block(address, snapshot=found.snapshot))
    return 0


def _list() -> int:
    from edge_infer.readers.devices import capture_devices

    devices = capture_devices()
    for device in devices:
        say(
            [
                f"{device.path}: {device.problem or f'{device.name} ({device.bus})'}",
                *(f"  {mode}" for mode in device.modes),
            ]
        )
    if not devices:
        raise EdgeInferError(
            "no capture device under /dev/video*; a camera on the CSI connector needs `kind: exec`, a network camera "
            "needs no device: see docs/cameras.md"
        )
    return 0 if any(not device.problem for device in devices) else 1
