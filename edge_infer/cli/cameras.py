"""``edge-infer cameras``: list capture devices and their modes, or save one picture of a configured source."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from edge_infer.cli.output import say
from edge_infer.errors import ConfigError, EdgeInferError
from edge_infer.platform.paths import DEFAULT_CONFIG


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--grab", metavar="SOURCE", help="save one picture of this configured source")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to save it: a .png or .jpg file")
    parser.add_argument("--grid", action="store_true", help="draw a grid of fractions to read masks and zones off")
    parser.add_argument("-c", "--config", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s")
    parser.epilog = "example: edge-infer cameras --grab door -o door.png --grid"


def run(args: argparse.Namespace) -> int:
    """Return 0 when done; exit code 1 without a camera, 2 for wrong arguments."""
    if args.grab is None:
        if args.output or args.grid:
            raise ConfigError("-o and --grid go with --grab SOURCE")
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
            "no capture device under /dev/video*; a camera on the CSI connector comes in through `kind: exec`, "
            "one on the network needs no device: see docs/cameras.md"
        )
    return 0 if any(not device.problem for device in devices) else 1
