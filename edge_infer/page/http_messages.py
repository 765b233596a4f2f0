"""Requests and responses of HTTP/1.1: a strict parser, and responses with the headers of every answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes

# Strict parser of HTTP/1.1 requests: it refuses all forms that browsers never send.

MAX_HEAD_BYTES: Final = 16 << 10
MAX_BODY_BYTES: Final = 1 << 16
MAX_HEADERS: Final = 64
METHODS: Final = ("GET", "POST")
END_OF_HEAD: Final = b"\r\n\r\n"
_LINE: Final = re.compile(r"([A-Z]{1,16}) (/[!-~]{0,4000}) HTTP/1\.1")
_FIELD: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}):[ \t]*([ -~]*)")
_PATH: Final = re.compile(r"/[A-Za-z0-9/._-]{0,128}")
_QUERY: Final = re.compile(r"[A-Za-z0-9%._~:+-]{0,512}")
_LENGTH: Final = re.compile(r"[0-9]{1,18}")


class RefusedRequestError(Exception):
    """A request that is refused with this HTTP status; ``kind`` is for the script of the page."""

    def __init__(self, status: int, kind: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.kind = kind


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """Head of a request. Names of ``headers`` are in lower case, and each occurs only once."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    length: int


def parse_head(head: bytes) -> HttpRequest:
    """Return the request of a head without its empty line; raises `RefusedRequestError`."""
    try:
        first, *lines = head.decode("ascii").split("\r\n")
    except UnicodeDecodeError:
        raise bad("the head has characters that are not ASCII") from None
    found = _LINE.fullmatch(first)
    if found is None:
        raise bad("the request line is not HTTP/1.1")
    method, target = found[1], found[2]
    if method not in METHODS:
        raise RefusedRequestError(
            405, "request", f"the method {method} is not supported; expected {' or '.join(METHODS)}"
        )
    headers = _headers(lines)
    if "transfer-encoding" in headers or "expect" in headers:
        raise bad("a body needs Content-Length; no other framing is supported")
    path, mark, query = target.partition("?")
    if not _PATH.fullmatch(path) or "//" in path or "/." in path:
        raise RefusedRequestError(404, "request", "there is nothing at this path")
    return HttpRequest(method, path, _query(query) if mark else {}, headers, _length(method, headers))


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    if len(lines) > MAX_HEADERS:
        raise RefusedRequestError(431, "request", f"a request has at most {MAX_HEADERS} headers")
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:
            raise bad("a header is malformed")
        name = found[1].lower()
        if name in headers:
            raise bad(f"the header {name} occurs twice")
        headers[name] = found[2].rstrip(" ")
    return headers


def _length(method: str, headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "0")
    if not _LENGTH.fullmatch(text):
        raise bad("Content-Length is not a number")
    length = int(text)
    if length > MAX_BODY_BYTES:
        raise RefusedRequestError(413, "request", f"the request body is too large; the limit is {MAX_BODY_BYTES} bytes")
    if length and method == "GET":
        raise bad("GET has no body")
    return length


def _query(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split("&"):
        name, _, value = part.partition("=")
        if not name.isidentifier() or not name.isascii() or name in found or not _QUERY.fullmatch(value):
            raise bad("the query is malformed")
        try:
            found[name] = unquote_to_bytes(value.replace("+", " ")).decode()
        except UnicodeDecodeError:
            raise bad("the query is not UTF-8") from None
    return found


def bad(text: str) -> RefusedRequestError:
    """Return the refusal of a malformed request."""
    return RefusedRequestError(400, "request", text)


# HTTP responses with the headers that every answer of the page has.

TEXTS: Final = {
    200: "OK", 303: "See Other", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 409: "Conflict", 413: "Content Too Large", 415: "Unsupported Media Type",
    422: "Unprocessable Content", 429: "Too Many Requests", 431: "Request Header Fields Too Large",
    503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip
JSON: Final = "application/json"
_EVERYWHERE: Final = "".join(
    f"{line}\r\n"
    for line in (
        (
            "Content-Security-Policy: default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
            "object-src 'none'"
        ),
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Referrer-Policy: no-referrer",
        "Cross-Origin-Resource-Policy: same-origin",
        "Cross-Origin-Opener-Policy: same-origin",
    )
)


def response(status: int, content_type: str, body: bytes, *, close: bool = False, more: str = "") -> bytes:
    """Return the bytes of a response; ``more`` contains additional header lines."""
    head = (
        f"HTTP/1.1 {status} {TEXTS[status]}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        f"{_EVERYWHERE}{more}Connection: {'close' if close else 'keep-alive'}\r\n\r\n"
    )
    return head.encode("ascii") + body


def json_response(value: Any, status: int = 200, *, close: bool = False) -> bytes:
    """Return a response with a JSON body."""
    body = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return response(status, JSON, body.encode("utf-8", "replace"), close=close)
