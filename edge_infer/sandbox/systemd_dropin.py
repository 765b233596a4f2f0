"""Generates the output of ``edge-infer unit``: a systemd drop-in that restricts the unit to one configuration."""

from __future__ import annotations

import grp
import ipaddress
import os
import shlex
import socket
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from edge_infer.errors import ConfigError
from edge_infer.plan.credentials import DROP_IN, credential_name
from edge_infer.plan.records import Plan, SourcePlan
from edge_infer.plan.source_kinds import KINDS, access_of
from edge_infer.platform.logs import printable
from edge_infer.sandbox.name_look_up import need_look_up, services_for
from edge_infer.sandbox.needs import look_ups, reader_fence, secret_files
from edge_infer.sandbox.other_services import CLOSED, RESOLVED, STUB
from edge_infer.sandbox.system_paths import accelerators

CREDENTIALS: Final = "/run/credentials/edge-infer.service"
_CLASSES: Final = {"/dev/bus/usb": "char-usb_device", "/dev/dri": "char-drm", "/dev/dma_heap": "char-dma_heap"}
"""Folders of devices, and systemd's name for the devices in them (``/proc/devices``)."""

_NOT_IN_A_CREDENTIAL: Final = frozenset(" \"'\\")
"""Characters in a credential's path with which systemd does not start the service (tested with systemd 257)."""


def drop_in(plan: Plan, config: Path) -> str:
    """Return the text of the file `DROP_IN`; raises `ConfigError` if a path or name cannot stand in a unit file."""
    live = [source for source in plan.sources if source.live]
    delegates = accelerators() if any(pipeline.delegate for pipeline in plan.pipelines) else ()
    lines = [
        f"# For {config}; write it again when sources, broker or credentials change:",
        f"#   sudo edge-infer unit -c {shlex.quote(str(config))} > box.conf &&",
        f"#   sudo install -D -m 644 box.conf {DROP_IN} &&",
        "#   sudo systemctl daemon-reload && sudo systemctl restart edge-infer",
        "[Service]",
        *_devices(live, delegates),
        *_groups(live, delegates),
        *_addresses(plan, live),
        *services(host for _, host in look_ups(plan)),
        *_credentials(plan),
    ]
    if (odd := next((line for line in lines if not line.isprintable() or line.endswith("\\")), None)) is not None:
        raise ConfigError(
            f"{printable(odd)}: a unit file must not contain a line break, or a backslash at the end of a line; "
            "rename the path"
        )
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Return a text that systemd reads unchanged, with specifiers such as ``%n`` escaped."""
    return text.replace("%", "%%")


def _devices(live: Iterable[SourcePlan], delegates: Iterable[str]) -> Iterator[str]:
    """Yield the ``DeviceAllow=`` lines. The empty line resets what the unit allows.

    ``DevicePolicy=closed`` still allows null, random and similar devices.
    """
    yield "DeviceAllow="
    wanted: dict[str, None] = {}
    for path in delegates:  # for a folder, all devices of its class are allowed
        wanted[f"{_CLASSES.get(path, path)} rw"] = None
    for source in live:
        if _opens_any(source):
            wanted["char-* rw"] = None
        elif source.kind == "audio":
            wanted["char-alsa rw"] = None
        else:
            wanted.update(dict.fromkeys(f"{_escaped(path)} rw" for path in _device_files(source)))
    if "char-* rw" in wanted:
        yield "# a source of kind exec or picamera2 opens devices of many names"
    for device in ["char-* rw"] if "char-* rw" in wanted else wanted:
        yield f"DeviceAllow={device}"


def _opens_any(source: SourcePlan) -> bool:
    """Return whether the source may open any device. libcamera alone needs a dozen, with varying names."""
    return (source.kind in KINDS and access_of(source.kind) == "program") or reader_fence(source).anywhere


def _device_files(source: SourcePlan) -> list[str]:
    """Return the paths below ``/dev``: the author of a configuration may write `/dev/../` before any other path."""
    return [path for path in map(os.path.normpath, reader_fence(source).writes) if path.startswith("/dev/")]


def _groups(live: Iterable[SourcePlan], delegates: Iterable[str]) -> Iterator[str]:
    files = [file for path in delegates for file in ([path] if not Path(path).is_dir() else Path(path).rglob("*"))]
    found: dict[str, None] = dict.fromkeys(name for file in files if (name := _owner(str(file))))
    for source in live:
        owners = [name for path in _device_files(source) if (name := _owner(path))] if not _opens_any(source) else []
        usual = KINDS[source.kind].group if source.kind in KINDS else ""
        for name in owners or ([usual] if usual and _exists(usual) else []):
            found[name] = None
    yield "SupplementaryGroups="
    if found:
        yield f"SupplementaryGroups={' '.join(found)}"


def _owner(path: str) -> str:
    """Return the group of a character device; empty for root's group, for one without a name, and without a device.

    The groups of other files give access to more than one device: ``disk`` to all disks, ``shadow`` to passwords.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - follows links
        return grp.getgrgid(status.st_gid).gr_name if status.st_gid and stat.S_ISCHR(status.st_mode) else ""
    except (OSError, KeyError):
        return ""


def _exists(group: str) -> bool:
    try:
        grp.getgrnam(group)
    except KeyError:
        return False
    return True


def _addresses(plan: Plan, live: Iterable[SourcePlan]) -> Iterator[str]:
    """Yield the lines that limit all processes of the unit to the addresses of the allowed hosts.

    The allowed hosts are the broker, the cameras and, if any host is given by name, the name servers.
    """
    hosts = dict.fromkeys([plan.mqtt.host, *(host for source in live if (host := _host(source)))])
    if any(source.network and not _host(source) for source in live):
        yield "# a source of kind exec with network: true may connect to any host, so addresses are not limited"
        return
    named = [host for host in hosts if host != "localhost" and not _is_address(host)]
    allowed: dict[str, None] = {}
    for host in hosts:
        found = _resolved(host)
        if host in named:
            yield f"# {host} is {', '.join(found) or 'unknown'} now"
        allowed.update(dict.fromkeys(found))
    if named:
        allowed.update(dict.fromkeys(_name_servers()))
    yield "IPAddressDeny=any"
    yield f"IPAddressAllow={' '.join(dict.fromkeys(map(_short, allowed)))}"


def services(
    hosts: Iterable[str],
    needed: Callable[[str], Iterable[str]] = services_for,
    servers: Path = Path("/etc/resolv.conf"),
) -> Iterator[str]:
    """Yield the lines that close other services, except those by which the system finds a host.

    The empty line resets what the unit closes. The mount over a socket is gone when its service starts again. So where
    it is possible, the whole folder of systemd-resolved is closed except for the list of name servers. It is not
    possible for a name without a dot: the list then has the domains in which it is searched, and may be replaced.
    """
    hosts = tuple(hosts)
    opened = {path: host for host in hosts for path in needed(host)}
    for path, host in opened.items():
        yield f"# {_escaped(host)} is looked up over {path}, which programs of sources reach as well"
    if opened:
        yield "InaccessiblePaths="
    yield f"InaccessiblePaths={' '.join(f'-{path}' for path in CLOSED if path not in opened)}"
    searched = any("." not in host and need_look_up(host) for host in hosts)
    if RESOLVED not in opened and not searched and os.path.realpath(servers) == STUB:
        yield f"TemporaryFileSystem={Path(STUB).parent}:ro"
        yield f"BindReadOnlyPaths=-{STUB}"


def _host(source: SourcePlan) -> str:
    url, host = source.options.get("url"), source.options.get("host")
    if isinstance(url, str):
        return urlsplit(url).hostname or ""
    return host if isinstance(host, str) else "127.0.0.1" if source.kind == "mqtt" else ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _short(address: str) -> str:
    return "localhost" if ipaddress.ip_address(address).is_loopback else address


def _resolved(host: str) -> list[str]:
    try:
        return sorted({str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, None)})
    except OSError:
        return []


def _name_servers(path: Path = Path("/etc/resolv.conf")) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    words = [line.split() for line in lines if line.startswith("nameserver")]
    return [pair[1] for pair in words if len(pair) > 1 and _is_address(pair[1])]


def _credentials(plan: Plan) -> Iterator[str]:
    """Yield ``LoadCredential=`` lines: secrets keep their owner, perhaps root, and the service gets private copies."""
    for path in dict.fromkeys(secret_files(plan)):
        if path.startswith(f"{CREDENTIALS}/"):
            continue
        if _NOT_IN_A_CREDENTIAL & set(path):
            raise ConfigError(
                f"{path}: systemd cannot read a credential from a path with a space, a quotation mark or a backslash; "
                "rename the file or its folder"
            )
        yield f"LoadCredential={credential_name(path)}:{_escaped(path)}"
