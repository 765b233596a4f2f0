"""The one spelling of a manifest that signatures are made over."""

from __future__ import annotations

import json
from typing import Any, Final

from edge_infer.config.words import Written

_AS_JSON: Final = {".inf": "Infinity", "-.inf": "-Infinity", ".nan": "NaN"}
"""How Python's ``json`` spells what YAML spells otherwise: signatures are made over that."""


def canonical(value: Any) -> bytes:
    """JSON in UTF-8 of what a manifest says: keys sorted by code points, no spaces, only what JSON must escape escaped.

    Comments, order and layout of the YAML do not matter. A number stands as the manifest writes it, because fields of
    text take it so: ``version: 1.1000`` is another version than ``1.1``. Where Python's ``json`` would write the same
    value otherwise (``1.1000``, ``007``, ``0x10``), the bytes are no JSON, and nothing else has the same bytes.
    """
    return _spelled(value).encode()


def _spelled(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{','.join(f'{_plain(key)}:{_spelled(value[key])}' for key in sorted(value))}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_spelled, value))}]"
    if isinstance(value, Written):
        return _AS_JSON.get(value.text, value.text)
    return _plain(value)


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
