"""The filter as a program: every table of numbers, run in a small machine of the test's own."""

from __future__ import annotations

import errno
import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path

import pytest

from edge_infer.sandbox import kernel, seccomp
from edge_infer.sandbox.fence import Fence
from edge_infer.sandbox.rules import ArgumentCheck, Room, Rules, logged, rules
from edge_infer.sandbox.syscall_numbers import COLUMNS, every_call

ALLOW, REFUSE, UNKNOWN, KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS, 0x80000000
MACHINES = tuple(map(kernel.machine_of, COLUMNS))
X86_64 = kernel.machine_of("x86-64")
GETPID_X86_64 = 39
PID = 4321
GARBAGE = 0xDEADBEEF << 32
"""What the kernel cuts off of an `int`."""
PROGRAMS = Fence(anywhere=True, unix="programs")
ROOMS: tuple[tuple[Room, Fence, bool], ...] = (
    *((room, Fence(), False) for room in ("engine", "probe", "reader", "publisher", "config")),
    ("reader", Fence(), True),
    ("reader", Fence(unix="sound"), False),
    ("reader", PROGRAMS, True),
    ("publisher", Fence(unix="names"), False),
    ("page", Fence(), False),
)


def outcome(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """What the kernel's BPF machine would return for a call."""
    return run(program, architecture, number, *arguments)[0]


def outcomes(listed: Rules, machine: kernel.Machine) -> Callable[..., int]:
    """What the kernel's BPF machine would return for a call, by its name and arguments."""
    program = seccomp.program(listed, machine)
    return lambda name, *arguments: outcome(program, machine.audit, machine.numbers[name], *arguments)


def run(program: bytes, architecture: int, number: int, *arguments: int) -> tuple[int, int]:
    """What the kernel's BPF machine would return for a call, and after how many instructions."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    accumulator, place = 0, 0
    for steps in count(1):
        code, then, otherwise, value = struct.unpack_from("=HBBI", program, 8 * place)
        place += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x54:
            accumulator &= value
        elif code == 0x05:
            place += value
        elif code == 0x15:
            place += then if accumulator == value else otherwise
        elif code == 0x35:
            place += then if accumulator >= value else otherwise
        else:
            assert code == 0x06
            return int(value), steps
    raise AssertionError


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("room", "fence", "network"), ROOMS)
def test_what_is_on_the_list_is_allowed_what_is_refused_is_refused_and_all_else_is_unknown(
    machine: kernel.Machine, room: Room, fence: Fence, network: bool
) -> None:
    listed = rules(room, fence, PID, network=network)
    program = seccomp.program(listed, machine)

    def numbers(names: Iterable[str]) -> set[int]:
        return {machine.numbers[name] for name in names if name in machine.numbers}

    conditional = numbers(each.call for each in listed.conditions)
    allowed, refused = numbers(listed.allowed), numbers(listed.refused)
    assert len(allowed - refused) > 140
    for number in (*range(600), *range(0xF0000, 0xF0010), 0x7FFFFFFF if machine.x32_bit == 0 else 0x3FFFFFFF):
        expected = REFUSE if number in refused else ALLOW if number in allowed else UNKNOWN
        if expected == ALLOW and number in conditional:
            assert outcome(program, machine.audit, number, *[0] * 6) in (ALLOW, REFUSE)
        else:
            assert outcome(program, machine.audit, number) == expected


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("room", "fence", "network"), ROOMS)
def test_the_filter_that_is_logged_permits_more_and_never_less(
    machine: kernel.Machine, room: Room, fence: Fence, network: bool
) -> None:
    complete = rules(room, fence, PID, network=network)
    first, second = (seccomp.program(each, machine) for each in (complete, logged(room, fence, complete)))
    own = machine.numbers["seccomp"]
    for number in (*range(600), *range(0xF0000, 0xF0010)):
        if outcome(first, machine.audit, number, 0) == ALLOW and number != own:
            assert outcome(second, machine.audit, number, 0) == ALLOW
    for quiet in ("clone3", "fchown", "prctl"):
        assert outcome(second, machine.audit, machine.numbers[quiet], 15) == ALLOW
    assert outcome(second, machine.audit, machine.numbers["add_key"]) == REFUSE
    assert (outcome(second, machine.audit, own) == ALLOW) == (room == "config" or fence.unix in ("sound", "programs"))


def test_the_program_fits_and_is_searched_in_few_steps() -> None:
    """The kernel takes 4,096 instructions and runs the program at each call that its arguments decide."""
    for machine in MACHINES:
        for room, fence, network in ROOMS:
            program = seccomp.program(rules(room, fence, PID, network=network), machine)
            assert len(program) // 8 < 1024
            steps = [run(program, machine.audit, number)[1] for number in range(500)]
            assert max(steps) <= 60


def test_every_call_that_is_listed_exists() -> None:
    known = set(every_call())
    for room, fence, network in ROOMS:
        listed = rules(room, fence, PID, network=network)
        named = {*listed.allowed, *listed.refused, *(each.call for each in listed.conditions)}
        assert named <= known
        assert not [call for call in {each.call for each in listed.conditions} if call not in listed.allowed]


def test_32_bit_arm_keeps_the_calls_of_the_processor() -> None:
    """Thread-local storage, and code that is written at run time; not the break point and the old address mode."""
    machine = kernel.machine_of("armv7")
    program = seccomp.program(rules("engine", Fence(), PID), machine)
    found = [outcome(program, machine.audit, 0xF0000 + place) for place in range(1, 8)]
    assert found == [UNKNOWN, ALLOW, UNKNOWN, UNKNOWN, ALLOW, ALLOW, UNKNOWN]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("room", "fence", "network"), ROOMS)
def test_threads_are_made_by_all_and_processes_by_few(
    machine: kernel.Machine, room: Room, fence: Fence, network: bool
) -> None:
    of = outcomes(rules(room, fence, PID, network=network), machine)
    few = room == "config" or (room == "reader" and fence.unix in ("sound", "programs"))
    assert of("clone", 0x3D0F00) == ALLOW  # what the C library asks for a thread
    for flags in (17, 0x4111, 0x3C0F00):  # fork, vfork, a process that shares everything
        assert of("clone", flags) == (ALLOW if few else REFUSE)
    assert of("clone", 17 | 0x10000000) == (ALLOW if few and fence.unix != "sound" else REFUSE)  # a namespace
    assert of("clone3") == (ALLOW if few and fence.unix != "sound" else UNKNOWN)
    assert {of(name) for name in ("fork", "vfork") if name in machine.numbers} <= {ALLOW if few else REFUSE}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("room", "fence", "network"), ROOMS)
def test_nobody_holds_others_up(machine: kernel.Machine, room: Room, fence: Fence, network: bool) -> None:
    of = outcomes(rules(room, fence, PID, network=network), machine)
    sockets = network or bool(fence.unix) or room == "publisher"
    own = ALLOW if sockets else REFUSE
    assert (of("setsockopt", 3, 1, 13), of("setsockopt", 3, 1, 9)) == (REFUSE, own)  # SO_LINGER, SO_KEEPALIVE
    assert (of("setsockopt", 3, 6, 13), of("setsockopt", 3, 1, 44)) == (own, REFUSE)  # of TCP; SO_LOCK_FILTER
    assert of("setsockopt", 3, 6, 31) == REFUSE  # TCP_ULP
    filters = ALLOW if fence.unix in ("sound", "programs") else REFUSE
    assert of("setsockopt", 3, 1, 26) == of("setsockopt", 3, 1, 50) == filters  # SO_ATTACH_FILTER, SO_ATTACH_BPF
    for name in ("fcntl", "fcntl64") if "fcntl64" in machine.numbers else ("fcntl",):
        assert {of(name, 3, 4, flags) for flags in (0x400, 0x2000, 0xC02, GARBAGE | 0x400)} == {REFUSE}  # O_APPEND
        assert {of(name, 3, 4, flags) for flags in (0, 2, 0x800, 0x8802)} == {ALLOW}
        assert of(name, 3, 1, 0x400) == of(name, 3, 1030, 0x400) == ALLOW  # what is no F_SETFL
        assert of(name, 3, 1024, 0) == of(name, 3, GARBAGE | 1024) == REFUSE  # F_SETLEASE
    assert of("ioctl", 3, 0x540A) == REFUSE  # TCXONC
    assert of("sendmsg", 3) == of("sendmmsg", 3) == (REFUSE if room in ("engine", "probe") else ALLOW)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("room", "fence", "network"), ROOMS)
def test_locks_which_every_user_sees_are_for_the_outbox_and_for_programs(
    machine: kernel.Machine, room: Room, fence: Fence, network: bool
) -> None:
    of = outcomes(rules(room, fence, PID, network=network), machine)
    programs = fence.unix in ("sound", "programs")
    for name in ("fcntl", "fcntl64") if "fcntl64" in machine.numbers else ("fcntl",):
        records = {of(name, 3, GARBAGE | command) for command in (5, 6, 7, 12, 13, 14)}
        assert records == {ALLOW if programs or room == "publisher" else REFUSE}
        assert {of(name, 3, command) for command in (36, 37, 38, 1026, 1036, 1038, 1040)} == {
            ALLOW if programs else REFUSE  # locks of open files, notes of a folder, hints of an inode
        }
    assert of("flock", 3, 2) == (ALLOW if programs else REFUSE)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("room", "fence", "network"), ROOMS)
def test_a_call_about_a_process_is_allowed_about_the_caller_alone(
    machine: kernel.Machine, room: Room, fence: Fence, network: bool
) -> None:
    of = outcomes(rules(room, fence, PID, network=network), machine)
    programs = fence.unix in ("sound", "programs")
    shown = ("sched_setscheduler", "sched_setparam", "sched_setattr")
    for name in (*shown, "prlimit64", "sched_setaffinity", "get_robust_list", "migrate_pages", "move_pages"):
        assert of(name, 0) == of(name, GARBAGE) == (ALLOW if programs or name not in shown else REFUSE)
        assert {of(name, pid) for pid in (1, PID, PID + 1, 0xFFFFFFFF, GARBAGE | 1)} == {REFUSE}
    for which in range(4):
        for who in (0, 1, PID, GARBAGE | PID):
            assert of("setpriority", which, who, 19) == (ALLOW if (which, who) == (0, 0) else REFUSE)
            assert of("ioprio_set", which, who, 0) == (ALLOW if programs and (which, who) == (1, 0) else REFUSE)
    for name in ("kcmp", "process_madvise", "process_mrelease", "perf_event_open"):
        assert of(name) == REFUSE
    assert {of("prctl", option) for option in (62, GARBAGE | 62, 35, 0x59616D61)} == {
        REFUSE
    }  # PR_SCHED_CORE, PR_SET_MM
    assert of("prctl", 15) == (ALLOW if fence is PROGRAMS else REFUSE)  # PR_SET_NAME
    assert {of("prctl", option) for option in (3, 16, 38, 47, 0x53564D41)} == {ALLOW}
    assert of("prctl", 1) == (ALLOW if room == "config" or programs else REFUSE)  # PR_SET_PDEATHSIG
    assert (of("prctl", 4, 0), of("prctl", 4, 1), of("prctl", 3, 1)) == (ALLOW, REFUSE, ALLOW)  # PR_SET_DUMPABLE


ACCELERATOR = Fence(writes=("/dev/apex_0",))


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("room", "fence", "network"), [*ROOMS, ("engine", ACCELERATOR, False), ("probe", ACCELERATOR, False)]
)
def test_whoever_opens_no_device_makes_only_the_known_requests_to_files(
    machine: kernel.Machine, room: Room, fence: Fence, network: bool
) -> None:
    of = outcomes(rules(room, fence, PID, network=network), machine)

    def asked(*requests: int) -> set[int]:
        return {of("ioctl", 3, bits | request) for request in requests for bits in (0, GARBAGE)}

    devices = room in ("reader", "config") or fence is ACCELERATOR
    # TCGETS, TCGETS2, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
    assert asked(0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451) == {ALLOW}
    assert asked(0x5412, 0x541C, 0x540A, 0x5410, 0x5452) == {REFUSE}  # TIOCSTI, TIOCLINUX, TCXONC, TIOCSPGRP, FIOASYNC
    assert asked(0x4B00, 0x4B3A, 0x4B45, 0x4BFF, 0x5600, 0x5606, 0x56FF) == {REFUSE}  # consoles
    # V4L2, ALSA, accelerators
    assert asked(0xC0585611, 0x81204101, 0xDC00, 0xC0107601, 0x40047601) == {ALLOW if devices else REFUSE}
    terminal = asked(0x5402, 0x5404, 0x5408, 0x540B, 0x402C542D, 0x540C)  # TCSETS, TCSETSF, TCFLSH, TCSETSF2, TIOCEXCL
    assert terminal == {ALLOW if devices and room != "engine" else REFUSE}
    # FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR, FS_IOC_SETVERSION, FAT; Btrfs: SUBVOL_CREATE, SNAP_CREATE_V2, SNAP_DESTROY,
    # FICLONE; F2FS_IOC_START_ATOMIC_WRITE; BCH_IOCTL_SUBVOLUME_CREATE
    assert asked(0x40086602, 0x401C5820, 0x40087602, 0x40047602, 0x40047211) == {REFUSE}
    assert asked(0x5000940E, 0x50009417, 0x5000940F, 0x40049409, 0xF501, 0x4020BC10) == {REFUSE}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("room", "fence", "network"), [each for each in ROOMS if each[0] != "config"])
def test_a_signal_goes_to_the_caller_alone_but_where_programs_are_started(
    machine: kernel.Machine, room: Room, fence: Fence, network: bool
) -> None:
    of = outcomes(rules(room, fence, PID, network=network), machine)
    others = ALLOW if fence is PROGRAMS else REFUSE
    for name in ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"):
        assert of(name, PID, 9) == of(name, GARBAGE | PID, 9) == ALLOW
        to = (0, 1, PID + 1, 0xFFFFFFFF, 2**64 - 1, 2**32 - PID, GARBAGE | 1)
        assert {of(name, pid, 9) for pid in to} == {others}
    assert {of(name, PID) for name in ("tkill", "pidfd_open", "pidfd_send_signal")} == {others}
    for name in ("fcntl", "fcntl64") if "fcntl64" in machine.numbers else ("fcntl",):
        assert {of(name, 3, GARBAGE | command, 1) for command in (8, 15)} == {others}
        assert {of(name, 3, command) for command in (1, 2, 3, 4, 1030)} == {ALLOW}
    assert {of("ioctl", 3, request) for request in (0x8901, 0x8902)} == {others}


@pytest.mark.parametrize("machine", MACHINES)
def test_who_reads_a_configuration_signals_neither_its_parent_nor_a_group(machine: kernel.Machine) -> None:
    parent = PID - 7
    of = outcomes(rules("config", Fence(), PID, parent=parent), machine)
    for name in ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"):
        assert {of(name, pid, 9) for pid in (PID, GARBAGE | PID, PID + 1, 1)} == {ALLOW}
        to = (0, GARBAGE, parent, GARBAGE | parent, 0xFFFFFFFF, 2**64 - 1, 2**32 - parent, 2**32 - PID)
        assert {of(name, pid, 9) for pid in to} == {REFUSE}
    assert {of(name, PID) for name in ("tkill", "pidfd_open", "pidfd_send_signal")} == {REFUSE}
    for name in ("fcntl", "fcntl64") if "fcntl64" in machine.numbers else ("fcntl",):
        assert {of(name, 3, command, 1) for command in (8, 15)} == {REFUSE}
    assert {of("ioctl", 3, request) for request in (0x8901, 0x8902)} == {REFUSE}


@pytest.mark.parametrize("machine", MACHINES)
def test_who_reads_a_configuration_makes_no_socket_but_pairs_for_its_children(machine: kernel.Machine) -> None:
    of = outcomes(rules("config", Fence(), PID), machine)
    assert {of("socket", family, 1) for family in range(50)} == {REFUSE}
    assert {of(name, 3) for name in ("connect", "bind", "listen", "accept", "accept4", "setsockopt")} == {REFUSE}
    assert {of("socketpair", 1, kind) for kind in (1, 0x80001, 0x801, GARBAGE | 1)} == {ALLOW}
    assert {of("socketpair", 1, kind) for kind in (2, 0x80002, 5, 3, 0)} == {REFUSE}
    assert {of("socketpair", family, 1) for family in (0, 2, 10, 16)} == {REFUSE}


@pytest.mark.parametrize("machine", MACHINES)
def test_a_foreign_architecture_is_killed(machine: kernel.Machine) -> None:
    program = seccomp.program(rules("engine", Fence(), PID), machine)
    for other in MACHINES:
        if other is not machine:
            assert outcome(program, other.audit, 0) == KILL


def test_the_second_interface_of_x86_is_killed() -> None:
    program = seccomp.program(rules("publisher", Fence(), PID), X86_64)
    assert outcome(program, X86_64.audit, GETPID_X86_64) == ALLOW
    assert outcome(program, X86_64.audit, 0x40000000 | GETPID_X86_64) == KILL


@pytest.mark.parametrize("machine", MACHINES)
def test_families_and_types_of_ioctls_are_read_from_the_arguments(machine: kernel.Machine) -> None:
    types = ArgumentCheck("ioctl", 1, (ord("V") << 8, ord("A") << 8), never=True, mask=0xFF00)
    program = seccomp.program(
        Rules(("socket", "ioctl"), ("ptrace",), (ArgumentCheck("socket", 0, (1, 16)), types)), machine
    )
    for family in range(50):
        expected = ALLOW if family in (1, 16) else REFUSE
        assert outcome(program, machine.audit, machine.numbers["socket"], family) == expected
    # The kernel reads a family and a request as 32 bits: what stands above them must not matter.
    assert outcome(program, machine.audit, machine.numbers["socket"], (1 << 32) | 2) == REFUSE
    assert outcome(program, machine.audit, machine.numbers["ioctl"], 3, (1 << 32) | 0xC0585609) == REFUSE
    assert outcome(program, machine.audit, machine.numbers["ioctl"], 3, 0x5421) == ALLOW  # FIONBIO
    assert outcome(program, machine.audit, machine.numbers["ptrace"]) == REFUSE


HEADERS = {
    "x86-64": ("x86_64-linux-gnu", "__x86_64__", "linux-libc-dev-amd64-cross"),
    "arm64": ("aarch64-linux-gnu", "__aarch64__", "linux-libc-dev-arm64-cross"),
    "armv7": ("arm-linux-gnueabihf", "__ARM_EABI__", "linux-libc-dev-armhf-cross"),
}
"""Where the header of a table lies in Debian, the compiler's word for the processor, and the package for other ones."""


@pytest.mark.parametrize("name", HEADERS)
def test_the_numbers_are_those_of_the_kernels_headers(name: str) -> None:
    machine, (triplet, word, package) = kernel.machine_of(name), HEADERS[name]
    own, cross = Path("/usr/include", triplet), Path("/usr", triplet, "include")
    folders = [own, own.parent] if Path(own, "asm/unistd.h").exists() else [cross]
    compiler = shutil.which("cc")
    if compiler is None or not Path(folders[0], "asm/unistd.h").exists():
        pytest.skip(f"the kernel's header of {name} is not here: it needs the packages gcc and {package}")
    command = [compiler, "-E", "-P", "-nostdinc", "-undef", f"-D{word}", *(f"-I{folder}" for folder in folders)]
    private = {each: "__ARM_NR_" for each, number in machine.numbers.items() if number >= 0xF0000}
    lines = (f"{each}: {private.get(each, '__NR_')}{each};\n" for each in machine.numbers)
    source = "#include <asm/unistd.h>\n" + "".join(lines)
    done = subprocess.run([*command, "-x", "c", "-"], input=source, capture_output=True, text=True, check=True)
    texts = dict(re.findall(r"(\w+): (.+);", done.stdout))
    newer = {each for each, text in texts.items() if text.endswith(f"_NR_{each}")}  # than this header
    assert min((machine.numbers[each] for each in newer), default=1000) > 424
    for each in texts.keys() - newer:  # on Arm as a sum with a base
        parts = re.findall(r"\b(?:0x[0-9a-f]+|\d+)", texts[each])
        assert sum(int(part, 0) for part in parts) == machine.numbers[each], each
