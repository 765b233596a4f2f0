"""TLS: what is right connects, and each thing that can be wrong with a certificate is told with its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_infer.plan.records import TlsPlan
from tests.broker import Broker, Certificates
from tests.publisher.room import Room
from tests.publisher.samples import mqtt_plan, plan, result


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def tls_lines(certificate: Path, key: Path, *more: str) -> tuple[str, ...]:
    return (f"certfile {certificate}", f"keyfile {key}", *more)


def test_a_good_certificate(certificates: Certificates, tmp_path: Path, room: Room) -> None:
    with Broker(tmp_path, *tls_lines(*certificates.issue("good"))) as broker:
        room.start(plan(mqtt_plan(broker.port, tls=TlsPlan(str(certificates.ca)))))
        room.wait_connected()
        for seq in range(1, 101):
            room.hand_over(result(seq))
        room.wait_acked(100)
        assert room.stop() == 0


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (("expired", "IP:127.0.0.1", "20200101000000Z", "20210101000000Z"), "has expired"),
        (("early", "IP:127.0.0.1", "20900101000000Z", "20991231235959Z"), "is not valid yet"),
        (("elsewhere", "IP:10.1.2.3"), "is not for the address 127.0.0.1"),
        (("named", "DNS:broker.lan"), "is not for"),
    ],
    ids=["expired", "not yet valid", "another address", "a name"],
)
def test_a_bad_certificate(
    certificates: Certificates, tmp_path: Path, room: Room, asked: tuple[str, ...], sentence: str
) -> None:
    with Broker(tmp_path, *tls_lines(*certificates.issue(*asked))) as broker:
        room.start(plan(mqtt_plan(broker.port, tls=TlsPlan(str(certificates.ca)))))
        room.wait_told(sentence)
        assert not any(text.startswith("connected to") for text in room.sentences)
        assert room.stop() == 0


def test_an_unknown_authority(certificates: Certificates, tmp_path: Path, room: Room) -> None:
    with Broker(tmp_path, *tls_lines(*certificates.issue("stranger"))) as broker:
        room.start(plan(mqtt_plan(broker.port, tls=TlsPlan(str(certificates.other_authority())))))
        assert "mqtt.tls.ca_file" in room.wait_told("unknown")


def test_a_client_certificate_that_is_wanted(certificates: Certificates, tmp_path: Path, room: Room) -> None:
    more = (f"cafile {certificates.ca}", "require_certificate true")
    certificate, key = certificates.issue("device")
    with Broker(tmp_path, *tls_lines(*certificates.issue("server"), *more)) as broker:
        room.start(plan(mqtt_plan(broker.port, tls=TlsPlan(str(certificates.ca)))))
        room.wait_told("mqtt.tls.cert_file")
        assert room.stop() == 0
        room.start(plan(mqtt_plan(broker.port, tls=TlsPlan(str(certificates.ca), str(certificate), str(key)))))
        room.wait_connected()


def test_tls_to_a_port_without_it(certificates: Certificates, broker: Broker, room: Room) -> None:
    room.start(plan(mqtt_plan(broker.port, tls=TlsPlan(str(certificates.ca)))))
    room.wait_told("no TLS with")


def test_files_that_cannot_be_used(certificates: Certificates, tmp_path: Path, broker: Broker, room: Room) -> None:
    text = tmp_path / "text.pem"
    text.write_text("no certificate\n")
    room.start(plan(mqtt_plan(broker.port, tls=TlsPlan(str(tmp_path / "missing.pem")))))
    room.wait_told("missing.pem cannot be used: No such file")
    assert room.stop() == 0
    room.start(plan(mqtt_plan(broker.port, tls=TlsPlan(str(certificates.ca), str(text), str(text)))))
    room.wait_told("cert_file and key_file")
