"""For commands of this folder that need the product: they go on with the Python of its virtual environment."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PYTHON: Final = ROOT / ".venv" / "bin" / "python"


def use_own_python() -> None:
    """Start the command again with that Python, which it sets up, unless this one has what the product needs.

    Call it before the imports of the product.
    """
    if find_spec("cv2") is None and Path(sys.executable) != PYTHON:
        subprocess.run(
            ["bash", "-c", 'set -eu; . "$0/scripts/lib/setup.sh"; install_product "$0" dev', ROOT], check=True
        )
        os.execv(PYTHON, [str(PYTHON), *sys.argv])
