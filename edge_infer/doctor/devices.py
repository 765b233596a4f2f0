"""Cameras and accelerators, as the kernel lists them. ``root`` holds ``sys`` and ``dev``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from edge_infer.doctor.finding import Finding, ok, warn

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
    """What could run models faster than the processor, if a delegate for it were there."""
    found = {_USB.get(_usb(device)) for device in root.glob("sys/bus/usb/devices/*/idVendor")}
    found |= {_PCI.get(_pci(device)) for device in root.glob("sys/bus/pci/devices/*/vendor")}
    found |= {name for node, name in _NODES.items() if (root / "dev" / node).exists()}
    names = sorted(name for name in found if name)
    return ok("accelerators", ", ".join(names) + " (models run on the processor)" if names else "none")


def cameras(root: Path) -> Iterator[Finding]:
    """The video devices by name, and whether this user may open them."""
    nodes = sorted(root.glob("sys/class/video4linux/video*"), key=lambda node: int(node.name.removeprefix("video")))
    if not nodes:
        yield warn(
            "cameras",
            "no video device",
            "plug one in; cameras on the CSI connector come in through kind: exec, those on the network need none",
        )
        return
    yield ok("cameras", ", ".join(f"/dev/{node.name} ({_word(node / 'name') or 'no name'})" for node in nodes))
    paths = [root / "dev" / node.name for node in nodes]
    closed = [f"/dev/{path.name}" for path in paths if path.exists() and not os.access(path, os.R_OK | os.W_OK)]
    if closed:
        yield warn(
            "cameras",
            f"this user may not open {', '.join(closed)}",
            "the service may; by hand: sudo usermod -aG video $USER, and log in again",
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
