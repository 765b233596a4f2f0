"""System calls by name, through ctypes. The numbers are those of ``asm/unistd*.h`` of Linux 6.12."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


@dataclass(frozen=True, slots=True)
class Machine:
    """The system call numbers of one kind of processor; ``audit`` is the kernel's ``AUDIT_ARCH_*``."""

    audit: int
    numbers: Mapping[str, int]
    x32_bit: int = 0
    """Calls with this bit belong to a second, 32-bit interface under the same ``audit``; 0: there is none."""
    private: int = 0
    """First number of the processor's private calls, such as the one for thread-local storage; 0: there are none."""


# fmt: off
_SINCE_5_1: Final = {
    "pidfd_send_signal": 424, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "pidfd_open": 434, "clone3": 435, "openat2": 437, "pidfd_getfd": 438, "process_madvise": 440,
    "landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446, "process_mrelease": 448,
    "fchmodat2": 452, "lsm_set_self_attr": 460,
}
"""Newer calls have the same number on all processors."""
NEWEST: Final = 462
"""The highest number of Linux 6.12 (``mseal``): no rule covers the calls of later kernels."""
_X86_64: Final = Machine(0xC000003E, {
    "ioctl": 16, "socket": 41, "connect": 42, "accept": 43, "sendto": 44, "sendmsg": 46, "bind": 49, "listen": 50,
    "socketpair": 53,
    "setsockopt": 54, "clone": 56, "fork": 57, "vfork": 58, "execve": 59, "kill": 62,
    "inotify_add_watch": 254, "fanotify_init": 300, "fanotify_mark": 301, "setns": 308, "execveat": 322,
    "fcntl": 72, "ptrace": 101, "rt_sigqueueinfo": 129, "setpriority": 141, "sched_setparam": 142,
    "sched_setscheduler": 144, "prctl": 157, "tkill": 200, "sched_setaffinity": 203, "tgkill": 234, "ioprio_set": 251,
    "migrate_pages": 256, "unshare": 272, "get_robust_list": 274, "move_pages": 279, "accept4": 288,
    "rt_tgsigqueueinfo": 297, "perf_event_open": 298, "prlimit64": 302, "name_to_handle_at": 303,
    "open_by_handle_at": 304, "sendmmsg": 307, "process_vm_readv": 310,
    "process_vm_writev": 311, "kcmp": 312, "sched_setattr": 314, "seccomp": 317,
    "shmget": 29, "shmat": 30, "shmctl": 31, "semget": 64, "semop": 65, "semctl": 66, "shmdt": 67, "msgget": 68,
    "msgsnd": 69, "msgrcv": 70, "msgctl": 71, "semtimedop": 220, "mq_open": 240, "mq_unlink": 241, "add_key": 248,
    "request_key": 249, "keyctl": 250, "chmod": 90, "fchmod": 91, "chown": 92, "fchown": 93, "lchown": 94,
    "fchownat": 260, "fchmodat": 268, "utime": 132, "utimes": 235, "futimesat": 261, "utimensat": 280,
    "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199,
    "shutdown": 48, **_SINCE_5_1,
}, x32_bit=0x40000000)
_AARCH64: Final = Machine(0xC00000B7, {
    "fcntl": 25, "ioctl": 29, "ioprio_set": 30, "unshare": 97, "get_robust_list": 100, "ptrace": 117,
    "sched_setparam": 118, "sched_setscheduler": 119, "sched_setaffinity": 122, "kill": 129, "tkill": 130,
    "tgkill": 131, "rt_sigqueueinfo": 138, "setpriority": 140, "prctl": 167, "socket": 198, "socketpair": 199,
    "bind": 200, "listen": 201, "accept": 202, "connect": 203, "setsockopt": 208, "sendmsg": 211, "clone": 220,
    "migrate_pages": 238, "move_pages": 239, "inotify_add_watch": 27, "fanotify_init": 262, "fanotify_mark": 263,
    "sendto": 206,
    "execve": 221, "setns": 268, "execveat": 281,
    "rt_tgsigqueueinfo": 240, "perf_event_open": 241, "accept4": 242, "prlimit64": 261, "name_to_handle_at": 264,
    "open_by_handle_at": 265, "sendmmsg": 269, "process_vm_readv": 270,
    "process_vm_writev": 271, "kcmp": 272, "sched_setattr": 274, "seccomp": 277,
    "shmget": 194, "shmctl": 195, "shmat": 196, "shmdt": 197, "semget": 190, "semctl": 191, "semtimedop": 192,
    "semop": 193, "msgget": 186, "msgctl": 187, "msgrcv": 188, "msgsnd": 189, "mq_open": 180, "mq_unlink": 181,
    "add_key": 217, "request_key": 218, "keyctl": 219, "fchmod": 52, "fchmodat": 53, "fchownat": 54, "fchown": 55,
    "utimensat": 88, "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14, "lremovexattr": 15,
    "fremovexattr": 16, "shutdown": 210, **_SINCE_5_1,
})
_ARM: Final = Machine(0x40000028, {
    "fork": 2, "execve": 11, "ptrace": 26, "kill": 37, "ioctl": 54, "fcntl": 55, "setpriority": 97, "clone": 120,
    "sched_setparam": 154, "sched_setscheduler": 156, "prctl": 172, "rt_sigqueueinfo": 178, "vfork": 190,
    "fcntl64": 221, "tkill": 238, "sched_setaffinity": 241, "tgkill": 268, "socket": 281, "bind": 282, "connect": 283,
    "listen": 284, "accept": 285, "socketpair": 288, "setsockopt": 294, "sendmsg": 296, "ioprio_set": 314,
    "unshare": 337, "get_robust_list": 339, "move_pages": 344, "rt_tgsigqueueinfo": 363, "perf_event_open": 364,
    "accept4": 366, "prlimit64": 369, "name_to_handle_at": 370, "open_by_handle_at": 371, "sendmmsg": 374,
    "process_vm_readv": 376, "process_vm_writev": 377, "kcmp": 378, "sched_setattr": 380, "seccomp": 383,
    "migrate_pages": 400, "sendto": 290, "inotify_add_watch": 317, "fanotify_init": 367, "fanotify_mark": 368,
    "setns": 375, "execveat": 387,
    "shmat": 305, "shmdt": 306, "shmget": 307, "shmctl": 308, "semop": 298, "semget": 299, "semctl": 300,
    "msgsnd": 301, "msgrcv": 302, "msgget": 303, "msgctl": 304, "semtimedop": 312, "mq_open": 274, "mq_unlink": 275,
    "add_key": 309, "request_key": 310, "keyctl": 311, "chmod": 15, "fchmod": 94, "chown": 182, "fchown": 95,
    "lchown": 16, "chown32": 212, "fchown32": 207, "lchown32": 198, "fchownat": 325, "fchmodat": 333, "utimes": 269,
    "futimesat": 326, "utimensat": 348, "utimensat_time64": 412, "semtimedop_time64": 420, "setxattr": 226,
    "lsetxattr": 227, "fsetxattr": 228, "removexattr": 235, "lremovexattr": 236, "fremovexattr": 237, "shutdown": 293,
    **_SINCE_5_1,
}, private=0xF0000)
NOT_EVERYWHERE: Final = frozenset({
    "fcntl64", "fork", "vfork", "chmod", "chown", "lchown", "chown32", "fchown32", "lchown32", "utime", "utimes",
    "futimesat", "utimensat_time64", "semtimedop_time64",
})
"""Calls that some machines do not have."""
# fmt: on


def machine() -> Machine | None:
    """Return the system call interface of this process; None for a processor without a table.

    A 32-bit system on a 64-bit kernel reports the kernel's processor, so the size of a pointer decides.
    """
    name, bits = os.uname().machine, 8 * struct.calcsize("P")
    if name == "x86_64" and bits == 64:
        return _X86_64
    if name == "aarch64" and bits == 64:
        return _AARCH64
    if (name == "aarch64" or name.startswith("arm")) and bits == 32:
        return _ARM
    return None


class _OpenHow(ctypes.Structure):
    """``struct open_how`` of ``linux/openat2.h``."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def openat2(folder: int, name: str, flags: int, resolve: int) -> int:
    """Open ``name`` relative to an open folder; ``resolve`` restricts links; raises `OSError`.

    Linux has this call since 5.6. Older kernels fail with ENOSYS. Containers that refuse unknown calls fail with
    ENOSYS or EPERM.
    """
    path = os.fsencode(name)
    if b"\0" in path:
        raise ValueError("embedded null byte")
    text, how = ctypes.create_string_buffer(path), _OpenHow(flags, 0, resolve)
    number = _SINCE_5_1["openat2"]
    return call(number, folder, ctypes.addressof(text), ctypes.addressof(how), ctypes.sizeof(how))


def call(number: int, *arguments: int) -> int:
    """Make the system call; raises `OSError`."""
    result: int = _libc.syscall(ctypes.c_long(number), *(ctypes.c_long(value) for value in arguments))
    return _checked(result)


def mlockall(flags: int) -> None:
    """Make the ``mlockall`` call; raises `OSError`."""
    _checked(_libc.mlockall(ctypes.c_int(flags)))


def prctl(option: int, value: int = 0, more: int = 0) -> int:
    """Make the ``prctl`` call with the unused arguments zero; raises `OSError`."""
    zero = ctypes.c_ulong(0)
    return _checked(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), ctypes.c_ulong(more), zero, zero))


def capset(header: ctypes.Structure, data: ctypes.Array[ctypes.c_uint32]) -> None:
    """Set the capabilities of the calling thread; raises `OSError`."""
    _checked(_libc.capset(ctypes.byref(header), data))


def capget(header: ctypes.Structure, data: ctypes.Array[ctypes.c_uint32]) -> None:
    """Read the capabilities of the calling thread into ``data``; raises `OSError`."""
    _checked(_libc.capget(ctypes.byref(header), data))


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
