"""Canonical bytes of a manifest, over which signatures are made."""

from __future__ import annotations

import json
from typing import Any, Final

from edge_infer.config.words import Written

_AS_JSON: Final = {".inf": "Infinity", "-.inf": "-Infinity", ".nan": "NaN"}
"""Spelling in Python's ``json`` of values that YAML spells differently; signatures cover the JSON spelling."""


def canonical(value: Any) -> bytes:
    """Return a manifest's content as UTF-8 JSON: keys sorted by code point, no spaces, minimal escapes.

    Comments, order and layout of the YAML do not matter. A number keeps the spelling of the manifest, because text
    fields use that spelling: ``version: 1.1000`` is another version than ``1.1``. Where Python's ``json`` would spell
    the value differently (``1.1000``, ``007``, ``0x10``), the bytes are not valid JSON, and no other content has the
    same bytes.
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
