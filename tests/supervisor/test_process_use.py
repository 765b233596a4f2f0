"""What a process reads of its own use of processor and memory."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_infer.platform.process_use import EVERY, OwnUse, processor_time, use_of
from tests.running import ROOT, hidepid


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


def test_the_processor_time_of_another_process() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        while (used := processor_time(child.pid) or 0.0) < 0.2:
            time.sleep(0.05)
        use = use_of(child.pid)
        child.kill()
    assert use is not None
    assert use[0] == pytest.approx(used, abs=0.1)
    assert processor_time(child.pid) is None


HIDDEN = """
import os, subprocess, sys
from edge_infer.platform.process_use import processor_time, use_of
os.setgroups([])
os.setresgid(60126, 60126, 60126)
os.setresuid(60126, 60126, 60126)
code = "from edge_infer.sandbox import privileges; privileges.forbid_dumping(); print(flush=True); input()"
with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1) as child:
    child.stdout.readline()
    print(use_of(child.pid), processor_time(child.pid) > 0.0)
    child.kill()
"""


def test_proc_may_hide_the_process() -> None:
    command = [*hidepid(2), sys.executable, "-c", HIDDEN]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "None True\n"
