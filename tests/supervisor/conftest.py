"""A broker and a subscriber for the daemon of a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.broker import Broker, Subscriber


@pytest.fixture
def subscriber(broker: Broker) -> Iterator[Subscriber]:
    with Subscriber(broker.port) as listening:
        yield listening
