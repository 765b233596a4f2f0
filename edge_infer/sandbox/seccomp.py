"""A seccomp filter: the system calls that a process forbids itself, as a BPF program, for all of its threads.

The program is a list of refusals. It allows any other call, except calls newer than the list, which fail as on a
kernel without them (seccomp(2), linux/filter.h, linux/seccomp.h).
"""

from __future__ import annotations

import ctypes
import errno
import struct
from dataclasses import dataclass
from typing import Final

from edge_infer.sandbox import kernel
from edge_infer.sandbox.rules import ArgumentCheck, Rules

_SET_MODE_FILTER, _TSYNC = 1, 1
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSE, _DENY = (0x00050000 | number for number in (errno.EPERM, errno.ENOSYS))
# The fields of struct seccomp_data. An argument has 64 bits. Its low half comes first on little-endian machines, and
# the program loads only that half.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_ALL_BITS: Final = 0xFFFFFFFF
_LOAD, _AND, _JUMP, _RETURN = 0x20, 0x54, 0x05, 0x06
_IF_EQUAL, _IF_AT_LEAST = 0x15, 0x35


@dataclass(frozen=True, slots=True)
class _Step:
    """One instruction; a jump goes to ``then`` if its test holds, otherwise to the next instruction."""

    code: int
    value: int
    then: str = ""
    label: str = ""


def install(rules: Rules, *, thread: bool = False) -> None:
    """Install the filter in every thread of this process, permanently; raises `OSError` if the kernel refuses.

    With ``thread`` it applies only to the calling thread and its children.

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
    flags = 0 if thread else _TSYNC
    other = kernel.call(machine.numbers["seccomp"], _SET_MODE_FILTER, flags, ctypes.addressof(pointer))
    if other:
        raise OSError(errno.EBUSY, f"thread {other} has a filter of its own")


def program(rules: Rules, machine: kernel.Machine) -> bytes:
    """Return the filter in the kernel's format: an array of ``struct sock_filter``."""
    steps = [_Step(_LOAD, _ARCHITECTURE), _Step(_IF_EQUAL, machine.audit, "known"), _Step(_RETURN, _KILL)]
    steps.append(_Step(_LOAD, _NUMBER, label="known"))
    if machine.x32_bit:
        steps.append(_Step(_IF_AT_LEAST, machine.x32_bit, "kill"))
    calls = [name for name in rules.refused if name not in _missing(machine)]
    steps += [_Step(_IF_EQUAL, machine.numbers[name], "refuse call") for name in calls]
    steps += [_Step(_IF_EQUAL, machine.numbers[name], "deny") for name in rules.unknown]
    if machine.private:
        steps.append(_Step(_IF_AT_LEAST, machine.private, "allow"))
    steps.append(_Step(_IF_AT_LEAST, kernel.NEWEST + 1, "deny"))
    steps.append(_Step(_JUMP, 4))  # over the shared ends: they are here because a conditional jump spans at most 255
    steps.append(_Step(_RETURN, _REFUSE, label="refuse call"))
    steps.append(_Step(_RETURN, _DENY, label="deny"))
    steps.append(_Step(_RETURN, _KILL, label="kill"))
    steps.append(_Step(_RETURN, _ALLOW, label="allow"))
    for name, conditions in _by_call(rules.conditions).items():
        if name not in _missing(machine):
            steps += _conditional(name, machine.numbers[name], conditions)
    steps.append(_Step(_RETURN, _ALLOW))
    return _assemble(steps)


def _missing(machine: kernel.Machine) -> frozenset[str]:
    """Return the calls that this machine does not have."""
    return kernel.NOT_EVERYWHERE - machine.numbers.keys()


def _by_call(conditions: tuple[ArgumentCheck, ...]) -> dict[str, list[ArgumentCheck]]:
    found: dict[str, list[ArgumentCheck]] = {}
    for condition in conditions:
        found.setdefault(condition.call, []).append(condition)
    return found


def _conditional(name: str, number: int, conditions: list[ArgumentCheck]) -> list[_Step]:
    """Return the steps that decide about one call and skip all others."""
    steps: list[_Step] = []
    for place, condition in enumerate(conditions):
        steps += _tested(condition, f"{name} {place}", f"{name} {place + 1}")
    steps.append(_Step(_RETURN, _ALLOW, label=f"{name} {len(conditions)}"))
    return [_Step(_IF_EQUAL, number, f"{name} 0"), _Step(_JUMP, len(steps)), *steps]


def _tested(condition: ArgumentCheck, label: str, onward: str) -> list[_Step]:
    """Return the steps that refuse a call or continue at ``onward``, which must follow immediately."""
    steps = [_Step(_LOAD, _ARGUMENTS + 8 * condition.place, label=f"{label} tests")]
    if condition.mask != _ALL_BITS:
        steps.append(_Step(_AND, condition.mask))
    target = f"{label} refuse" if condition.never else onward
    steps += [_Step(_IF_EQUAL, value, target) for value in condition.values]
    if condition.never:
        steps.append(_Step(_JUMP, 1))
    steps.append(_Step(_RETURN, _REFUSE, label=f"{label} refuse"))
    place, value = condition.when or (condition.place, 0)
    head = [_Step(_LOAD, _ARGUMENTS + 8 * place, label=label)]
    if condition.when is not None:
        head += [_Step(_IF_EQUAL, value, f"{label} tests"), _Step(_JUMP, len(steps))]
    return [*head, *steps]


_INSTRUCTION: Final = struct.Struct("=HBBI")


def _assemble(steps: list[_Step]) -> bytes:
    """Replace labels with distances; jumps only go forward, by at most 255 instructions."""
    places = {step.label: place for place, step in enumerate(steps) if step.label}
    parts = []
    for place, step in enumerate(steps):
        distance = places[step.then] - place - 1 if step.then else 0
        parts.append(_INSTRUCTION.pack(step.code, distance, 0, step.value))
    return b"".join(parts)
