"""``cameras --probe``: an address that works, one that does not, and the section of the configuration for it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from edge_infer.config.compile.compile import compile_config
from edge_infer.snapshot.probe import Address, block
from edge_infer.snapshot.probe_main import rate_of as measured
from tests.readers.conftest import HttpCamera, RtspCamera, free_port, gstreamer, rtsp_camera

__all__ = ["gstreamer", "rtsp_camera"]


def probe(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_infer", "cameras", "--probe", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def is_valid(text: str, folder: Path) -> bool:
    """Whether the daemon takes the section as it is."""
    (folder / "config.yaml").write_text(text)
    return not compile_config(folder / "config.yaml").problems


def rate_of(line: str) -> float:
    found = re.search(r"([0-9.]+) pictures a second", line)
    assert found, line
    return float(found[1])


def test_pictures_that_a_server_has_kept_are_no_rate() -> None:
    burst = [number / 40 for number in range(38)]
    assert measured([*burst, *(1.0 + number / 12 for number in range(24))]) == 12.0
    assert measured([number / 12 for number in range(36)]) == 12.0
    assert measured([0.0, 1.0, 2.0]) == 1.0
    assert measured([0.0, 0.5]) is None


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_stream_that_works(rtsp_camera: RtspCamera, tmp_path: Path, transport: str) -> None:
    done = probe(rtsp_camera.url, "--transport", transport)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("it works: H.264, 320x240, ")
    assert rate_of(done.stderr) > 0
    assert yaml.safe_load(done.stdout) == {
        "sources": {"camera": {"kind": "rtsp", "url": rtsp_camera.url, "transport": transport}}
    }
    assert is_valid(done.stdout, tmp_path)


def test_a_password_is_needed_and_is_not_shown(gstreamer: None, tmp_path: Path) -> None:
    secret = tmp_path / "camera.pass"
    secret.write_text("s3cret-7")
    secret.chmod(0o600)
    with RtspCamera("viewer", "s3cret-7") as camera:
        done = probe(camera.url)
        assert (done.returncode, done.stdout) == (1, "")
        assert "401" in done.stderr
        assert "wrong or missing user name or password" in done.stderr
        done = probe(camera.url, "--username", "viewer", "--password-file", str(secret))
        assert done.returncode == 0, done.stderr
        source = yaml.safe_load(done.stdout)["sources"]["camera"]
        assert (source["username"], source["password_file"]) == ("viewer", str(secret))
        assert "s3cret-7" not in done.stdout + done.stderr


def test_motion_jpeg_and_single_pictures(tmp_path: Path) -> None:
    with HttpCamera() as camera:
        done = probe(camera.url)
        assert done.returncode == 0, done.stderr
        assert done.stderr.startswith("it works: Motion JPEG, 320x240, ")
        assert yaml.safe_load(done.stdout)["sources"]["camera"] == {"kind": "http", "url": camera.url}
        done = probe(camera.picture)
        assert done.stderr.startswith("it works: JPEG, 320x240, single pictures, first picture after ")
        assert yaml.safe_load(done.stdout)["sources"]["camera"]["snapshot"] == "10s"
        assert is_valid(done.stdout, tmp_path)
        assert probe(f"{camera.picture}.webp").stderr.startswith("it works: WebP, 64x48, single pictures")


def test_a_picture_that_is_sent_with_another_type(tmp_path: Path) -> None:
    with HttpCamera() as camera:
        assert probe(f"{camera.picture}.png").stderr.startswith("it works: PNG, 64x48, single pictures")
        done = probe(f"{camera.picture}.bin")
        assert done.stderr.startswith("it works: JPEG, 320x240, single pictures")
        assert yaml.safe_load(done.stdout)["sources"]["camera"]["snapshot"] == "10s"
        assert is_valid(done.stdout, tmp_path)
        done = probe(camera.url.replace("/stream", "/page"))
        assert (done.returncode, done.stdout) == (1, "")
        assert "sends text/html; expected a Motion JPEG stream" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ((f"rtsp://127.0.0.1:{free_port()}/cam",), 1, "nothing listens there"),
        (("rtsp://u:p@127.0.0.1/cam",), 2, "use --username and --password-file"),
        (("http://[::1/cam",), 2, "--probe: "),
        (("ftp://127.0.0.1/cam",), 2, "expected an address such as rtsp://HOST/PATH"),
        (("http://127.0.0.1/cam", "--transport", "udp"), 2, "--transport needs an rtsp: address"),
        (("rtsp://127.0.0.1/cam", "--ca-file", "camera.pem"), 2, "--ca-file needs an rtsps: address"),
        (("http://127.0.0.1/cam", "--grab", "door"), 2, "--grab, -o and --grid need a configured source"),
    ],
)
def test_what_does_not_work_is_told(words: tuple[str, ...], code: int, text: str) -> None:
    done = probe(*words)
    assert (done.returncode, done.stdout) == (code, "")
    assert text in done.stderr


def test_options_belong_to_the_probe() -> None:
    command = [sys.executable, "-m", "edge_infer", "cameras", "--username", "viewer"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, "need --probe URL" in done.stderr) == (2, True)


@pytest.mark.parametrize("url", ["http://h/a?b=c&d=e", "http://h/a#b", "http://h/{password}", "http://[::1]:80/x: y"])
def test_the_section_reads_back_as_the_address(url: str) -> None:
    written = block(Address(url, "a: b", "/x/#1"), snapshot=False)
    assert yaml.safe_load(written)["sources"]["camera"] == {
        "kind": "http",
        "url": url,
        "username": "a: b",
        "password_file": "/x/#1",
    }
