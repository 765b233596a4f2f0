"""The short form of ``scripts/faults privacy``; that nothing leaves is what counts, not what the walls cost here."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import pytest

from edge_infer.audit.packet_capture import Broker, destination, kernel_says
from edge_infer.audit.packets import Flows
from tests.faults import privacy, walls


def test_nothing_leaves(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can count on network namespaces")
    findings = privacy.audit(tmp_path / "audit", 5.0)
    assert all(finding.kept for finding in findings), "\n".join(map(str, findings))


def test_one_way_out_leads_to_the_broker_alone(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can count on network namespaces")
    findings = privacy.one_way_out(tmp_path / "wire", 3.0)
    if findings[0].kept is None:
        pytest.skip(findings[0].found)
    assert all(finding.kept for finding in findings), "\n".join(map(str, findings))


def test_segments_become_what_was_said_whatever_the_network_did() -> None:
    def segment(number: int, payload: bytes, flags: int = 0x10) -> bytes:
        return struct.pack("!HHIIBBHHH", 5000, 1883, number & 0xFFFFFFFF, 0, 5 << 4, flags, 0, 0, 0) + payload

    begin = (1 << 32) - 3  # the numbers wrap
    flows = Flows()
    for number, payload, flags in (
        (begin - 1, b"", 0x02),
        (begin, b"abcd", 0x10),
        (begin, b"abcd", 0x10),
        (begin + 2, b"cdef", 0x10),
        (begin + 6, b"gh", 0x10),
    ):
        flows.take(b"one", segment(number, payload, flags))
    flows.take(b"two", segment(7, b"other"))
    assert flows.said() == b"abcdefgh\nother"


def test_what_the_kernel_says_to_find_the_broker_is_told_from_what_goes_elsewhere() -> None:
    broker = Broker("10.77.0.1", 1883)
    own, other = socket.inet_aton("10.77.0.1"), socket.inet_aton("10.77.0.9")
    arp = bytes(8) + bytes(6) + socket.inet_aton("10.77.0.2") + bytes(6)
    assert kernel_says(0x0806, arp + own, broker.address) == "ARP for the broker"
    assert kernel_says(0x0806, arp + other, broker.address) == ""
    assert destination(0x0806, arp + other, broker) == "protocol 0x0806"
    head = bytes((0x60, 0, 0, 0, 0, 8, 58, 255)) + bytes(16) + socket.inet_pton(socket.AF_INET6, "ff02::2")
    assert kernel_says(0x86DD, head + bytes((133,)) + bytes(15), broker.address) == "IPv6 neighbours"
    assert kernel_says(0x86DD, head + bytes((128,)) + bytes(15), broker.address) == ""  # an echo is somebody's own
    assert destination(0x86DD, head + bytes(8), broker) == "ff02::2"
    udp = bytes((0x45, 0, 0, 32)) + bytes(5) + bytes((17, 0, 0)) + socket.inet_aton("10.77.0.2") + own
    assert destination(0x0800, udp + struct.pack("!HH", 5000, 1883) + bytes(4), broker) == "10.77.0.1 port 1883"


def test_the_same_detections_are_the_same_bytes_whatever_the_pixels(tmp_path: Path) -> None:
    finding = privacy.other_pixels(tmp_path / "pixels")
    assert finding.kept, str(finding)


def test_the_walls_can_be_weighed(tmp_path: Path) -> None:
    price = walls.price(tmp_path / "price", 2)
    assert all(turn.results > 0 for both in price.rounds for turn in both), str(price)
    assert min(price.memory) > 20 << 20, str(price)
