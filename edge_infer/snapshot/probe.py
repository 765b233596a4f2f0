"""Tries the address of a network camera: whether it works, what it sends, and how to configure it.

A separate process opens the address. It decodes data from the network, so it runs in the sandbox of a reader.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from edge_infer.contract.codec import Record, at_most, decode_json, dumps
from edge_infer.errors import ConfigError, EdgeInferError, WireError
from edge_infer.platform.bounded_run import run_bounded
from edge_infer.platform.child_process import own_module
from edge_infer.yamlfile.fields import url as url_kind

SCHEMES: Final = ("rtsp", "rtsps", "http", "https")
MAX_OUTCOME_BYTES: Final = 1 << 20
_PLAIN: Final = re.compile(r"[\w./@-](?:[\w./@?=&%~+,;!$*'()-]|:(?! ))*", re.ASCII)
"""Texts that YAML reads unchanged without quotes."""


class Address(Record, frozen=True):
    """The address to try, and the credentials and options needed to open it."""

    url: Annotated[str, at_most(4096)]
    username: Annotated[str, at_most(256)] | None = None
    password_file: Annotated[str, at_most(4096)] | None = None
    transport: Annotated[str, at_most(8)] | None = None
    ca_file: Annotated[str, at_most(4096)] | None = None


class Probed(Record, frozen=True):
    """Outcome: ``error`` is the reason for no picture; rates are in pictures per second, ``first`` is in seconds.

    ``snapshot``: the address sends single pictures. ``told`` is the rate that the stream claims.
    """

    error: Annotated[str, at_most(1 << 16)] = ""
    codec: Annotated[str, at_most(64)] = ""
    width: int = 0
    height: int = 0
    told: float | None = None
    rate: float | None = None
    first: float = 0.0
    snapshot: bool = False


def probe(address: Address) -> Probed:
    """Open the address in a separate process; raises `ConfigError` for an invalid address."""
    try:
        secret = "@" in urlsplit(address.url).netloc
        if not secret:
            url_kind(*SCHEMES).parse(address.url)
    except ValueError as error:
        raise ConfigError(f"--probe: {error}") from error
    if secret:
        raise ConfigError(
            "--probe: do not put a password into the address, which every user of this machine can read; use "
            "--username and --password-file"
        )
    done = run_bounded(own_module("edge_infer.snapshot.probe_main"), dumps(address), most=MAX_OUTCOME_BYTES)
    try:
        return decode_json(Probed, done.output)
    except WireError as error:
        raise EdgeInferError(f"the process that opens the address ended with {done.status}") from error


def described(found: Probed) -> str:
    """Return a line that describes what the address sends."""
    if found.snapshot:
        rate = "single pictures"
    elif found.rate is None:
        rate = "rate unknown"
    else:
        told = f" (the stream states {found.told:g})" if found.told else ""
        rate = f"{found.rate:g} pictures a second{told}"
    return f"{found.codec}, {found.width}x{found.height}, {rate}, first picture after {found.first:.1f} s"


def block(address: Address, *, snapshot: bool) -> str:
    """Return the section of the configuration for this address."""
    lines = ["sources:", "  camera:", f"    kind: {'rtsp' if address.url.startswith('rtsp') else 'http'}"]
    lines.append(f"    url: {_quoted(address.url)}")
    given = ((key, getattr(address, key)) for key in ("username", "password_file", "transport"))
    lines += [f"    {key}: {_quoted(value)}" for key, value in given if value is not None]
    if address.ca_file is not None:
        lines.append(f"    tls: {{ca_file: {json.dumps(address.ca_file, ensure_ascii=False)}}}")
    if snapshot:
        lines.append("    snapshot: 10s")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) and not text.endswith(":") else json.dumps(text)
