"""``edge-infer privacy``: check that raw data does not leave the device, as far as observation can show."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_infer.cli.as_owner import act_on
from edge_infer.platform.paths import DEFAULT_CONFIG
from edge_infer.sandbox import privileges

if TYPE_CHECKING:
    from edge_infer.audit.audit import Audit

_HIDDEN: Final[Mapping[str, str]] = {"image": "pictures", "samples": "samples", "text": "text"}


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "-c", "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="default: %(default)s"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds of results to audit; default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.epilog = "example: edge-infer privacy --seconds 60"


def run(args: argparse.Namespace) -> int:
    """Return 0 if no data left the device and every deliberate leak was detected, else 1."""
    from edge_infer.audit.audit import audit, leave_the_network

    no_capture = leave_the_network()
    act_on(args, args.config, alone=0 if no_capture else privileges.CAPTURE)
    found = audit(args.config, args.seconds, no_capture)
    print(json.dumps({**asdict(found), "passed": found.passed}) if args.json else "\n".join(_lines(found)))
    return 0 if found.passed else 1


def _channel(found: Audit) -> list[str]:
    """Return the lines about the data that valid messages can carry."""
    if found.channel_bound is None:
        names = ", ".join(name for name, bound in found.bounds.items() if bound is None)
        lines = [f"channel    unlimited: nothing limits the rate of {names} (fps, or publish: change)"]
    elif found.picture_seconds is None:
        lines = ["channel    nothing is published"]
    else:
        picture = f"a picture of 7 kB would take {found.picture_seconds} s"
        where = "in valid messages, including health"
        most = f"{found.channel_bound:g} bytes a second {where}, and {found.burst_bytes} at once"
        lines = [f"channel    at most {most}; {picture}"]
    for name, bound in found.bounds.items():
        if bound is not None:
            played = (
                (f", {found.recovered[name]:g} recovered from the leaking test engine")
                if name in found.recovered
                else ""
            )
            excess = "  EXCESS   " if name in found.exceeded else "           "
            lines.append(f"{excess}{name}: {bound:g} bytes a second{played}")
    return lines


def _lines(found: Audit) -> list[str]:
    watched = ", ".join(f"{name} ({_HIDDEN[takes]})" for name, takes in found.pipelines.items())
    lines = [f"{found.seconds:g} s of a known pattern in every frame of {watched}"]
    for name, count in found.results.items():
        silence = ": no objects were found for it to process" if name in found.unshown else ""
        why = f" ({found.why_silent[name]})" if name in found.why_silent else ""
        blind = f": its silence shows nothing{why}"
        size = f", {found.bytes_per_result[name]:g} bytes each" if count else silence or blind
        lines.append(f"results    {name}: {count}{size}")
    lines.append(
        f"published  {found.published} bytes; never more than {found.rate_bound} bytes a second (mqtt.max_rate)"
    )
    lines += _channel(found)
    lines.append(f"searched   {found.searched} bytes of messages, packets, files and logs: {len(found.hits)} hits")
    lines += [f"  LEAK     {hit}" for hit in found.hits]
    if found.page_pictures is not None:
        lines.append(
            f"page       {found.page_pictures} pictures in the socket of the local page, which may contain pictures"
        )
    packets = (
        ""
        if found.packets is None
        else (f", {found.packets} packets, {sum(found.elsewhere.values())} to other addresses")
    )
    lines.append(f"network    {found.network}{packets}")
    lines += [f"  LEAK     {count} packets to {place}" for place, count in found.elsewhere.items()]
    missed = [name for name, seen in found.control.items() if not seen]
    lines.append(
        f"control    {len(found.control) - len(missed)} of {len(found.control)} deliberate leaks were detected"
    )
    lines += [f"  MISSED   {name}" for name in missed]
    lines += [f"wall       {wall}: {text}" for wall, text in found.walls.items()]
    lines.append("passed" if found.passed else "FAILED")
    return lines
