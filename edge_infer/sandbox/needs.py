"""The access that each process needs for a plan, limited to what the operator has configured."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from edge_infer.contract.codec import replace
from edge_infer.plan.files import files_of_pipelines
from edge_infer.plan.records import MqttPlan, PipelinePlan, Plan, SourcePlan
from edge_infer.plan.source_kinds import KINDS, access_of
from edge_infer.platform.paths import KnownFiles, publisher_folder, trials_folder, without_wildcards
from edge_infer.sandbox import privileges, system_paths
from edge_infer.sandbox.fence import Fence, UnixUse
from edge_infer.sandbox.name_look_up import need_look_up, need_unix

USUAL_PORTS: Final[Mapping[str, int]] = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_SOUND_READS: Final = (
    *("/etc/asound.conf", "/etc/alsa", "/etc/pulse", "/etc/pipewire", "/etc/machine-id", "/etc/passwd"),
    *("/sys/class/sound", "/sys/devices", "/var/lib/alsa", "~/.asoundrc", "~/.config/pulse"),
)


OTHER_FILES: Final = 64 << 20
"""Bytes that a file of the publisher may have beyond the limit of the outbox: the log of SQLite, notes, other files."""
_SYSTEM: Final = ("/sys", "/run/udev", "/etc/alternatives")
_HOST_IN_WORD: Final = re.compile(r"(?<=://)(?:[^/\s@]*@)?([^/:\s]+)")
"""The host of a URL in a word of a command."""


def store_folder(state_dir: str | Path) -> Path:
    """Return the folder with the copies of the models in use."""
    return Path(state_dir, "blobs")


def engine_fence(plan: Plan, also_private: Iterable[str] = ()) -> Fence:
    """Return the engine's fence: files of the sources that it reads itself, delegates and their accelerators.

    A folder is readable only if a source names a folder or pattern of pictures, and if the folder contains nothing
    private: no file that is private according to the plan, and none of ``also_private``. Models are not included: the
    supervisor hands their files over. The paths contain no links of other users than root, which could be exchanged
    before the engine starts.
    """
    private = KnownFiles((*also_private, *private_files(plan)))
    delegates = _delegates(plan.pipelines, private)
    folders, files = list(delegates.reads), list[str]()
    for source in plan.sources:
        if source.live or access_of(source.kind) == "nothing":
            continue
        for path in _paths(source.options):
            place = _place(source, path)
            is_folder = place != path or ((source.kind == "images" or source.kind not in KINDS) and _is_folder(place))
            real = _real(place) if is_folder else _real_file(place)
            if real is not None and private.first_within(real) is None:
                (folders if is_folder else files).append(real)
    return Fence(reads=_once(folders), files=_once(files), writes=delegates.writes)


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):  # no path has a NUL
        return path


def _real_file(file: str) -> str | None:
    """Return the path of a file without links; None if the file is a link out of its folder.

    Otherwise a user with write access to that folder could let the engine read any file.
    """
    real = _real(file)
    return real if Path(real).is_relative_to(_real(str(Path(file).parent))) else None


def private_files(plan: Plan) -> tuple[str, ...]:
    """Return the files of the configuration and its secrets, which the engine may not read."""
    return _once((*plan.private, *secret_files(plan)))


def opens_private(fence: Fence, plan: Plan, also_private: Iterable[str] = ()) -> bool:
    """Return whether a process with this fence could read a file that is private, as `engine_fence` describes it."""
    private = KnownFiles((*also_private, *private_files(plan)))
    return any(private.first_within(place) is not None for place in fence.reads + fence.files)


def pipelines_fence(pipelines: Sequence[PipelinePlan]) -> Fence:
    """Return the fence of a process that opens models itself: their files, delegates and accelerators."""
    delegates = _delegates(pipelines, KnownFiles(()))
    return replace(delegates, files=_once(files_of_pipelines(pipelines)))


def _delegates(pipelines: Sequence[PipelinePlan], private: KnownFiles) -> Fence:
    found = [each.delegate for each in pipelines if each.delegate is not None]
    reads = [_surroundings(each.library, private) for each in found if each.library.startswith("/")]
    return Fence(reads=_once(reads), writes=system_paths.accelerators() if found else ())


def replay_fence(plans: Sequence[Plan], recording: str | None) -> Fence:
    """Return the fence of a replay: the models, and either the recording or the source files of the plans.

    A folder is readable if the configuration names a folder or a pattern.
    """
    models = [pipelines_fence(plan.pipelines) for plan in plans]
    files = [path for fence in models for path in fence.files]
    named = [path for plan in plans for source in plan.sources if _is_played(source) for path in _paths(source.options)]
    if recording is not None:
        named = [os.path.abspath(recording)]  # noqa: PTH100 - it may contain a pattern
    folders = [path for fence in models for path in fence.reads]
    for path in named:
        place = without_wildcards(path)
        (folders if place != path or _is_folder(place) else files).append(place)
    writes = _once(path for fence in models for path in fence.writes)
    return Fence(reads=_once(folders), files=_once(files), writes=writes)


def _is_played(source: SourcePlan) -> bool:
    """Return whether `replay` opens the source directly: a recording, or an external kind of source."""
    return not source.live or access_of(source.kind) == "program"


def config_fence(state_dir: str) -> Fence:
    """Return the fence for reading a configuration: it may name any file, so only writing is restricted.

    The process may write copies of models and results of trials to ``state_dir`` if one is given. Child processes share
    this fence: a delegate opens accelerators, and a plug-in that describes itself may need temporary files.
    """
    own = (str(store_folder(state_dir)), str(trials_folder(state_dir))) if state_dir else ()
    return Fence(writes=(*own, *system_paths.temporary(state_dir), *system_paths.accelerators()), anywhere=True)


def publisher_fence(plan: Plan) -> Fence:
    """Return the publisher's fence: its folder in the state directory, the broker's port and credentials.

    No file that the publisher writes may grow far beyond the limit of the outbox. Another process resolves the broker's
    name; a publisher that is a thread of the supervisor resolves it itself.
    """
    folder, mqtt = str(publisher_folder(plan.state_dir)), plan.mqtt
    fence = Fence(reads=_once([*system_paths.network(), *_files_of_broker(mqtt)]), writes=(folder,), ports=(mqtt.port,))
    if not plan.merged:
        names = (mqtt.host,) if need_look_up(mqtt.host) else ()
        return replace(fence, names=names, max_file_bytes=plan.outbox.max_size + OTHER_FILES)
    return replace(fence, ports=None, datagrams=need_look_up(mqtt.host), unix="names" if need_unix(mqtt.host) else "")


def runs_foreign_code(source: SourcePlan) -> bool:
    """Return whether the code of a plug-in or of a sound library runs in the reader of a source."""
    access = access_of(source.kind)
    return access == "sound" or (access == "program" and source.kind != "exec")


def reader_fence(source: SourcePlan) -> Fence:
    """Return the fence of a reader: the device, files or port of one source, as its kind declares."""
    options, access = source.options, access_of(source.kind)
    if access == "nothing":
        return Fence(ports=())
    if access == "program":
        # The program of `exec` starts without the capability that its reader may keep (see `readers/launch.py`).
        if source.kind != "exec" and privileges.keeps_read_search():
            named = _once((*_files(options), *system_paths.network(), *_SYSTEM))
            return Fence(reads=named, writes=system_paths.devices(), unix="programs", foreign_code=True)
        written = (*system_paths.device_places(), *system_paths.temporary())
        return Fence(writes=written, anywhere=True, unix="programs", foreign_code=runs_foreign_code(source))
    if source.network:
        found = (*system_paths.network(), *_secrets_of(options))
        host = _host(options)
        unix: UnixUse = "names" if need_unix(host) else ""
        datagrams = need_look_up(host) or options.get("transport") == "udp"
        fence = Fence(reads=_once(found), ports=(_port(options),), unix=unix, datagrams=datagrams)
        return replace(fence, listens=KINDS[source.kind].listens)
    reads = [_place(source, path) for path in _paths(options)]
    writes = [path for path in reads if _is_pipe(path)]
    device, root = options.get("device"), options.get("root")
    sound = access == "sound" and device is not None
    if sound:
        home = os.environ.get("HOME", "/nowhere")
        reads += [path.replace("~", home) for path in _SOUND_READS]
        # Sound services share memory without a name, and no rule is needed to connect to their sockets.
        reads.append(f"/run/user/{os.geteuid()}/pulse")  # without it, libpulse does not connect
        writes.append("/dev/snd")
    elif access == "iio":
        writes += ["/sys/devices", str(root or "/sys/bus/iio/devices")]
    elif isinstance(device, str) and device.startswith("/"):
        writes.append(device)
    return Fence(reads=_once(reads), writes=_once(writes), unix="sound" if sound else "", foreign_code=sound)


def own_places(fence: Fence) -> tuple[str, ...]:
    """Return the paths with targets that can change at run time, as for a replugged device or a replaced file."""
    return () if fence.anywhere else fence.reads + fence.writes


def _files(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield every absolute path among the options; for a glob, the folder in which it begins."""
    yield from map(without_wildcards, _paths(options))


def _place(source: SourcePlan, path: str) -> str:
    """Return ``path``, or for a pattern of pictures the folder in which the pattern begins."""
    return without_wildcards(path) if source.kind == "images" else path


def _paths(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield every absolute path among the options, as written."""
    for value in options.values():
        for text in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(text, str) and text.startswith("/"):
                yield text


def _is_folder(path: str) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - `Path.is_dir` raises in a closed folder


def _surroundings(library: str, private: KnownFiles) -> str:
    """Return the folder of a library, which may load others there; the library alone if that folder has private files.

    The result is a real path: a link may lead into the folder of a secret.
    """
    folder = _real(str(Path(library).parent))
    return _real(library) if folder == "/" or private.first_within(folder) is not None else folder


def secret_files(plan: Plan) -> Iterator[str]:
    """Yield the passwords, keys and certificates that the configuration names."""
    yield from _files_of_broker(plan.mqtt)
    for source in plan.sources:
        yield from _secrets_of(source.options)


def look_ups(plan: Plan) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each part of the configuration that names a host, with the host.

    Those in the command of a program with network count as well.
    """
    yield ("mqtt",), plan.mqtt.host
    for source in plan.sources:
        if host := _host(source.options):
            yield ("sources", source.name), host
        command = source.options.get("command")
        for word in command if source.network and isinstance(command, (list, tuple)) else ():
            yield from ((("sources", source.name), host) for host in _HOST_IN_WORD.findall(str(word)))


def _files_of_broker(mqtt: MqttPlan) -> list[str]:
    tls = (mqtt.tls.ca_file, mqtt.tls.cert_file, mqtt.tls.key_file) if mqtt.tls else ()
    return [path for path in (mqtt.password_file, *tls) if path]


def _secrets_of(options: Mapping[str, Any]) -> Iterator[str]:
    tls = options.get("tls")
    for path in (options.get("password_file"), *(tls.values() if isinstance(tls, Mapping) else ())):
        if isinstance(path, str) and path:
            yield path


def _host(options: Mapping[str, Any]) -> str:
    url = options.get("url")
    host = urlsplit(url).hostname if isinstance(url, str) else options.get("host")
    return host if isinstance(host, str) else ""


def _port(options: Mapping[str, Any]) -> int:
    url = options.get("url")
    if isinstance(url, str):
        parts = urlsplit(url)
        return parts.port or USUAL_PORTS.get(parts.scheme, 554)
    port = options.get("port")
    return port if isinstance(port, int) else 8883 if options.get("tls") is not None else 1883


def _is_pipe(path: str) -> bool:
    try:
        return not stat.S_ISREG(os.stat(path).st_mode) and not Path(path).is_dir()  # noqa: PTH116 - follows links
    except (OSError, ValueError):  # no path has a NUL
        return False


def _once(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path for path in paths if path.startswith("/") and path != "/"))
