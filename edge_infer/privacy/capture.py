"""Every packet of a network namespace of its own, in which there is only a loopback."""

from __future__ import annotations

import fcntl
import socket
import struct
import threading
from collections import Counter
from typing import Final

_ALL_PROTOCOLS: Final = 3
_OUTGOING: Final = 4
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _UP = 0x8913, 0x8914, 1
_TICK: Final = 0.2
MOST: Final = 64 << 20
"""Bytes that are kept."""


def bring_up_loopback() -> None:
    """A new namespace has one, and it is down; raises `OSError`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(handle, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _UP))


class Capture:
    """Counts packets by where they go, and keeps their bytes. Raises `OSError` where it may not listen."""

    def __init__(self, port: int) -> None:
        self.packets = 0
        self.others: Counter[str] = Counter()
        self.data = bytearray()
        self._port = port
        self._stop = threading.Event()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL_PROTOCOLS))
        self._socket.settimeout(_TICK)
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def __enter__(self) -> Capture:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                packet, (_, protocol, kind, *_) = self._socket.recvfrom(1 << 17)
            except TimeoutError:
                continue
            if kind == _OUTGOING:  # a loopback shows each a second time as it comes in
                self.packets += 1
                if len(self.data) < MOST:
                    self.data += packet
                if (place := _destination(protocol, packet, self._port)) is not None:
                    self.others[place] += 1


def _destination(protocol: int, packet: bytes, port: int) -> str | None:
    """Where a packet goes that is not one between the publisher and the broker's stand-in; None for one that is."""
    if protocol == 0x0800 and len(packet) >= 24:
        after = 4 * (packet[0] & 15)
        source, target = struct.unpack_from("!HH", packet, after)
        address = socket.inet_ntoa(packet[16:20])
        if packet[9] == socket.IPPROTO_TCP and address == "127.0.0.1" and port in (source, target):
            return None
        return f"{address} port {target}" if packet[9] in (socket.IPPROTO_TCP, socket.IPPROTO_UDP) else address
    if protocol == 0x86DD and len(packet) >= 40:
        return socket.inet_ntop(socket.AF_INET6, packet[24:40])
    return f"protocol {protocol:#06x}"
