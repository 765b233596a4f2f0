"""Determines what the look-up of a host name needs: nothing, name servers, or Unix sockets of a service."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from pathlib import Path
from typing import Final

_MULTICAST: Final = ".local"
_WITHOUT: Final = frozenset({"files", "dns", "mdns_minimal", "mdns4_minimal", "mdns6_minimal"})
"""Modules of nsswitch.conf(5) that read files or query name servers over UDP and TCP.

The ``minimal`` modules of multicast DNS query Avahi only for names below ``.local``.
"""


def need_look_up(host: str) -> bool:
    """Return whether the system must look up ``host``. An address needs no look-up; ``localhost`` is in /etc/hosts.

    A link-local address with a zone (``fe80::1%eth0``) needs a look-up of the zone.
    """
    name = host.rstrip(".").lower()
    return "%" in name or not (name in ("", "localhost") or _is_address(name))


def need_unix(host: str, config: Path = Path("/etc/nsswitch.conf")) -> bool:
    """Return whether the lookup of ``host`` may need a Unix socket.

    An address needs no lookup, and ``localhost`` is in /etc/hosts. A name below ``.local`` needs a socket (Avahi).
    Every name needs a socket if the system uses modules other than those in `_WITHOUT`.
    """
    name = host.rstrip(".").lower()
    if not need_look_up(host) or "%" in name:
        return False
    return name.endswith(_MULTICAST) or not _modules(config) <= _WITHOUT


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _modules(config: Path) -> frozenset[str]:
    """Return the modules in the ``hosts:`` line without the actions in brackets, or the C library's default."""
    text = ""
    with suppress(OSError, UnicodeDecodeError):
        text = config.read_text(encoding="utf-8")
    for line in text.splitlines():
        database, colon, rest = line.partition("#")[0].partition(":")
        if colon and database.strip() == "hosts":
            return frozenset(_without_actions(rest).split())
    return frozenset({"files", "dns"})


def _without_actions(text: str) -> str:
    kept = [part.partition("]")[2] if place else part for place, part in enumerate(text.split("["))]
    return " ".join(kept)
