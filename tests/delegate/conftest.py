"""The library, compiled once."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The delegate of ``delegate.c``; it takes ADD, or with the option ``ops: fc`` FULLY_CONNECTED."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no gcc to compile the delegate with; apt install gcc libc6-dev")
    out = tmp_path_factory.mktemp("delegate") / "libofthetests.so"
    source = Path(__file__).with_name("delegate.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(out), str(source), "-lm"], check=True)
    return out
