"""Trying the walls costs no time and changes nothing, and what it says is what the kernel does."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys

import pytest

from edge_infer.publisher.allowed_texts import closed
from edge_infer.sandbox import kernel, selftest
from edge_infer.sandbox.fence import Fence
from tests.sandbox.locked import ROOT, run

WITHOUT = """
from edge_infer.sandbox import privileges, seccomp
from edge_infer.sandbox.rules import Rules
from edge_infer.sandbox.syscall_numbers import every_call
privileges.forbid_new_privileges()
seccomp.install(Rules(every_call(), ({call!r},)))
"""
"""Code after which the kernel has no such call."""
TELL = "import json\nprint(json.dumps(walls))"


def test_a_port_is_tried_without_waiting_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = kernel.machine()
    assert machine is not None
    call, waits = kernel.call, []

    def watched(number: int, *arguments: int) -> int:
        if number == machine.numbers["connect"]:
            waits.append(os.get_blocking(arguments[0]))
        return call(number, *arguments)

    monkeypatch.setattr(kernel, "call", watched)
    found = selftest.fences(Fence(ports=(554,)), selftest.look(), selftest.ENFORCED)
    assert waits == [False]
    assert found["ports"] == "unavailable: the kernel is older than 6.7"  # nothing was locked here


@pytest.mark.parametrize("room", ["engine", "probe", "reader", "publisher"])
def test_without_the_rules_of_a_newer_kernel_the_filter_alone_refuses_signals(room: str) -> None:
    walls = json.loads(run(room, TELL, before=WITHOUT.format(call="landlock_create_ruleset")))
    assert walls["no_signals"] == "enforced by seccomp alone"
    assert walls["files"] == "unavailable: Operation not permitted"


def test_a_reader_that_starts_programs_has_no_filter_of_signals_and_says_so() -> None:
    fence = Fence(anywhere=True, unix="programs")
    before = WITHOUT.format(call="landlock_create_ruleset")
    walls = json.loads(run("reader", TELL, before=before, fence=fence))
    assert walls["no_signals"] == "unavailable: Operation not permitted"
    assert walls["no_calls_on_others"] == "enforced"


def state(pid: int) -> list[object]:
    """What one process could change about another."""
    limits = [resource.prlimit(pid, each) for each in (resource.RLIMIT_CORE, resource.RLIMIT_CPU)]
    return [*limits, os.getpriority(os.PRIO_PROCESS, pid), os.sched_getaffinity(pid), os.sched_getscheduler(pid)]


@pytest.mark.parametrize("room", ["engine", "probe", "reader", "publisher"])
def test_without_the_filter_each_call_is_named_and_nothing_of_the_parent_is_changed(room: str) -> None:
    before = state(os.getpid())
    told = run(room, TELL, before=WITHOUT.format(call="seccomp"))
    walls = json.loads(told)
    assert state(os.getpid()) == before
    calls = walls["no_calls_on_others"].removeprefix("not enforced: the kernel lets through ").split(", ")
    always = {"prlimit64", "setpriority", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr"}
    assert always | {"ioprio_set", "get_robust_list", "prctl"} <= set(calls)
    assert walls["no_unix_sockets"] == "not enforced: the kernel lets through socket, socketpair"
    assert walls["no_signals"] == "enforced"  # by Landlock
    assert closed(walls) == walls


def test_the_page_and_the_publisher_know_every_wall_by_its_name() -> None:
    camera = Fence(ports=(554,))
    tells = [run(room, TELL) for room in ("engine", "probe", "publisher", "config")]
    tells.append(run("reader", TELL, network=True, fence=camera))
    walls = {wall: text for told in tells for wall, text in json.loads(told).items()}
    page = (ROOT / "docs/security.md").read_text().partition("| restriction |")[2].partition("\n\n")[0]
    rows = [row.split("|")[1] for row in page.splitlines()[2:]]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(walls)
    assert closed(walls) == walls


def test_a_first_process_of_a_namespace_takes_itself_for_nobody_else() -> None:
    """Its parent has the number 0, which means the caller in most calls."""
    if os.geteuid() != 0:
        pytest.skip("only root makes such a namespace everywhere")
    script = "import json\nfrom edge_infer.sandbox import lock\nprint(json.dumps(lock('engine')))"
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    walls = json.loads(done.stdout)
    # It reaches no parent on which Landlock's rule could be tried.
    assert (walls["no_signals"], walls["no_calls_on_others"]) == ("enforced by seccomp alone", "enforced")
