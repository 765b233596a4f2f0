"""Every packet that comes in on an interface: of a loopback alone in its namespace, or at the outer end of a wire."""

from __future__ import annotations

import fcntl
import socket
import struct
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from edge_infer.privacy.flows import Flows

_ALL_PROTOCOLS: Final = 3
_OUTGOING: Final = 4
_IPV4, _IPV6, _ARP = 0x0800, 0x86DD, 0x0806
_ICMPV6, _HOP_BY_HOP = 58, 0
_NEIGHBOURS: Final = frozenset({*range(130, 138), 143})
"""ICMPv6 that the kernel says by itself: who listens to which group, and who has which address (RFC 3810, 4861)."""
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _UP = 0x8913, 0x8914, 1
_SOL_PACKET, _STATISTICS, _RCVBUFFORCE = 263, 6, 33
_TICK: Final = 0.2
_BUFFER: Final = 16 << 20
MOST: Final = 64 << 20
"""Bytes that are kept."""


def bring_up_loopback() -> None:
    """A new namespace has one, and it is down; raises `OSError`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(handle, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _UP))


@dataclass(frozen=True, slots=True)
class Broker:
    """The one to whom packets may go."""

    address: str
    port: int


class Capture:
    """Counts packets by where they go, and keeps what they say. Raises `OSError` where it may not listen.

    ``others`` went to anybody but the broker; ``kernel`` are those that the kernel needs to find the broker on the
    wire (ARP for its address, IPv6 neighbours), which no process without CAP_NET_RAW can make.
    """

    def __init__(self, broker: Broker, interface: str = "") -> None:
        self.packets = 0
        self.others: Counter[str] = Counter()
        self.kernel: Counter[str] = Counter()
        self._broker = broker
        self._flows = Flows()
        self._rest = bytearray()
        self._kept = 0
        self._missed = 0
        self._stop = threading.Event()
        everything = socket.htons(_ALL_PROTOCOLS)  # one of an interface hears nothing before it is bound to that
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0 if interface else everything)
        if interface:
            self._socket.bind((interface, _ALL_PROTOCOLS))
        with suppress(OSError):  # without the power to do so it stays smaller
            self._socket.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _BUFFER)
        self._socket.settimeout(_TICK)
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def __enter__(self) -> Capture:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    @property
    def data(self) -> bytes:
        """What was said over TCP, put together again, and the other packets whole."""
        return self._flows.said() + b"\n" + bytes(self._rest)

    def missed(self) -> int:
        """Packets that the kernel could not hand over, or that were not kept, because there were too many."""
        counted = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 8))
        self._missed += counted[1]  # the kernel begins anew after each answer
        return self._missed

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                packet, (_, protocol, kind, *_) = self._socket.recvfrom(1 << 17)
            except TimeoutError:
                continue
            if kind != _OUTGOING:  # a loopback shows each a second time as it goes out
                self._take(protocol, packet)

    def _take(self, protocol: int, packet: bytes) -> None:
        self.packets += 1
        if self._kept > MOST:
            self._missed += 1
        else:
            self._keep(protocol, packet)
        if said := kernel_says(protocol, packet, self._broker.address):
            self.kernel[said] += 1
        elif place := destination(protocol, packet, self._broker):
            self.others[place] += 1

    def _keep(self, protocol: int, packet: bytes) -> None:
        if protocol == _IPV4 and len(packet) >= 20 and packet[9] == socket.IPPROTO_TCP:
            whole = int.from_bytes(packet[2:4], "big") or len(packet)
            self._kept += self._flows.take(packet[12:20], packet[4 * (packet[0] & 15) : whole])
        else:
            self._rest += packet
            self._kept += len(packet)


def kernel_says(protocol: int, packet: bytes, broker: str) -> str:
    """What a packet is for that the kernel sends to find the broker on the wire; empty for all others."""
    if protocol == _ARP and len(packet) >= 28 and broker in map(socket.inet_ntoa, (packet[14:18], packet[24:28])):
        return "ARP for the broker"
    if protocol == _IPV6 and len(packet) >= 48:
        after = 40 + 8 * (packet[6] == _HOP_BY_HOP)
        following = packet[40] if packet[6] == _HOP_BY_HOP else packet[6]
        if following == _ICMPV6 and len(packet) > after and packet[after] in _NEIGHBOURS:
            return "IPv6 neighbours"
    return ""


def destination(protocol: int, packet: bytes, broker: Broker) -> str:
    """Where a packet goes that is not one between the publisher and the broker; empty for one that is."""
    if protocol == _IPV4 and len(packet) >= 24:
        after = 4 * (packet[0] & 15)
        source, target = struct.unpack_from("!HH", packet, after)
        ends = {(socket.inet_ntoa(packet[12:16]), source), (socket.inet_ntoa(packet[16:20]), target)}
        if packet[9] == socket.IPPROTO_TCP and (broker.address, broker.port) in ends:
            return ""
        address = socket.inet_ntoa(packet[16:20])
        return f"{address} port {target}" if packet[9] in (socket.IPPROTO_TCP, socket.IPPROTO_UDP) else address
    if protocol == _IPV6 and len(packet) >= 40:
        return socket.inet_ntop(socket.AF_INET6, packet[24:40])
    return f"protocol {protocol:#06x}"
