"""Inserts credentials into the URL of a network camera, only in memory, and keeps them out of messages."""

from __future__ import annotations

import re
import socket
import ssl
from http.client import InvalidURL
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

from edge_infer.plan.credentials import PLACE, without_passwords

_SCHEMES: Final = ("http", "https", "rtsp", "rtsps")


def with_credentials(url: str, username: str | None, password: str | None) -> str:
    """Return the URL with user and password in it, percent-encoded; it must never be displayed.

    The password replaces the placeholder if the URL has one; otherwise it is inserted before the host.
    """
    if PLACE in url:
        return url.replace(PLACE, quote(password or "", safe=""))
    if username is None:
        return url
    parts = urlsplit(url)
    who = quote(username, safe="") + (f":{quote(password, safe='')}" if password is not None else "")
    return urlunsplit(parts._replace(netloc=f"{who}@{parts.netloc.rpartition('@')[2]}"))


def shown(url: str) -> str:
    """Return the URL for display: without user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def redirected(url: str, target: str, *, secret: bool) -> str:
    """Return the end of a sentence about a camera at ``url`` that redirects to another address, with the remedy.

    With ``secret`` the camera has a password and may repeat it in the target. Then a path is shown only as ``url`` has
    it.
    """
    try:
        parts, own = urlsplit(target), urlsplit(url)
        place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        openable = parts.scheme in _SCHEMES and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        openable = False
    if not openable:
        return "redirects to an address that cannot be opened"
    place = without_passwords(place)
    same = ".+".join(map(re.escape, (own.path or "/").split(PLACE)))
    if re.fullmatch(same, parts.path or "/"):
        return f"redirects to {place}{own.path}: set `url` to that address"
    if not secret:
        return f"redirects to {shown(target)}: set `url` to that address"
    return (
        f"redirects to another path of {place}, which may contain the password and is not shown: set `url` to the "
        "address in the camera's own settings"
    )


def text_of(error: object) -> str:
    """Return the text of an error, in which a library may repeat an address, without passwords."""
    return without_passwords(str(error)).strip() or type(error).__name__


def unreachable(error: object) -> str:
    """Return a plain reason for a failed connection, or the system's text."""
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, InvalidURL):  # its text has a part of the address, which may be a part of the password
        return "it redirects to an address that is not valid"
    if isinstance(error, socket.gaierror):
        return "cannot resolve its name"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"cannot verify its certificate ({error.verify_message}): make the system trust its authority "
            "(`update-ca-certificates`, see docs/camera-problems.md), or check the address and the clock of this device"
        )
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return "it does not use TLS: is it an address of http:// or rtsp://?"
    return text_of(error.strerror or error if isinstance(error, OSError) else error)
