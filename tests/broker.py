"""A real broker for tests: mosquitto on a free port of the loopback, with a configuration of the test's own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

DEADLINE = 15.0
PATIENCE = 40.0
"""Seconds for what a busy machine does at some time; a test that fails takes that long."""
UNLIMITED = ("max_inflight_messages 0", "max_queued_messages 0")
"""A broker drops nothing that a subscriber is too slow for."""
MOSQUITTO = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(condition: Callable[[], Any], what: str | Callable[[], str], deadline: float = PATIENCE) -> Any:
    """Waits until ``condition`` gives something true and returns it; fails after ``deadline`` seconds."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    pytest.fail(f"within {deadline:g} s there was no {what if isinstance(what, str) else what()}")


class Broker:
    """``lines`` go into mosquitto's configuration after the listener; files it names lie in ``folder``."""

    def __init__(self, folder: Path, *lines: str, port: int = 0) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.log = folder / "mosquitto.log"
        self._lines = lines
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts it and waits until it listens."""
        if MOSQUITTO is None:
            pytest.skip("mosquitto is not installed")
        auth = [] if any(line.startswith("password_file") for line in self._lines) else ["allow_anonymous true"]
        text = [f"listener {self.port} 127.0.0.1", *auth, *self._lines, "log_dest file " + str(self.log)]
        config = self.folder / "mosquitto.conf"
        config.write_text("\n".join([*text, "log_type all", "user root", ""]))
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        eventually(self._listens, "broker listening")

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends it; may be called twice."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(number)
        self._process.wait(DEADLINE)
        self._process = None

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text() if self.log.exists() else "mosquitto ended"
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@dataclass(frozen=True)
class Heard:
    """One message as a subscriber got it."""

    topic: str
    payload: bytes
    retain: bool
    properties: Any
    at: float
    """When, on the monotonic clock."""

    @property
    def value(self) -> Any:
        """The JSON value."""
        return json.loads(self.payload)


@dataclass
class Subscriber:
    """Hears everything; a client of its own beside the one under test."""

    port: int
    username: str | None = None
    password: str | None = None
    topic: str = "#"
    heard: list[Heard] = field(default_factory=list)

    def __enter__(self) -> Subscriber:
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._ready = False
        if self.username is not None:
            self._client.username_pw_set(self.username, self.password)
        self._client.on_connect = lambda client, *_: client.subscribe(self.topic, qos=1)
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._hear
        self._client.connect("127.0.0.1", self.port)
        self._client.loop_start()
        eventually(lambda: self._ready, "subscription")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _subscribed(self, *_: object) -> None:
        self._ready = True

    def _hear(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        now = time.monotonic()
        self.heard.append(Heard(message.topic, message.payload, message.retain, message.properties, now))

    def on(self, topic: str) -> list[Heard]:
        """What came on this topic."""
        return [heard for heard in list(self.heard) if heard.topic == topic]

    def first(self, count: int, topic: str) -> list[Heard]:
        """Everything on this topic once ``count`` messages have come: the broker acknowledges before it delivers."""
        eventually(lambda: len(self.on(topic)) >= count, f"{count} messages on {topic}")
        return self.on(topic)

    def last(self, topic: str) -> Heard | None:
        """The newest on this topic."""
        return next(iter(reversed(self.on(topic))), None)

    def wait(self, topic: str, fits: Callable[[Heard], bool] = lambda _: True, deadline: float = PATIENCE) -> Heard:
        """The first message on ``topic`` that fits, waiting for it."""
        found: Heard = eventually(
            lambda: next((heard for heard in self.on(topic) if fits(heard)), None), f"message on {topic}", deadline
        )
        return found


class Talker:
    """Says what a test wants said, and returns once the broker has it."""

    def __init__(self, port: int) -> None:
        self._port = port

    def __enter__(self) -> Talker:
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """With QoS 1."""
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(DEADLINE)


class Certificates:
    """An authority and what it signs, made by openssl."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._serial = 1000
        self.ca = self._authority("ca")

    def _openssl(self, *arguments: object) -> None:
        subprocess.run(["openssl", *map(str, arguments)], cwd=self.folder, check=True, capture_output=True)

    def _authority(self, name: str) -> Path:
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 30,
            "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem",
        )  # fmt: skip
        return self.folder / f"{name}.pem"

    def other_authority(self) -> Path:
        """An authority that signed nothing here."""
        return self._authority("other")

    def issue(
        self, name: str, host: str = "IP:127.0.0.1", start: str = "20200101000000Z", end: str = "20991231235959Z"
    ) -> tuple[Path, Path]:
        """A certificate for ``host``, valid between the two, and its key."""
        self._openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
            "-keyout", f"{name}.key", "-out", f"{name}.csr",
        )  # fmt: skip
        (self.folder / "index").write_text("")
        self._serial += 1
        (self.folder / "serial").write_text(f"{self._serial}\n")
        (self.folder / "ca.cnf").write_text(
            "[ca]\ndefault_ca=d\n[d]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n"
            f"unique_subject=no\n[p]\ncommonName=supplied\n[e]\nsubjectAltName={host}\n"
        )
        self._openssl(
            "ca", "-batch", "-config", "ca.cnf", "-extensions", "e", "-cert", "ca.pem", "-keyfile", "ca.key",
            "-startdate", start, "-enddate", end, "-in", f"{name}.csr", "-out", f"{name}.pem", "-notext",
        )  # fmt: skip
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"
