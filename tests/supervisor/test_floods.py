"""A process that floods another one or feeds it crumbs is ended and named; meanwhile the daemon answers and ends."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from tests.attacker import attacking
from tests.broker import Broker, eventually
from tests.running import Daemon, config

PACKETS = {
    "middles": "[b'\\1' + bytes(60000)], [b'\\2']",
    "crumbs": "[b'\\1{'], [b'\\2 ']",
    "beginnings": "[], [b'\\1' + bytes(60000)]",
    "no end": "[b'\\1' + bytes(60000)], [b'\\2' + bytes(60000)]",
    "garbage": "[], [b'\\0{']",
    "records": "[], [b'\\0' + WHOLE]",
    "lists": "[], [b'\\1{\"a\":[' + b'[],' * 19998, *[b'\\2' + b'[],' * 20000] * 30, b'\\3[]]}']",
}
FLOOD = """
import os, select, time
time.sleep({pause})
end = option({way!r})
WHOLE = {whole!r}
def write(packet):
    while True:
        try:
            os.write(end, packet)
            return
        except BlockingIOError:
            select.select([], [end], [], 1)
        except OSError:
            os._exit(0)
first, rest = {packets}
for packet in first:
    write(packet)
while True:
    for packet in rest:
        write(packet)
"""
REPORT = b'{"GrabDone":{"source":"cam"}}'
CAMERA = (
    "import sys, time\nwhile True:\n sys.stdout.buffer.write(bytes(64 * 48 * 3))\n sys.stdout.buffer.flush()\n"
    " time.sleep(0.05)\n"
)


def flood(packets: str, way: str = "--control", whole: bytes = REPORT) -> str:
    """Code that writes these packets without end, a moment after its process has said its first word."""
    return FLOOD.format(pause=2.0, way=way, whole=whole, packets=PACKETS[packets])


def ended_and_named(broker: Broker, box: Path, attack: tuple[str, str], name: str, to: str = "") -> None:
    """The attacker is killed and the log says so; `status` answers all the time, and SIGTERM ends the daemon."""
    (box / "camera.py").write_text(CAMERA)
    camera = f"{{kind: exec, command: [{sys.executable}, {box / 'camera.py'}], size: 64x48, format: rgb24}}"
    with attacking(box, dict([attack])), Daemon(box, config(broker.port, camera)) as daemon:
        eventually(daemon.status, f"a daemon that answers; its log: {daemon.log}", 30)

        def named() -> bool:
            assert daemon.status(), "no answer"
            return any(f"{name} sends {to}" in line and "; killing it" in line for line in lines(daemon))

        eventually(named, f"the end of the {name}; the log: {daemon.log}", 60)
        assert daemon.status()["rooms"]
        if name != "engine":
            assert not any(": engine " in line and "killing it" in line for line in lines(daemon))
        before = time.monotonic()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(15) in (0, 1)  # 1: the attacker had to be killed
        assert time.monotonic() - before < 15


def lines(daemon: Daemon) -> list[str]:
    return daemon.log.read_text(errors="replace").splitlines()


@pytest.mark.parametrize("packets", PACKETS)
def test_the_engine_cannot_hold_the_supervisor_up(broker: Broker, box: Path, packets: str) -> None:
    ended_and_named(broker, box, ("edge_infer.engine", flood(packets)), "engine")


@pytest.mark.parametrize("packets", ["middles", "crumbs", "lists"])
def test_the_publisher_cannot_hold_the_supervisor_up(broker: Broker, box: Path, packets: str) -> None:
    ended_and_named(broker, box, ("edge_infer.publisher", flood(packets)), "publisher")


@pytest.mark.parametrize("packets", ["middles", "crumbs", "records"])
def test_a_reader_cannot_hold_the_supervisor_up(broker: Broker, box: Path, packets: str) -> None:
    whole = b'{"ReaderReport":{"busy":0.0,"frames":1}}'
    ended_and_named(broker, box, ("edge_infer.readers", flood(packets, whole=whole)), "reader cam")


@pytest.mark.parametrize("packets", ["middles", "crumbs", "beginnings", "records"])
def test_a_reader_cannot_hold_the_engine_up(broker: Broker, box: Path, packets: str) -> None:
    whole = b'{"ReaderTrouble":{"text":"x"}}'
    code = flood(packets, "--frames", whole)
    ended_and_named(broker, box, ("edge_infer.readers", code), "reader cam", "the engine")


@pytest.mark.parametrize("packets", ["middles", "garbage"])
def test_the_engine_cannot_hold_the_publisher_up(broker: Broker, box: Path, packets: str) -> None:
    ended_and_named(broker, box, ("edge_infer.engine", flood(packets, "--results")), "engine", "the publisher")


@pytest.mark.parametrize("packets", ["middles", "garbage", "records"])
def test_the_publisher_cannot_hold_the_engine_up(broker: Broker, box: Path, packets: str) -> None:
    code = flood(packets, "--results", b'{"PublisherHello":{}}')
    ended_and_named(broker, box, ("edge_infer.publisher", code), "publisher", "the engine")
