"""What tests of all rooms share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of public test inputs (models, pictures, clips) that ``EDGE_INFER_ASSETS`` names."""
    folder = os.environ.get("EDGE_INFER_ASSETS")
    if not folder:
        pytest.skip("EDGE_INFER_ASSETS is not set: it names the folder of public test models and pictures")
    return Path(folder)


settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # timing is never a test
settings.load_profile("here")
