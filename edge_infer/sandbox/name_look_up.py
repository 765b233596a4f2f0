"""Determines what the look-up of a host name needs: nothing, name servers, or Unix sockets of a service."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_infer.plan.credentials import DROP_IN
from edge_infer.platform.permissions import in_service
from edge_infer.sandbox.other_services import AVAHI, RESOLVED, is_closed

_MULTICAST: Final = ".local"
_STUB_SERVER: Final = ("nameserver", "127.0.0.53")
"""The line in resolv.conf(5) with which programs query systemd-resolved as a name server."""
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
    return _is_multicast(name) or not _modules(config) <= _WITHOUT


def services_for(
    host: str, config: Path = Path("/etc/nsswitch.conf"), servers: Path = Path("/etc/resolv.conf")
) -> tuple[str, ...]:
    """Return those of `other_services.CLOSED` without which the look-up of ``host`` may fail.

    Avahi finds names below ``.local``. systemd-resolved answers over its socket what it also answers as a name server:
    its socket is only needed if the system does not query it as one.
    """
    if not need_unix(host, config):
        return ()
    modules = _modules(config)
    multicast = _is_multicast(host) and any(module.startswith("mdns") for module in modules)
    resolved = "resolve" in modules and not ("dns" in modules and _queries_resolved(servers))
    return ((AVAHI,) if multicast else ()) + ((RESOLVED,) if resolved else ())


def closed_look_up(host: str, services: Callable[[str], Iterable[str]] = services_for) -> str:
    """Return which service the unit closes although the look-up of ``host`` needs it, with the remedy.

    The result is empty if the look-up needs none, if the unit closes none of them, and outside of the service.
    """
    closed = [path for path in services(host) if is_closed(path)] if in_service() else []
    if not closed:
        return ""
    return (
        f"the look-up of {host} needs {closed[0]}, which the unit closes: replace {DROP_IN} by the output of sudo "
        "edge-infer unit, then run sudo systemctl daemon-reload && sudo systemctl restart edge-infer"
    )


def _is_multicast(host: str) -> bool:
    return host.rstrip(".").lower().endswith(_MULTICAST)


def _queries_resolved(servers: Path) -> bool:
    text = ""
    with suppress(OSError, UnicodeDecodeError):
        text = servers.read_text(encoding="utf-8")
    return any(tuple(line.split()[:2]) == _STUB_SERVER for line in text.splitlines())


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
