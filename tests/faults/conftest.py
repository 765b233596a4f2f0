"""Fixtures that the tests of other folders have already."""

from tests.readers.conftest import gstreamer  # noqa: F401
