"""What each room has to reach for a plan: nothing of it is beyond what the operator has configured."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from edge_infer.config.places import publisher_folder
from edge_infer.config.plan import MqttPlan, Plan, SourcePlan, TextPlan
from edge_infer.sandbox import places
from edge_infer.sandbox.fence import Fence

# fmt: off
_OURS: Final = frozenset({
    "v4l2", "rtsp", "http", "video", "images", "synthetic", "audio", "serial", "iio", "mqtt", "csv", "lines", "system",
    "recording",
})
# fmt: on
"""Kinds that open nothing but what their options name. Others run a program, or code, that is not ours."""
_PORTS: Final[Mapping[str, int]] = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_WILDCARDS: Final = frozenset("*?[")
_SOUND_READS: Final = (
    *("/etc/asound.conf", "/etc/alsa", "/etc/pulse", "/etc/pipewire", "/etc/machine-id", "/etc/passwd"),
    *("/sys/class/sound", "/sys/devices", "/var/lib/alsa", "~/.asoundrc", "~/.config/pulse"),
)
_SOUND_WRITES: Final = ("/dev/snd", "/dev/shm")  # noqa: S108 - a rule, nothing is made there


def store_folder(state_dir: str | Path) -> Path:
    """Where the copies of the models in use lie."""
    return Path(state_dir, "blobs")


def engine_fence(plan: Plan) -> Fence:
    """Copies of models, the files of the sources that the engine reads itself, delegates and their accelerators."""
    reads = [str(store_folder(plan.state_dir))]
    secrets = set(secret_files(plan))
    delegates = [each.delegate for each in plan.pipelines if each.delegate is not None]
    reads += [_surroundings(each.library, secrets) for each in delegates if each.library.startswith("/")]
    for model in (*(pipeline.model for pipeline in plan.pipelines), *plan.shadows()):
        reads.append(model.path)
        if isinstance(model.input, TextPlan):
            reads.append(model.input.vocabulary)
    for source in plan.sources:
        if not source.live:
            reads += [_surroundings(path, secrets) for path in _files(source.options)]
    return Fence(reads=_once(reads), writes=places.accelerators() if delegates else ())


def publisher_fence(plan: Plan) -> Fence:
    """Its own folder in the state directory, the broker's credentials, and what it takes to find the broker."""
    folder = str(publisher_folder(plan.state_dir))
    return Fence(reads=_once([*places.network(), *_credentials(), *_files_of_broker(plan.mqtt)]), writes=(folder,))


def reader_fence(source: SourcePlan) -> Fence:
    """The device, the file or the port of one source."""
    options = source.options
    if source.kind not in _OURS:
        return Fence(writes=("/dev", *places.temporary()), anywhere=True)
    if source.network:
        found = (*places.network(), *_credentials(), *_secrets_of(options))
        return Fence(reads=_once(found), ports=(_port(options),))
    reads = list(_files(options))
    writes = [path for path in reads if _is_pipe(path)]
    device, root = options.get("device"), options.get("root")
    if source.kind == "audio" and device is not None:
        home = os.environ.get("HOME", "/nowhere")
        reads += [path.replace("~", home) for path in _SOUND_READS]
        writes += [*_SOUND_WRITES, f"/run/user/{os.geteuid()}"]
    elif source.kind == "iio":
        writes += ["/sys/devices", str(root or "/sys/bus/iio/devices")]
    elif isinstance(device, str) and device.startswith("/"):
        writes.append(device)
    return Fence(reads=_once(reads), writes=_once(writes))


def own_places(fence: Fence) -> tuple[str, ...]:
    """Those of its places that can become others while it runs: a device that is plugged in anew, a file replaced."""
    return () if fence.anywhere else fence.reads + fence.writes


def _files(options: Mapping[str, Any]) -> Iterator[str]:
    """Every absolute path among the options; of a glob the folder that it begins in."""
    for value in options.values():
        for text in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(text, str) and text.startswith("/"):
                yield _without_wildcards(text)


def _without_wildcards(path: str) -> str:
    parts = Path(path).parts
    plain = next((place for place, part in enumerate(parts) if _WILDCARDS & set(part)), len(parts))
    return path if Path(path).exists() else str(Path(*parts[:plain]))


def _surroundings(path: str, secrets: set[str]) -> str:
    """The folder of a file, so that it may be replaced by another of its name; the file alone beside secrets."""
    folder = Path(path).parent
    if Path(path).is_dir() or folder == Path("/") or any(Path(secret).is_relative_to(folder) for secret in secrets):
        return path
    return str(folder)


def secret_files(plan: Plan) -> Iterator[str]:
    """Passwords, keys and certificates that the configuration names."""
    yield from _files_of_broker(plan.mqtt)
    for source in plan.sources:
        yield from _secrets_of(source.options)


def _files_of_broker(mqtt: MqttPlan) -> list[str]:
    tls = (mqtt.tls.ca_file, mqtt.tls.cert_file, mqtt.tls.key_file) if mqtt.tls else ()
    return [path for path in (mqtt.password_file, *tls) if path]


def _secrets_of(options: Mapping[str, Any]) -> Iterator[str]:
    tls = options.get("tls")
    for path in (options.get("password_file"), *(tls.values() if isinstance(tls, Mapping) else ())):
        if isinstance(path, str) and path:
            yield path


def _credentials() -> tuple[str, ...]:
    """The folder that systemd puts credentials into."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    return (folder,) if folder.startswith("/") else ()


def _port(options: Mapping[str, Any]) -> int:
    url = options.get("url")
    if isinstance(url, str):
        parts = urlsplit(url)
        return parts.port or _PORTS.get(parts.scheme, 554)
    port = options.get("port")
    return port if isinstance(port, int) else 8883 if options.get("tls") is not None else 1883


def _is_pipe(path: str) -> bool:
    try:
        return not stat.S_ISREG(os.stat(path).st_mode) and not Path(path).is_dir()  # noqa: PTH116 - follows links
    except OSError:
        return False


def _once(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path for path in paths if path.startswith("/") and path != "/"))
