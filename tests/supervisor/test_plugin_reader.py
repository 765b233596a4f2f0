"""The reader of a plug-in starts again: what its predecessor left behind has no way to the engine any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broker import Broker, Subscriber, eventually
from tests.running import Daemon, config
from tests.swapping import P

PLUGIN = """
import os, sys, time
from dataclasses import dataclass
import numpy as np
from edge_infer.readers.sources import Picture

@dataclass(frozen=True)
class Options:
    note: str

class Thermal:
    gives, noisy, live, network, lossless = "image", True, True, False, False
    Options = Options

    def __init__(self, options):
        self.note, self.count = options.note, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    close = __exit__

    def read(self):
        self.count += 1
        with open(self.note) as file:
            first = not file.read()
        if first and self.count == 20:
            self.leave_a_process_behind()
            os._exit(1)
        time.sleep(0.05)
        pixels = np.full((64, 64, 3), self.count % 250, np.uint8)
        return Picture(pixels, "bgr", time.time(), time.monotonic())

    def leave_a_process_behind(self):
        way = int(sys.argv[sys.argv.index("--frames") + 1])
        with open(self.note, "w") as file:
            file.write("left ")
        if os.fork():
            return
        os.setsid()
        while True:
            time.sleep(0.02)
            try:
                os.write(way, b"\\0{")
            except BlockingIOError:
                pass
            except OSError:
                with open(self.note, "w") as file:
                    file.write("closed")
                os._exit(0)
"""


def test_what_a_reader_left_behind_reaches_no_engine(
    box: Path, broker: Broker, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = box / "site" / "thermal-1.0.dist-info"
    info.mkdir(parents=True)
    (info.parent / "thermal_camera.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thermal\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edge_infer.sources]\nthermal = thermal_camera:Thermal\n")
    monkeypatch.setenv("PYTHONPATH", str(info.parent))
    place = box / "place"
    place.touch()
    place.chmod(0o666)  # a daemon of root becomes another user
    with Daemon(box, config(broker.port, f"{{kind: thermal, note: {place}}}")) as daemon:
        first = subscriber.wait(f"{P}/faces/result", deadline=60)
        eventually(lambda: place.read_text() == "closed", daemon.log.read_text, 60.0)
        seq = first.value["seq"]
        subscriber.wait(f"{P}/faces/result", lambda heard: heard.value["seq"] > seq + 25, deadline=60)
        assert "too many invalid records" not in daemon.log.read_text()
