"""A broker and a publisher for the tests of this room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.publisher.room import Room


@pytest.fixture
def room() -> Iterator[Room]:
    with Room() as made:
        yield made
