"""Secrets come from files, read when they are needed: a changed file helps without a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edge_infer.config.plan import MqttPlan
from edge_infer.errors import StartError

LONGEST: Final = 4096


def broker_password(plan: MqttPlan) -> str | None:
    """The password in ``mqtt.password_file``, without its last newline; None where none is configured.

    Raises `StartError` when the file cannot be used.
    """
    if plan.password_file is None:
        return None
    path = Path(plan.password_file)
    try:
        with path.open("rb") as file:
            data = file.read(LONGEST + 1)
    except OSError as error:
        raise StartError(f"mqtt.password_file {path} cannot be read: {error.strerror}") from error
    if len(data) > LONGEST:
        raise StartError(f"mqtt.password_file {path} is longer than {LONGEST} bytes: it holds the password and no more")
    try:
        password = data.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise StartError(f"mqtt.password_file {path} is not UTF-8 text") from error
    if not password:
        raise StartError(f"mqtt.password_file {path} is empty: write the broker's password into it")
    if "\n" in password:
        raise StartError(f"mqtt.password_file {path} has several lines: it holds the password and no more")
    return password
