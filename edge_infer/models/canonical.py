"""The one spelling of a manifest that signatures are made over."""

from __future__ import annotations

import json
from typing import Any

from edge_infer.config.fields import written_as_is


def canonical(value: Any) -> bytes:
    """JSON in UTF-8 of what a manifest says: keys sorted by code points, no spaces, only what JSON must escape escaped.

    Comments, order and layout of the YAML do not matter. Numbers are as Python's ``json`` writes them (``1.0`` stays
    ``1.0``); those that are not finite are spelled ``NaN`` and ``Infinity``.
    """
    plain = written_as_is(value)
    return json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
