"""Commands that root runs as the service: with the unit's user and its view of the files, by ``systemd-run``.

While the service runs, the daemon itself answers ``check`` and ``doctor``.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from edge_infer.platform.child_process import own_module
from edge_infer.platform.config_files import named_variables
from edge_infer.platform.environment import is_harmless

UNIT: Final = "edge-infer.service"
VERSIONS: Final = "versions"
"""The folder in which ``deploy/install`` keeps the versions."""
_KEPT: Final = (
    *("User", "Group", "SupplementaryGroups", "DynamicUser", "StateDirectory", "StateDirectoryMode", "UMask"),
    *("ProtectHome", "ProtectSystem", "PrivateTmp", "ProtectProc", "NoNewPrivileges", "CapabilityBoundingSet"),
    *("ProcSubset", "Environment", "BindPaths", "BindReadOnlyPaths", "InaccessiblePaths"),
    *("TemporaryFileSystem", "RootDirectory", "DevicePolicy", "DeviceAllow", "WorkingDirectory"),
)
"""Properties that determine which files a process of the unit can read."""
_CREDENTIALS: Final = (
    *("LoadCredential", "LoadCredentialEncrypted", "SetCredential", "SetCredentialEncrypted"),
    "ImportCredential",
)
"""Properties that ``systemctl show`` prints as ``[unprintable]``, or quoted; only D-Bus gives their values."""
_UNIT_OBJECT: Final = "/org/freedesktop/systemd1/unit/edge_2dinfer_2eservice"
_QUERY: Final = (
    *("busctl", "--json=short", "get-property", "org.freedesktop.systemd1", _UNIT_OBJECT),
    "org.freedesktop.systemd1.Service",
)
_EMPTY_MEANS_NONE: Final = frozenset({"CapabilityBoundingSet"})
_ASCII: Final = 128
_SETUP_ENDS_WITH: Final = range(200, 246)
"""Exit codes of systemd when it could not start the program (systemd.exec(5), "Process Exit Codes")."""
_SETUP: Final = {
    200: "the working directory",
    203: "the program",
    216: "the group",
    217: "the user",
    226: "a folder or file of the unit, such as one in BindReadOnlyPaths=",
    238: "the state directory",
    243: "a credential, such as a file in LoadCredential=",
}
_FILE: Final = re.compile(r"(\S+) \(ignore_errors=(yes|no)\)")


def service_command(config: Path, words: Sequence[str]) -> list[str] | None:
    """Return the command that runs ``edge-infer WORD...`` as the service would; None if that is not possible.

    This needs root, and a unit that runs this configuration with this installation of the program, or with another
    version beside it. So a new version can check the configuration before an upgrade.
    """
    if os.geteuid() != 0:
        return None
    shown = _shown("LoadState", "ExecStart", "EnvironmentFiles", *_KEPT)
    return command_from(shown, config, words, list(_credentials())) if shown else None


def command_from(
    shown: Mapping[str, Sequence[str]], config: Path, words: Sequence[str], credentials: Sequence[str] = ()
) -> list[str] | None:
    """Return the command for a unit with these properties, as ``systemctl show`` prints them; see `service_command`.

    ``credentials`` are the credential properties of the unit, as `credentials_from` returns them.
    """
    started = _started_with(shown, config)
    if not started:
        return None
    runs, own = Path(os.path.realpath(started[0])).parent.parent, Path(os.path.realpath(sys.prefix))
    if runs != own and (runs.parent != own.parent or own.parent.name != VERSIONS):
        return None
    properties = [
        f"--property={name}={value}"
        for name in _KEPT
        for value in shown.get(name, ())
        if value or name in _EMPTY_MEANS_NONE
    ]
    for line in shown.get("EnvironmentFiles", ()):
        properties += [
            f"--property=EnvironmentFile={'-' if ignore == 'yes' else ''}{path}" for path, ignore in _FILE.findall(line)
        ]
    properties += [f"--property={each}" for each in credentials]
    start = ("systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--service-type=exec")
    return [*start, *properties, "--", *own_module("edge_infer", *words)]


def _started_with(shown: Mapping[str, Sequence[str]], config: Path) -> list[str]:
    """Return the command of a loaded unit with these properties; empty if it does not run this configuration."""
    argv = re.search(r"argv\[\]=(.*?) ;", next(iter(shown.get("ExecStart", ())), ""))
    started = shlex.split(argv[1]) if argv else []
    return started if shown.get("LoadState") == ["loaded"] and str(config.absolute()) in started[1:] else []


def service_user(config: Path) -> str:
    """Return the user as which the unit runs this configuration; empty for root, or if the unit does not run it.

    Only root needs the result; for other callers it is empty.
    """
    return user_from(_shown("LoadState", "ExecStart", "User"), config) if os.geteuid() == 0 else ""


def user_from(shown: Mapping[str, Sequence[str]], config: Path) -> str:
    """Return the user of a unit with these properties; see `service_user`."""
    user = next(iter(shown.get("User", ())), "")
    return user if user not in ("root", "0") and _started_with(shown, config) else ""


def variables_of_unit(config: Path) -> dict[str, str]:
    """Return the variables that a configuration names and this process lacks, with their values in the unit.

    Only root gets these variables. Variables of ``EnvironmentFile=`` are missing, because systemd reads that file at
    the start. Variables that change how programs run are missing as well: the unit may set them for a user without
    rights.
    """
    named = {name for name in named_variables(config) if not (is_harmless(name) or name.startswith("LD_"))}
    lacking = named - os.environ.keys() if os.geteuid() == 0 else set()
    if not lacking or not _started_with(_shown("LoadState", "ExecStart"), config):
        return {}
    return variables_from(_printed(*_QUERY, "Environment"), lacking)


def variables_from(text: str, wanted: Container[str]) -> dict[str, str]:
    """Return the wanted variables in the output of ``busctl --json=short get-property``."""
    lines = (each.removeprefix("Environment=") for each in credentials_from("Environment", text))
    pairs = (line.partition("=") for line in lines)
    return {name: value for name, _, value in pairs if name in wanted}


def failing_unit() -> str:
    """Return a description of the current failure of the service's unit; empty without a failure or a unit."""
    return failing_from(_shown("LoadState", "ActiveState", "SubState", "Result", "ExecMainStatus", "NRestarts"))


def failing_from(shown: Mapping[str, Sequence[str]]) -> str:
    """Return a description of the failure of a unit with these properties; see `failing_unit`."""
    said = {name: values[0] for name, values in shown.items() if values}
    if said.get("LoadState") != "loaded" or said.get("Result", "success") == "success":
        return ""
    state, code = said.get("ActiveState", ""), said.get("ExecMainStatus", "0")
    why = not_started(int(code)) if code.isdecimal() else ""
    text = f"its unit is {state} ({said['Result']}, exit code {code}, restarted {said.get('NRestarts', '0')} times)"
    return f"{text}: {why}" if why else text


def failed_sockets() -> list[str]:
    """Return the socket units of the page and its writer that have failed, so systemd no longer listens for them."""
    words = ("list-units", "--state=failed", "--plain", "--no-legend", "edge-infer-*.socket")
    return [line.split()[0] for line in _printed("systemctl", *words).splitlines() if line.strip()]


def _shown(*names: str) -> dict[str, list[str]]:
    """Return these properties of the unit, each with its values; empty if systemd does not answer."""
    return properties_from(_printed("systemctl", "show", UNIT, f"--property={','.join(names)}"))


def _credentials() -> Iterator[str]:
    """Yield the unit's settings of credentials as ``PROPERTY=VALUE``, one for each credential; see `credentials_from`.

    Each property is queried alone, because an older systemd does not know all of them and would answer with an error.
    """
    for name in _CREDENTIALS:
        yield from credentials_from(name, _printed(*_QUERY, name))


def _printed(*command: str) -> str:
    """Return what a command of systemd prints; empty if systemd does not answer."""
    if not Path("/run/systemd/system").is_dir():
        return ""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def properties_from(text: str) -> dict[str, list[str]]:
    """Parse the output of ``systemctl show``: each property with its values."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _, value = line.partition("=")
        found.setdefault(name, []).append(value)
    return found


def credentials_from(name: str, text: str) -> Iterator[str]:
    """Parse the output of ``busctl --json=short get-property``: yield ``NAME=VALUE``, as ``systemd-run`` reads it.

    The values of ``SetCredential=`` are no secrets: systemd shows them to every user (systemd.exec(5)).
    """
    for item in json.loads(text)["data"] if text.strip() else ():
        if isinstance(item, str):
            yield f"{name}={item}"
        elif isinstance(item[1], str):  # a path
            yield f"{name}={item[0]}:{item[1]}"
        elif name.endswith("Encrypted"):
            yield f"{name}={item[0]}:{base64.b64encode(bytes(item[1])).decode()}"
        else:
            yield f"{name}={item[0]}:{''.join(map(_byte, item[1]))}"


def _byte(value: int) -> str:
    """Return a byte as systemd reads it, with all but letters and digits escaped."""
    return chr(value) if value < _ASCII and chr(value).isalnum() else f"\\x{value:02x}"


def run_as_service(command: Sequence[str], text: bytes | None = None) -> int:
    """Run the command, with ``text`` as its standard input; return its exit code.

    If systemd could not start it, print why and return 3.
    """
    code = subprocess.run(command, input=text if text is not None else b"", check=False).returncode
    if not (why := not_started(code)):
        return code
    print(f"edge-infer: {why}", file=sys.stderr)
    return 3


def not_started(code: int) -> str:
    """Return the reason why systemd could not start the process, by its exit code; empty for other exit codes."""
    if code not in _SETUP_ENDS_WITH:
        return ""
    what = _SETUP.get(code, "the requested settings of the unit")
    return (
        f"systemd cannot start a process with the settings of {UNIT}, nor the service itself: it could not set up "
        f"{what} (exit code {code}); journalctl -u {UNIT} -n 20 shows the cause, systemctl cat {UNIT} shows the "
        "settings"
    )


def refused_by_service(config: Path, words: Sequence[str]) -> str:
    """Run the command as the service; return the last line of its errors if it fails, otherwise an empty text."""
    if (command := service_command(config, words)) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if why := not_started(done.returncode):
        return why
    lines = done.stderr.strip().splitlines()
    return lines[-1].removeprefix("edge-infer: ") if done.returncode and lines else ""
