"""The board's own load, memory and temperature."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from edge_infer.errors import SourceError
from edge_infer.readers.sources.system import SystemOptions, SystemSource


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text("cpu  100 0 0 100 0 0 0 0 0 0\n")
    (tmp_path / "proc/meminfo").write_text("MemTotal: 1000 kB\nMemAvailable: 250 kB\n")
    for number, value in enumerate(("41200", "63750", "broken")):
        zone = tmp_path / f"sys/class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "temp").write_text(value)
    return tmp_path


def test_what_a_board_tells(root: Path) -> None:
    with SystemSource(SystemOptions(("temperature", "cpu", "memory"), 50.0), root) as source:
        (root / "proc/stat").write_text("cpu  130 0 0 110 0 0 0 0 0 0\n")
        block = source.read()
    assert block is not None
    assert block.values.tolist() == [pytest.approx([63.8, 0.75, 0.75])]
    assert (block.rate, block.values.shape) == (50.0, (1, 3))


def test_where_no_tick_has_passed_the_load_before_holds(root: Path) -> None:
    with SystemSource(SystemOptions(("cpu",), 50.0), root) as source:
        first = source.read()
        (root / "proc/stat").write_text("cpu  130 0 0 110 0 0 0 0 0 0\n")
        blocks = [source.read() for _ in range(2)]
    assert [block.values.tolist() for block in (first, *blocks) if block] == [[[0.5]], [[0.75]], [[0.75]]]


def test_a_board_without_a_sensor_says_so_before_it_is_started_with(root: Path) -> None:
    source = SystemSource(SystemOptions(), root)
    source.check()
    for zone in root.glob("sys/class/thermal/*/temp"):
        zone.unlink()
    with pytest.raises(SourceError, match="does not report its temperature; remove it from columns"):
        source.check()
    SystemSource(SystemOptions(("cpu", "memory")), root).check()


def test_this_machine_tells_its_load() -> None:
    begun = time.monotonic()
    with SystemSource(SystemOptions(("cpu", "memory"), 20.0)) as source:
        blocks = [block for _ in range(5) if (block := source.read()) is not None]
    assert all(0 <= value <= 1 for block in blocks for value in block.values[0])
    assert blocks[-1].monotonic - begun > 3.5 / 20


def test_it_lets_go_at_once() -> None:
    with SystemSource(SystemOptions(("memory",), 0.001)) as source:
        threading.Timer(0.1, source.interrupt).start()
        assert source.read() is None
