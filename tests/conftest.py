"""What tests of all rooms share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.broker import Broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A real broker on a free port."""
    with Broker(tmp_path) as running:
        yield running


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of public test inputs (models, pictures, clips) that ``EDGE_INFER_ASSETS`` names."""
    folder = os.environ.get("EDGE_INFER_ASSETS")
    if not folder:
        pytest.skip("EDGE_INFER_ASSETS is not set: it names the folder of public test models and pictures")
    return Path(folder)


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A folder of somebody else's; while the test runs this process, even if it is root's, may not look into it."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        os.seteuid(mine)
        folder.chmod(0o700)


settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # timing is never a test
settings.load_profile("here")
