"""An encrypted RTSP camera: which certificates the reader accepts, and that nobody else gets the password."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from edge_infer.readers.sources.rtsp_greeting import as_text
from tests.broker import Certificates
from tests.readers.conftest import RtspCamera
from tests.readers.rig import Rig, make_plan
from tests.running import ROOT


class Tunnel:
    """Accepts TLS with a certificate and passes the content to a camera, or answers by itself; counts requests."""

    def __init__(self, certificate: Path, key: Path, camera: str = "") -> None:
        self.heard = bytearray()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._camera = camera
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._connected, args=(self._server.accept()[0],), daemon=True).start()

    def _connected(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), self._context.wrap_socket(plain, server_side=True) as client:
            if not self._camera:
                while data := client.recv(4096):
                    self.heard += data
                    client.sendall(_unauthorized(data))
                return
            parts = urlsplit(self._camera)
            with socket.create_connection((str(parts.hostname), parts.port or 0)) as camera:
                client.settimeout(0.02)
                threading.Thread(target=_copy, args=(camera, client), daemon=True).start()
                while True:
                    try:
                        data = client.recv(1 << 16)
                    except TimeoutError:
                        continue
                    if not data:
                        return
                    self.heard += data
                    camera.sendall(data)

    def close(self) -> None:
        self._server.close()


def _copy(camera: socket.socket, client: ssl.SSLSocket) -> None:
    with contextlib.suppress(OSError):
        while data := camera.recv(1 << 16):
            client.sendall(data)


def _unauthorized(request: bytes) -> bytes:
    number = next(line for line in request.splitlines() if line.startswith(b"CSeq"))
    return b'RTSP/1.0 401 Unauthorized\r\n%b\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n' % number


def self_signed(folder: Path, *more: str) -> tuple[Path, Path]:
    """The certificate that a camera makes for itself, and its key."""
    cert, key = folder / "camera.pem", folder / "camera.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "30", "-subj", "/CN=IPCAM", "-keyout", str(key), "-out", str(cert), *more],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "camera.pass"
    file.write_text("s3cret-7")
    file.chmod(0o600)
    return file


@pytest.fixture
def encrypted(gstreamer: None, tmp_path: Path) -> Iterator[Tunnel]:
    with (
        RtspCamera("viewer", "s3cret-7") as camera,
        contextlib.closing(Tunnel(*self_signed(tmp_path), camera.url)) as tunnel,
    ):
        yield tunnel


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_camera_with_its_own_certificate(encrypted: Tunnel, tmp_path: Path, password: Path, host: str) -> None:
    """It is for no address that cameras have; the file with the camera's own certificate makes up for that."""
    options = {"url": f"rtsps://{host}:{encrypted.port}/cam", "username": "viewer", "password_file": str(password)}
    with Rig(make_plan("rtsp", options), tmp_path) as rig:
        assert "certificate" in rig.trouble("name its file in `tls: {ca_file: FILE}`").text
    assert not encrypted.heard
    with Rig(make_plan("rtsp", {**options, "tls": {"ca_file": str(tmp_path / "camera.pem")}}), tmp_path) as rig:
        assert rig.frame().size == (320, 240)


def refused(url: str, password: Path, ca: Path | None) -> str:
    """Why the camera cannot be opened, in a process of its own, because FFmpeg reads its settings once."""
    code = (
        "import sys\nfrom edge_infer.errors import SourceError\nfrom edge_infer.plan.records import TlsPlan\n"
        "from edge_infer.readers.sources.rtsp import RtspOptions, RtspSource\n"
        "tls = TlsPlan(sys.argv[3]) if sys.argv[3:] else None\n"
        "try:\n RtspSource(RtspOptions(sys.argv[1], 'viewer', sys.argv[2], tls=tls)).__enter__()\n"
        "except SourceError as error:\n print(error)\n"
    )
    command = [sys.executable, "-c", code, url, str(password), *([str(ca)] if ca else [])]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()[-1]


def test_a_certificate_of_an_authority_counts_for_its_address_alone(tmp_path: Path, password: Path) -> None:
    certificates = Certificates(tmp_path)
    other = certificates.other_authority()
    for host, ca, told in (
        ("IP:127.0.0.1", certificates.ca, "401 Unauthorized"),
        ("IP:127.0.0.1", other, "cannot verify its certificate"),
        ("IP:127.0.0.1", None, "cannot verify its certificate"),
        ("IP:127.0.0.2", certificates.ca, "cannot verify its certificate (IP address mismatch"),
    ):
        with contextlib.closing(Tunnel(*certificates.issue("camera", host))) as camera:
            text = refused(f"rtsps://127.0.0.1:{camera.port}/cam", password, ca)
            assert told in text
            assert bool(camera.heard) == ("401" in told)


def test_an_expired_certificate_is_not_accepted(tmp_path: Path, password: Path) -> None:
    certificates = Certificates(tmp_path)
    old = certificates.issue("camera", start="20200101000000Z", end="20210101000000Z")
    with contextlib.closing(Tunnel(*old)) as camera:
        text = refused(f"rtsps://127.0.0.1:{camera.port}/cam", password, certificates.ca)
        assert "certificate has expired" in text
        assert not camera.heard


def test_an_address_without_tls(password: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as connection:
                connection.sendall(b"RTSP/1.0 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        text = refused(f"rtsps://127.0.0.1:{server.getsockname()[1]}/cam", password, None)
        thread.join()
    assert "it does not use TLS: is it an address of http:// or rtsp://?" in text


def test_a_file_name_reaches_ffmpeg_as_it_is() -> None:
    assert (
        as_text({"a": "1", "ca_file": "/my certs/a;b|c'd\\e.pem"}) == "a;1|ca_file;/my\\ certs/a\\;b\\|c\\'d\\\\e.pem"
    )


def test_the_probe_verifies_as_well(encrypted: Tunnel, tmp_path: Path, password: Path) -> None:
    words = ["--username", "viewer", "--password-file", str(password)]
    command = [
        sys.executable,
        "-m",
        "edge_infer",
        "cameras",
        "--probe",
        f"rtsps://127.0.0.1:{encrypted.port}/cam",
        *words,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "name its file in `tls: {ca_file: FILE}`" in done.stderr
    assert not encrypted.heard
    odd = tmp_path / "my certs; and | more"
    odd.mkdir()
    (odd / "camera.pem").write_bytes((tmp_path / "camera.pem").read_bytes())
    command += ["--ca-file", str(odd / "camera.pem")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["sources"]["camera"]["tls"] == {"ca_file": str(odd / "camera.pem")}
