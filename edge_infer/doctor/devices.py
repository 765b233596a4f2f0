"""Checks of cameras and accelerators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from edge_infer.doctor.finding import Finding, ok, warn
from edge_infer.readers.devices import Device

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


def cameras(devices: Sequence[Device]) -> Iterator[Finding]:
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
            "plug one in; cameras on the CSI connector come in through kind: exec, those on the network need none",
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
