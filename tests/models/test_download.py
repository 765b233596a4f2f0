"""Downloads from a server that cuts, lies, sends other bytes and answers slowly."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edge_infer.errors import DownloadError
from edge_infer.models.packages.download import DownloadRequest, download

DATA = bytes(range(256)) * 1200
QUICK = (0.0, 0.0, 0.0)
Answer = Callable[[BaseHTTPRequestHandler, int], None]
"""Answers one request; the number is where the client wants to begin."""


class Server:
    """Answers requests, one after the other, as told; the last answer is repeated. Notes where each began."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.begins: list[int] = []
        self.stop = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/model.tflite"

    def close(self) -> None:
        self.stop.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                begin = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
                server.begins.append(begin)
                answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
                answer(self, begin)
                self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*answers: Answer) -> Server:
        servers.append(Server(*answers))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def whole(handler: BaseHTTPRequestHandler, begin: int) -> None:
    """A server as it should be."""
    send(handler, DATA[begin:], begin, len(DATA) - begin)


def send(handler: BaseHTTPRequestHandler, body: bytes, begin: int, claimed: int | None) -> None:
    handler.send_response(206 if begin else 200)
    if begin:
        handler.send_header("Content-Range", f"bytes {begin}-{len(DATA) - 1}/{len(DATA)}")
    if claimed is not None:
        handler.send_header("Content-Length", str(claimed))
    handler.end_headers()
    handler.wfile.write(body)


def cut_after(count: int) -> Answer:
    return lambda handler, begin: send(handler, DATA[begin : begin + count], begin, len(DATA) - begin)


def status(code: int) -> Answer:
    return lambda handler, _begin: handler.send_error(code)


def wanted(server: Server) -> DownloadRequest:
    return DownloadRequest(server.url, len(DATA), hashlib.sha256(DATA).hexdigest())


def fetch(server: Server, part: Path, **options: Any) -> None:
    download(wanted(server), part, pauses=QUICK, **options)
    assert part.read_bytes() == DATA


def test_a_file_comes_whole_and_progress_is_told(serve: Callable[..., Server], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    fetch(serve(whole), tmp_path / "new" / "part", progress=lambda have, all_: seen.append((have, all_)))
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == ((0, len(DATA)), (len(DATA), len(DATA)))


def test_what_is_cut_is_continued(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(*[cut_after(40_000)] * 20)
    fetch(server, tmp_path / "part")
    assert server.begins == list(range(0, len(DATA), 40_000))


def test_another_run_continues_what_is_there(serve: Callable[..., Server], tmp_path: Path) -> None:
    part = tmp_path / "part"
    with pytest.raises(
        DownloadError, match="ended after 100 of 307200 bytes; the part received so far is kept, try again"
    ):
        download(wanted(serve(cut_after(100), cut_after(0))), part, pauses=QUICK)
    server = serve(whole)
    fetch(server, part)
    assert server.begins == [100]
    fetch(server, part)
    assert server.begins == [100]


def test_what_an_earlier_run_kept_wrongly_is_fetched_anew(serve: Callable[..., Server], tmp_path: Path) -> None:
    part, page = tmp_path / "part", b"<html>login</html>"
    server = serve(*[lambda handler, _begin: send(handler, page, 0, len(page))] * 20)
    with pytest.raises(DownloadError, match="ended after 18 of 307200 bytes"):
        download(wanted(server), part, pauses=QUICK)
    server = serve(whole)
    fetch(server, part)
    assert server.begins == [len(page), 0]


def test_a_server_without_ranges_begins_again(serve: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(DATA[:1000])
    server = serve(lambda handler, _begin: whole(handler, 0))
    fetch(server, tmp_path / "part")
    assert server.begins == [1000]


def test_a_range_from_elsewhere_is_not_appended(serve: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(DATA[:1000])
    server = serve(lambda handler, begin: whole(handler, begin and 5000), whole)
    fetch(server, tmp_path / "part")
    assert server.begins[-1] == 0


@pytest.mark.long
@pytest.mark.parametrize("claimed", [100, len(DATA) * 2, None])
def test_what_is_claimed_of_the_length_does_not_count(
    serve: Callable[..., Server], tmp_path: Path, claimed: int | None
) -> None:
    fetch(serve(lambda handler, begin: send(handler, DATA[begin:], begin, claimed)), tmp_path / "part")


def test_a_longer_file_is_refused_before_it_fills_the_disk(serve: Callable[..., Server], tmp_path: Path) -> None:
    def endless(handler: BaseHTTPRequestHandler, _begin: int) -> None:
        send(handler, b"", 0, None)
        with contextlib.suppress(OSError):
            while not server.stop.is_set():
                handler.wfile.write(DATA)

    server = serve(endless)
    with pytest.raises(DownloadError, match="has more than the 307200 bytes of the catalogue"):
        fetch(server, tmp_path / "part")
    assert not (tmp_path / "part").exists()


def test_other_bytes_are_refused_and_not_kept(serve: Callable[..., Server], tmp_path: Path) -> None:
    other = DATA[:-1] + b"!"
    server = serve(lambda handler, begin: send(handler, other[begin:], begin, len(other) - begin))
    with pytest.raises(DownloadError, match=f"the downloaded file has the SHA-256 {hashlib.sha256(other).hexdigest()}"):
        fetch(server, tmp_path / "part")
    assert not (tmp_path / "part").exists()


def test_a_silent_server_is_given_up_and_tried_again(serve: Callable[..., Server], tmp_path: Path) -> None:
    def silent(handler: BaseHTTPRequestHandler, begin: int) -> None:
        send(handler, DATA[begin : begin + 10], begin, len(DATA) - begin)
        handler.wfile.flush()
        server.stop.wait(30)

    server = serve(silent, silent, whole)
    fetch(server, tmp_path / "part", patience=0.2)
    assert server.begins == [0, 10, 20]
    (tmp_path / "part").unlink()
    server = serve(silent)
    server.answers = [lambda _handler, _begin: [server.stop.wait(30), None][1]]
    with pytest.raises(DownloadError, match="timed out; nothing was received"):
        download(wanted(server), tmp_path / "part", patience=0.1, pauses=(0.0,))


def test_a_slow_server_is_waited_for(serve: Callable[..., Server], tmp_path: Path) -> None:
    def slow(handler: BaseHTTPRequestHandler, begin: int) -> None:
        send(handler, b"", begin, len(DATA) - begin)
        for at in range(begin, len(DATA), 20_000):
            handler.wfile.write(DATA[at : at + 20_000])
            handler.wfile.flush()
            server.stop.wait(0.02)

    server = serve(slow)
    fetch(server, tmp_path / "part", patience=5.0)
    assert server.begins == [0]


@pytest.mark.parametrize(("code", "tries"), [(404, 1), (403, 1), (503, 4), (429, 4)])
def test_an_error_of_the_server_is_told(serve: Callable[..., Server], tmp_path: Path, code: int, tries: int) -> None:
    server = serve(status(code))
    with pytest.raises(DownloadError, match=f"the server answered {code} .*--mirror"):
        fetch(server, tmp_path / "part")
    assert len(server.begins) == tries


def test_a_part_that_is_no_beginning_is_thrown_away(serve: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"x" * 1000)
    fetch(serve(status(416), whole), tmp_path / "part")
    for size in (len(DATA), len(DATA) + 1):
        (tmp_path / "part").write_bytes(b"x" * size)
        fetch(serve(whole), tmp_path / "part")


def test_a_server_whose_file_is_shorter_is_given_up(serve: Callable[..., Server], tmp_path: Path) -> None:
    """It sends all of it at first, and has nothing to go on with."""

    def shorter(handler: BaseHTTPRequestHandler, begin: int) -> None:
        if begin:
            handler.send_error(416)
        else:
            send(handler, DATA[:5000], 0, 5000)

    server = serve(shorter)
    with pytest.raises(DownloadError, match="ended after 5000 of 307200 bytes; the part received so far is kept"):
        fetch(server, tmp_path / "part")
    assert len(server.begins) < 12


def test_a_server_that_says_how_short_its_file_is_is_not_asked_again(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    def shorter(handler: BaseHTTPRequestHandler, begin: int) -> None:
        if begin:
            handler.send_response(416)
            handler.send_header("Content-Range", "bytes */5000")
            handler.end_headers()
        else:
            send(handler, DATA[:5000], 0, 5000)

    server = serve(shorter)
    with pytest.raises(DownloadError, match=r"has 5000 bytes, but the catalogue lists 307200: it is another file"):
        fetch(server, tmp_path / "part")
    assert len(server.begins) == 2


def test_a_size_of_any_number_of_digits_is_no_size(serve: Callable[..., Server], tmp_path: Path) -> None:
    def digits(handler: BaseHTTPRequestHandler, begin: int) -> None:
        if begin:
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{'9' * 5000}")
            handler.end_headers()
        else:
            send(handler, DATA[:5000], 0, 5000)

    with pytest.raises(DownloadError, match="ended after 5000 of 307200 bytes"):
        fetch(serve(digits), tmp_path / "part")


def test_nobody_there_is_told_with_what_helps(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(whole)
    server.close()
    with pytest.raises(DownloadError, match=r"the connection failed: .*refused; .*https_proxy.*--mirror.*--from"):
        fetch(server, tmp_path / "part")


def test_a_redirect_is_followed_within_http_only(serve: Callable[..., Server], tmp_path: Path) -> None:
    goal = serve(whole)

    def to(place: str) -> Answer:
        def redirect(handler: BaseHTTPRequestHandler, _begin: int) -> None:
            handler.send_response(302)
            handler.send_header("Location", place)
            handler.end_headers()

        return redirect

    fetch(serve(to(goal.url)), tmp_path / "part")
    with pytest.raises(DownloadError, match="the server answered 302"):
        fetch(serve(to("file:///etc/passwd")), tmp_path / "other")
    with pytest.raises(DownloadError, match="the server answered 302, an endless redirect") as raised:
        fetch(serve(to("/model.tflite")), tmp_path / "round")
    assert str(raised.value).isprintable()
    for place in ("http://[x/", f"http://{'a' * 70}/"):
        with pytest.raises(DownloadError, match="the connection failed: "):
            fetch(serve(to(place)), tmp_path / "nowhere")


def test_the_proxy_of_the_environment_is_used(
    serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(whole)
    monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/model.tflite"))
    monkeypatch.delenv("no_proxy", raising=False)
    download(
        DownloadRequest("http://models.invalid/m.tflite", len(DATA), hashlib.sha256(DATA).hexdigest()),
        tmp_path / "part",
    )
    assert proxy.begins == [0]


def test_two_do_not_fetch_the_same_file_at_once(serve: Callable[..., Server], tmp_path: Path) -> None:
    held, go = threading.Event(), threading.Event()

    def waiting(handler: BaseHTTPRequestHandler, begin: int) -> None:
        held.set()
        go.wait(30)
        whole(handler, begin)

    server, part = serve(waiting), tmp_path / "part"
    first = threading.Thread(target=fetch, args=(server, part))
    first.start()
    assert held.wait(30)
    with pytest.raises(DownloadError, match="another edge-infer process is downloading this file"):
        fetch(server, part)
    go.set()
    first.join(30)
    assert part.read_bytes() == DATA


def test_a_full_disk_is_told(serve: Callable[..., Server]) -> None:
    with pytest.raises(DownloadError, match=r"No space left on device|cannot be written"):
        download(wanted(serve(whole)), Path("/dev/full"), pauses=QUICK)
