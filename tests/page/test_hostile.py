"""Requests of attackers, and browsers that never read, at a real page beside a real daemon."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack, suppress

import pytest

from tests.broker import eventually
from tests.page.browser import HOST, Page

pytestmark = pytest.mark.long

PATHS = (
    *("/..", "/../", "/../../etc/passwd", "/static/../../x", "/.git/config", "/.env", "/./", "//etc/passwd"),
    *("/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc/passwd", "/%00", "/\\..\\x", "/etc/edge-infer/config.yaml"),
    *("/index.html/..", "/index.html%00.js", "/page.css/", "/PAGE.CSS", "/page.css.bak", "/app.js.map", "/__init__.py"),
    *("/static/index.html", "/api", "/api/", "/api/..", "/api/exec", "/api/config", "/api/reload", "/api/picture/../x"),
    *("/api/scene/", "/api/scene%2f", "/admin", "/cgi-bin/sh", "/?token=x", "/;x", "/~root"),
)
SLOW = 50


def test_nothing_is_let_in(page: Page) -> None:
    known = {"/?token=x"}  # the page itself, without a token
    assert len(PATHS) >= 30
    for path in PATHS:
        reply = page.get(path)
        assert reply.status in (400, 404) or path in known, (path, reply)
        assert b"passwd" not in reply.body
    for headers in (
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
    ):
        for target in ("/", "/api/scene", "/api/look?source=cam", "/api/picture?source=cam&number=1"):
            reply = page.request("GET", target, X_Edge_Infer="page", **headers)
            assert (reply.status, json.loads(reply.body)["kind"]) == (403, "forbidden"), (headers, target)
    assert page.request("GET", "/api/scene").status == 400, "a form or a link cannot set the header"
    text = page.daemon.config.read_text()
    body = json.dumps({"digest": page.get("/api/scene").json["digest"], "pipeline": "door", "edits": []}).encode()
    for headers in (
        {"Content_Type": "application/json", "X_Edge_Infer": "page"},
        {"Content_Type": "text/plain", "X_Edge_Infer": "page", "Origin": f"http://{HOST}"},
        {"Content_Type": "application/json", "Origin": f"http://{HOST}"},
        {"Content_Type": "application/json", "X_Edge_Infer": "page", "Origin": "http://evil.example"},
    ):
        assert page.request("POST", "/api/edit", body, **headers).status in (400, 403, 415)
    headers = {"Content_Type": "application/json", "X_Edge_Infer": "page", "Origin": f"http://{HOST}"}
    digest = page.get("/api/scene").json["digest"]
    for value in ("NaN", "1e999", "[" * 5000 + "]" * 5000, "1" + "0" * 400):
        edit = f'{{"what": "threshold", "value": {value}}}'
        strange = f'{{"digest": "{digest}", "pipeline": "door", "edits": [{edit}]}}'.encode()
        assert page.request("POST", "/api/edit", strange, **headers).status in (400, 422), value
    assert page.get("/api/scene").status == 200, "the process goes on"
    assert page.daemon.config.read_text() == text


def test_large_bodies_are_not_read(page: Page) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(page.path))
        client.settimeout(20)
        head = f"POST /api/edit HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {1 << 20}\r\n\r\n"
        client.sendall(head.encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 413 ")
        with pytest.raises(OSError, match=r"(?i)broken pipe|reset"):
            client.sendall(b"x" * (64 << 20))
    for size in (20_000, 1 << 20):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(page.path))
            client.settimeout(20)
            with suppress(BrokenPipeError):
                client.sendall(b"GET /" + b"a" * size)
            assert client.recv(4096).startswith(b"HTTP/1.1 431 ")
    assert page.get("/api/overview").status == 200


def test_who_never_reads_and_who_never_ends_holds_nobody_up(page: Page) -> None:
    """The daemon goes on at its pace, and others are served."""

    def frames() -> int:
        return int(page.daemon.status()["pipelines"]["door"]["fps"] * 100)

    eventually(lambda: frames() > 0, "a rate")
    with ExitStack() as stack:
        for count in range(SLOW):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(page.path))
            end = "\r\n\r\n" if count % 2 else ""
            asked = (
                f"GET /api/look?source=cam HTTP/1.1\r\nHost: {HOST}\r\nCookie: {page.cookie}\r\nX-Edge-Infer: page{end}"
            )
            client.sendall(asked.encode())
        begun = time.monotonic()
        assert page.get("/api/overview").status == 200
        assert page.look()[0]["width"] == 640
        assert time.monotonic() - begun < 10
    assert page.get("/api/overview").status == 200
    assert frames() > 0
