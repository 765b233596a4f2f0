"""Checks of the machine: board, memory, clock, state directory, cameras, accelerators, user."""

from __future__ import annotations

import os
import shutil
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from edge_infer.doctor.finding import Finding, fail, ok, warn
from edge_infer.platform.board import board_name
from edge_infer.platform.clock import MADE, synchronised
from edge_infer.platform.memory import group_limit
from edge_infer.platform.state_owner import foreign_entry
from edge_infer.publisher.health import Board
from edge_infer.readers.devices import CaptureDevice
from edge_infer.sandbox.identity import Identity

# Checks of the board itself: model, memory, system, temperature, clock. ``root`` holds ``proc`` and ``sys``.

_SMALL_MEMORY: Final = 400 << 20
_TIME_SERVICES: Final = ("usr/lib/systemd/systemd-timesyncd", "usr/sbin/chronyd", "usr/sbin/ntpd")
_HOT: Final = 75.0


def board(root: Path) -> Iterator[Finding]:
    """Yield every finding about the board."""
    yield ok("board", board_name(root))
    yield memory(root)
    yield system()
    yield from temperature(root)
    yield clock(root, synchronised(root))


def memory(root: Path) -> Finding:
    """Check the memory that this process may use: the board's, or the limit of its control group if that is lower."""
    total, limit = _number(root / "proc/meminfo", "MemTotal:") * 1024, group_limit(root)
    if not total:
        return ok("memory", "/proc/meminfo does not contain the amount")
    fact = f"{total >> 20} MiB" + (f", limited to {limit >> 20} MiB by its control group" if limit else "")
    if min(total, limit or total) < _SMALL_MEMORY:
        return warn("memory", fact, "use one small quantized model, or a board with more memory")
    return ok("memory", fact)


def system() -> Finding:
    """Check the system and its Python. On a 64-bit kernel, pip mistakes a 32-bit system for a 64-bit one."""
    bits, machine = 8 * struct.calcsize("P"), os.uname().machine
    fact = f"{bits}-bit {machine}, Linux {os.uname().release}, Python {sys.version.split()[0]} ({sys.executable})"
    if bits == 32 and machine == "aarch64":
        return warn(
            "system",
            f"{fact}; a 32-bit system on a 64-bit kernel",
            "install the 64-bit system, which is faster, or upgrade with: sudo linux32 deploy/install",
        )
    return ok("system", fact)


def temperature(root: Path) -> Iterator[Finding]:
    """Check the hottest thermal zone, and throttling by a Raspberry Pi's firmware.

    Yield nothing if the board reports neither.
    """
    health = Board(root).read()
    if health.throttled:
        yield warn(
            "power",
            "the firmware is slowing the board down: it is too hot, or the voltage is too low",
            "cool the board, replace the power supply",
        )
    if health.temperature is None:
        return
    fact = f"{health.temperature:.0f} °C"
    yield ok("temperature", fact) if health.temperature < _HOT else warn("temperature", fact, "cool the board")


def clock(root: Path, synced: bool | None) -> Finding:
    """Check whether timestamps are reliable: now, and directly after the next start."""
    battery = "with" if any((root / "sys/class/rtc").glob("rtc*")) else "without"
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    remedy = "start a time service: timedatectl set-ntp true"
    if not any((root / path).exists() for path in _TIME_SERVICES):
        remedy = "install a time service: sudo apt install systemd-timesyncd"
    if time.time() < MADE:
        return warn("clock", f"{now} is wrong, and TLS fails until the clock is set", remedy)
    if synced is None:
        return ok("clock", f"{now}, {battery} a battery clock; the kernel does not report whether it is synchronised")
    if not synced:
        return warn("clock", f"{now}, not synchronised, {battery} a battery clock", remedy)
    return ok("clock", f"{now}, synchronised, {battery} a battery clock")


def _number(path: Path, key: str) -> int:
    line = next((line for line in _text(path).splitlines() if line.startswith(key)), "")
    return int(line.split()[1]) if line else 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


# Check of the state directory and its disk.

_LITTLE: Final = 200 << 20
"""Free bytes below which an outbox and a second version of a model may not fit."""
_LEAST: Final = 4 << 20
"""Free bytes below which even a small disk gets a warning."""


def storage(state_dir: Path) -> Iterator[Finding]:
    """Check the free space of the state directory, the owner of its content, and whether it is writable."""
    try:
        place = _nearest(state_dir)
    except PermissionError:
        yield ok("state", f"{state_dir}, this user has no access; run: sudo edge-infer doctor")
        return
    disk = _disk(state_dir, place)
    foreign = foreign_entry(state_dir) if disk.level != "fail" else None
    if foreign is None or disk.level == "warn":
        yield disk
    if foreign is not None:
        fault, _, remedy = str(foreign).partition("; ")
        yield (fail if foreign.fatal else warn)("state", fault, remedy)


def _disk(state_dir: Path, place: Path) -> Finding:
    """Check the disk of the directory; ``place`` is the directory, or its nearest parent."""
    disk = shutil.disk_usage(place)
    free = disk.free
    fact = f"{state_dir}, {free >> 20} MiB free"
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        remedy = "remount it, then restart the service, which keeps its view of the disk: systemctl restart edge-infer"
        return fail("state", f"{fact}, on a read-only file system", f"{remedy}; or set device.state_dir")
    if free < max(_LEAST, min(_LITTLE, disk.total // 4)):  # a small disk of its own may be empty
        return warn("state", fact, "free space on the disk")
    if place == state_dir and not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
        return ok("state", f"{fact}; it belongs to {_owner(place)}, this user cannot write there")
    if place != state_dir and not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
        return ok("state", f"{fact}; it does not exist yet and this user cannot create it")
    return ok("state", fact)


def _nearest(folder: Path) -> Path:
    """Return the folder, or its nearest existing parent; raises `PermissionError`."""
    for place in (folder, *folder.parents):
        with suppress(FileNotFoundError, NotADirectoryError):
            place.stat()
            return place
    return Path("/")


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:
        return f"user {path.stat().st_uid}"


# Checks of cameras and accelerators.

_USB: Final[Mapping[str, str]] = {"1a6e:089a": "Edge TPU (USB)", "18d1:9302": "Edge TPU (USB)"}
_PCI: Final[Mapping[str, str]] = {"0x1ac1:0x089a": "Edge TPU (PCIe)", "0x1e60:0x2864": "Hailo-8 (PCIe)"}
_NODES: Final[Mapping[str, str]] = {
    "apex_0": "Edge TPU driver",
    "hailo0": "Hailo driver",
    "nvhost-gpu": "NVIDIA GPU",
    "nvidia0": "NVIDIA GPU",
    "rknpu": "Rockchip NPU",
}


def accelerators(root: Path) -> Finding:
    """List accelerators for models; ``root`` holds ``sys`` and ``dev``."""
    found = {_USB.get(_usb(device)) for device in root.glob("sys/bus/usb/devices/*/idVendor")}
    found |= {_PCI.get(_pci(device)) for device in root.glob("sys/bus/pci/devices/*/vendor")}
    found |= {name for node, name in _NODES.items() if (root / "dev" / node).exists()}
    names = sorted(name for name in found if name)
    return ok("accelerators", ", ".join(names) + " (models run on the processor)" if names else "none")


def cameras(devices: Sequence[CaptureDevice]) -> Iterator[Finding]:
    """List the capture devices by name, and the problems of the others."""
    good = [f"{device.path} ({device.name})" for device in devices if not device.problem]
    if good:
        yield ok("cameras", ", ".join(good))
    for device in devices:
        if device.problem:
            fact, _, remedy = device.problem.partition("; ")
            yield warn("cameras", f"{device.path} {fact}", remedy or "unplug and plug it in again")
    if not devices:
        yield warn(
            "cameras",
            "no capture device",
            "connect one; cameras on the CSI connector need kind: exec, network cameras need no device",
        )


def _usb(vendor: Path) -> str:
    return f"{_word(vendor)}:{_word(vendor.with_name('idProduct'))}"


def _pci(vendor: Path) -> str:
    return f"{_word(vendor)}:{_word(vendor.with_name('device'))}"


def _word(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


# The user under which models, sources and plug-ins run if root starts the daemon.


def user(identity: Identity | None, service: str = "") -> Iterator[Finding]:
    """Report the user that root has become (``identity``), or warn if root cannot change its user.

    Yield nothing for any other user. If the unit runs this configuration as the user ``service``, report that user.
    """
    if service:
        yield ok("user", f"the service runs as {service} (User= of its unit)")
    elif identity is not None:
        yield ok("user", f"a daemon started by root without systemd runs as {identity.name} (uid {identity.uid})")
    elif os.geteuid() == 0:
        yield warn(
            "user",
            "root cannot become another user here, so models run as uid 0, without capabilities",
            "start the container with more users (podman run --userns=auto), or as a user of its own (--user)",
        )
