"""A small file that claims to be a picture of gigabytes."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from tests.broker import Broker, eventually
from tests.running import MODEL, Daemon

SIDE = 9000
"""81 million pixels."""
CONFIG = """
device: {{id: box, state_dir: state}}
mqtt: {{host: 127.0.0.1, port: {port}}}
models: {{faces: {{file: {model}}}}}
sources: {{pile: {{kind: images, path: "pile/*.png"}}}}
pipelines: {{door: {{source: pile, model: faces}}}}
"""


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_a_picture_of_too_many_pixels_is_left_out_before_it_takes_memory(tmp_path: Path, broker: Broker) -> None:
    rows = zlib.compress(bytes((SIDE + 1) * SIDE), 1)
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (tmp_path / "pile").mkdir()
    (tmp_path / "pile/huge.png").write_bytes(data)
    assert len(data) < 1 << 20
    with Daemon(tmp_path, CONFIG.format(port=broker.port, model=MODEL)) as daemon:
        told = eventually(lambda: "far too large" in daemon.log.read_text(), "word of it", 60)
        status = Path(f"/proc/{daemon.pids()['engine']}/status").read_text()
        peak = int(status.partition("VmHWM:")[2].split()[0])
    assert told
    assert peak < 300_000  # kB; the picture alone takes 243 MB in colour
