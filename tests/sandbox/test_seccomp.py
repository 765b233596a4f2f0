"""The filter as a program: every table of numbers, run in a small machine of the test's own."""

from __future__ import annotations

import errno
import struct

import pytest

from edge_infer.sandbox import kernel, seccomp
from edge_infer.sandbox.rules import Rules, rules

ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
MACHINES = (kernel._X86_64, kernel._AARCH64, kernel._ARM)
GETPID_X86_64 = 39


def outcome(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """What the kernel's BPF machine would return for a call."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    accumulator, place = 0, 0
    while True:
        code, then, otherwise, value = struct.unpack_from("=HBBI", program, 8 * place)
        place += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x54:
            accumulator &= value
        elif code == 0x15:
            place += then if accumulator == value else otherwise
        elif code == 0x35:
            place += then if accumulator >= value else otherwise
        else:
            assert code == 0x06
            return int(value)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("room", ["engine", "probe", "reader", "publisher"])
def test_what_is_refused_is_refused_and_all_else_is_allowed(machine: kernel.Machine, room: str) -> None:
    refusals = rules(room)  # type: ignore[arg-type]
    program = seccomp.program(refusals, machine)
    for number in range(500):
        if number in (machine.numbers["socket"], machine.numbers["ioctl"]) and room in ("reader", "publisher"):
            continue  # these depend on an argument
        refused = number in {machine.numbers[name] for name in refusals.refused}
        assert outcome(program, machine.audit, number) == (REFUSE if refused else ALLOW)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_foreign_architecture_is_killed(machine: kernel.Machine) -> None:
    program = seccomp.program(rules("engine"), machine)
    for other in MACHINES:
        if other is not machine:
            assert outcome(program, other.audit, 0) == KILL


def test_the_second_interface_of_x86_is_killed() -> None:
    program = seccomp.program(rules("publisher"), kernel._X86_64)
    assert outcome(program, kernel._X86_64.audit, GETPID_X86_64) == ALLOW
    assert outcome(program, kernel._X86_64.audit, 0x40000000 | GETPID_X86_64) == KILL


@pytest.mark.parametrize("machine", MACHINES)
def test_families_and_ioctl_types_are_read_from_the_arguments(machine: kernel.Machine) -> None:
    program = seccomp.program(Rules(("ptrace",), families=(1, 16), ioctl_types="VA"), machine)
    for family in range(50):
        expected = ALLOW if family in (1, 16) else REFUSE
        assert outcome(program, machine.audit, machine.numbers["socket"], family) == expected
    # The kernel reads a family and a request as 32 bits: what stands above them must not matter.
    assert outcome(program, machine.audit, machine.numbers["socket"], (1 << 32) | 2) == REFUSE
    assert outcome(program, machine.audit, machine.numbers["ioctl"], 3, (1 << 32) | 0xC0585609) == REFUSE
    assert outcome(program, machine.audit, machine.numbers["ioctl"], 3, 0x5421) == ALLOW  # FIONBIO
    assert outcome(program, machine.audit, machine.numbers["ptrace"]) == REFUSE


def test_all_tables_know_the_same_calls() -> None:
    assert len({frozenset(machine.numbers) for machine in MACHINES}) == 1
