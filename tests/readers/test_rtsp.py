"""A real RTSP camera: found, lost, hung, restarted, resized; and servers that are none."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import pytest

from edge_infer.errors import SourceError
from edge_infer.ipc.messages import FrameReady, ReaderTrouble
from edge_infer.readers.sources import PASSED, Picture
from edge_infer.readers.sources.credentials_in_url import shown, with_credentials
from edge_infer.readers.sources.rtsp import CONNECT_TIMEOUT, LEAST_PATIENCE, OPEN_TIMEOUT, RtspOptions, RtspSource
from edge_infer.readers.sources.rtsp_greeting import PATIENCE
from edge_infer.supervisor.processes.readers import BUSY
from tests.readers.conftest import GrayCamera, RtspCamera, free_port
from tests.readers.rig import DEADLINE, Rig, make_plan
from tests.running import ROOT

BACK = 10.0
"""Seconds from a camera's return to its first frame, as promised: the one deadline that is itself under test."""


def test_frames_come_and_only_the_newest_is_held(rtsp_camera: RtspCamera, tmp_path: Path) -> None:
    with Rig(make_plan("rtsp", {"url": rtsp_camera.url}), tmp_path) as rig:
        first = rig.frame()
        later = rig.frame()
        assert first.size == (320, 240)
        assert first.color == "bgr"
        assert later.number > first.number
        assert later.monotonic > first.monotonic
        assert rig.report(lambda report: report.frames > 0).error == ""


def test_a_stream_that_is_turned_in_mid_flight_has_its_new_size(rtsp_camera: RtspCamera, tmp_path: Path) -> None:
    with Rig(make_plan("rtsp", {"url": rtsp_camera.url}), tmp_path) as rig:
        rig.frame()
        rtsp_camera.resize(240, 320)
        assert rig.frame(lambda frame: frame.size == (240, 320)).size == (240, 320)


def test_a_killed_camera_is_found_again(rtsp_camera: RtspCamera, tmp_path: Path) -> None:
    with Rig(make_plan("rtsp", {"url": rtsp_camera.url}), tmp_path) as rig:
        rig.frame()
        rtsp_camera.kill()
        rig.trouble("delivers no more frames")
        assert "cannot be opened" in rig.trouble("cannot be opened").text
        rig.trouble("cannot be opened")
        rtsp_camera.start()
        rig.frame(deadline=BACK)


def test_a_camera_that_hangs_is_given_up_and_found_again(rtsp_camera: RtspCamera, tmp_path: Path) -> None:
    with Rig(make_plan("rtsp", {"url": rtsp_camera.url}), tmp_path) as rig:
        rig.frame()
        rtsp_camera.signal(signal.SIGSTOP)
        rig.trouble("silent")
        assert "does not answer" in rig.trouble("cannot be opened").text
        rtsp_camera.signal(signal.SIGCONT)
        rig.frame(deadline=BACK)


def test_a_camera_that_hangs_gives_no_frames_from_before(rtsp_camera: RtspCamera, tmp_path: Path) -> None:
    """The decoder holds some back, and gives them out when a read ends without anything new."""
    with Rig(make_plan("rtsp", {"url": rtsp_camera.url}), tmp_path) as rig:
        rig.frame()
        rtsp_camera.signal(signal.SIGSTOP)
        stopped, late = time.monotonic(), []
        while True:
            word = rig.receiver.receive(0.2)
            if isinstance(word, ReaderTrouble) and "silent" in word.text:
                break
            if isinstance(word, FrameReady) and word.monotonic > stopped + 1.5:
                late.append(word.monotonic - stopped)
            assert time.monotonic() < stopped + DEADLINE
        rtsp_camera.signal(signal.SIGCONT)
        assert late == []


def test_a_frame_has_the_time_of_its_capture_from_the_first_one_on(gstreamer: None) -> None:
    """FFmpeg collects a backlog while it opens a stream, and its decoder holds some frames back."""
    with GrayCamera(10) as camera:
        with RtspSource(RtspOptions(camera.url)) as source:
            frames: list[Picture] = []
            while len(frames) < 25:
                reading = source.read()
                assert reading is PASSED or isinstance(reading, Picture)
                frames += [reading] if isinstance(reading, Picture) else []
        captured = camera.captured()
    late = []
    for frame in frames:
        gray = float(frame.pixels.mean())
        late.append(min(abs(frame.monotonic - moment) for each, moment in captured if abs(each - gray) < 2))
    assert max(late[:5]) < 0.6
    assert sorted(late)[12] < 0.2  # the server itself holds a frame for one interval
    for times in ([frame.monotonic for frame in frames], [frame.wall for frame in frames]):
        assert times == sorted(times)


def test_a_server_that_accepts_and_says_nothing_is_no_hang(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"rtsp://127.0.0.1:{server.getsockname()[1]}/cam"
        with Rig(make_plan("rtsp", {"url": url}), tmp_path) as rig:
            assert rig.report(lambda report: report.busy > 1.5).frames == 0
            assert "does not answer" in rig.trouble().text


def test_a_server_of_garbage_is_no_camera(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as connection:
                connection.recv(4096)
                connection.sendall(bytes(range(256)) * 64)

        thread = threading.Thread(target=answer)
        thread.start()
        with Rig(make_plan("rtsp", {"url": f"rtsp://127.0.0.1:{server.getsockname()[1]}/cam"}), tmp_path) as rig:
            assert "cannot be opened" in rig.trouble().text
        thread.join()


def test_a_password_opens_the_camera_and_is_never_told(gstreamer: None, tmp_path: Path) -> None:
    secret = "s3cr:t @/?#ü"
    (tmp_path / "right").write_text(secret + "\n")
    (tmp_path / "wrong").write_text("hunter2-unique\n")
    with RtspCamera("viewer", secret) as camera:
        options = {"url": camera.url, "username": "viewer", "password_file": str(tmp_path / "right")}
        with Rig(make_plan("rtsp", options), tmp_path) as rig:
            rig.frame()
            camera.kill()
            rig.trouble("cannot be opened")
            camera.start()
            rig.frame(deadline=BACK)
        with Rig(make_plan("rtsp", {**options, "password_file": str(tmp_path / "wrong")}), tmp_path) as rig:
            text = rig.trouble().text
        said = (tmp_path / "reader.log").read_text()
        for word in ("s3cr", "hunter2", "%40"):
            assert word not in said + text


def test_without_a_password_file_the_remedy_is_told(tmp_path: Path) -> None:
    url = f"rtsp://127.0.0.1:{free_port()}/cam"
    missing = tmp_path / "none"
    with Rig(make_plan("rtsp", {"url": url, "username": "viewer", "password_file": str(missing)}), tmp_path) as rig:
        assert str(missing) in rig.trouble("password file").text


def test_credentials_are_escaped_and_addresses_shown_without_them() -> None:
    url = with_credentials("rtsp://cam:554/a?b=c", "me@x", "p:/?#@%")
    assert url == "rtsp://me%40x:p%3A%2F%3F%23%40%25@cam:554/a?b=c"
    assert shown(url) == "rtsp://cam:554/a"
    assert with_credentials("rtsp://[::1]/a", None, None) == "rtsp://[::1]/a"


def test_a_camera_that_is_off_is_told_from_one_that_refuses_us(tmp_path: Path) -> None:
    url = f"rtsp://127.0.0.1:{free_port()}/cam"
    with pytest.raises(SourceError, match=f"{url} cannot be opened: nothing listens there"):
        RtspSource(RtspOptions(url)).__enter__()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: [listener.accept()[0].close() for _ in range(2)], daemon=True)
        thread.start()
        url = f"rtsp://127.0.0.1:{listener.getsockname()[1]}/cam"
        with pytest.raises(SourceError, match="it answers, but sends no stream: check path, user name and password"):
            RtspSource(RtspOptions(url)).__enter__()
        thread.join(5)


def answering(described: bytes) -> str:
    """The address of a server that answers the first DESCRIBE with this, without the number, and then closes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with listener, listener.accept()[0] as connection, connection.makefile("rwb") as stream:
            request: list[bytes] = []
            for line in stream:
                request.append(line.strip())
                if request[-1]:
                    continue
                first = request[0].startswith(b"OPTIONS")
                number = next(each for each in request if each.startswith(b"CSeq"))
                status, _, more = (b"200 OK\r\nPublic: DESCRIBE\r\n\r\n" if first else described).partition(b"\r\n")
                stream.write(b"RTSP/1.0 " + status + b"\r\n" + number + b"\r\n" + more)
                stream.flush()
                if not first and status.startswith(b"200"):
                    return
                request.clear()

    threading.Thread(target=answer, daemon=True).start()
    return f"rtsp://127.0.0.1:{listener.getsockname()[1]}/cam"


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("503 Service Unavailable", "it answers 503 Service Unavailable: path and password are not the cause"),
        ("401 Unauthorized", "it answers 401 Unauthorized: wrong or missing user name or password"),
        ("403 Forbidden", "it answers 403 Forbidden: wrong user name or password, or this user may not view"),
        ("404 Stream Not Found", "it answers 404 Stream Not Found: wrong path"),
        ("461 Unsupported Transport", "it does not send by tcp: set `transport: udp`"),
        ("453 Not Enough Bandwidth", "it answers 453 Not Enough Bandwidth: it refuses this request"),
    ],
)
def test_a_camera_that_refuses_is_quoted(status: str, told: str) -> None:
    url = answering(f"{status}\r\n\r\n".encode())
    with pytest.raises(SourceError, match=f"{url} cannot be opened: {told}"):
        RtspSource(RtspOptions(url)).__enter__()


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("rtsp://127.0.0.1:{port}/other", "it redirects to rtsp://127.0.0.1:{port}/other: set `url` to that address"),
        ("rtsp://u:s3cret@127.0.0.1:{port}/a?b=s3cret", "it redirects to rtsp://127.0.0.1:{port}/a: set `url` to that"),
        ("rtsp://127.0.0.1]:1/other", "it redirects to an address that cannot be opened"),
    ],
)
def test_a_camera_that_redirects_is_told_with_its_target(target: str, told: str) -> None:
    port = free_port()
    url = answering(f"302 Moved Temporarily\r\nLocation: {target.format(port=port)}\r\n\r\n".encode())
    error = refused_in_a_new_process(url)
    assert error.startswith(f"{url} cannot be opened: {told.format(port=port)}")
    assert "s3cret" not in error


@pytest.mark.parametrize(
    ("before", "told"),
    [
        ("", "it redirects to rtsp://127.0.0.1:{port}/live/{{password}}/ch1: set `url` to that address"),
        ("/x", "it redirects to another path of rtsp://127.0.0.1:{port}, which may contain the password"),
    ],
)
def test_a_redirection_that_repeats_the_password_does_not_reveal_it(before: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "pass").write_text("Hunter2Secret")
    port = free_port()
    target = f"rtsp://127.0.0.1:{port}{before}/live/Hunter2Secret/ch1"
    url = answering(f"302 Moved Temporarily\r\nLocation: {target}\r\n\r\n".encode())
    url = url.replace("/cam", "/live/{password}/ch1")
    error = refused_in_a_new_process(url, str(tmp_path / "pass"))
    assert error.startswith(f"{url} cannot be opened: {told.format(port=port)}")
    assert "Hunter2" not in error


@pytest.mark.parametrize("password", ["Hunter2Secret", "Hunter2Secret!9", "Hunter(2 Secret"])
def test_a_refusal_that_repeats_the_password_does_not_reveal_it(password: str, tmp_path: Path) -> None:
    (tmp_path / "pass").write_text(password)
    url = answering(f"404 No stream {password} here\r\n\r\n".encode()).replace("/cam", "/{password}")
    error = refused_in_a_new_process(url, str(tmp_path / "pass"))
    assert error == f"{url} cannot be opened: it answers 404 No stream {{password}} here: wrong path"


def test_a_camera_that_redirects_sends_the_password_nowhere(tmp_path: Path) -> None:
    """FFmpeg would send it to the new address, in clear if that asks for it."""
    secret = tmp_path / "camera.pass"
    secret.write_text("s3cret-7")
    heard = bytearray()
    with (
        socket.create_server(("127.0.0.1", 0)) as camera,
        socket.create_server(("127.0.0.2", camera.getsockname()[1])) as other,
    ):
        port = camera.getsockname()[1]

        def serve(server: socket.socket, answer: bytes) -> None:
            with contextlib.suppress(OSError):
                while True:
                    with server.accept()[0] as connection:
                        while request := connection.recv(4096):
                            heard.extend(request)
                            number = next(line for line in request.splitlines() if line.startswith(b"CSeq"))
                            connection.sendall(answer.replace(b"\r\n", b"\r\n" + number + b"\r\n", 1))

        moved = f"RTSP/1.0 302 Moved\r\nLocation: rtsp://127.0.0.2:{port}/y/7-terc3s\r\n\r\n".encode()
        asks = b'RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n'
        for server, answer in ((camera, moved), (other, asks)):
            threading.Thread(target=serve, args=(server, answer), daemon=True).start()
        options = RtspOptions(f"rtsp://127.0.0.1:{port}/x", "viewer", str(secret))
        with pytest.raises(SourceError, match=rf"it redirects to another path of rtsp://127.0.0.2:{port}, ") as caught:
            RtspSource(options).__enter__()
        for server in (camera, other):
            server.shutdown(socket.SHUT_RDWR)
    assert b"DESCRIBE" in heard
    assert b"Authorization" not in heard
    assert "terc" not in str(caught.value)  # the camera may know the password from before, and write it in its own way


def opened_after_greeting(url: str, folder: Path) -> tuple[list[str], str]:
    """The addresses that FFmpeg gets after the greeting of a camera with a password, and why none can be opened."""
    (folder / "password").write_text("s3cret")
    opened: list[str] = []

    def factory(url: str, _patience: float) -> Any:
        opened.append(url)
        return cv2.VideoCapture()

    with pytest.raises(SourceError) as raised:
        RtspSource(RtspOptions(url, "viewer", str(folder / "password")), factory).__enter__()
    return opened, str(raised.value)


def test_a_camera_that_accepts_and_says_nothing_is_asked_once(tmp_path: Path) -> None:
    """FFmpeg does not wait as well: together they would take longer than the supervisor waits for a reader."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x"
        assert opened_after_greeting(url, tmp_path) == ([], f"{url} cannot be opened: it does not answer")
    assert max(OPEN_TIMEOUT, PATIENCE + LEAST_PATIENCE) + CONNECT_TIMEOUT < BUSY


def test_a_camera_may_redirect_to_another_path_of_its_own(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"rtsp://127.0.0.1:{server.getsockname()[1]}/x"

        def answer() -> None:
            with server.accept()[0] as connection:
                connection.recv(4096)
                connection.sendall(f"RTSP/1.0 302 Moved\r\nLocation: {url}/session7\r\n\r\n".encode())

        thread = threading.Thread(target=answer)
        thread.start()
        opened, _ = opened_after_greeting(url, tmp_path)
        thread.join()
    assert opened == [url.replace("://", "://viewer:s3cret@")]


def test_a_camera_without_video_is_told() -> None:
    tracks = "m=audio 0 RTP/AVP 0\r\na=control:1\r\nm=application 0 RTP/AVP 107\r\na=control:2\r\n"
    text = f"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{tracks}"
    head = f"200 OK\r\nContent-Type: application/sdp\r\nContent-Length: {len(text)}\r\n\r\n"
    url = answering((head + text).encode())
    assert refused_in_a_new_process(url).startswith(f"{url} cannot be opened: its stream has no video")


def refused_in_a_new_process(*options: str) -> str:
    """Why a camera cannot be opened, in a process that uses FFmpeg for the first time, as each reader does.

    FFmpeg keeps the level of its log from then on. At the usual one, it does not print these facts.
    """
    code = (
        "import sys\nfrom edge_infer.errors import SourceError\n"
        "from edge_infer.readers.sources.rtsp import RtspOptions, RtspSource\n"
        "options = RtspOptions(sys.argv[1], password_file=(sys.argv + [None])[2])\n"
        "try:\n RtspSource(options).__enter__()\nexcept SourceError as error:\n print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *options], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]
