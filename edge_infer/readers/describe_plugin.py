"""Describe a source class of another package in a sandboxed child: the caller must not run code of that package.

``python -m edge_infer.readers.describe_plugin`` reads one `DescribeRequest` from standard input and prints one
`Description`.
"""

from __future__ import annotations

import ctypes
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Annotated, Final

from edge_infer.contract.codec import JsonValue, Record, ShortText, at_least, at_most, decode, decode_json, dumps, field
from edge_infer.errors import ConfigError, SourceError, WireError
from edge_infer.plan.records import Gives, SourcePlan
from edge_infer.platform.bounded_run import run_bounded
from edge_infer.platform.child_process import own_module
from edge_infer.sandbox import lock
from edge_infer.sandbox.needs import reader_fence

PATIENCE: Final = 60.0
"""Maximum run time of the child in seconds. The child may load NumPy and OpenCV from a slow SD card for the first
time."""
MAX_DESCRIPTION_BYTES: Final = 1 << 20
_PR_SET_PDEATHSIG: Final = 1
_MOST: Final = 4000
Sentence = Annotated[str, at_most(_MOST)]


class DescribeRequest(Record, frozen=True):
    """The request: ``target`` is ``module:Class``, ``options`` are the configured keys, ``place`` their position.

    ``fps`` is passed as an option to a source that has such an option.
    """

    target: ShortText
    options: Mapping[ShortText, JsonValue]
    place: ShortText
    fps: float | None = None


class Description(Record, frozen=True):
    """The attributes of a `Source`; ``known`` maps the name of each option to true if the option is required.

    Three fields hold error messages: ``missing`` if the class cannot be loaded, ``misfit`` if the options are invalid,
    and ``problem`` if the source cannot be read.
    """

    known: Mapping[ShortText, bool] = field(default_factory=dict)
    missing: Sentence = ""
    misfit: Sentence = ""
    problem: Sentence = ""
    gives: Gives = "image"
    live: bool = True
    network: bool = False
    noisy: bool = True
    stdin: bool = False
    stills: bool = False
    patience: Annotated[float, at_least(0)] = 0.0


def describe(target: str, options: Mapping[str, JsonValue], place: str, fps: float | None) -> Description:
    """Describe the source in a child; raises `ConfigError` if the class does not exist or the child has no output."""
    try:
        order = dumps(DescribeRequest(target, options, place, fps))
        done = run_bounded(own_module(__name__), order, most=MAX_DESCRIPTION_BYTES, seconds=PATIENCE)
        found = decode_json(Description, done.output)
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"{target} did not describe itself within {PATIENCE:g} s") from error
    except WireError as error:
        raise ConfigError(f"{target} cannot be used: the process that loads it ended with {done.status}") from error
    if found.missing:
        raise ConfigError(found.missing)
    return found


def main() -> int:
    """Run the child and return its exit code."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    order = decode_json(DescribeRequest, sys.stdin.buffer.read())
    plan = SourcePlan("source", "", order.target, live=True, network=False, options=order.options)
    lock("reader", fence=reader_fence(plan))
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # output of the source must not mix with the description
        answers.write(dumps(_described(order)))
    return 0


def _described(order: DescribeRequest) -> Description:
    from edge_infer.readers.sources import source_class

    try:
        found = source_class(order.target)
    except ConfigError as error:
        return Description(missing=str(error)[:_MOST])
    known = {item.name: _is_required(item) for item in dataclasses.fields(found.Options)}
    options = dict(order.options)
    if "fps" in known and order.fps is not None:
        options["fps"] = order.fps
    if not options.keys() <= known.keys() or any(known[name] for name in known.keys() - options.keys()):
        return Description(known)
    try:
        source = found(decode(found.Options, options, order.place))
    except WireError as error:
        return Description(known, misfit=str(error)[:_MOST])
    problem = ""
    if not source.live and (check := getattr(source, "check", None)) is not None:
        try:
            check()
        except SourceError as error:
            problem = str(error)[:_MOST]
    return Description(
        known,
        problem=problem,
        gives=source.gives,
        live=source.live,
        network=source.network,
        noisy=source.noisy,
        stdin=getattr(source, "stdin", False),
        stills=getattr(source, "stills", False),
        patience=min(float(getattr(source, "patience", 0.0)), 1e9),
    )


def _is_required(item: dataclasses.Field[object]) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


if __name__ == "__main__":
    sys.exit(main())
