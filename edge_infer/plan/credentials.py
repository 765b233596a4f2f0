"""Reads secrets from their files each time they are needed, so that a changed file takes effect without a restart.

systemd passes copies of these files to the service as credentials. This module also computes the names of the
credentials.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from edge_infer.errors import EdgeInferError, SourceError, StartError
from edge_infer.plan.records import MqttPlan, Plan, in_any_spelling
from edge_infer.platform.permissions import CREDENTIALS, denied, in_service

LONGEST: Final = 4096
_PLAIN_SCHEMES: Final = ("http", "rtsp")


def plain_connections(plan: Plan) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the part of the configuration and a sentence for each secret or result sent unencrypted over a network."""
    if sent := plain_broker(plan.mqtt):
        yield ("mqtt",), sent
    for source in plan.sources:
        url, host = source.options.get("url"), source.options.get("host")
        parts = urlsplit(url) if isinstance(url, str) else None
        if parts is not None:
            plain, host = parts.scheme.lower() in _PLAIN_SCHEMES, parts.hostname
        else:
            plain = source.kind == "mqtt" and source.options.get("tls") is None
        if plain and source.options.get("password_file") and isinstance(host, str) and not _is_this_host(host):
            remedy = "use its encrypted address" if parts is not None else "set tls"
            text = f"the password goes to {host} unencrypted: {remedy}, or keep it in its own network"
            yield ("sources", source.name), text


def plain_broker(mqtt: MqttPlan) -> str:
    """Return a sentence about the data that are sent to the broker unencrypted, with the remedy.

    Return an empty text with TLS, or for a broker on this host.
    """
    if mqtt.tls is not None or _is_this_host(mqtt.host):
        return ""
    what = "the password and all results go" if mqtt.password_file else "all results go"
    return f"{what} to {mqtt.host} unencrypted: set mqtt.tls, or keep the broker in its own network"


def _is_this_host(host: str) -> bool:
    name = host.rstrip(".").lower()
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def broker_password(plan: MqttPlan) -> str | None:
    """Return the password in ``mqtt.password_file``; None if no file is configured.

    Raises `StartError` when the file cannot be used.
    """
    if plan.password_file is None:
        return None
    return _password(plan.password_file, f"mqtt.password_file {plan.password_file}", StartError)


def source_password(path: str, username: str | None = None) -> str:
    """Return the password of a camera or another source; raises `SourceError` when the file cannot be used.

    From then on, `without_passwords` removes it from texts, also in the form that HTTP sends with the ``username``.
    """
    password = _password(path, f"the password file {path}", SourceError)
    if len(password) >= _LEAST:
        _remember(password, username or "")
    return password


def _password(path: str, what: str, failure: type[EdgeInferError]) -> str:
    """Return the content of a file without its final newline; raises ``failure`` unless it is exactly one line."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(LONGEST + 1)
    except PermissionError as error:
        raise failure(f"{what} {why_gone(path) or denied(path, path)}") from error
    except OSError as error:
        raise failure(f"{what} {why_gone(path) or f'cannot be read: {error.strerror}'}") from error
    if len(data) > LONGEST:
        raise failure(f"{what} is longer than {LONGEST} bytes: it must contain only the password")
    try:
        password = data.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise failure(f"{what} is not UTF-8 text") from error
    if not password:
        raise failure(f"{what} is empty: write the password into it")
    if "\n" in password:
        raise failure(f"{what} has several lines: it must contain only the password")
    return password


# Removes the passwords of sources from texts of cameras, brokers and libraries, which may repeat an address.

_LEAST: Final = 4
"""Minimum characters of a password that is removed: a shorter one would occur everywhere."""
_MAX_FORMS: Final = 64
_forms: Final[dict[str, None]] = {}
"""Regular expressions for the passwords that this process has read, the newest last. Like `os.environ`, this dictionary
belongs to the whole process."""


def _remember(password: str, username: str) -> None:
    basic = base64.b64encode(f"{username}:{password}".encode()).decode()
    for form in (in_any_spelling(password), re.escape(basic.rstrip("=")) + "=*"):
        _forms.pop(form, None)
        _forms[form] = None
    while len(_forms) > _MAX_FORMS:
        del _forms[next(iter(_forms))]


def without_passwords(text: str) -> str:
    """Return a text that another host or a library has chosen, with `PLACE` in place of each password.

    Do not pass whole messages: with a password such as ``camera``, the replaced word of a fixed text would reveal it.
    """
    if not _forms:
        return text
    forms = sorted(_forms, key=len, reverse=True)
    return re.sub("|".join(forms), lambda _: PLACE, text, flags=re.IGNORECASE)


# The placeholder for a password in a URL.

PLACE: Final = "{password}"
"""Placeholder in a URL for the password of cameras that expect it in the path or query."""


# Names of the credentials by which systemd passes copies of secret files to the service.

_DIGITS: Final = 8
_MAX_SHOWN_CHARACTERS: Final = 200
"""Leaves room for the digits: systemd accepts names of up to 255 characters."""
_ODD: Final = re.compile(r"[^A-Za-z0-9._-]")
_MADE_HERE: Final = re.compile(rf".*-[0-9a-f]{{{_DIGITS}}}")
DROP_IN: Final = "/etc/systemd/system/edge-infer.service.d/box.conf"
"""Path of the drop-in that ``edge-infer unit`` prints, which passes the credentials."""


def credential_name(path: str) -> str:
    """Return the name of a file's credential: its file name, and digits of a hash of its absolute path.

    The file name alone is not enough: with two ``camera.pass``, one host would get the password of the other.
    """
    shown = _ODD.sub("_", Path(path).name)[:_MAX_SHOWN_CHARACTERS]
    return f"{shown}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:_DIGITS]}"


def why_gone(path: str) -> str:
    """Return the reason why a credential of the service cannot be read, as the end of a sentence, with the remedy.

    The result is empty for a file that is not a credential, for a file that exists, and outside of the service.
    """
    folders = (CREDENTIALS, Path(os.environ.get("CREDENTIALS_DIRECTORY") or CREDENTIALS))
    if not in_service() or not any(map(Path(path).is_relative_to, folders)) or os.path.lexists(path):
        return ""
    name = Path(path).name
    remedy = f"add its line LoadCredential={name}:FILE again: sudo systemctl edit edge-infer"
    if _MADE_HERE.fullmatch(name):  # the remedy redirects no output into the file: a failing command would empty it
        remedy = f"replace {DROP_IN} by the output of sudo edge-infer unit, then run sudo systemctl daemon-reload"
    return (
        f"cannot be read: the unit passes no credential {name} any more; make the original file readable for the "
        "service and run sudo systemctl reload edge-infer, "
        f"or {remedy} && sudo systemctl restart edge-infer"
    )
