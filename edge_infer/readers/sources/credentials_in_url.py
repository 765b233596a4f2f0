"""Inserts credentials into the URL of a network camera, only in memory, and removes them for display."""

from __future__ import annotations

import socket
import ssl
from urllib.parse import quote, urlsplit, urlunsplit

from edge_infer.plan.credentials import PLACE


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


def unreachable(error: object) -> str:
    """Return a plain reason for a failed connection, or the system's text."""
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, socket.gaierror):
        return "cannot resolve its name"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"cannot verify its certificate ({error.verify_message}): make the system trust its authority "
            "(`update-ca-certificates`, see docs/camera-problems.md), or check the address and the clock of this device"
        )
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return "it does not use TLS: is it an address of http:// or rtsp://?"
    return str(error.strerror or error) if isinstance(error, OSError) else str(error) or type(error).__name__
