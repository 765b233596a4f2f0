"""A pytest plugin: it leaves out tests that start a process, for the loop while editing; ``scripts/test --quick``.

A test starts a process if it uses a fixture or a helper that does. The plugin deselects the modules whose imports tell;
a test that still tries to start one is skipped at that moment.
"""

from __future__ import annotations

import os
import subprocess
from typing import Any, Final, NoReturn

import pytest

STARTERS: Final = frozenset({"subprocess", "tests.broker", "tests.running", "tests.swapping"})
"""Modules that exist to start processes."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of modules that import a starter; from now on, every start of a process skips its test."""
    starters = {item: _starts(item) for item in items}
    if left_out := [item for item, starts in starters.items() if starts]:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item, starts in starters.items() if not starts]
    for module, name in ((os, "fork"), (os, "posix_spawn"), (os, "posix_spawnp"), (subprocess.Popen, "__init__")):
        setattr(module, name, _refuse)


def _starts(item: pytest.Item) -> bool:
    module = getattr(item, "module", None)
    names = vars(module).values() if module is not None else ()
    return any(getattr(each, "__module__", getattr(each, "__name__", "")) in STARTERS for each in names)


def _refuse(*_args: Any, **_options: Any) -> NoReturn:
    pytest.skip("starts a process")
