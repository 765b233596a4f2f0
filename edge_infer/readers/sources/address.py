"""The address of a network camera, with its secret only in memory."""

from __future__ import annotations

import socket
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

PLACE: Final = "{password}"
"""Stands in a URL where a camera wants its password in the path or query."""


def with_credentials(url: str, username: str | None, password: str | None) -> str:
    """The URL with user and password in it, percent-encoded; never to be shown to anybody.

    The password goes to its place, where the URL has one, and else before the host.
    """
    if PLACE in url:
        return url.replace(PLACE, quote(password or "", safe=""))
    if username is None:
        return url
    parts = urlsplit(url)
    who = quote(username, safe="") + (f":{quote(password, safe='')}" if password is not None else "")
    return urlunsplit(parts._replace(netloc=f"{who}@{parts.netloc.rpartition('@')[2]}"))


def shown(url: str) -> str:
    """The URL as it may be shown: without user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def unreachable(error: object) -> str:
    """What it means that a connection was not made, or what the system calls it."""
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    return str(error.strerror or error) if isinstance(error, OSError) else str(error) or type(error).__name__
