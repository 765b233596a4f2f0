"""The parser of requests and the checks of who sends them, without a process."""

from __future__ import annotations

import pytest

from edge_infer.page.admission import BrowserAdmission
from edge_infer.page.http_messages import HttpRequest, RefusedRequestError, parse_head

HEAD = b"GET /api/why?since=1&until=2&label=a%20b HTTP/1.1\r\nHost: localhost:8080\r\nX-Edge-Infer: page"


def test_a_request_of_a_browser_is_read() -> None:
    found = parse_head(HEAD)
    assert (found.method, found.path, found.query) == ("GET", "/api/why", {"since": "1", "until": "2", "label": "a b"})
    assert found.headers == {"host": "localhost:8080", "x-edge-infer": "page"}
    assert parse_head(b"POST / HTTP/1.1\r\nContent-Length: 65536").length == 65536


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.0", 400),
        (b"GET http://localhost/ HTTP/1.1", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"get / HTTP/1.1", 400),
        (b"GET /\xff HTTP/1.1", 400),
        (b"PUT / HTTP/1.1", 405),
        (b"CONNECT /x HTTP/1.1", 405),
        (b"GET / HTTP/1.1\r\nHost : localhost", 400),
        (b"GET / HTTP/1.1\r\n folded", 400),
        (b"GET / HTTP/1.1\nHost: localhost", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHOST: b", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1, 1", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 65537", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked", 400),
        (b"POST / HTTP/1.1\r\nExpect: 100-continue", 400),
        (b"GET /../etc/passwd HTTP/1.1", 404),
        (b"GET /.hidden HTTP/1.1", 404),
        (b"GET //x HTTP/1.1", 404),
        (b"GET /%2e%2e/etc HTTP/1.1", 404),
        (b"GET /a?b=%ff HTTP/1.1", 400),
        (b"GET /a?b=1&b=2 HTTP/1.1", 400),
        (b"GET /a?b=<x> HTTP/1.1", 400),
        (b"GET / HTTP/1.1" + b"\r\nA: b" * 65, 431),
    ],
)  # fmt: skip
def test_what_no_browser_sends_is_refused(head: bytes, status: int) -> None:
    with pytest.raises(RefusedRequestError) as refused:
        parse_head(head)
    assert refused.value.status == status


def request(method: str = "GET", path: str = "/api/scene", token: str = "", **headers: str) -> HttpRequest:
    given = {"host": "localhost:8080", "x-edge-infer": "page"} | {k.replace("_", "-"): v for k, v in headers.items()}
    return HttpRequest(method, path, {"token": token} if token else {}, given, 0)


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1:8080", "[::1]:8080"])
def test_the_page_itself_is_admitted(host: str) -> None:
    BrowserAdmission().check(request(host=host, sec_fetch_site="same-origin"))
    BrowserAdmission().check(request(path="/", host=host, sec_fetch_site="none"))
    BrowserAdmission().check(request("POST", host=host, origin=f"http://{host}"))


@pytest.mark.parametrize(
    "headers",
    [
        {"host": ""},
        {"host": "evil.example"},
        {"host": "localhost.evil.example:8080"},
        {"host": "localhost:8080@evil.example"},
        {"host": "127.0.0.1.nip.io:8080"},
        {"host": "127.0.0.2:8080"},
        {"host": "localhost:8080 "},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "https://localhost:8080"},
        {"origin": "http://localhost:8081"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"method": "POST"},
    ],
)
def test_requests_of_other_pages_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(RefusedRequestError) as refused:
        BrowserAdmission().check(request(**headers))
    assert (refused.value.status, refused.value.kind) == (403, "forbidden")


def test_other_pages_cannot_send_the_header_of_the_program() -> None:
    with pytest.raises(RefusedRequestError, match="X-Edge-Infer"):
        BrowserAdmission().check(request(x_edge_infer=""))
    BrowserAdmission().check(request(path="/api/picture", x_edge_infer=""))


def test_a_token_admits_one_browser() -> None:
    admission = BrowserAdmission("secret-1")
    for wrong in (
        request(),
        request(path="/"),
        request(cookie="edge-infer-page=x"),
        request(cookie="edge-infer-page="),
    ):
        with pytest.raises(RefusedRequestError) as refused:
            admission.check(wrong)
        assert (refused.value.status, refused.value.kind) == (401, "token")
    assert admission.cookie(request(path="/", token="secret-2")) is None
    assert admission.cookie(request(path="/api/scene", token="secret-1")) is None
    with pytest.raises(RefusedRequestError, match="localhost"):
        admission.cookie(request(path="/", token="secret-1", host="evil.example"))
    cookie = admission.cookie(request(path="/", token="secret-1"))
    assert cookie is not None
    assert cookie.endswith("; HttpOnly; SameSite=Strict; Path=/")
    admission.check(request(cookie=f"other=1; {cookie.partition(';')[0]}"))
    with pytest.raises(RefusedRequestError, match="one browser"):
        admission.check(request(cookie=f"{cookie.partition('=')[0]}=x"))
    other = BrowserAdmission("secret-3").cookie(request(path="/", token="secret-3"))
    assert other is not None
    assert other.partition("=")[0] != cookie.partition("=")[0], "a browser keeps the cookies of several boxes"
    assert admission.cookie(request(path="/", token="secret-1")) is None, "an old token admits nobody"
    assert BrowserAdmission().cookie(request(path="/", token="x")) is None
