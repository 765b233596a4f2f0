"""Paths of the program on this system, and the files that each process needs: code, libraries, settings."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

_LIBRARIES: Final = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/opt/vc", "/opt/nvidia")
_SETTINGS: Final = ("/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/localtime", "/etc/alternatives")
# The processor, the memory and the temperatures. The rest of /sys is not included, because sensors are read there.
_BOARD: Final = (
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/sys/class/thermal",
    "/sys/devices/virtual/thermal",
    "/sys/devices/platform/soc",
)
_DEVICES: Final = ("/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
BIN: Final = "/dev/null"
"""The only file to which every process may write."""
_NETWORK: Final = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/nsswitch.conf",
    "/etc/services",
    "/etc/ssl",
    "/etc/ca-certificates",
    "/etc/pki",
    "/etc/crypto-policies",
    "/run/systemd/resolve",
)


_ACCELERATORS: Final = (
    *("apex_*", "bus/usb", "dri", "dma_heap", "accel", "hailo*", "mali*", "kgsl-3d0", "galcore", "ethosu*", "vha*"),
    *("nvhost*", "nvmap", "nvgpu"),
)
"""Below /dev: Edge TPUs on PCIe and USB, graphics, and the accelerators of common boards."""


_PROC: Final = (
    *("self", "asound", "cmdline", "cpuinfo", "device-tree", "devices", "driver", "filesystems", "loadavg", "meminfo"),
    *("modules", "stat", "sys", "uptime", "version", "vmstat"),
)
"""Below /proc: the system, and the process itself. Command lines of other processes are excluded, because one could
contain a frame."""


def program(*, others: bool = False) -> tuple[str, ...]:
    """Return the paths that every process needs; with ``others``, also the paths that child programs need."""
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    proc = ("/proc",) if others else (f"/proc/{name}" for name in _PROC)
    return _plain((*_LIBRARIES, *_SETTINGS, *_BOARD, *proc, *_DEVICES, *libraries, *_code()))


def network(servers: Path = Path("/etc/resolv.conf")) -> tuple[str, ...]:
    """Return the paths needed to resolve a host name and to check its certificate."""
    # resolv.conf is often a link to a file in /run or /tmp that another program replaces. The folder of that file
    # contains other files, so it is not admitted. A process that cannot read the current file is restarted.
    return _plain((*_NETWORK, str(servers.resolve())))


def accelerators(devices: Path = Path("/dev")) -> tuple[str, ...]:
    """Return the devices that a delegate may open, where they exist now."""
    return tuple(sorted(str(path) for pattern in _ACCELERATORS for path in devices.glob(pattern)))


_TERMINALS: Final = re.compile(r"tty\d*|console|ptmx|pts|vcs.*")
"""Below /dev: interactive terminals. Serial ports have names such as ttyS0 and ttyUSB0."""


def devices(folder: Path = Path("/dev")) -> tuple[str, ...]:
    """Return the devices, except interactive terminals, that this user may open without any capability."""
    found = (path for place in device_places(folder) for path in (Path(place), *Path(place).rglob("*")))
    return tuple(sorted(str(path) for path in found if path.is_char_device() and os.access(path, os.R_OK | os.W_OK)))


def device_places(folder: Path = Path("/dev")) -> tuple[str, ...]:
    """Return the devices and device folders that exist now, except interactive terminals."""
    found = (path for path in folder.iterdir() if not path.is_symlink() and not _TERMINALS.fullmatch(path.name))
    return tuple(sorted(str(path) for path in found if path.is_dir() or path.is_char_device()))


def temporary(state_dir: str | Path = "") -> tuple[str, ...]:
    """Return the folders for temporary files, except those that would also give access to the daemon's own folders."""
    given = os.environ.get("TMPDIR", "")
    own = [os.path.realpath(place) for place in (_runtime_directory(), *_state_directories(state_dir))]
    usual = (place for place in ("/tmp", "/var/tmp") if os.path.realpath(place) not in own)  # noqa: S108 - a rule
    return _plain((*([] if opens_own(given, state_dir) else [given]), *usual))


def opens_own(folder: str, state_dir: str | Path = "") -> bool:
    """Return whether a program that may write to this folder could replace the control socket, or the daemon's state.

    The folder of the socket is the first folder in ``$RUNTIME_DIRECTORY``; it may contain a folder for temporary files.
    """
    if not folder:
        return False
    here, runtime = Path(os.path.realpath(folder)), _runtime_directory()
    if runtime and Path(os.path.realpath(runtime)).is_relative_to(here):
        return True
    states = (Path(os.path.realpath(place)) for place in _state_directories(state_dir))
    return any(here.is_relative_to(state) or state.is_relative_to(here) for state in states)


def _runtime_directory() -> str:
    return os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]


def _state_directories(state_dir: str | Path) -> Iterator[str]:
    yield from filter(None, (str(state_dir), os.environ.get("STATE_DIRECTORY", "").partition(":")[0]))


def _code() -> Iterable[str]:
    """Yield the interpreter and all folders of modules, except the working directory, which may be any folder."""
    package = Path(__file__).parents[1]
    yield str(package)
    yield from (sys.prefix, sys.base_prefix, sys.exec_prefix, str(Path(sys.executable).parent))
    for entry in sys.path:
        folder = Path(entry or ".").absolute()
        if folder == package.parent or folder != Path.cwd():
            yield str(folder)


def _plain(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path for path in paths if path.startswith("/") and path != "/"))
