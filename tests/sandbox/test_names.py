"""Which hosts are found without Unix sockets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edge_infer.contract.codec import replace
from edge_infer.plan import source_kinds
from edge_infer.plan.credentials import DROP_IN
from edge_infer.plan.records import JsonValue, MqttPlan, Plan, SourcePlan
from edge_infer.plan.source_kinds import KINDS, SourceKind, access_of
from edge_infer.sandbox import needs, other_services
from edge_infer.sandbox.fence import Fence
from edge_infer.sandbox.name_look_up import need_unix, services_for
from edge_infer.sandbox.needs import engine_fence, publisher_fence, reader_fence
from edge_infer.sandbox.rules import families_of
from edge_infer.sandbox.system_paths import network
from tests.sandbox.locked import ATTEMPT, run

ROOT = Path(__file__).parents[2]
NOBODY = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
"""Root without capabilities obeys permissions."""
DEBIAN = "passwd: files\nhosts:          files dns\n"
RASPBERRY = "# made by hand\nhosts: files mdns4_minimal [NOTFOUND=return] dns # comment\n"
FEDORA = "hosts: files myhostname resolve [!UNAVAIL=return] dns\n"
AVAHI = "hosts: files mdns4 [NOTFOUND=return] dns\n"


@pytest.mark.parametrize(
    ("host", "config", "needed"),
    [
        *((host, FEDORA, False) for host in ("192.0.2.1", "::1", "fe80::1%eth0", "localhost", "LOCALHOST.", "")),
        *((host, DEBIAN, True) for host in ("broker.local", "Broker.LOCAL.")),
        *(("broker.lan", config, False) for config in (DEBIAN, RASPBERRY, "", "hosts:files dns")),
        *(("broker.lan", config, True) for config in (FEDORA, AVAHI)),
        ("broker", RASPBERRY, False),
        ("local", DEBIAN, False),
    ],
)
def test_names_need_them_where_a_service_is_asked(tmp_path: Path, host: str, config: str, needed: bool) -> None:
    path = tmp_path / "nsswitch.conf"
    path.write_text(config)
    assert need_unix(host, path) == needed


def test_without_a_file_the_c_library_asks_files_and_name_servers(tmp_path: Path) -> None:
    assert not need_unix("broker.lan", tmp_path / "nsswitch.conf")
    assert need_unix("broker.local", tmp_path / "nsswitch.conf")


STUB_SERVER = "# made by systemd-resolved\nnameserver 127.0.0.53\noptions edns0\n"
OTHER_SERVER = "nameserver 192.0.2.53\n"


@pytest.mark.parametrize(
    ("host", "config", "servers", "services"),
    [
        ("broker.local", RASPBERRY, OTHER_SERVER, (other_services.AVAHI,)),
        ("broker.lan", RASPBERRY, OTHER_SERVER, ()),
        ("broker.local", DEBIAN, OTHER_SERVER, ()),
        ("192.0.2.1", FEDORA, OTHER_SERVER, ()),
        *((host, FEDORA, OTHER_SERVER, (other_services.RESOLVED,)) for host in ("broker.lan", "broker.local")),
        *((host, FEDORA, STUB_SERVER, ()) for host in ("broker.lan", "broker.local")),
        ("broker.lan", "hosts: files resolve\n", STUB_SERVER, (other_services.RESOLVED,)),
    ],
)
def test_a_service_is_opened_only_for_names_that_no_name_server_knows(
    tmp_path: Path, host: str, config: str, servers: str, services: tuple[str, ...]
) -> None:
    for name, text in (("nsswitch.conf", config), ("resolv.conf", servers)):
        (tmp_path / name).write_text(text)
    assert services_for(host, tmp_path / "nsswitch.conf", tmp_path / "resolv.conf") == services


ASK = """
import sys
from edge_infer.sandbox.name_look_up import closed_look_up
print(closed_look_up("broker.local", lambda host: [sys.argv[1]]))
"""


@pytest.mark.parametrize("kind", ["folder", "socket"])
def test_a_closed_service_is_named_with_the_remedy_in_the_unit_alone(tmp_path: Path, kind: str) -> None:
    """The unit replaces what it closes by an empty folder or socket without permissions."""
    path = tmp_path / "service"
    with socket.socket(socket.AF_UNIX) as listener:
        if kind == "folder":
            path.mkdir()
        else:
            listener.bind(str(path))
        unit = {"STATE_DIRECTORY": "/var/lib/edge-infer", "INVOCATION_ID": "0" * 32}
        found = []
        for mode, environment in ((0, unit), (0o777, unit), (0, {})):
            path.chmod(mode)
            done = subprocess.run(
                [*NOBODY, sys.executable, "-c", ASK, str(path)], env={**os.environ, **environment}, cwd=ROOT,
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            found.append(done.stdout.strip())
    remedy = f"the unit closes: replace {DROP_IN} by the output of sudo edge-infer unit, then run sudo systemctl "
    assert found[0].startswith(f"the look-up of broker.local needs {path}, which {remedy}")
    assert found[1:] == ["", ""]


def test_a_microphone_writes_no_file() -> None:
    """Tried with PulseAudio 17, directly and through ALSA: it records."""
    fence = reader_fence(SourcePlan("mic", "audio", "", True, False, {"device": "default"}))
    assert fence.writes == ("/dev/snd",)
    assert f"/run/user/{os.geteuid()}/pulse" in fence.reads


@pytest.mark.parametrize(
    ("kind", "options", "use"),
    [
        ("rtsp", {"url": "rtsp://user:word@192.0.2.1:554/a"}, ""),
        ("rtsp", {"url": "rtsp://[2001:db8::1]/a"}, ""),
        ("http", {"url": "http://cam.local/a"}, "names"),
        ("mqtt", {"host": "127.0.0.1"}, ""),
        ("mqtt", {"host": "homeassistant.local"}, "names"),
    ],
)
def test_a_reader_of_the_network_has_them_for_names_alone(kind: str, options: dict[str, str], use: str) -> None:
    assert reader_fence(SourcePlan("cam", kind, "", True, True, options)).unix == use


@pytest.mark.parametrize(
    ("kind", "options", "use"),
    [
        ("v4l2", {"device": "/dev/video0"}, ""),
        ("serial", {"device": "/dev/ttyUSB0"}, ""),
        ("iio", {"device": "accel"}, ""),
        ("system", {}, ""),
        ("lines", {"file": "-"}, ""),
        ("audio", {"device": "default"}, "sound"),
        ("audio", {"file": "/srv/a.wav"}, ""),
        ("exec", {"command": ["true"]}, "programs"),
        ("picamera2", {}, "programs"),
        ("somebody-elses", {}, "programs"),
    ],
)
def test_another_reader_has_them_for_sound_and_for_what_is_not_ours(
    kind: str, options: dict[str, object], use: str
) -> None:
    assert reader_fence(SourcePlan("cam", kind, "", True, False, options)).unix == use


@pytest.mark.parametrize(
    ("host", "named", "use"),
    [
        *((host, False, "") for host in ("127.0.0.1", "::1", "localhost", "Localhost.")),
        *((host, True, "names") for host in ("homeassistant.local",)),
        *((host, True, "") for host in ("fe80::1%eth0",)),
    ],
)
def test_the_publisher_has_none_and_another_process_resolves_the_name_of_its_broker(
    tmp_path: Path, host: str, named: bool, use: str
) -> None:
    mqtt = MqttPlan(host, 1883, None, "me", None, "a/b", 1, "c")
    plan = Plan("0" * 64, "box", str(tmp_path), mqtt, (), ())
    fence = publisher_fence(plan)
    assert (fence.unix, fence.datagrams, fence.names, fence.ports) == ("", False, (host,) if named else (), (1883,))
    assert need_unix(host) == bool(use)
    merged = publisher_fence(replace(plan, merged=True))  # a thread of the supervisor resolves it itself
    assert (merged.unix, merged.datagrams, merged.names, merged.ports) == (use, named, (), None)


def test_a_publisher_without_them_does_not_cover_one_that_needs_them() -> None:
    """A broker that gets another name is another process."""
    fences = [
        publisher_fence(
            Plan("0" * 64, "box", "/nowhere", MqttPlan(host, 1883, None, "me", None, "a/b", 1, "c"), (), ())
        )
        for host in ("127.0.0.1", "homeassistant.local")
    ]
    assert [fences[0].covers(fences[1]), fences[1].covers(fences[0])] == [False, True]


@pytest.mark.parametrize(
    ("kind", "options", "datagrams"),
    [
        ("rtsp", {"url": "rtsp://192.0.2.1/a"}, False),
        ("rtsp", {"url": "rtsp://192.0.2.1/a", "transport": "udp"}, True),
        ("http", {"url": "http://cam.lan/a"}, True),
        ("mqtt", {"host": "localhost"}, False),
    ],
)
def test_a_reader_of_the_network_sends_datagrams_for_names_and_streams_alone(
    kind: str, options: dict[str, JsonValue], datagrams: bool
) -> None:
    assert reader_fence(SourcePlan("cam", kind, "", True, True, options)).datagrams == datagrams


def test_a_kind_that_declares_nothing_reaches_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    options: dict[str, JsonValue] = {"file": str(secret), "device": "/dev/null", "url": "http://192.0.2.1/"}
    plan = SourcePlan("new", "silent", "", live=True, network=True, options=options)
    for kind, reached in ((SourceKind("m:C"), False), (SourceKind("m:C", access="options"), True)):
        monkeypatch.setattr(source_kinds, "KINDS", {"silent": kind})
        monkeypatch.setattr(needs, "KINDS", {"silent": kind})
        assert (reader_fence(plan) != Fence(ports=())) is reached
        file = replace(plan, live=False)
        assert (
            bool(engine_fence(Plan("", "", "", MqttPlan("h", 1, None, None, None, "t", 1, "c"), (file,), ())).files)
            is reached
        )
        assert bool(families_of("reader", reader_fence(plan), network=True)) is reached


def test_every_kind_of_the_program_declares_what_it_reaches() -> None:
    assert {name for name, kind in KINDS.items() if kind.target and kind.access == "nothing"} == set()
    assert {name for name, kind in KINDS.items() if kind.access == "program"} == {"exec", "picamera2"}
    assert access_of("kind-of-another-package") == "program"


def test_what_lies_beside_the_list_of_name_servers_is_not_readable(tmp_path: Path) -> None:
    """Small systems have it in /tmp or /run, where another program writes it, and a link to it."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    (tmp_path / "secret").write_text("secret")
    link = tmp_path / "etc" / "resolv.conf"
    link.parent.mkdir()
    link.symlink_to("../resolv.conf")
    reads = network(link)
    opened = "".join(f"attempt(lambda: open({str(tmp_path / name)!r}))\n" for name in ("resolv.conf", "secret"))
    assert run("publisher", ATTEMPT + opened, fence=Fence(reads=reads)).split() == ["allowed", "EACCES"]
