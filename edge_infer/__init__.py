"""Run TFLite models on data from cameras and sensors at the edge and publish only compact results over MQTT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_infer.api import Model, load

__version__ = "0.1.0"
__all__ = ["Model", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import `load` and `Model` on first use: they load NumPy and more, which most daemon processes do not need."""
    if name not in ("Model", "load"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("edge_infer.api"), name)
