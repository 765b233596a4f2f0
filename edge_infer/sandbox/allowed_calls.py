"""System calls that processes need, by purpose. If a processor does not have a call of this name, the name is ignored.

The list contains all calls that the processes made during all tests. It also contains calls that the C libraries,
Python, NumPy, OpenCV, FFmpeg, LiteRT, SQLite and OpenSSL make rarely: on other processors, in other versions, when
memory is short, or after a crash.
"""

from __future__ import annotations

from typing import Final

# fmt: off
_FILES: Final = (
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2", "close",
    "close_range", "lseek", "_llseek", "open", "openat", "openat2", "fcntl", "fcntl64", "ioctl", "dup", "dup2", "dup3",
    "pipe", "pipe2", "access", "faccessat", "faccessat2", "readlink", "readlinkat", "getcwd", "getdents", "getdents64",
    "stat", "stat64", "lstat", "lstat64", "fstat", "fstat64", "newfstatat", "fstatat64", "statx", "statfs",
    "statfs64", "fstatfs", "fstatfs64", "fadvise64", "arm_fadvise64_64", "readahead", "sendfile",
    "sendfile64", "ftruncate", "ftruncate64", "memfd_create", "flock",
)
_WAITS: Final = (
    "poll", "ppoll", "ppoll_time64", "select", "_newselect", "pselect6", "pselect6_time64", "epoll_create",
    "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd", "eventfd2",
    "timerfd_create", "timerfd_settime", "timerfd_settime64", "timerfd_gettime", "timerfd_gettime64", "signalfd",
    "signalfd4", "nanosleep", "clock_nanosleep", "clock_nanosleep_time64", "pause", "restart_syscall",
)
_MEMORY: Final = (
    "brk", "mmap", "mmap2", "munmap", "mremap", "mprotect", "pkey_mprotect", "pkey_alloc", "pkey_free", "madvise",
    "mincore", "msync", "mlock", "mlock2", "munlock", "mlockall", "munlockall", "membarrier", "mbind", "mseal",
    "set_mempolicy", "get_mempolicy", "cacheflush",
)
_THREADS: Final = (
    "clone", "exit", "exit_group", "futex", "futex_time64", "futex_waitv", "futex_wait", "futex_wake",
    "set_robust_list", "get_robust_list", "set_tid_address", "set_tls", "get_tls", "rseq", "arch_prctl",
    "prctl", "gettid", "getcpu",
    "sched_yield", "sched_getaffinity", "sched_setaffinity", "sched_getparam", "sched_setparam",
    "sched_getscheduler", "sched_setscheduler", "sched_getattr", "sched_setattr", "sched_get_priority_max",
    "sched_get_priority_min", "sched_rr_get_interval", "sched_rr_get_interval_time64", "getpriority", "setpriority",
    "ioprio_get", "ioprio_set", "migrate_pages", "move_pages",
)
_OWN_STATE: Final = (
    "getpid", "getppid", "getpgrp", "getpgid", "getsid", "getuid", "getuid32", "geteuid", "geteuid32", "getgid",
    "getgid32", "getegid", "getegid32", "getresuid", "getresuid32", "getresgid", "getresgid32", "getgroups",
    "getgroups32", "capget", "capset", "umask", "uname", "sysinfo", "times", "getrusage", "getrlimit", "ugetrlimit",
    "wait4", "waitid",
    "setrlimit", "prlimit64", "getrandom",
)
_CLOCKS: Final = (
    "time", "gettimeofday", "clock_gettime", "clock_gettime64", "clock_getres", "clock_getres_time64",
    "setitimer", "getitimer", "alarm",
)
_SIGNALS: Final = (
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigreturn", "sigaltstack", "rt_sigpending", "rt_sigsuspend",
    "rt_sigtimedwait", "rt_sigtimedwait_time64", "kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo",
)
_CHANNELS: Final = ("recv", "recvfrom", "recvmsg", "recvmmsg", "recvmmsg_time64", "getsockname", "getpeername",
                    "getsockopt")
EVERY_PROCESS: Final = (*_FILES, *_WAITS, *_MEMORY, *_THREADS, *_OWN_STATE, *_CLOCKS, *_SIGNALS, *_CHANNELS)
LOCKS_ITSELF: Final = ("seccomp",)
"""Allowed until the last filter of the process is in place."""
SENDS: Final = ("send", "sendto", "sendmsg", "sendmmsg")
CONNECTS: Final = ("socket", "socketpair", "connect", "bind", "setsockopt", "shutdown")
LISTENS: Final = ("listen", "accept", "accept4")
MAKES_FILES: Final = (
    "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "renameat2", "truncate", "truncate64",
    "fallocate", "fsync", "fdatasync", "sync_file_range", "sync_file_range2", "syncfs",
)
LINKS: Final = ("link", "linkat", "symlink", "symlinkat", "mknod", "mknodat")
"""Only programs of the operator create links, pipes and device files."""
READS_CLOCK: Final = ("adjtimex", "clock_adjtime", "clock_adjtime64")
"""Calls that read whether the clock is synchronized. Setting the clock needs a capability that no process has."""
STARTS_PROCESSES: Final = (
    "fork", "vfork", "clone3", "execve", "execveat", "setsid", "setpgid", "unshare",
    "setns", "chdir", "fchdir", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self",
    "setuid", "setuid32", "setgid", "setgid32", "setresuid", "setresuid32", "setresgid", "setresgid32", "setgroups",
    "setgroups32", "inotify_init", "inotify_init1", "inotify_rm_watch",
)
"""For processes with children that enter a further sandbox."""
NEVER: Final = (
    "acct", "add_key", "bpf", "clock_settime", "clock_settime64", "delete_module", "finit_module", "init_module",
    "ioperm", "iopl", "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie", "lsm_set_self_attr", "modify_ldt",
    "nfsservctl", "open_by_handle_at", "name_to_handle_at", "pciconfig_iobase", "pciconfig_read", "pciconfig_write",
    "quotactl", "quotactl_fd", "reboot", "request_key", "sethostname", "setdomainname", "settimeofday", "swapoff",
    "swapon", "syslog", "userfaultfd", "vhangup",
)
"""Calls that neither a process nor a program of a source needs. These calls concern the kernel as a whole, keys, files
by number, hardware, and the handling of page faults."""
MOUNTS: Final = (
    "mount", "umount2", "pivot_root", "chroot", "fsopen", "fsconfig", "fsmount", "fspick", "open_tree",
    "move_mount", "mount_setattr", "statmount", "listmount",
)
# fmt: on
