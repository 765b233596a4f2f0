"""Which system calls each room refuses to itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Room = Literal["engine", "probe", "reader", "publisher"]

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
"""Families of sockets, by number: the engine may not import ``socket``."""
_SOCKETS: Final = ("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4")
_TRACING: Final = ("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd")
# io_uring makes sockets and connections past every other filter.
_IO_URING: Final = ("io_uring_setup", "io_uring_enter", "io_uring_register")
_CAPTURE: Final = "V|AU"
"""Types of the requests to cameras (Video4Linux, its media controller) and microphones (ALSA's sound and control)."""


@dataclass(frozen=True, slots=True)
class Rules:
    """``refused`` calls fail with EPERM, so do sockets of other ``families`` (none: any) and ioctls of these types."""

    refused: tuple[str, ...]
    families: tuple[int, ...] = ()
    ioctl_types: str = ""


def rules(room: Room, *, network: bool = False) -> Rules:
    """What ``room`` refuses; ``network`` is for a reader whose source is on the network.

    Channels that a room inherits stay usable: sending and receiving is not refused.
    """
    if room in ("engine", "probe"):
        return Rules((*_SOCKETS, *_TRACING, *_IO_URING))
    if room == "reader":  # libcamera finds its devices through netlink
        families = (AF_UNIX, AF_NETLINK, AF_INET, AF_INET6) if network else (AF_UNIX, AF_NETLINK)
        return Rules((*_TRACING, *_IO_URING), families=families)
    return Rules((*_TRACING, *_IO_URING), ioctl_types=_CAPTURE)
