"""HTTP cameras of the standard library: good ones, broken ones, slow ones, and ones that want a password."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, quote_plus

import cv2
import numpy as np
import pytest

from edge_infer.errors import SourceError
from edge_infer.plan.credentials import source_password, without_passwords
from edge_infer.readers.sources import Picture
from edge_infer.readers.sources.http import MOST_PICTURE, HttpOptions, HttpSource, MjpegParser
from tests.broker import Certificates
from tests.readers.conftest import free_port
from tests.readers.rig import Rig, make_plan

USER, PASSWORD = "viewer", "s3cret-word"
_BASIC, _DIGEST = 'Basic realm="cam"', 'Digest realm="cam", nonce="abc", qop="auth"'
CHALLENGES = {
    "basic": [_BASIC],
    "basic after another": ['Bearer realm="cam"', _BASIC],
    "basic beside a digest that is not known": ['Digest realm="cam", nonce="abc", algorithm=SHA-512-256', _BASIC],
    "digest": [_DIGEST],
    "digest sha-256": [f"{_DIGEST}, algorithm=SHA-256", _DIGEST],
    "digest after another": ["Negotiate", f'{_DIGEST}, algorithm="SHA-512-256"', f"{_DIGEST}, algorithm=MD5", _BASIC],
    "digest in one line with others": [f'Bearer realm="a, b=c", {_BASIC}, {_DIGEST}'],
}
"""What a camera that wants a password sends, in this order."""


def jpeg(value: int, width: int = 64, height: int = 48) -> bytes:
    """A picture all of one gray."""
    return cv2.imencode(".jpg", np.full((height, width, 3), value, np.uint8))[1].tobytes()


def part(body: bytes, *, length: int | None = None, boundary: bytes = b"frame") -> bytes:
    """One part of a stream; ``length`` None leaves the Content-Length out."""
    header = b"--" + boundary + b"\r\nContent-Type: image/jpeg\r\n"
    if length is not None:
        header += b"Content-Length: %d\r\n" % length
    return header + b"\r\n" + body + b"\r\n"


class Camera(ThreadingHTTPServer):
    """Serves ``body`` as a stream, or as a picture at /picture; ``auth`` is none or one of `CHALLENGES`."""

    daemon_threads = True

    def __init__(self, body: Callable[[], Iterator[bytes]], kind: str, auth: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = body
        self.kind = kind
        self.auth = auth
        self.over = threading.Event()
        self.requests = 0
        self.chunked = False
        self.packed = ""
        self.before = ""
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}/stream"

    def encrypt(self, certificates: Certificates) -> None:
        """Speak TLS only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificates.issue("camera"))
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = self.url.replace("http:", "https:")


class Handler(BaseHTTPRequestHandler):
    server: Camera

    def do_GET(self) -> None:
        self.server.requests += 1
        self.server.asked.append(self.path)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/stream")
            self.end_headers()
        elif self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.path.removeprefix('/to/')}/stream?token=s3cret")
            self.end_headers()
        elif self.path.startswith("/again/"):
            port = self.path.split("/")[2]
            self.send_response(301)
            self.send_header("Location", f"http://127.0.0.1:{port}{self.server.before}{self.path}")
            self.end_headers()
        elif self.path == "/user":
            self.send_response(302)
            self.send_header("Location", f"http://{USER}:{PASSWORD}@127.0.0.1/")
            self.end_headers()
        elif self.path == "/round":
            self.send_response(302)
            self.send_header("Location", "/round")
            self.end_headers()
        elif self.path.startswith("/missing"):
            self.send_error(404)
        elif not self._welcome():
            self.send_response(401)
            for challenge in CHALLENGES[self.server.auth]:
                self.send_header("WWW-Authenticate", challenge)
            self.end_headers()
        elif self.path == "/odd":
            self.wfile.write(f"no HTTP, {self.headers['Authorization']} {PASSWORD}\r\n".encode())
        else:
            self.protocol_version = "HTTP/1.1" if self.server.chunked else "HTTP/1.0"
            self.send_response(200)
            self.send_header("Content-Type", self.server.kind)
            if self.server.chunked:
                self.send_header("Transfer-Encoding", "chunked")
            if self.server.packed:
                self.send_header("Content-Encoding", self.server.packed)
            self.end_headers()
            self._send()

    def _send(self) -> None:
        try:
            for data in self.server.body():
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if self.server.chunked else data)
                self.wfile.flush()
        except OSError:
            pass  # the reader hung up, as it may

    def _welcome(self) -> bool:
        given = self.headers.get("Authorization", "")
        if self.server.auth.startswith("basic"):
            return given == "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.server.auth.startswith("digest") and given.startswith("Digest "):
            words = dict(item.strip().split("=", 1) for item in given[7:].split(","))
            value = {key: word.strip('"') for key, word in words.items()}
            make = hashlib.sha256 if "sha-256" in self.server.auth else hashlib.md5
            one = make(f"{USER}:cam:{PASSWORD}".encode()).hexdigest()
            two = make(f"GET:{self.path}".encode()).hexdigest()
            text = f"{one}:abc:{value['nc']}:{value['cnonce']}:auth:{two}"
            return value["response"] == make(text.encode()).hexdigest()
        return self.server.auth == "none"

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def camera(
    body: Callable[[], Iterator[bytes]], kind: str = "multipart/x-mixed-replace; boundary=frame", auth: str = "none"
) -> Iterator[Camera]:
    with Camera(body, kind, auth) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


def stream(server_over: threading.Event | None = None, *, first: int = 10) -> Iterator[bytes]:
    """Endless brighter pictures, twenty a second."""
    value, pause = first, server_over or threading.Event()
    while not pause.wait(0.05):
        body = jpeg(value % 256)
        yield part(body, length=len(body))
        value += 10


def read_one(url: str, **options: object) -> int:
    """The gray of the first picture."""
    with HttpSource(HttpOptions(url, **options)) as source:  # type: ignore[arg-type]
        picture = source.read()
        assert picture is not None
        return int(picture.pixels.mean())


def test_a_stream_is_read_by_a_reader(tmp_path: Path) -> None:
    with camera(stream) as server, Rig(make_plan("http", {"url": server.url}), tmp_path) as rig:
        first, later = rig.frame(), rig.frame()
        assert first.size == (64, 48)
        assert later.number > first.number
        assert not np.array_equal(first.pixels, later.pixels)


@pytest.mark.parametrize("auth", CHALLENGES)
def test_a_password_is_used_and_a_wrong_one_named(auth: str, tmp_path: Path) -> None:
    (tmp_path / "pass").write_text(PASSWORD + "\n")
    (tmp_path / "wrong").write_text("nonsense\n")
    with camera(lambda: iter([part(jpeg(90), length=None), part(jpeg(90))]), auth=auth) as server:
        assert read_one(server.url, username=USER, password_file=str(tmp_path / "pass")) == 90
        with pytest.raises(SourceError, match="wrong user name or password") as wrong:
            read_one(server.url, username=USER, password_file=str(tmp_path / "wrong"))
        with pytest.raises(SourceError, match="requires a username and a password_file"):
            read_one(server.url)
        assert "nonsense" not in str(wrong.value)


@pytest.mark.parametrize(
    "challenge",
    [
        'Digest realm="x, algorithm=MD5", nonce="n", qop="auth", algorithm=FOO',
        'Digest realm="x", nonce="n", algorithm=MD5, algorithm=FOO',
        "Digest realm",
        "Digest ",
        'Digest realm="x", nonce',
        'Digest nonce="n"',
        "",
    ],
)
def test_a_challenge_that_cannot_be_answered_is_a_plain_error(
    challenge: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CHALLENGES, "digest", [challenge])
    (tmp_path / "pass").write_text(PASSWORD + "\n")
    with camera(stream, auth="digest") as server, pytest.raises(SourceError, match="answers 401"):
        read_one(server.url, username=USER, password_file=str(tmp_path / "pass"))


def test_redirections_are_followed_but_not_for_ever() -> None:
    with camera(stream) as server:
        assert read_one(server.url.replace("/stream", "/moved")) >= 8
        with pytest.raises(SourceError, match="answers 302: it redirects in a loop"):
            read_one(server.url.replace("/stream", "/round"))
        with pytest.raises(SourceError, match="404: check the path"):
            read_one(server.url.replace("/stream", "/missing"))


def test_a_redirection_to_another_port_has_a_remedy(tmp_path: Path) -> None:
    """The sandbox of a reader allows the port of its address alone."""
    with camera(stream) as old, camera(stream) as new:
        moved = old.url.replace("/stream", f"/to/{new.server_port}")
        with Rig(make_plan("http", {"url": moved}), tmp_path) as rig:
            assert rig.trouble().text == f"{moved} redirects to {new.url}: set `url` to that address"
        with Rig(make_plan("http", {"url": new.url}), tmp_path) as rig:
            rig.frame()


@pytest.mark.parametrize("secret", ["Hunter2Secret", "p/ü %2F'word"])
def test_a_redirection_that_repeats_the_password_does_not_reveal_it(secret: str, tmp_path: Path) -> None:
    """As a camera answers on which https was switched on: the same path, which contains the password."""
    (tmp_path / "pass").write_text(secret)
    with camera(stream) as old, camera(stream) as new:
        url = f"{old.url.removesuffix('/stream')}/again/{new.server_port}/{{password}}/video.mjpg"
        options = {"url": url, "password_file": str(tmp_path / "pass")}
        place = f"http://127.0.0.1:{new.server_port}"
        for before, remedy in (("", f"{place}{url[url.index('/again') :]}: set `url` to that address"), ("/x", place)):
            old.before = before
            with Rig(make_plan("http", options), tmp_path) as rig:
                text, status = rig.trouble().text, rig.report(lambda report: report.error != "").error
            assert remedy in text
            assert text == status
            assert not before or "another path" in text
            for form in (secret, quote(secret, safe=""), quote(secret), "unter2"):
                assert form not in text + (tmp_path / "reader.log").read_text()


def test_an_answer_that_repeats_the_password_is_shown_without_it(tmp_path: Path) -> None:
    (tmp_path / "pass").write_text(PASSWORD)
    options = {"username": USER, "password_file": str(tmp_path / "pass")}
    with camera(stream, kind=f"text/{PASSWORD.upper()}", auth="basic") as server:
        with pytest.raises(SourceError, match=r"sends text/\{password\}; expected a Motion JPEG stream"):
            read_one(server.url, **options)
        with pytest.raises(SourceError, match=r"no HTTP, Basic \{password\} \{password\}$"):
            read_one(server.url.replace("stream", "odd"), **options)


@pytest.mark.parametrize("kind", ["text", "multipart"])
@pytest.mark.parametrize("secret", ["Passw0rd;x", ";a/b; c", "x/jpeg;"])
def test_a_password_in_a_type_is_removed_before_the_type_is_cut(secret: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "pass").write_text(secret)
    options = {"username": USER, "password_file": str(tmp_path / "pass")}
    with (
        camera(stream, kind=f"{kind}/{secret}; charset=x") as server,
        pytest.raises(SourceError, match=rf"sends {kind}/\{{password\}}(;| )"),
    ):
        read_one(server.url, **options)


@pytest.mark.parametrize("secret", ["Tor 5!ge<heim>nis", "100%25&ü\\n", "naïve'\"\t€"])
def test_a_password_is_recognized_in_every_form_in_which_addresses_pages_and_logs_contain_it(
    secret: str, tmp_path: Path
) -> None:
    (tmp_path / "pass").write_text(secret)
    source_password(str(tmp_path / "pass"), USER)
    numbers = "".join(f"&#{ord(each)};" for each in secret)
    of_scripts = quote(secret, safe="!'()*-._~;,/?:@&=+$#")
    forms = [secret, quote(secret), quote(secret, safe=""), of_scripts, quote_plus(secret)]
    forms += [html.escape(secret), numbers, numbers.replace("#", "#00"), json.dumps(secret)[1:-1], repr(secret)[1:-1]]
    forms += [repr(secret.encode())[2:-1], secret.encode("unicode_escape").decode(), secret.upper(), secret.title()]
    forms += [html.escape(secret).replace("&#x27;", "&apos;")]
    forms += [base64.b64encode(f"{USER}:{secret}".encode()).decode().rstrip("=")]
    for form in forms:
        assert without_passwords(f"it says <{form}>, twice: {form}.") == "it says <{password}>, twice: {password}."


def test_an_invalid_redirection_shows_no_part_of_the_password(tmp_path: Path) -> None:
    """The error of Python's library has what follows the last colon."""
    (tmp_path / "pass").write_text(PASSWORD)
    with (
        camera(stream) as server,
        pytest.raises(SourceError, match="it redirects to an address that is not valid") as caught,
    ):
        read_one(server.url.replace("stream", "user"), username=USER, password_file=str(tmp_path / "pass"))
    assert not any(part in str(caught.value) for part in PASSWORD.split("-"))


def test_a_password_that_is_a_usual_word_changes_no_message_of_ours(tmp_path: Path) -> None:
    """A replaced word in a fixed text, or in the address of the configuration, would reveal the password."""
    (tmp_path / "pass").write_text("camera")
    with camera(stream) as server, pytest.raises(SourceError, match="/missing/camera answers 404: check the path"):
        read_one(server.url.replace("stream", "missing/camera"), password_file=str(tmp_path / "pass"))


@pytest.mark.parametrize("challenge", ['Digest realm="cam", nonce="abc", qop="auth-int"', 'Bearer realm="cam"'])
def test_a_login_that_is_not_supported_is_no_wrong_password(
    challenge: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CHALLENGES, "digest", [challenge])
    (tmp_path / "pass").write_text(PASSWORD + "\n")
    with (
        camera(stream, auth="digest") as server,
        pytest.raises(SourceError, match="another authentication method than basic or"),
    ):
        read_one(server.url, username=USER, password_file=str(tmp_path / "pass"))


def test_what_is_no_stream_says_what_to_change() -> None:
    with camera(lambda: iter([jpeg(1)]), kind="image/jpeg") as server, pytest.raises(SourceError, match="snapshot: 1s"):
        read_one(server.url)
    with camera(lambda: iter([b"<html>"]), kind="text/html") as server, pytest.raises(SourceError, match="text/html"):
        read_one(server.url)
    kind = "application/octet-stream"
    with camera(lambda: iter([jpeg(1)]), kind) as server, pytest.raises(SourceError, match=f"{kind}.*snapshot: 1s"):
        read_one(server.url)
    with pytest.raises(SourceError, match=r"cannot be reached: nothing listens there"):
        read_one(f"http://127.0.0.1:{free_port()}/")


def test_a_certificate_of_an_unknown_authority_has_a_remedy(tmp_path: Path) -> None:
    with camera(stream) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # the reader hangs up
        server.encrypt(Certificates(tmp_path))
        with pytest.raises(SourceError, match=r"cannot verify its certificate .*update-ca-certificates") as refused:
            read_one(server.url)
    assert "_ssl.c" not in str(refused.value)


def test_https_to_a_server_without_it_is_named() -> None:
    with camera(stream) as server, pytest.raises(SourceError, match="does not use TLS: is it an address of http"):
        read_one(server.url.replace("http:", "https:"))


def test_garbage_without_end_is_given_up(tmp_path: Path) -> None:
    def garbage() -> Iterator[bytes]:
        random = np.random.default_rng(1)
        while True:
            yield random.bytes(50_000)

    with camera(garbage) as server, Rig(make_plan("http", {"url": server.url}), tmp_path) as rig:
        assert "no complete JPEG picture" in rig.trouble().text


@pytest.mark.parametrize(
    ("boundary", "delimiter"),
    [
        ("frame", b"--frame"),
        ("--frame", b"--frame"),  # not as the standard wants it, but common
        ("--frame", b"----frame"),  # as it does
        ("----WebKitFormBoundaryX", b"------WebKitFormBoundaryX"),
        ("-----", b"-----"),
    ],
)
def test_a_boundary_may_begin_with_dashes(boundary: str, delimiter: bytes) -> None:
    parser = MjpegParser(boundary)
    pictures = [jpeg(value) for value in (10, 90, 170)]
    data = b"".join(delimiter + b"\r\nContent-Type: image/jpeg\r\n\r\n" + each + b"\r\n" for each in pictures)
    data += delimiter + b"--\r\n"
    found = [picture for start in range(0, len(data), 100) for picture in parser.feed(data[start : start + 100])]
    assert found == pictures
    assert parser.broken == 0


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize(("before", "end"), [(b"", b"\r\n"), (b"\r\n", b"\r\n"), (b"\n", b"\n")])
def test_a_camera_may_omit_the_dashes_before_the_boundary(
    before: bytes, end: bytes, size: int, *, length: bool
) -> None:
    bodies = [jpeg(value)[:-2] + b"a fr, --fr and fr\xff\xd9" for value in (10, 90, 170)]
    data = before
    for body in bodies:
        header = b"Content-Length: %d" % len(body) if length else b"Content-Type: image/jpeg"
        data += b"fr" + end + header + end + end + body + end
    parser, found = MjpegParser("fr"), []
    for start in range(0, len(data), size):
        found += parser.feed(data[start : start + size])
    found += parser.feed(b"fr" + end)
    assert (found, parser.broken) == (bodies, 0)


def test_a_body_that_begins_like_the_boundary_is_searched_for_the_usual_one() -> None:
    parser, whole = MjpegParser("frame"), jpeg(10)
    assert parser.feed(b"frames of a camera\r\nframe\r\n" + part(whole, length=len(whole))) == [whole]


def test_a_stream_without_the_dashes_is_read() -> None:
    def bare() -> Iterator[bytes]:
        return (each.replace(b"--frame", b"frame", 1) for each in stream())

    with camera(bare) as server:
        assert read_one(server.url) == pytest.approx(10, abs=2)


def test_broken_parts_are_skipped_and_a_slow_camera_is_waited_for() -> None:
    def body() -> Iterator[bytes]:
        whole = jpeg(200)
        yield b"garbage before anything\r\n"
        yield part(whole[: len(whole) // 2], length=len(whole))
        yield part(b"\xff\xd8 no picture at all \xff\xd9")
        yield part(b"")
        for byte in part(whole, length=len(whole)):
            yield bytes([byte])
        yield part(whole)

    with camera(body) as server:
        assert read_one(server.url) == 200


def test_of_many_pictures_that_are_there_the_newest_is_taken() -> None:
    sent = threading.Event()

    def body() -> Iterator[bytes]:
        yield part(jpeg(5))
        yield b"".join(part(jpeg(value)) for value in range(10, 200, 10)) + b"--frame"
        sent.set()

    with camera(body) as server, HttpSource(HttpOptions(server.url)) as source:
        assert sent.wait(10)
        picture = source.read()
        assert picture is not None
        assert int(picture.pixels.mean()) == 190


@pytest.mark.parametrize("ending", [b"--frame\r\n", b"", b"--frame\r\nContent-Type: image/jpeg\r\n\r\n"])
def test_a_picture_whose_length_is_not_told_has_the_time_of_its_arrival(ending: bytes) -> None:
    """Its end is seen at the next boundary, which some cameras send at once, and others with the next picture."""
    sent: list[float] = []

    def body() -> Iterator[bytes]:
        yield ending
        for value in range(50, 200, 30):
            sent.append(time.monotonic())
            yield part(jpeg(value)).removeprefix(ending) + ending
            time.sleep(1.0)

    with camera(body) as server, HttpSource(HttpOptions(server.url)) as source:
        pictures = [source.read() for _ in range(4)]
    times = [picture.monotonic for picture in pictures if isinstance(picture, Picture)]
    assert times == pytest.approx(sent[:4], abs=0.5)  # with the next picture, they would be a second late
    assert time.time() - time.monotonic() == pytest.approx(pictures[0].wall - times[0], abs=0.2)  # type: ignore[union-attr]


@pytest.fixture(params=["http", "https"])
def certificates(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Certificates | None:
    """For the second run of a test: those of a camera with TLS, which this process then trusts."""
    if request.param == "http":
        return None
    made = Certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.ca))
    return made


@pytest.mark.parametrize("width", [64, 1024], ids=["small pictures", "large pictures"])
def test_of_many_pictures_in_chunks_the_newest_is_taken(certificates: Certificates | None, width: int) -> None:
    """Many small ones lie in what the response has read ahead, where no look at the socket finds them."""
    turns, sent = threading.Semaphore(0), threading.Semaphore(0)

    def body() -> Iterator[bytes]:
        for values in ((5,), range(10, 100, 10), range(110, 200, 10)):
            turns.acquire(timeout=20)
            for value in values:
                picture = jpeg(value, width)
                yield part(picture, length=len(picture))
            sent.release()

    with camera(body) as server:
        server.chunked = True
        if certificates is not None:
            server.encrypt(certificates)
        with HttpSource(HttpOptions(server.url)) as source:
            for newest in (5, 90, 190):  # a consumer that takes less than the camera sends
                turns.release()
                assert sent.acquire(timeout=20)
                picture = source.read()
                assert picture is not None
                assert int(picture.pixels.mean()) == newest


@pytest.mark.parametrize("size", [1 << 20, 1000], ids=["a chunk for each picture", "chunks within pictures"])
def test_a_picture_in_a_chunk_does_not_wait_for_the_next_one(certificates: Certificates | None, size: int) -> None:
    """The line end after a chunk arrives with it, and is no more of the stream."""
    turn = threading.Semaphore(1)

    def body() -> Iterator[bytes]:
        for value in (50, 100, 150):
            turn.acquire(timeout=20)
            picture = jpeg(value)
            comment = b"\xff\xfe" + (20_000).to_bytes(2, "big") + bytes(19_998)  # more than what is read ahead
            picture = picture[:2] + comment + picture[2:]
            data = part(picture, length=len(picture))
            yield from (data[start : start + size] for start in range(0, len(data), size))

    with camera(body) as server:
        server.chunked = True
        if certificates is not None:
            server.encrypt(certificates)
        with HttpSource(HttpOptions(server.url)) as source:
            for value in (50, 100, 150):
                picture = source.read()
                assert picture is not None
                assert int(picture.pixels.mean()) == value
                turn.release()


def test_snapshots_come_one_by_one(tmp_path: Path) -> None:
    values = iter(range(20, 250, 10))
    with (
        camera(lambda: iter([jpeg(next(values))]), kind="image/jpeg") as server,
        Rig(make_plan("http", {"url": server.url, "snapshot": 0.1}), tmp_path) as rig,
    ):
        assert rig.frame(lambda frame: frame.number >= 3).pixels.mean() >= 40
        assert server.requests >= 3


def test_a_snapshot_that_is_none_says_so() -> None:
    with (
        camera(lambda: iter([b"busy"]), kind="image/jpeg") as server,
        pytest.raises(SourceError, match="not a readable picture"),
    ):
        read_one(server.url, snapshot=1.0)


def test_a_snapshot_of_a_stream_says_what_to_change() -> None:
    with camera(stream) as server, pytest.raises(SourceError, match="sends a stream; remove `snapshot`"):
        read_one(server.url, snapshot=1.0)


def test_a_snapshot_that_is_compressed_says_so() -> None:
    with camera(lambda: iter([gzip.compress(jpeg(7))]), kind="image/jpeg") as server:
        server.packed = "gzip"
        with pytest.raises(SourceError, match=r"not a readable picture; it compresses them \(gzip\)"):
            read_one(server.url, snapshot=1.0)


def test_a_stream_without_a_boundary_says_what_is_missing() -> None:
    kind = "multipart/x-mixed-replace"
    with camera(lambda: iter([b""]), kind=kind) as server, pytest.raises(SourceError, match="without a boundary"):
        read_one(server.url)


def test_waiting_for_a_snapshot_is_no_hang_and_can_be_interrupted() -> None:
    with camera(lambda: iter([jpeg(1)]), kind="image/jpeg") as server:
        source = HttpSource(HttpOptions(server.url, snapshot=3600.0))
        assert source.patience > 3600
        with source:
            assert source.read() is not None
            threading.Timer(0.1, source.interrupt).start()
            assert source.read() is None


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_the_parser_finds_the_same_pictures_however_the_bytes_are_cut(size: int) -> None:
    pictures = [jpeg(value) for value in (10, 20, 30)]
    data = b"noise" + part(pictures[0], length=len(pictures[0])) + part(pictures[1]) + part(b"text") + part(pictures[2])
    data += b"--frame--"
    parser, found = MjpegParser("--frame"), []
    for start in range(0, len(data), size):
        found += parser.feed(data[start : start + size])
    assert found == pictures
    assert parser.broken == 1


TAILS = [bytes(100), b"\xff" * 16, b"SNAP1234567890", b"\r\n\r\n", b" ", b"--"]
"""What cameras append to a picture."""


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("tail", TAILS)
def test_what_follows_the_end_of_a_picture_in_its_part_is_left_out(tail: bytes, length: bool) -> None:
    pictures = [jpeg(value) for value in (10, 20)]
    data = b"".join(part(each + tail, length=len(each + tail) if length else None) for each in pictures)
    parser, found = MjpegParser("frame"), []
    for start in range(0, len(data), 7):
        found += parser.feed(data[start : start + 7])
    found += parser.feed(b"--frame\r\n")
    assert (found, parser.broken) == (pictures, 0)


@pytest.mark.parametrize("tail", TAILS)
def test_a_picture_that_was_cut_is_broken_whatever_follows(tail: bytes) -> None:
    whole, parser = jpeg(10), MjpegParser("frame")
    cut = whole[: len(whole) // 2] + tail
    assert parser.feed(part(cut, length=len(cut)) + part(cut) + part(whole, length=len(whole))) == [whole]
    assert parser.broken == 2


@pytest.mark.parametrize("length", [True, False])
def test_a_picture_that_was_cut_behind_its_thumbnail_is_passed_over(length: bool) -> None:
    """The thumbnail in its header has an end marker of its own."""
    small, whole = jpeg(90, 8, 8), jpeg(10)
    head = b"\xff\xe1" + (len(small) + 8).to_bytes(2, "big") + b"Exif\0\0" + small
    framed = whole[:2] + head + whole[2:]
    cut = framed[:-40]

    def body() -> Iterator[bytes]:
        yield part(cut, length=len(cut) if length else None) + b"--frame\r\n"
        time.sleep(0.3)
        yield part(framed, length=len(framed))
        time.sleep(0.3)

    with camera(body) as server:
        assert read_one(server.url) == pytest.approx(10, abs=2)


def test_a_stream_with_data_behind_each_picture_is_read() -> None:
    body = jpeg(200) + b"SNAP1234567890"
    with camera(lambda: iter([part(body, length=len(body))])) as server:
        assert read_one(server.url) == 200


def test_a_part_without_end_is_thrown_away() -> None:
    parser = MjpegParser('"frame"')
    whole = jpeg(10)
    assert parser.feed(b"--frame\r\n\r\n" + bytes(MOST_PICTURE)) == []
    assert parser.feed(bytes(10)) == []
    assert parser.broken == 1
    assert parser.feed(part(whole) + b"--frame") == [whole]


def test_a_header_without_end_is_thrown_away() -> None:
    parser, whole = MjpegParser("frame"), jpeg(10)
    assert parser.feed(b"--frame\r\n" + b"x" * 20_000) == []
    assert parser.feed(b"\r\n" + part(whole, length=len(whole))) == [whole]


def test_a_length_that_lies_costs_one_picture() -> None:
    parser, whole = MjpegParser("frame"), jpeg(10)
    assert parser.feed(part(whole, length=len(whole) + 5000) + part(whole, length=3) + part(whole)) == [whole]
    assert parser.feed(b"--frame") == [whole]


def test_a_password_that_a_camera_wants_in_its_address_is_put_in_and_never_told(tmp_path: Path) -> None:
    (tmp_path / "pass").write_text("p&s w/rd\n")
    with camera(stream) as server:
        options = {"url": f"{server.url}?pwd={{password}}", "password_file": str(tmp_path / "pass")}
        with Rig(make_plan("http", options), tmp_path) as rig:
            rig.frame()
            arguments = Path(f"/proc/{rig.pid}/cmdline").read_bytes()
        assert any("pwd=p%26s%20w%2Frd" in path for path in server.asked)
        assert b"pwd" not in arguments
        assert b"http://" not in arguments, "an address may be a secret too"
        assert "w%2Frd" not in rig.log.read_text()
        missing = server.url.replace("/stream", "/missing?pwd={password}")
        with pytest.raises(SourceError, match="answers 404") as wrong:
            read_one(missing, password_file=str(tmp_path / "pass"))
        assert "pwd" not in str(wrong.value)


@pytest.mark.parametrize("length", [True, False])
def test_headers_that_end_with_a_line_feed_alone_are_understood(length: bool) -> None:
    bodies = [jpeg(value) for value in (10, 120, 240)]
    stream = b""
    for body in bodies:
        header, mark, rest = part(body, length=len(body) if length else None).partition(b"\xff\xd8")
        stream += header.replace(b"\r", b"") + mark + rest
    parser, found = MjpegParser("frame"), []
    for start in range(0, len(stream), 700):
        found += parser.feed(stream[start : start + 700])
    found += parser.feed(b"--frame\n")
    assert (found, parser.broken) == (bodies, 0)
