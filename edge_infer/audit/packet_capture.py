"""Captures every packet that arrives on an interface.

The interface is the only loopback interface of a namespace, or the outer end of a link.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from edge_infer.audit.packets import Flows

_ALL_PROTOCOLS: Final = 3
_OUTGOING: Final = 4
_IPV4, _IPV6, _ARP = 0x0800, 0x86DD, 0x0806
_ICMPV6, _HOP_BY_HOP = 58, 0
_NEIGHBOURS: Final = frozenset({*range(130, 138), 143})
"""ICMPv6 types that the kernel sends by itself: group membership and neighbour discovery (RFC 3810, 4861)."""
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _UP = 0x8913, 0x8914, 1
_SOL_PACKET, _STATISTICS, _RCVBUFFORCE = 263, 6, 33
_TICK: Final = 0.2
_BUFFER: Final = 16 << 20
MOST: Final = 64 << 20
"""Maximum number of bytes kept."""


def bring_up_loopback() -> None:
    """Enable the loopback interface, which is disabled in a new namespace; raises `OSError`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(handle, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _UP))


@dataclass(frozen=True, slots=True)
class Broker:
    """Address of the broker, the only permitted destination of packets."""

    address: str
    port: int


class PacketCapture:
    """Counts packets by destination and keeps their content. Raises `OSError` without the right to capture.

    ``others`` counts packets to destinations other than the broker. ``kernel`` counts packets with which the kernel
    finds the broker on the link (ARP for its address, IPv6 neighbours); no process without CAP_NET_RAW can send them.
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
        everything = socket.htons(_ALL_PROTOCOLS)  # interface 0: nothing can arrive before bind
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0 if interface else everything)
        if interface:
            self._socket.bind((interface, _ALL_PROTOCOLS))
        with suppress(OSError):  # without the privilege, the buffer stays smaller
            self._socket.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _BUFFER)
        self._socket.settimeout(_TICK)
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def __enter__(self) -> PacketCapture:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    @property
    def data(self) -> bytes:
        """The reassembled TCP data, and the other packets as a whole."""
        return self._flows.said() + b"\n" + bytes(self._rest)

    def missed(self) -> int:
        """Return the number of packets that the kernel dropped, or that exceeded the limit."""
        counted = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 8))
        self._missed += counted[1]  # the kernel resets its counter at each read
        return self._missed

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                packet, (_, protocol, kind, *_) = self._socket.recvfrom(1 << 17)
            except TimeoutError:
                continue
            if kind != _OUTGOING:  # a loopback interface shows each packet a second time, as outgoing
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
    """Return the purpose of a packet with which the kernel finds the broker on the link; empty for all others."""
    if protocol == _ARP and len(packet) >= 28 and broker in map(socket.inet_ntoa, (packet[14:18], packet[24:28])):
        return "ARP for the broker"
    if protocol == _IPV6 and len(packet) >= 48:
        after = 40 + 8 * (packet[6] == _HOP_BY_HOP)
        following = packet[40] if packet[6] == _HOP_BY_HOP else packet[6]
        if following == _ICMPV6 and len(packet) > after and packet[after] in _NEIGHBOURS:
            return "IPv6 neighbours"
    return ""


def destination(protocol: int, packet: bytes, broker: Broker) -> str:
    """Return the destination of a packet; empty for a packet between the publisher and the broker."""
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
