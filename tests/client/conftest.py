"""A daemon and a broker that several tests listen to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.broker import Broker
from tests.running import Daemon, config


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Broker, Daemon]]:
    """A daemon that follows faces in the shipped clip, and its broker."""
    folder = tmp_path_factory.mktemp("house")
    with Broker(folder) as broker, Daemon(folder, everything(broker.port)) as daemon:
        daemon.wait_serving()
        yield broker, daemon


def everything(port: int) -> str:
    """A configuration under which every kind of message is published."""
    text = config(port).replace(f"port: {port}", f"port: {port}, discovery: homeassistant")
    return text.replace("fps: 10", "fps: 10, track: true")
