"""HTTP responses with the headers that every answer of the page has."""

from __future__ import annotations

import json
from typing import Any, Final

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
