"""A seccomp filter: which system calls a process refuses to itself, as a BPF program, for all of its threads.

The program is a list of refusals; whatever is not refused is allowed (seccomp(2), linux/filter.h, linux/seccomp.h).
"""

from __future__ import annotations

import ctypes
import errno
import struct
from dataclasses import dataclass
from typing import Final

from edge_infer.sandbox import kernel
from edge_infer.sandbox.rules import Rules

_SET_MODE_FILTER, _TSYNC = 1, 1
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
# The fields of struct seccomp_data; an argument has 64 bits, its low half comes first on little-endian machines.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_IF_EQUAL, _IF_AT_LEAST = 0x15, 0x35


@dataclass(frozen=True, slots=True)
class _Step:
    """One instruction; a jump leads to ``then`` when its test holds and on to the next instruction when not."""

    code: int
    value: int
    then: str = ""
    label: str = ""


def install(rules: Rules, *, thread: bool = False) -> None:
    """Puts the filter on every thread of this process, for ever; raises `OSError` when the kernel will not.

    With ``thread`` it is for the calling one, and those that this one starts.

    ``PR_SET_NO_NEW_PRIVS`` has to be set. The ``seccomp`` call with TSYNC is used because a filter by ``prctl`` holds
    for the calling thread only.
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
    """The filter as the kernel reads it: ``struct sock_filter`` after ``struct sock_filter``."""
    steps = [_Step(_LOAD, _ARCHITECTURE), _Step(_IF_EQUAL, machine.audit, "known"), _Step(_RETURN, _KILL)]
    steps.append(_Step(_LOAD, _NUMBER, label="known"))
    if machine.x32_bit:
        steps.append(_Step(_IF_AT_LEAST, machine.x32_bit, "kill"))
    steps += [_Step(_IF_EQUAL, machine.numbers[name], "refuse") for name in rules.refused]
    if rules.families:
        steps.append(_Step(_IF_EQUAL, machine.numbers["socket"], "family"))
    if rules.ioctl_types:
        steps.append(_Step(_IF_EQUAL, machine.numbers["ioctl"], "ioctl"))
    steps.append(_Step(_RETURN, _ALLOW, label="allow"))
    if rules.families:
        steps.append(_Step(_LOAD, _ARGUMENTS, label="family"))
        steps += [_Step(_IF_EQUAL, family, "accept") for family in rules.families]
        steps.append(_Step(_RETURN, _REFUSE))
    if rules.ioctl_types:  # bits 8 to 15 of a request are its type: 'V' for everything of Video4Linux
        steps += [_Step(_LOAD, _ARGUMENTS + 8, label="ioctl"), _Step(_AND, 0xFF00)]
        steps += [_Step(_IF_EQUAL, ord(letter) << 8, "refuse") for letter in rules.ioctl_types]
    steps += [_Step(_RETURN, _ALLOW, label="accept"), _Step(_RETURN, _REFUSE, label="refuse")]
    steps.append(_Step(_RETURN, _KILL, label="kill"))
    return _assemble(steps)


_INSTRUCTION: Final = struct.Struct("=HBBI")


def _assemble(steps: list[_Step]) -> bytes:
    """Turns labels into distances; jumps lead forward only, by at most 255 instructions."""
    places = {step.label: place for place, step in enumerate(steps) if step.label}
    parts = []
    for place, step in enumerate(steps):
        distance = places[step.then] - place - 1 if step.then else 0
        parts.append(_INSTRUCTION.pack(step.code, distance, 0, step.value))
    return b"".join(parts)
