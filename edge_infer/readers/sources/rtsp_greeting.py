"""Asks an RTSP camera about its stream without the password, before FFmpeg connects with the password.

FFmpeg would send the password to any host to which the camera redirects. It also explains no certificate that it
rejects, and does not compare a certificate with an address of digits.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import cv2

from edge_infer.errors import SourceError
from edge_infer.plan.records import TlsPlan
from edge_infer.plan.tls import tls_context
from edge_infer.readers.sources.credentials_in_url import redirected, unreachable
from edge_infer.sandbox.needs import USUAL_PORTS

PATIENCE: Final = 4.0
"""Maximum seconds for the connection, the handshake and the answer together."""
CONNECT_TIMEOUT: Final = 2.0
"""Maximum seconds for the connection to one address of the camera."""
MAX_ANSWER_BYTES: Final = 8192
VERIFYING: Final = 62
"""First major version of FFmpeg's libavformat (FFmpeg 8, OpenCV 4.13) that verifies a camera's certificate."""
_AVFORMAT: Final = re.compile(r"avformat:\s+YES \((\d+)\.")
_STATUS: Final = re.compile(rb"RTSP/\d\.\d 3\d\d ")
_LOCATION: Final = re.compile(r"^location:[ \t]*([!-~]{1,1000})", re.ASCII | re.IGNORECASE | re.MULTILINE)
_WRONG_NAMES: Final = frozenset({62, 64})
"""OpenSSL's codes of a certificate for another host name, and for another address."""
_SPECIAL: Final = re.compile(r"([\\'|;\s])")
_ESCAPED: Final = r"\\\1"
_BUNDLES: Final = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def check_redirect(url: str) -> None:
    """Raise `SourceError` if the camera redirects or does not answer. FFmpeg finds the reason of another failure."""
    deadline = time.monotonic() + PATIENCE
    try:
        with _connected(url) as camera:
            _ask(camera, url, deadline)
    except TimeoutError as error:
        raise SourceError(unreachable(error)) from error
    except OSError as error:
        if isinstance(error, SourceError):
            raise


def check_certificate(url: str, tls: TlsPlan | None, *, ask: bool) -> dict[str, str]:
    """Verify the camera's certificate; return the options with which FFmpeg verifies it as well.

    With ``ask`` the camera must not redirect either. Raises `SourceError` with the reason.
    """
    found = _AVFORMAT.search(cv2.getBuildInformation())
    if found is None or int(found[1]) < VERIFYING:
        raise SourceError(
            f"the FFmpeg of OpenCV {cv2.__version__} cannot verify the camera's certificate: install "
            "opencv-python-headless 4.13 or newer"
        )
    files = tls or TlsPlan()
    options = {"tls_verify": "1", "ca_file": files.ca_file or _system_authorities()}
    options |= {"cert_file": files.cert_file} if files.cert_file else {}
    options |= {"key_file": files.key_file or files.cert_file} if files.cert_file else {}
    context = tls_context(files, "tls", SourceError)
    deadline = time.monotonic() + PATIENCE
    context.verify_flags &= ~ssl.VERIFY_X509_PARTIAL_CHAIN  # since Python 3.13 a default, which FFmpeg does not have
    try:
        try:
            _greet(url, context, deadline, ask=ask)
        except ssl.SSLCertVerificationError as error:
            if files.ca_file is None or error.verify_code not in _WRONG_NAMES:
                raise
            context.check_hostname = False
            options |= _greet(url, context, deadline, ask=ask, only=files.ca_file, instead=error)
    except OSError as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(_why(error)) from error
    return options


def as_text(options: dict[str, str]) -> str:
    """Return FFmpeg's options as the text that OpenCV splits at ``;`` and ``|``."""
    return "|".join(f"{key};{_SPECIAL.sub(_ESCAPED, value)}" for key, value in options.items())


def _connected(url: str) -> socket.socket:
    parts = urlsplit(url)
    address = parts.hostname or "", parts.port or USUAL_PORTS[parts.scheme]
    return socket.create_connection(address, CONNECT_TIMEOUT)


def _wait_until(way: socket.socket, deadline: float) -> None:
    """Let the next operation of a socket end at the deadline; raises TimeoutError if it is over."""
    if (left := deadline - time.monotonic()) <= 0:
        raise TimeoutError
    way.settimeout(left)


def _greet(
    url: str,
    context: ssl.SSLContext,
    deadline: float,
    *,
    ask: bool,
    only: str = "",
    instead: Exception | None = None,
) -> dict[str, str]:
    """Verify the certificate. With ``only`` it must be one of this file, for any name; otherwise raise ``instead``.

    Return the name in the certificate, if it is not the camera's, as FFmpeg's option.
    """
    with _connected(url) as plain:
        _wait_until(plain, deadline)
        with context.wrap_socket(plain, server_hostname=urlsplit(url).hostname) as camera:
            name: dict[str, str] = {}
            if instead is not None:
                if camera.getpeercert(binary_form=True) not in _certificates(only):
                    raise instead
                name = {"verifyhost": found} if (found := _name_in(camera)) else {}
            if ask:
                _ask(camera, url, deadline)
            return name


def _certificates(file: str) -> list[bytes]:
    """Return the certificates of a file, as bytes to compare."""
    text = Path(file).read_text(encoding="latin-1")
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", text, re.DOTALL)
    return [ssl.PEM_cert_to_DER_cert(block) for block in blocks]


def _name_in(camera: ssl.SSLSocket) -> str:
    """Return a name that the camera's certificate is for; empty without one."""
    found: Mapping[str, Any] = camera.getpeercert() or {}
    names = [str(value) for kind, value in found.get("subjectAltName", ()) if kind == "DNS"]
    common = [str(value) for part in found.get("subject", ()) for key, value in part if key == "commonName"]
    return next((name for name in (*names, *common) if "*" not in name), "")


def _ask(camera: socket.socket, url: str, deadline: float) -> None:
    """Ask for the description of the stream; raise `SourceError` if the camera redirects to another address."""
    request = f"DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\nUser-Agent: edge-infer\r\n\r\n"
    answer = b""
    try:
        _wait_until(camera, deadline)
        camera.sendall(request.encode())
        while b"\r\n\r\n" not in answer and len(answer) < MAX_ANSWER_BYTES:
            _wait_until(camera, deadline)
            if not (data := camera.recv(4096)):
                break
            answer += data
    except TimeoutError:
        raise
    except OSError:
        return  # FFmpeg finds the reason
    if _STATUS.match(answer):
        found = _LOCATION.search(answer.decode("latin-1"))
        if found is None or _place(found[1]) != _place(url):
            raise SourceError(f"it {redirected(url, found[1] if found else '', secret=True)}")


def _place(url: str) -> tuple[str, str | None, int | None] | None:
    """Return scheme, host and port; None if the URL is not valid."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or USUAL_PORTS.get(parts.scheme)
    except ValueError:
        return None


def _system_authorities() -> str:
    for file in (ssl.get_default_verify_paths().cafile, *_BUNDLES):
        if file and os.access(file, os.R_OK):
            return file
    raise SourceError(
        "this system has no file of certificate authorities: install the package ca-certificates, or name the camera's "
        "certificate in `tls: {ca_file: FILE}`"
    )


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"cannot verify its certificate ({error.verify_message}): if it is the right one, name its file in "
            "`tls: {ca_file: FILE}` (see docs/camera-problems.md), or check the address and the clock of this device"
        )
    return unreachable(error)
