"""The address of a network camera, with its secret only in memory."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from edge_infer.errors import SourceError


def read_secret(path: str) -> str:
    """The first line of a password file; raises `SourceError`."""
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"the password file {path} cannot be read: {error}") from error
    if not lines or not lines[0]:
        raise SourceError(f"the password file {path} is empty; its first line is the password")
    return lines[0]


def with_credentials(url: str, username: str | None, password: str | None) -> str:
    """The URL with user and password in it, percent-encoded; never to be shown to anybody."""
    if username is None:
        return url
    parts = urlsplit(url)
    who = quote(username, safe="") + (f":{quote(password, safe='')}" if password is not None else "")
    return urlunsplit(parts._replace(netloc=f"{who}@{parts.netloc.rpartition('@')[2]}"))


def shown(url: str) -> str:
    """The URL as it may be shown: without user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
