"""What a process reads of its own use of processor and memory."""

from __future__ import annotations

from pathlib import Path

from edge_infer.platform.process_use import EVERY, OwnUse


def test_memory_is_read_now_and_then(tmp_path: Path) -> None:
    file = tmp_path / "proc/self/smaps_rollup"
    file.parent.mkdir(parents=True)
    file.write_text("7f00-7fff ---p 00000000 00:00 0 [rollup]\nRss: 900 kB\nPss:     512 kB\nPss_Dirty: 9 kB\n")
    now = [100.0]
    own = OwnUse(tmp_path, lambda: now[0])
    began, cpu, memory = own.read()
    assert memory == 512 * 1024
    file.write_text("Pss: 600 kB\n")
    assert own.read()[2] == 512 * 1024  # the kernel walks all pages for it
    now[0] += EVERY
    again, more, memory = own.read()
    assert (again, memory) == (began, 600 * 1024)
    assert more >= cpu > 0
    file.unlink()
    now[0] += EVERY
    assert own.read()[2] == 0


def test_the_kernel_reports_it_here() -> None:
    assert OwnUse().read()[2] > 1 << 20
