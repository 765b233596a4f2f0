"""A daemon and a broker that several tests listen to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.broker import Broker
from tests.running import Daemon, config


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Broker, Daemon]]:
    """A daemon that finds faces in the shipped clip, and its broker."""
    folder = tmp_path_factory.mktemp("house")
    with Broker(folder) as broker, Daemon(folder, config(broker.port)) as daemon:
        daemon.wait_serving()
        yield broker, daemon
