"""Calls that reach a process, a file, a device, an address or the kernel, for a process that locked itself or did not.

It is executed in that process: `attempts` makes each call and notes the outcome. In the process without walls each call
that would change the process itself is made in a child.
"""

# A function of `os` is one system call.
# ruff: noqa: PTH101, PTH102, PTH104, PTH106, PTH108, PTH112, PTH114, PTH208, PTH211

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import signal
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

from edge_infer.sandbox import kernel

Call = Callable[[], object]
NUMBER = dict(getattr(kernel.machine(), "numbers", {}))
_libc = ctypes.CDLL(None, use_errno=True)
BUFFER = ctypes.create_string_buffer(4096)
PLACE = ctypes.addressof(BUFFER)
PROC = ("mem", "environ", "maps", "auxv", "cmdline", "status", "stat", "io", "limits", "smaps", "mountinfo", "cgroup",
        "oom_score_adj", "comm", "wchan", "statm")  # fmt: skip
LINKS = ("cwd", "root", "exe", "fd/0", "ns/net")
DEVICES = ("kmsg", "ptmx", "fuse", "mem", "port", "vga_arbiter", "cpu_dma_latency", "loop-control", "hpet", "tty",
           "rtc0", "net/tun", "vsock", "userfaultfd", "kvm", "uinput", "nvram", "vda", "loop0")  # fmt: skip
FILES = ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/hostname", "/etc/fstab", "/etc/machine-id", "/etc/issue",
         "/etc/profile", "/proc/1/status", "/proc/net/tcp", "/proc/kallsyms", "/proc/iomem",
         "/proc/interrupts", "/proc/softirqs", "/var/log/dpkg.log", "/var/lib/dpkg/status", "/sys/kernel/uevent_seqnum",
         "/sys/class/net/lo/address", "/sys/module/kernel/parameters/panic")  # fmt: skip
WRITTEN = ("/proc/self/oom_score_adj", "/proc/self/comm", "/proc/self/coredump_filter", "/proc/sys/kernel/hostname",
           "/proc/self/timerslack_ns", "/proc/self/clear_refs", "/proc/sys/vm/drop_caches")  # fmt: skip
NAMESPACES = {"mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000, "user": 0x10000000,
              "pid": 0x20000000, "net": 0x40000000, "time": 0x80}  # fmt: skip
MPTCP, FAST_OPEN, IPPROTO_ICMP = 262, 0x20000000, 1


def raw(name: str, *arguments: int) -> int:
    return kernel.call(NUMBER[name], *arguments)


def text(value: str) -> int:
    """The address of a path, which stays valid."""
    _kept.append(ctypes.create_string_buffer(os.fsencode(value)))
    return ctypes.addressof(_kept[-1])


_kept: list[object] = []


def opened(path: str, flags: int = os.O_RDONLY, mode: int = 0o600) -> None:
    os.close(os.open(path, flags, mode))


def read(path: str) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.pread(file, 1, 0) if path.endswith("/mem") else os.read(file, 1)
    except OSError as error:
        if error.errno not in (errno.EIO, errno.ESPIPE):  # address 0 of a memory is not there: it was open all the same
            raise
    finally:
        os.close(file)


def of_process(who: str, pid: int, file: int, address: int) -> Iterator[tuple[str, Call]]:
    """Calls on another process; none of them changes it."""
    attributes = ctypes.create_string_buffer(struct.pack("=IIQiIQQQ", 48, 0, 0, 0, 0, 0, 0, 0), 48)
    queued = ctypes.create_string_buffer(struct.pack("=iii", 0, 0, -1).ljust(128, b"\0"), 128)
    software = ctypes.create_string_buffer(struct.pack("=IIQ", 1, 128, 0).ljust(128, b"\0"), 128)
    vector = ctypes.create_string_buffer(struct.pack("@PN", PLACE, 8), ctypes.sizeof(ctypes.c_void_p) * 2)
    remote = ctypes.create_string_buffer(struct.pack("@PN", address, 8), ctypes.sizeof(ctypes.c_void_p) * 2)
    node = ctypes.create_string_buffer(struct.pack("=Q", 1), 8)
    _kept.extend((attributes, queued, software, vector, remote, node))
    at = ctypes.addressof
    calls: dict[str, Call] = {
        "kill": lambda: os.kill(pid, 0),
        "killpg": lambda: os.killpg(os.getpgid(pid), 0),
        "tkill": lambda: raw("tkill", pid, 0),
        "tgkill": lambda: raw("tgkill", pid, pid, 0),
        "rt_sigqueueinfo": lambda: raw("rt_sigqueueinfo", pid, 0, at(queued)),
        "rt_tgsigqueueinfo": lambda: raw("rt_tgsigqueueinfo", pid, pid, 0, at(queued)),
        "pidfd_open": lambda: os.close(os.pidfd_open(pid)),
        "pidfd_send_signal": lambda: signal.pidfd_send_signal(file, 0),
        "pidfd_getfd": lambda: os.close(raw("pidfd_getfd", file, 0, 0)),
        "prlimit64": lambda: resource.prlimit(pid, resource.RLIMIT_CORE),
        "setpriority": lambda: os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid)),
        "setpriority of its group": lambda: os.setpriority(os.PRIO_PGRP, os.getpgid(pid), os.getpriority(0, pid)),
        "sched_setaffinity": lambda: os.sched_setaffinity(pid, os.sched_getaffinity(pid)),
        "sched_setscheduler": lambda: os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0)),
        "sched_setparam": lambda: os.sched_setparam(pid, os.sched_param(0)),
        "sched_setattr": lambda: raw("sched_setattr", pid, at(attributes), 0),
        "ioprio_set": lambda: raw("ioprio_set", 1, pid, raw("ioprio_get", 1, pid)),
        "get_robust_list": lambda: raw("get_robust_list", pid, PLACE, PLACE + 8),
        "migrate_pages": lambda: raw("migrate_pages", pid, 2, at(node), at(node)),
        "move_pages": lambda: raw("move_pages", pid, 0, 0, 0, 0, 0),
        "kcmp": lambda: raw("kcmp", pid, pid, 0, 0, 0),
        "perf_event_open": lambda: os.close(raw("perf_event_open", at(software), pid, -1, -1, 0)),
        "process_vm_readv": lambda: raw("process_vm_readv", pid, at(vector), 1, at(remote), 1, 0),
        "process_vm_writev": lambda: raw("process_vm_writev", pid, at(vector), 1, at(remote), 1, 0),
        "process_madvise": lambda: raw("process_madvise", file, at(remote), 1, 20, 0),  # MADV_COLD
        "prctl PR_SCHED_CORE": lambda: raw("prctl", 62, 0, pid, 0, PLACE),
        "fcntl F_SETOWN": lambda: fcntl.fcntl(PAIR[0], fcntl.F_SETOWN, pid),
        "ioctl FIOSETOWN": lambda: fcntl.ioctl(PAIR[0], 0x8901, struct.pack("i", pid)),
    }
    for name, call in calls.items():
        yield f"{name} of {who}", call
    for name in PROC:
        yield f"read /proc/PID/{name} of {who}", lambda name=name: read(f"/proc/{pid}/{name}")  # type: ignore[misc]
    for name in LINKS:
        yield f"follow /proc/PID/{name} of {who}", lambda name=name: opened(f"/proc/{pid}/{name}")  # type: ignore[misc]
    yield f"write /proc/PID/oom_score_adj of {who}", lambda: opened(f"/proc/{pid}/oom_score_adj", os.O_WRONLY)


def of_files(folder: str) -> Iterator[tuple[str, Call]]:
    """Calls on files that the process does not need; ``folder`` has `file`, `other`, `link`, `empty/` and `pipe`."""
    file, new = f"{folder}/file", f"{folder}/new"

    def made(call: Call) -> Call:
        """What makes a file, which is removed again."""

        def make() -> None:
            call()
            os.rmdir(new) if os.path.isdir(new) and not os.path.islink(new) else os.unlink(new)

        return make

    def there_and_back(call: Call) -> Call:
        def go() -> None:
            call()
            os.rename(new, file)

        return go

    handle = ctypes.create_string_buffer(struct.pack("=I", 128), 160)
    how = ctypes.create_string_buffer(struct.pack("=QQQ", os.O_RDONLY, 0, 0), 24)
    _kept.extend((handle, how))
    at = ctypes.addressof
    calls: dict[str, Call] = {
        "open to read": lambda: opened(file),
        "open to write": lambda: opened(file, os.O_WRONLY),
        "open to append": lambda: opened(file, os.O_WRONLY | os.O_APPEND),
        "open by a link": lambda: opened(f"{folder}/link"),
        "open by /proc/self/root": lambda: opened(f"/proc/self/root{file}"),
        "open by /proc/self/cwd": lambda: opened(f"/proc/self/cwd/{os.path.relpath(file)}"),
        "openat2": lambda: os.close(raw("openat2", -100, text(file), at(how), 24)),
        "name and open again": lambda: read_by_path(file),
        "open a pipe": lambda: opened(f"{folder}/pipe", os.O_RDONLY | os.O_NONBLOCK),
        "make a file": made(lambda: opened(new, os.O_WRONLY | os.O_CREAT)),
        "make a nameless file": lambda: opened(folder, os.O_RDWR | os.O_TMPFILE),
        "list": lambda: os.listdir(folder),
        "truncate": lambda: os.truncate(f"{folder}/empty-file", 0),
        "make a folder": made(lambda: os.mkdir(new)),
        "make a folder, mkdirat": made(lambda: raw("mkdirat", -100, text(new), 0o700)),
        "remove a folder": lambda: (os.rmdir(f"{folder}/empty"), os.mkdir(f"{folder}/empty")),
        "remove a file": lambda: (os.unlink(f"{folder}/other"), opened(f"{folder}/other", os.O_CREAT | os.O_WRONLY)),
        "rename": there_and_back(lambda: os.rename(file, new)),
        "renameat2": there_and_back(lambda: raw("renameat2", -100, text(file), -100, text(new), 1)),
        "link": made(lambda: os.link(file, new)),
        "link by symlink": made(lambda: os.symlink(file, new)),
        "make a pipe": made(lambda: os.mkfifo(new)),
        "make a device": made(lambda: os.mknod(new, stat.S_IFCHR | 0o600, os.makedev(1, 3))),
        "make a socket file": made(lambda: os.mknod(new, stat.S_IFSOCK | 0o600)),
        "chmod": lambda: os.chmod(file, 0o600),
        "fchmodat": lambda: raw("fchmodat", -100, text(file), 0o600),
        "fchmodat2": lambda: raw("fchmodat2", -100, text(file), 0o600, 0),
        "fchmod": lambda: os.fchmod(HELD, 0o600),
        "chown": lambda: os.chown(file, os.geteuid(), os.getegid()),
        "lchown": lambda: os.lchown(file, os.geteuid(), os.getegid()),
        "fchown": lambda: os.fchown(HELD, os.geteuid(), os.getegid()),
        "utimensat": lambda: os.utime(file),
        "utime of an open file": lambda: os.utime(HELD),
        "setxattr": lambda: os.setxattr(file, "user.x", b"x"),
        "fsetxattr": lambda: os.setxattr(HELD, "user.x", b"x"),
        "getxattr": lambda: os.getxattr(file, "user.x"),
        "fgetxattr": lambda: os.getxattr(HELD, "user.x"),
        "listxattr": lambda: os.listxattr(file),
        "lsetxattr": lambda: os.setxattr(file, "user.y", b"y", follow_symlinks=False),
        "lremovexattr": lambda: os.removexattr(file, "user.y", follow_symlinks=False),
        "removexattr": lambda: os.removexattr(file, "user.x"),
        "ioctl FS_IOC_SETFLAGS": lambda: fcntl.ioctl(HELD, 0x40086602, struct.pack("l", 0)),
        "fcntl F_SETLEASE": lambda: (fcntl.fcntl(HELD, 1024, 0), fcntl.fcntl(HELD, 1024, 2)),
        "flock": lambda: (fcntl.flock(HELD, fcntl.LOCK_SH), fcntl.flock(HELD, fcntl.LOCK_UN)),
        "fcntl F_SETLK": lambda: (fcntl.lockf(HELD, fcntl.LOCK_SH, 8, 1 << 40), fcntl.lockf(HELD, fcntl.LOCK_UN)),
        "fcntl F_OFD_SETLK": lambda: fcntl.fcntl(HELD, 37, struct.pack("hhqqi4x", fcntl.F_UNLCK, 0, 0, 8, 0)),
        "fcntl F_SET_RW_HINT": lambda: fcntl.fcntl(HELD, 1036, struct.pack("Q", 0)),
        "fcntl F_NOTIFY": lambda: fcntl.fcntl(HELD_FOLDER, 1026, 0),
        "fcntl O_APPEND": lambda: fcntl.fcntl(WRITTEN_FILE, fcntl.F_SETFL, os.O_APPEND),
        "inotify_add_watch": lambda: raw("inotify_add_watch", WATCH, text(folder), 2),
        "fanotify_init": lambda: os.close(raw("fanotify_init", 0x200, 0)),
        "name_to_handle_at": lambda: raw("name_to_handle_at", -100, text(file), at(handle), PLACE, 0),
        "open_by_handle_at": lambda: os.close(raw("open_by_handle_at", HELD_FOLDER, HANDLE, 0)),
        "memfd in an open folder": lambda: opened_at(HELD_FOLDER, "file"),
    }
    for name, call in calls.items():
        yield name, call
    for path in FILES:
        yield f"read {path}", lambda path=path: read(path)  # type: ignore[misc]
    for path in WRITTEN:
        yield f"write {path}", lambda path=path: opened(path, os.O_WRONLY)  # type: ignore[misc]
    for name in DEVICES:
        path, kept = f"/dev/{name}", os.O_NONBLOCK | os.O_NOCTTY
        for way, flags in (("read", kept), ("write", kept | os.O_WRONLY)):
            yield f"open {path} to {way}", lambda path=path, flags=flags: opened(path, flags)  # type: ignore[misc]


def read_by_path(path: str) -> None:
    file = os.open(path, os.O_PATH)
    try:
        read(f"/proc/self/fd/{file}")
    finally:
        os.close(file)


def opened_at(folder: int, name: str) -> None:
    os.close(os.open(name, os.O_RDONLY, dir_fd=folder))


def of_addresses(folder: str, port: int, port6: int) -> Iterator[tuple[str, Call]]:
    """Calls that make sockets and reach services; what listens has been started by the test."""
    kinds = {"stream": socket.SOCK_STREAM, "datagram": socket.SOCK_DGRAM, "packets": socket.SOCK_SEQPACKET}

    def made(family: int, kind: int, protocol: int = 0) -> None:
        socket.socket(family, kind, protocol).close()

    def with_socket(family: int, kind: int, act: Callable[[socket.socket], object]) -> None:
        with socket.socket(family, kind) as end:
            act(end)

    inet, inet6, unix = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX
    stream, datagram, any_kind, packets = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET
    for name, kind in kinds.items():
        yield f"Unix {name} socket", lambda kind=kind: made(unix, kind)  # type: ignore[misc]
        yield f"Unix {name} pair", lambda kind=kind: [each.close() for each in socket.socketpair(unix, kind)]  # type: ignore[misc]
    for name, family, kind, protocol in (
        ("TCP", inet, stream, 0), ("TCP of IPv6", inet6, stream, 0), ("UDP", inet, datagram, 0),
        ("UDP of IPv6", inet6, datagram, 0), ("MPTCP", inet, stream, MPTCP), ("SCTP", inet, stream, 132),
        ("SMC", inet, stream, 256), ("raw", inet, any_kind, IPPROTO_ICMP), ("UDP-Lite", inet, datagram, 136),
        ("raw of IPv6", inet6, any_kind, 58), ("packet", 17, any_kind, 0), ("packet datagram", 17, datagram, 0),
        ("netlink route", 16, datagram, 0), ("netlink uevent", 16, datagram, 15),
        ("netlink generic", 16, datagram, 16), ("netlink audit", 16, datagram, 9),
        ("netlink connector", 16, datagram, 11), ("netlink diagnosis", 16, datagram, 4), ("vsock", 40, stream, 0),
        ("vsock datagram", 40, datagram, 0), ("crypto", 38, packets, 0), ("key", 15, any_kind, 2),
        ("XDP", 44, any_kind, 0), ("Bluetooth", 31, any_kind, 1), ("CAN", 29, any_kind, 1), ("TIPC", 30, stream, 0),
        ("RDS", 21, packets, 0),
    ):  # fmt: skip
        yield f"socket {name}", lambda family=family, kind=kind, protocol=protocol: made(family, kind, protocol)  # type: ignore[misc]
    yield "connect TCP", lambda: with_socket(inet, stream, lambda end: end.connect(("127.0.0.1", port)))
    yield "connect TCP of IPv6", lambda: with_socket(inet6, stream, lambda end: end.connect(("::1", port6)))
    yield (
        "connect TCP with the first message",
        lambda: with_socket(inet, stream, lambda end: end.sendto(b"x", FAST_OPEN, ("127.0.0.1", port))),
    )
    yield "send UDP", lambda: with_socket(inet, datagram, lambda end: end.sendto(b"x", ("127.0.0.1", port)))
    yield "send UDP of IPv6", lambda: with_socket(inet6, datagram, lambda end: end.sendto(b"x", ("::1", port6)))
    yield "connect UDP", lambda: with_socket(inet, datagram, lambda end: end.connect(("127.0.0.1", 53)))
    yield "listen on a free port", lambda: with_socket(inet, stream, lambda end: end.listen())
    yield "bind a port", lambda: with_socket(inet, stream, lambda end: end.bind(("127.0.0.1", 0)))
    yield "bind any address", lambda: with_socket(inet, stream, lambda end: end.bind(("0.0.0.0", 0)))
    yield "bind a port of UDP", lambda: with_socket(inet, datagram, lambda end: end.bind(("127.0.0.1", 0)))
    yield "connect an inherited socket", lambda: FREE.connect(("127.0.0.1", port))
    yield "bind an inherited socket", lambda: FREE_TOO.bind(("127.0.0.1", 0))
    yield "close for all, shutdown", lambda: PAIR[0].shutdown(socket.SHUT_RD)
    yield "lock a filter", lambda: PAIR[0].setsockopt(socket.SOL_SOCKET, 44, 0)
    yield "linger", lambda: PAIR[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
    yield "connect by a path", lambda: with_socket(unix, stream, lambda end: end.connect(f"{folder}/socket"))
    yield "connect without a path", lambda: with_socket(unix, stream, lambda end: end.connect(f"\0{folder}"))
    yield "send by a path", lambda: with_socket(unix, datagram, lambda end: end.sendto(b"x", f"{folder}/datagrams"))
    yield "bind a path", lambda: with_socket(unix, stream, lambda end: bind(end, f"{folder}/bound"))


def bind(end: socket.socket, path: str) -> None:
    end.bind(path)
    os.unlink(path)


def of_memory() -> Iterator[tuple[str, Call]]:
    """Memory, queues and keys that other processes of the user share."""
    calls: dict[str, Call] = {
        "shmget": lambda: raw("shmctl", raw("shmget", 0, 4096, 0o1600), 0, 0),
        "shmget of a key": lambda: raw("shmctl", raw("shmget", 0x45444745, 4096, 0o1600), 0, 0),
        "semget": lambda: raw("semctl", raw("semget", 0, 1, 0o1600), 0, 0, 0),
        "msgget": lambda: raw("msgctl", raw("msgget", 0, 0o1600), 0, 0),
        "shmctl SHM_INFO": lambda: raw("shmctl", 0, 14, PLACE),
        "semctl SEM_INFO": lambda: raw("semctl", 0, 0, 19, PLACE),
        "msgctl MSG_INFO": lambda: raw("msgctl", 0, 12, PLACE),
        "add_key": lambda: raw("add_key", text("user"), text("edge"), text("x"), 1, -2),
        "request_key": lambda: raw("request_key", text("user"), text("edge"), 0, -2),
        "keyctl": lambda: raw("keyctl", 0, -2, 1),
        "keyctl of the user": lambda: raw("keyctl", 0, -4, 1),
        "memory in /dev/shm": lambda: (
            opened("/dev/shm/edge-infer-attack", os.O_CREAT | os.O_RDWR),
            os.unlink("/dev/shm/edge-infer-attack"),
        ),
        "userfaultfd": lambda: os.close(raw("userfaultfd", 1)),
        "io_uring_setup": lambda: os.close(raw("io_uring_setup", 1, uring())),
        "bpf": lambda: os.close(raw("bpf", 0, bpf(), 72)),
        "process of its own memory, prctl PR_SET_PTRACER": lambda: raw("prctl", 0x59616D61, -1, 0, 0, 0),
        "prctl PR_SET_DUMPABLE": lambda: raw("prctl", 4, 1, 0, 0, 0),
        "prctl PR_SET_NAME": lambda: raw("prctl", 15, text("frame"), 0, 0, 0),
        "prctl PR_SET_PDEATHSIG": lambda: raw("prctl", 1, 0, 0, 0, 0),
        "prctl PR_SET_CHILD_SUBREAPER": lambda: raw("prctl", 36, 0, 0, 0, 0),
        "personality": lambda: raw("personality", raw("personality", 0xFFFFFFFF)),
    }
    yield from calls.items()


def uring() -> int:
    BUFFER[:256] = bytes(256)
    return PLACE


def bpf() -> int:
    """A map of one element."""
    BUFFER[:128] = struct.pack("=IIIII", 2, 4, 8, 1, 0).ljust(128, b"\0")
    return PLACE


def of_kernel(folder: str) -> Iterator[tuple[str, Call]]:
    """Calls that change the process for good: what they need is allowed to nobody behind the walls."""
    for name, flag in NAMESPACES.items():
        yield f"unshare {name}", lambda flag=flag: raw("unshare", flag)  # type: ignore[misc]
    calls: dict[str, Call] = {
        "setns": lambda: raw("setns", NETWORK, 0),
        "fork": forked,
        "vfork or clone": lambda: cloned(17),
        "clone with a namespace": lambda: cloned(17 | NAMESPACES["uts"]),
        "clone3": clone3,
        "clone with shared files": lambda: cloned(17 | 0x400),
        "execve": lambda: os.execv("/bin/true", ["true"]),
        "execveat": lambda: raw("execveat", TRUE, text(""), words(), words(), 0x1000),
        "chroot": lambda: os.chroot(folder),
        "mount": lambda: mounted(folder),
        "fsopen": lambda: os.close(raw("fsopen", text("tmpfs"), 0)),
        "open_tree": lambda: os.close(raw("open_tree", -100, text(folder), 0)),
        "sethostname": lambda: raw("sethostname", text(os.uname().nodename), len(os.uname().nodename)),
        "syslog": lambda: raw("syslog", 10, 0, 0),
        "read the kernel's log": lambda: raw("syslog", 3, PLACE, 100),
        "iopl": lambda: raw("iopl", 0),
        "ioperm": lambda: raw("ioperm", 0x80, 1, 0),
        "modify_ldt": lambda: raw("modify_ldt", 0, PLACE, 64),
        "quotactl": lambda: raw("quotactl", 0x800001 << 8, 0, 0, 0),
        "sched_setscheduler of itself": lambda: os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0)),
        "sched_setparam of itself": lambda: os.sched_setparam(0, os.sched_param(0)),
        "sched_setattr of itself": lambda: raw("sched_setattr", 0, attributes(), 0),
        "ioprio_set of itself": lambda: raw("ioprio_set", 1, 0, raw("ioprio_get", 1, 0)),
        "setsid": os.setsid,
        "setpgid": lambda: os.setpgid(0, 0),
        "setuid": lambda: os.setuid(os.getuid()),
        "setresuid": lambda: os.setresuid(-1, -1, -1),
        "setgroups": lambda: os.setgroups(os.getgroups()),
        "setfsuid": lambda: raw("setfsuid", os.geteuid()),
        "chdir": lambda: os.chdir(folder),
        "chdir to an open folder": lambda: os.fchdir(HELD_FOLDER),
        "landlock_create_ruleset": lambda: raw("landlock_create_ruleset", 0, 0, 1),
        "vmsplice": lambda: raw("vmsplice", os.pipe()[1], vector(), 1, 0),
        "splice": lambda: raw("splice", FULL[0], 0, os.pipe()[1], 0, 1, 0),
        "copy_file_range": lambda: raw("copy_file_range", HELD, 0, WRITTEN_FILE, 0, 1, 0),
        "cachestat": lambda: raw("cachestat", HELD, range_(), PLACE + 64, 0),
        "memfd_secret": lambda: os.close(raw("memfd_secret", 0)),
        "timer_create": lambda: raw("timer_create", 1, 0, PLACE),
        "read how the clock is adjusted": lambda: raw("clock_adjtime", 0, zero(208)),
        "lookup another process, pidfd_open of a thread": lambda: os.close(raw("pidfd_open", os.getpid(), 0)),
        "lsm_list_modules": lambda: raw("lsm_list_modules", PLACE, size(), 0),
        "statmount": lambda: raw("listmount", mounts(), PLACE + 512, 10, 0),
        "insert into a terminal": terminal,
        "wake by a file, O_ASYNC": lambda: fcntl.ioctl(PAIR[1], 0x5452, struct.pack("i", 0)),
        "seccomp": lambda: raw("seccomp", 2, 0, allow()),
    }
    yield from calls.items()


def allow() -> int:
    BUFFER[:4] = struct.pack("=I", 0x7FFF0000)
    return PLACE


def zero(length: int) -> int:
    BUFFER[:length] = bytes(length)
    return PLACE


def attributes() -> int:
    BUFFER[:48] = struct.pack("=IIQiIQQQ", 48, 0, 0, 0, 0, 0, 0, 0)
    return PLACE


def size() -> int:
    BUFFER[1024:1028] = struct.pack("=I", 512)
    return PLACE + 1024


def mounts() -> int:
    BUFFER[:32] = struct.pack("=IIQQQ", 32, 0, 0xFFFFFFFFFFFFFFFF, 0, 0)[:32]
    return PLACE


def range_() -> int:
    return zero(64)


def vector() -> int:
    BUFFER[128:144] = struct.pack("@PN", PLACE, 8)
    return PLACE + 128


def words() -> int:
    return zero(8)


def terminal() -> None:
    parent, child = os.openpty() if TERMINAL is None else TERMINAL
    try:
        fcntl.ioctl(child, 0x5414, struct.pack("4H", 24, 80, 0, 0))
    finally:
        if TERMINAL is None:
            os.close(parent)
            os.close(child)


def _checked(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def mounted(folder: str) -> None:
    if os.geteuid() == 0 and not LOCKED:
        raw("unshare", NAMESPACES["mount"])
    _checked(_libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, None))


def forked() -> None:
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)


def cloned(flags: int) -> None:
    child = raw("clone", flags, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def clone3() -> None:
    BUFFER[:64] = struct.pack("=QQQQQQQQ", 0, 0, 0, 0, 17, 0, 0, 0)
    child = raw("clone3", PLACE, 64)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


PAIR = socket.socketpair()
FREE, FREE_TOO = socket.socket(), socket.socket()
NETWORK = os.open("/proc/self/ns/net", os.O_RDONLY)
TRUE = os.open("/bin/true", os.O_RDONLY)
FULL = os.pipe()
os.write(FULL[1], b"full")
WATCH = kernel.call(NUMBER["inotify_init1"], 0)
TERMINAL = os.openpty()
LOCKED = False
HELD = HELD_FOLDER = WRITTEN_FILE = HANDLE = -1


def prepare(folder: str) -> None:
    """Opens before the lock what a process may have inherited."""
    global HELD, HELD_FOLDER, WRITTEN_FILE, HANDLE  # noqa: PLW0603
    HELD = os.open(f"{folder}/file", os.O_RDONLY)
    WRITTEN_FILE = os.open(f"{folder}/other", os.O_RDWR)
    HELD_FOLDER = os.open(folder, os.O_RDONLY)
    handle = ctypes.create_string_buffer(struct.pack("=I", 128), 160)
    _kept.append(handle)
    HANDLE = ctypes.addressof(handle)
    with suppress(OSError):  # without a capability
        raw("name_to_handle_at", -100, text(f"{folder}/file"), HANDLE, PLACE, 0)


def attempts(
    folder: str, port: int, port6: int, victims: dict[str, tuple[int, int, int]], *, locked: bool
) -> dict[str, str]:
    """The outcome of each call: ``allowed`` or the name of the error."""
    global LOCKED  # noqa: PLW0603
    LOCKED = locked
    found: dict[str, str] = {}
    own = [*of_memory(), *of_kernel(folder)]
    others = [*(each for who, victim in victims.items() for each in of_process(who, *victim))]
    for name, call in (*others, *of_files(folder), *of_addresses(folder, port, port6)):
        found[name] = outcome(call)
    for name, call in own:
        found[name] = apart(call)
    return found


def outcome(call: Call) -> str:
    try:
        call()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "?")
    except KeyError:
        return "ENOSYS"  # a call that this processor does not have
    return "allowed"


def apart(call: Call) -> str:
    """The outcome in a child, which the call may change or end; in this process if it can start none."""
    receive, send = os.pipe()
    try:
        child = os.fork()
    except OSError:
        return outcome(call)
    if child == 0:
        os.set_inheritable(send, False)
        os.write(send, b"?")
        answer = outcome(call)
        os.write(send, answer.encode())
        os._exit(0)
    os.close(send)
    os.waitpid(child, 0)
    with os.fdopen(receive, "rb") as answers:
        return answers.read().decode()[1:] or "allowed"  # it became another program
