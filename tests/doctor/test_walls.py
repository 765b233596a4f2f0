"""What doctor says of the sandbox: of the running processes, from inside and from outside, and of the kernel's log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from edge_infer.cli.doctor import asked, daemon
from edge_infer.contract.codec import replace
from edge_infer.doctor import walls as walls_module
from edge_infer.doctor.refusals import refusals
from edge_infer.doctor.walls import each_wall, outside, sandbox
from edge_infer.sandbox import kernel
from edge_infer.sandbox.selftest import FORBIDDEN_BY_UNIT, TRIED, exceptions
from edge_infer.supervisor.processes.supervisor import together
from edge_infer.supervisor.status import RoomStatus, Status
from tests.broker import Broker
from tests.cli.test_top import STATUS
from tests.running import Daemon, config
from tests.sandbox.locked import ROOT, run

LOGGED = 'audit: type=1326 audit(1.2:3): uid=0 gid=0 pid={pid} comm="python" exe="{exe}" sig=0 arch={arch:x} '
REFUSED = "syscall={number} compat=0 ip=0x7f code=0x50001\n"


def test_it_reports_the_processes_of_the_service_and_not_those_of_the_shell(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker, Daemon(tmp_path, config(broker.port)) as running:
        running.wait_serving(60.0)
        status = asked(running.config)
        assert isinstance(status, Status)
        lines = list(each_wall(status))
        assert "reported by the running processes" in lines[0].fact
        found = {(line.what, line.fact.partition(":")[0]): line for line in lines[1:]}
        assert {what for what, _ in found} == {"engine", "publisher", "probe", "configuration"}
        assert found["engine", "no_tracing"].fact == f"no_tracing: enforced (tried: {TRIED['no_tracing']})"
        seen = found["engine", "seen_from_outside"]
        assert seen.level == "ok"
        assert "threads have filters and gain no privileges" in seen.fact
        # What a process of the service says counts, whatever this shell would find.
        told = {**status.rooms["engine"].walls, "no_tracing": "not enforced: the kernel lets through ptrace"}
        engine = replace(status.rooms["engine"], walls=told)
        status = replace(status, rooms={**status.rooms, "engine": engine})
        [lacking] = sandbox(status)
        assert (lacking.level, lacking.fact) == (
            "warn",
            "engine: no_tracing not enforced: the kernel lets through ptrace",
        )


def test_a_process_without_a_filter_is_seen_from_outside() -> None:
    with subprocess.Popen(["sleep", "60"]) as free:
        try:
            assert outside(free.pid) == {"seen_from_outside": "not enforced: 1 of 1 threads have no filter"}
        finally:
            free.kill()
    [text] = outside(2**22 + 1).values()
    assert text.startswith("not enforced: it could not be tried")


def test_without_a_daemon_it_says_that_this_shell_was_tried() -> None:
    first = next(each_wall(None))
    assert "doctor could not ask a daemon and tested processes of this shell" in first.fact


def test_every_rule_says_what_was_tried() -> None:
    for room in ("engine", "publisher", "config"):
        assert set(json.loads(run(room, "import json; print(json.dumps(walls))"))) <= set(TRIED)


def _record(pid: int, name: str, exe: str = "") -> str:
    machine = kernel.machine()
    assert machine is not None
    head = LOGGED.format(pid=pid, exe=exe or os.path.realpath(sys.executable), arch=machine.audit)
    return head + REFUSED.format(number=machine.numbers[name])


def test_refused_calls_are_named_from_the_kernels_log(tmp_path: Path) -> None:
    log = tmp_path / "kmsg"
    log.write_text(
        "".join([_record(7, "mount"), _record(8, "ptrace"), _record(8, "ptrace"), _record(7, "bpf", "/bin/x")])
    )
    [found] = refusals((7,), log)
    assert found.level == "warn"
    assert found.fact == "the kernel logged mount by running processes and ptrace 2 times by earlier ones"
    log.write_text("eth0: link up\n")
    [found] = refusals((7,), log)
    assert (found.level, found.fact) == ("ok", "the kernel's log has none")
    [found] = refusals((7,), tmp_path / "absent")
    assert found.level == "warn"
    assert "dmesg" in found.remedy
    assert ("even to root" in found.remedy) == (os.geteuid() == 0), "root is not told to become root"


def test_the_kernel_logs_a_refused_call_and_not_those_of_the_self_test() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may read the kernel's log")
    code = (
        "import os\nfrom edge_infer.sandbox import kernel\nprint(os.getpid(), flush=True)\n"
        "try:\n    kernel.call(kernel.machine().numbers['mount'], 0, 0, 0, 0, 0)\nexcept OSError: pass\n"
    )
    deadline = time.monotonic() + 60.0  # the kernel leaves lines out when many processes are refused something
    while True:
        pid = int(run("engine", code))
        found = [line for line in _kernel_log() if f" pid={pid} " in line and "type=1326" in line]
        if found or time.monotonic() > deadline:
            break
        time.sleep(1.0)
    machine = kernel.machine()
    assert machine is not None
    assert len(found) == 1
    assert f" syscall={machine.numbers['mount']} " in found[0]


def _kernel_log() -> list[str]:
    return subprocess.run(["dmesg"], capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()


def warned(walls: Mapping[str, str], room: str = "engine") -> list[str]:
    """The warnings of doctor about a process beside one that enforces all its rules; each part of doctor agrees."""
    walls_of = {"publisher": {"no_unix_sockets": "enforced"}, room: walls}
    rooms = {name: RoomStatus(None, 0, 1.0, each) for name, each in walls_of.items()}
    found = replace(STATUS, rooms=rooms, walls=together(walls_of))
    lines = [line for line in sandbox(found) if line.level == "warn" and line.fact.startswith(room)]
    each = [line for line in each_wall(found) if line.level == "warn" and line.what == room]
    assert bool(lines) == bool(each)
    assert ("some processes run without" in daemon(found).fact) == bool(lines)
    return [line.fact for line in lines]


def test_what_the_unit_forbids_is_no_fault_while_all_other_rules_hold() -> None:
    held = {"no_network": "enforced", "network_namespace": f"unavailable: Operation not permitted {FORBIDDEN_BY_UNIT}"}
    assert warned(held) == []
    [fact] = warned({**held, "no_network": "not enforced: the kernel lets through socket"})
    assert fact.startswith("engine: no_network not enforced: the kernel lets through socket, network_namespace unav")
    assert warned({**held, "network_namespace": "unavailable: Operation not permitted"})


@pytest.mark.parametrize("text", sorted(exceptions()))
def test_what_the_configuration_needs_is_no_fault_but_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of a source, for example, may need Unix sockets."""
    held = {"files": "enforced but for reading", "no_unix_sockets": text}
    assert warned(held, "reader prog") == []
    assert warned({**held, "files": "unavailable: Operation not supported"}, "reader prog")
    monkeypatch.setattr(walls_module, "walls", lambda _: {"files": "enforced"})
    [line] = sandbox(replace(STATUS, rooms={"reader prog": RoomStatus(None, 0, 1.0, held)}))
    assert line.level == "ok"
    assert line.fact.endswith(f"; reader prog: no_unix_sockets {text}")


def test_a_child_has_no_terminal_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the user that root became, it could be made to type there as root."""
    seen = (
        "import json, os; own = os.getsid(0) == os.getpid()\n"
        "print(json.dumps({'session': str(own), 'input': os.readlink('/proc/self/fd/0'), 'folder': os.getcwd()}))"
    )
    monkeypatch.setattr(walls_module, "own_module", lambda *_: [sys.executable, "-c", seen])
    assert walls_module.walls("engine") == {"session": "True", "input": "/dev/null", "folder": "/"}


def test_a_child_that_does_not_answer_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walls_module, "own_module", lambda *_: ["true"])
    assert walls_module.walls("engine") == {"lock": "failed: exit code 0"}


def test_a_module_in_the_working_directory_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json", "runpy", "argparse"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'planted')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    assert walls_module.walls("publisher").keys() >= {"seccomp", "files"}
    assert not (tmp_path / "planted").exists()
