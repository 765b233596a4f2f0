"""Read secrets from their files each time they are needed, so that a changed file takes effect without a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edge_infer.errors import EdgeInferError, SourceError, StartError
from edge_infer.plan.records import MqttPlan

LONGEST: Final = 4096


def broker_password(plan: MqttPlan) -> str | None:
    """Return the password in ``mqtt.password_file``; None if no file is configured.

    Raises `StartError` when the file cannot be used.
    """
    if plan.password_file is None:
        return None
    return _password(plan.password_file, f"mqtt.password_file {plan.password_file}", StartError)


def source_password(path: str) -> str:
    """Return the password of a camera or another source; raises `SourceError` when the file cannot be used."""
    return _password(path, f"the password file {path}", SourceError)


def _password(path: str, what: str, failure: type[EdgeInferError]) -> str:
    """Return the content of a file without its last newline; raises ``failure`` unless it is one line."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(LONGEST + 1)
    except OSError as error:
        raise failure(f"{what} cannot be read: {error.strerror}") from error
    if len(data) > LONGEST:
        raise failure(f"{what} is longer than {LONGEST} bytes: it holds the password and no more")
    try:
        password = data.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise failure(f"{what} is not UTF-8 text") from error
    if not password:
        raise failure(f"{what} is empty: write the password into it")
    if "\n" in password:
        raise failure(f"{what} has several lines: it holds the password and no more")
    return password


# The placeholder for a password in a URL.

PLACE: Final = "{password}"
"""Placeholder in a URL for the password of cameras that expect it in the path or query."""
