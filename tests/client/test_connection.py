"""The connection of a client: refused, lost, made again; credentials, TLS, sessions; repetitions and gaps."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import MQTTMessage

from edge_infer.client import (
    Client,
    EventUpdate,
    ResultUpdate,
    Series,
    StateUpdate,
    StatusUpdate,
    UnreadableUpdate,
    Update,
)
from edge_infer.contract.codec import dumps, replace
from edge_infer.contract.messages import Event, State, timestamp
from edge_infer.errors import ConfigError, EdgeInferError
from tests.broker import DEADLINE, Broker, Certificates, Talker, free_port
from tests.publisher.samples import BOOT, TS, P, result
from tests.publisher.samples import state as sample
from tests.publisher.servers import Server

SECONDS = 60.0
"""The most that any of these may take; all end much earlier."""


@pytest.fixture
def talker(broker: Broker) -> Iterator[Talker]:
    with Talker(broker.port) as talker:
        yield talker


def until(updates: Iterator[Update], last: type[Update]) -> list[Update]:
    """Everything up to the first update of a kind."""
    found = []
    for update in updates:
        found.append(update)
        if isinstance(update, last):
            return found
    pytest.fail(f"no {last.__name__} among {found}")


def test_a_topic_that_is_no_text_is_an_unreadable_update() -> None:
    client = Client("127.0.0.1", 1)
    client._on_message(None, None, MQTTMessage(topic=b"edge-infer/\xff/status"))  # type: ignore[arg-type]
    assert client.poll(0) == [UnreadableUpdate("", "its topic is not UTF-8")]


def state(count: int) -> State:
    """A state of this moment."""
    return replace(sample(count), ts=timestamp(time.time()))


def say(talker: Talker, topic: str, record: object) -> None:
    talker.say(f"{P}/{topic}", dumps(record))


def test_numbers_that_are_left_out_on_purpose_are_no_gap(broker: Broker, talker: Talker) -> None:
    with Client("127.0.0.1", broker.port) as client:
        say(talker, "door/event", Event(1, TS, BOOT, 3, "appear"))
        say(talker, "door/event", Event(1, TS, BOOT, 133, "leave", skipped=128))
        first, second = list(until(client.updates(SECONDS), EventUpdate)) + until(client.updates(SECONDS), EventUpdate)
        assert isinstance(first, EventUpdate)
        assert isinstance(second, EventUpdate)
        assert (first.missing, second.missing) == (0, 1)
        assert client.gaps() == {Series("gate-3", "door", "event", BOOT): [(4, 4)]}


def test_repetitions_are_dropped_and_gaps_are_told(broker: Broker, talker: Talker) -> None:
    with Client("127.0.0.1", broker.port) as client:
        for seq in (7, 8, 8, 11, 9, 7):
            say(talker, "door/result", result(seq))
        say(talker, "door/event", Event(1, TS, BOOT, 1, "appear"))
        *results, event = until(client.updates(SECONDS), EventUpdate)
        found = [(update.result.seq, update.missing) for update in results if isinstance(update, ResultUpdate)]
        assert found == [(7, 0), (8, 0), (11, 2), (9, 0)]
        assert client.repetitions == 2
        assert client.gaps() == {Series("gate-3", "door", "result", BOOT): [(10, 10)]}
        assert isinstance(event, EventUpdate)
        assert event.event.type == "appear"


def test_what_is_none_of_ours_is_told_and_hurts_nobody(broker: Broker, talker: Talker) -> None:
    with Client("127.0.0.1", broker.port) as client:
        talker.say(f"{P}/door/result", b"\xff{")
        talker.say(f"{P}/door/heatmap", b"{}")
        talker.say(f"{P}/status", b"maybe")
        say(talker, "door/result", result(1))
        updates = until(client.updates(SECONDS), ResultUpdate)
        assert [update.topic.removeprefix(P) for update in updates if isinstance(update, UnreadableUpdate)] == [
            "/door/result",
            "/door/heatmap",
            "/status",
        ]


def test_a_broker_that_goes_and_comes_back(tmp_path: Path) -> None:
    """With the power, say, and so with the device: what it has on its disk is what was so before."""
    lines = ("persistence true", f"persistence_location {tmp_path}/", "autosave_on_changes true", "autosave_interval 1")
    with Broker(tmp_path, *lines) as broker:
        with Talker(broker.port) as talker:
            talker.say(f"{P}/status", b"online", retain=True)
            talker.say(f"{P}/door/state", dumps(state(1)), retain=True)
        with Client("127.0.0.1", broker.port) as client, Talker(broker.port) as talker:
            updates = client.updates(SECONDS)
            kept = until(updates, StateUpdate)[-1]
            assert isinstance(kept, StateUpdate)
            assert (kept.standing.present("face"), kept.standing.why_not) == (None, "unconfirmed")
            say(talker, "door/result", replace(result(1), ts=timestamp(time.time())))
            known = next(update for update in updates if isinstance(update, StateUpdate) and update.standing.state)
            assert known.standing.present("face") is True
            broker.stop()
            lost = until(updates, StateUpdate)[-1]
            assert isinstance(lost, StateUpdate)
            assert (lost.standing.present("face"), lost.standing.why_not) == (None, "disconnected")
            broker.start()
            online = until(updates, StatusUpdate)[-1]
            assert isinstance(online, StatusUpdate)
            assert (online.online, online.retained) == (True, True), "from the disk of the broker"
            for update in updates:
                assert client.standing("gate-3", "door").present("face") is None
                if isinstance(update, StateUpdate) and update.standing.why_not == "unconfirmed":
                    break
            with Talker(broker.port) as back:
                back.say(f"{P}/status", b"online", retain=True)
                live = until(updates, StatusUpdate)[-1]
                assert isinstance(live, StatusUpdate)
                assert not live.retained
                assert client.standing("gate-3", "door").present("face") is None
                back.say(f"{P}/door/state", dumps(state(0)), retain=True)
                known = next(update for update in updates if isinstance(update, StateUpdate) and update.standing.state)
                assert known.standing.present("face") is False


def test_states_of_an_absence_do_not_flicker_by(broker: Broker, talker: Talker) -> None:
    """What a session kept is given out as if it came now: seven states within a moment, of which none holds."""
    talker.say(f"{P}/status", b"online", retain=True)
    talker.say(f"{P}/door/state", dumps(state(0)), retain=True)
    with Client("127.0.0.1", broker.port, client_id="lamp", keep_session=True) as client:
        until(client.updates(SECONDS), StateUpdate)
    for number in range(7):
        old = replace(sample(number % 2), ts=timestamp(time.time() - 60 + number))
        talker.say(f"{P}/door/state", dumps(old), retain=True)
    talker.say(f"{P}/door/state", dumps(state(5)), retain=True)
    with Client("127.0.0.1", broker.port, client_id="lamp", keep_session=True) as client:
        updates = client.updates(SECONDS)
        say(talker, "door/result", replace(result(1), ts=timestamp(time.time())))
        said = []
        for update in updates:
            if isinstance(update, StateUpdate):
                said.append(update.standing.counts)
            if said and said[-1] is not None and isinstance(update, ResultUpdate):
                break
    assert {counts["face"] for counts in said if counts is not None} == {5}


def test_a_session_keeps_what_comes_while_we_are_away(broker: Broker, talker: Talker) -> None:
    port = broker.port
    with Client("127.0.0.1", port, client_id="collector", keep_session=True) as client:
        say(talker, "door/result", result(1))
        until(client.updates(SECONDS), ResultUpdate)
    for seq in range(2, 12):
        say(talker, "door/result", result(seq))
    with Client("127.0.0.1", port, client_id="collector", keep_session=True) as client:
        results = client.results(SECONDS)
        assert [next(results).result.seq for _ in range(10)] == list(range(2, 12))
    with pytest.raises(ConfigError, match="client_id"):
        Client(keep_session=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"port": "18861"}, r"^port='18861' is not allowed; expected a whole number from 1 to 65535$"),
        ({"host": ""}, r"^host='' is not allowed; expected the name or address of the broker$"),
        ({"host": 5}, r"^host=5 is not allowed"),
        ({"device": None}, "^device=None is not allowed; expected a str$"),
        ({"prefix": None}, "^prefix=None is not allowed; expected a str$"),
        ({"prefix": "x/"}, r"^prefix='x/' is not allowed; expected topic levels without \+ and #$"),
        ({"username": 5}, "^username=5 is not allowed; expected a str$"),
        ({"client_id": 7}, "^client_id=7 is not allowed; expected a str$"),
        ({"client_id": "x" * 70_000}, "^client_id has more than 65535 bytes$"),
        ({"device": "a/b"}, r"^device='a/b' is not allowed; expected the id of one device, or \+ for all$"),
        ({"device": "a b"}, r"^device='a b' is not allowed; "),
        ({"device": "#"}, r"^device='#' is not allowed"),
        ({"device": ""}, r"^device='' is not allowed"),
        ({"prefix": "#"}, r"^prefix='#' is not allowed; expected topic levels without \+ and #$"),
        ({"prefix": ""}, r"^prefix='' is not allowed"),
        ({"port": 0}, r"^port=0 is not allowed"),
        ({"port": True}, r"^port=True is not allowed"),
        ({"port": 70000}, r"^port=70000 is not allowed"),
        ({"password_file": "secret"}, r"^password_file needs a username, the user that this password belongs to$"),
        ({"key_file": "own.key"}, r"^key_file needs a cert_file, the certificate that this key belongs to$"),
    ],
)
def test_a_wrong_argument_is_told(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Client(**arguments)


def test_it_ends_by_itself_and_when_closed(broker: Broker, talker: Talker) -> None:
    with Client("127.0.0.1", broker.port) as client:
        assert list(client.updates(0.3)) == []
        say(talker, "door/result", result(1))
        for _ in client.updates():
            client.close()
        client.close()
    assert list(client.updates()) == []


def test_nobody_there() -> None:
    with pytest.raises(EdgeInferError, match=r"nothing listens on .*host and port") as caught:
        Client("127.0.0.1", free_port()).__enter__()
    assert "mqtt." not in str(caught.value), "a caller of the client has no such keys"


def test_a_broker_that_stays_away_is_warned_of_once_a_minute(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    with Client("127.0.0.1", broker.port) as client:
        broker.stop()
        for _ in client.updates(4.0):
            pass
        with pytest.raises(EdgeInferError, match="nothing listens"):
            client._connect()
    warned = [message for message in caplog.messages if "nothing listens" in message]
    assert len(warned) == 1


@pytest.mark.filterwarnings(
    "ignore:.*ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)  # paho's, at a bad handshake
def test_tls_user_and_password(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    certificate, key = certificates.issue("good")
    subprocess.run(["mosquitto_passwd", "-b", "-c", tmp_path / "users", "reader", "s3cret"], check=True)
    (tmp_path / "right").write_text("s3cret\n")
    (tmp_path / "wrong").write_text("guess\n")
    lines = (f"certfile {certificate}", f"keyfile {key}", f"password_file {tmp_path / 'users'}")
    ca = str(certificates.ca)
    with Broker(tmp_path, *lines) as broker:
        right = Client(
            "127.0.0.1", broker.port, ca_file=ca, username="reader", password_file=str(tmp_path / "right")
        )  # fmt: skip
        with right as client, Client("127.0.0.1", broker.port, ca_file=ca, username="reader",
                                     password_file=str(tmp_path / "right"), client_id="other") as other:  # fmt: skip
            assert other._paho is not None
            other._paho.publish(f"{P}/status", b"online")
            assert isinstance(until(client.updates(SECONDS), StatusUpdate)[0], StatusUpdate)
        wrong = Client("127.0.0.1", broker.port, ca_file=ca, username="reader", password_file=str(tmp_path / "wrong"))
        with pytest.raises(EdgeInferError, match="refuses the connection"), wrong:
            pass
        stranger = str(certificates.other_authority())
        with pytest.raises(EdgeInferError, match="authority"), Client("127.0.0.1", broker.port, ca_file=stranger):
            pass
        with (
            pytest.raises(EdgeInferError, match="cannot be read"),
            Client("127.0.0.1", broker.port, ca_file=ca, username="reader", password_file=str(tmp_path / "none")),
        ):
            pass


def test_a_broker_that_does_not_let_us_read() -> None:
    def serve(connection: socket.socket, server: Server) -> None:
        connection.recv(1024)
        connection.sendall(b"\x20\x02\x00\x00")  # welcome
        subscribe = connection.recv(1024)
        connection.sendall(b"\x90\x03" + subscribe[2:4] + b"\x80")  # no
        server.stopping.wait(DEADLINE)

    with (
        Server(serve) as server,
        pytest.raises(EdgeInferError, match=r"denies .* subscription to edge-infer/gate-3/#"),
        Client("127.0.0.1", server.port, device="gate-3"),
    ):
        pass
