"""Names of the credentials by which systemd passes copies of secret files to the service."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Final

_DIGITS: Final = 8
_MAX_SHOWN_CHARACTERS: Final = 200
"""Leaves room for the digits: systemd accepts names of up to 255 characters."""
_ODD: Final = re.compile(r"[^A-Za-z0-9._-]")


def credential_name(path: str) -> str:
    """Return the name of a file's credential: its file name, and digits of a hash of its absolute path.

    The file name alone is not enough: with two ``camera.pass``, one host would get the password of the other.
    """
    shown = _ODD.sub("_", Path(path).name)[:_MAX_SHOWN_CHARACTERS]
    return f"{shown}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:_DIGITS]}"
