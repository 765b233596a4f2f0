"""The process that opens an address for `edge_infer.snapshot.probe`, in the sandbox of a reader.

``python -m edge_infer.snapshot.probe_main`` reads an `Address` from standard input and prints a `Probed`. If root
starts this process, it changes to another user.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from edge_infer.contract.codec import decode_json, dumps, replace
from edge_infer.errors import EdgeInferError, SourceError
from edge_infer.models.trials.child_main import die_with_parent, own_output
from edge_infer.plan.records import SourcePlan, TlsPlan
from edge_infer.readers.environment import prepare
from edge_infer.readers.sources import source_target
from edge_infer.sandbox import lock, privileges
from edge_infer.sandbox.change_user import give_up_root
from edge_infer.sandbox.needs import reader_fence
from edge_infer.snapshot.probe import Address, Probed

if TYPE_CHECKING:
    from edge_infer.readers.sources import Picture

SECONDS: Final = 3.0
"""Seconds for which pictures are counted."""
FEWEST: Final = 3
"""Minimum number of pictures for computing a rate."""
BURST: Final = 1.0
"""Seconds at the start in which a server may send buffered pictures faster."""
FIRST: Final = 15.0
"""Seconds to wait for a picture."""
CODECS: Final = {"h264": "H.264", "avc1": "H.264", "hevc": "H.265", "hev1": "H.265", "mjpg": "Motion JPEG"}
"""Names of codecs, by the four characters that FFmpeg uses for them."""


def main() -> int:
    """Run the process and return its exit code."""
    die_with_parent()
    answers = own_output()
    logging.basicConfig(level=logging.ERROR)
    prepare(os.environ)
    try:
        address = decode_json(Address, sys.stdin.buffer.read())
        user = give_up_root(None, keep=privileges.READ_SEARCH)
        die_with_parent()  # the kernel resets this when the user changes
        kind = "rtsp" if address.url.startswith("rtsp") else "http"
        options: dict[str, Any] = {
            "url": address.url,
            "password_file": address.password_file,
            "transport": address.transport,
        }
        options["tls"] = {"ca_file": address.ca_file}
        plan = SourcePlan("probe", kind, source_target(kind), live=True, network=True, options=options)
        owners = {0} if user is not None else {0, os.geteuid()}
        lock("reader", network=True, fence=reader_fence(plan), keep=privileges.READ_SEARCH, owners=owners)
        found = (_rtsp if kind == "rtsp" else _http)(address)
    except EdgeInferError as error:
        found = Probed(str(error)[: 1 << 14])
    answers.write(dumps(found))
    answers.close()
    return 0


def _rtsp(address: Address) -> Probed:
    import cv2

    from edge_infer.readers.sources.rtsp import RtspOptions, RtspSource, open_stream

    opened: list[Any] = []

    def factory(url: str, patience: float) -> Any:
        opened.append(open_stream(url, patience))
        return opened[-1]

    transport: Any = address.transport or "tcp"
    options = RtspOptions(address.url, address.username, address.password_file, transport, TlsPlan(address.ca_file))
    began = time.monotonic()
    with RtspSource(options, factory) as source:
        code = int(opened[-1].get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("ascii", "replace")
        told = float(opened[-1].get(cv2.CAP_PROP_FPS))
        name = CODECS.get(code.lower(), code.strip("\0 ") or "unknown codec")
        found = _counted(source.read, began)
        return replace(found, codec=name, told=round(told, 2) if 0 < told < 1000 else None)


def _http(address: Address) -> Probed:
    from edge_infer.readers.sources import Picture
    from edge_infer.readers.sources.http import HttpOptions, HttpSource

    began = time.monotonic()
    stream = HttpSource(HttpOptions(address.url, address.username, address.password_file))
    try:
        with stream:
            return replace(_counted(stream.read, began), codec="Motion JPEG")
    except SourceError as error:
        if not stream.content_type or stream.content_type.startswith("multipart/"):
            raise
        refused = error
    try:  # some cameras state another type for a picture
        with HttpSource(HttpOptions(address.url, address.username, address.password_file, snapshot=1.0)) as source:
            picture = source.read()
    except SourceError as error:
        raise error if stream.content_type.startswith("image/") else refused from error
    assert isinstance(picture, Picture)  # every picture is wanted, so none is passed over; a failure raises
    height, width = picture.pixels.shape[:2]
    codec = source.format or source.content_type.removeprefix("image/").upper()[:32]
    return Probed("", codec, width, height, first=round(time.monotonic() - began, 2), snapshot=True)


def _counted(read: Callable[[], Picture | Any | None], began: float) -> Probed:
    """Read pictures for `SECONDS` from the first one on; return their size and rate."""
    times: list[float] = []
    shape = (0, 0)
    while time.monotonic() < (times[0] + SECONDS if times else began + FIRST):
        picture = read()
        if picture is None or not hasattr(picture, "pixels"):
            continue
        shape = picture.pixels.shape[:2]
        times.append(picture.monotonic)
    if not times:
        raise SourceError(f"it answers, but sends no picture within {FIRST:.0f} s")
    return Probed("", "", shape[1], shape[0], rate=rate_of(times), first=round(times[0] - began, 2))


def rate_of(times: Sequence[float]) -> float | None:
    """Return the pictures per second after the burst at the start; None if too few are left."""
    later = [moment for moment in times if moment - times[0] >= BURST]
    counted = later if len(later) >= FEWEST else times
    return round((len(counted) - 1) / (counted[-1] - counted[0]), 1) if len(counted) >= FEWEST else None


if __name__ == "__main__":
    sys.exit(main())
