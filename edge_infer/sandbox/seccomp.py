"""Seccomp filter: the system calls that a process permits itself, as a BPF program, for all its threads.

The program is a list of permissions. A call that is not on the list fails as on a kernel without that call, so that
libraries use another one (seccomp(2), linux/filter.h, linux/seccomp.h).
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterable, Sequence
from typing import Final

from edge_infer.sandbox import kernel
from edge_infer.sandbox.rules import ArgumentCheck, Rules

_SET_MODE_FILTER, _TSYNC, _LOG = 1, 1, 2
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSE, _DENY = (0x00050000 | number for number in (errno.EPERM, errno.ENOSYS))
# The fields of struct seccomp_data. An argument has 64 bits. Its low half comes first on little-endian machines, and
# the program loads only that half.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_ALL_BITS: Final = 0xFFFFFFFF
_LOAD, _AND, _JUMP, _RETURN = 0x20, 0x54, 0x05, 0x06
_IF_EQUAL, _IF_AT_LEAST = 0x15, 0x35
_MAX_JUMP: Final = 255
"""Instructions that a conditional jump can skip."""
_INSTRUCTION: Final = struct.Struct("=HBBI")
_Steps = tuple[bytes, ...]
"""Instructions with forward jumps, to one of these instructions or to the next one after them."""


def install(rules: Rules, *, thread: bool = False, log: bool = False) -> None:
    """Install the filter in every thread of this process, permanently; raises `OSError` if the kernel refuses.

    With ``thread`` it applies only to the calling thread and its children. With ``log`` the kernel logs the calls that
    this filter refuses, if it is the newest filter that refuses them.

    ``PR_SET_NO_NEW_PRIVS`` must be set. The ``seccomp`` call with TSYNC is used because a filter set by ``prctl``
    applies to the calling thread only.
    """
    machine = kernel.machine()
    if machine is None:
        raise OSError(errno.ENOSYS, "there is no table of system calls for this processor")
    code = program(rules, machine)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))  # struct sock_fprog
    pointer = ctypes.create_string_buffer(header, len(header))
    flags = (0 if thread else _TSYNC) | (_LOG if log else 0)
    other = kernel.call(machine.numbers["seccomp"], _SET_MODE_FILTER, flags, ctypes.addressof(pointer))
    if other:
        raise OSError(errno.EBUSY, f"thread {other} has its own filter")


def program(rules: Rules, machine: kernel.Machine) -> bytes:
    """Return the filter in the kernel's format: an array of ``struct sock_filter``."""
    second = (_step(_IF_AT_LEAST, machine.x32_bit, 0, 1), _step(_RETURN, _KILL)) if machine.x32_bit else ()
    return b"".join((
        _step(_LOAD, _ARCHITECTURE),
        _step(_IF_EQUAL, machine.audit, 1),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
        *second,
        *_search(_ranges(rules, machine)),
    ))  # fmt: skip


def _ranges(rules: Rules, machine: kernel.Machine) -> list[tuple[int, _Steps]]:
    """Return the decisions by call number. Each decision holds up to the number of the next decision."""
    deny = (_step(_RETURN, _DENY),)
    decisions: dict[str, _Steps] = dict.fromkeys(rules.allowed, (_step(_RETURN, _ALLOW),))
    for name in {each.call for each in rules.conditions} & decisions.keys():
        decisions[name] = _conditional([each for each in rules.conditions if each.call == name])
    decisions |= dict.fromkeys(rules.refused, (_step(_RETURN, _REFUSE),))
    by_number = {machine.numbers[name]: steps for name, steps in decisions.items() if name in machine.numbers}
    found: list[tuple[int, _Steps]] = [(0, deny)]
    for number in sorted(by_number):
        for start, steps in ((number, by_number[number]), (number + 1, by_number.get(number + 1, deny))):
            if found[-1][0] == start:
                found.pop()
            if not found or found[-1][1] != steps:
                found.append((start, steps))
    return found


def _search(ranges: Sequence[tuple[int, _Steps]]) -> _Steps:
    """Return the steps that find the range of the call's number by binary search.

    The program runs for every call that the arguments decide.
    """
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    below, above = _search(ranges[:middle]), _search(ranges[middle:])
    start = ranges[middle][0]
    if len(below) <= _MAX_JUMP:
        return (_step(_IF_AT_LEAST, start, len(below)), *below, *above)
    return (_step(_IF_AT_LEAST, start, 0, 1), _step(_JUMP, len(below)), *below, *above)


def _conditional(conditions: Iterable[ArgumentCheck]) -> _Steps:
    """Return the steps that decide about one call by its arguments."""
    return (*(step for condition in conditions for step in _tested(condition)), _step(_RETURN, _ALLOW))


def _tested(condition: ArgumentCheck) -> _Steps:
    """Return the steps that refuse a call, or continue with the steps after them."""
    masked = (_step(_AND, condition.mask),) if condition.mask != _ALL_BITS else ()
    count = len(condition.values)
    matched = (  # a match skips the refusal or, with `never`, jumps to it
        _step(_IF_EQUAL, value, count - place) for place, value in enumerate(condition.values)
    )
    end = (_step(_JUMP, 1),) if condition.never else ()
    steps = (
        _step(_LOAD, _ARGUMENTS + 8 * condition.place), *masked, *matched, *end, _step(_RETURN, _REFUSE),
    )  # fmt: skip
    if condition.when is None:
        return steps
    place, value = condition.when
    return (
        _step(_LOAD, _ARGUMENTS + 8 * place), _step(_IF_EQUAL, value, 1), _step(_JUMP, len(steps)), *steps,
    )  # fmt: skip


def _step(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    """Return one instruction; a conditional one skips ``then`` or ``otherwise`` instructions."""
    return _INSTRUCTION.pack(code, then, otherwise, value)
