"""A pytest plugin: it leaves out tests that start a process or are long, for the loop while editing.

``scripts/test --quick`` uses it.

A test starts a process if it, a fixture of it or a helper among the tests names something that does. A test that
still tries to start one fails: its way to do so belongs to `STARTERS`.
"""

from __future__ import annotations

import inspect
import os
import subprocess
from collections.abc import Iterator
from types import CodeType, ModuleType
from typing import Any, Final, NoReturn

import pytest

STARTERS: Final = (
    *("subprocess", "multiprocessing", "tests.broker", "tests.running", "tests.swapping", "tests.sandbox.locked"),
    *(
        "tests.page.chrome",
        "tests.page.tunnel",
        "tests.attacker",
        "edge_infer.doctor.walls",
        "edge_infer.cli.as_service",
    ),
    *(
        "edge_infer.models.trials.child",
        "edge_infer.models.trials.probe",
        "edge_infer.models.trials.trial",
        "edge_infer.cli",
    ),
    *(
        "edge_infer.supervisor.processes.helper_process",
        "edge_infer.supervisor.processes.process_handle",
        "edge_infer.supervisor.processes.child",
    ),
    *(
        "edge_infer.supervisor.reload.compilation",
        "edge_infer.supervisor.rollout.fast_path",
        "edge_infer.config.compile.compile",
    ),
    *(
        "edge_infer.config.compile.hardware",
        "edge_infer.api",
        "edge_infer.snapshot.request",
        "edge_infer.models.packages.library",
    ),
    *("tests.readers.rig", "edge_infer.readers.sources.exec", "edge_infer.doctor.runtime"),
    "edge_infer.platform.bounded_run",
)
"""Modules that start processes."""
FOLDERS: Final = ("tests/bench/", "tests/faults/", "tests/deploy/")
"""Folders of tests that start programs."""
_PLACES: Final = ("os.fork", "os.posix_spawn", "os.posix_spawnp", "subprocess.Popen.__init__")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that start a process; from now on, every start of one fails its test."""
    seen: dict[Any, bool] = {}
    left_out = {
        item
        for item in items
        if item.nodeid.startswith(FOLDERS)
        or item.get_closest_marker("long")
        or any(_starts(each, seen) for each in _functions(item))
    }
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = [item for item in items if item not in left_out]
    for place in _PLACES:
        owner, _, name = place.rpartition(".")
        setattr({"os": os, "subprocess.Popen": subprocess.Popen}[owner], name, _refuse)


def _functions(item: pytest.Item) -> Iterator[Any]:
    """Yield the test and its fixtures."""
    yield getattr(item, "function", None)
    for fixtures in getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {}).values():
        yield from (fixture.func for fixture in fixtures)


def _starts(thing: Any, seen: dict[Any, bool]) -> bool:
    """Return whether a function or class of the tests names something that starts a process."""
    thing = inspect.unwrap(thing) if callable(thing) else thing
    if isinstance(thing, ModuleType):
        return thing.__name__ in STARTERS
    where = getattr(thing, "__module__", None) or ""
    if where in STARTERS:
        return True
    if not where.startswith("tests") or not (inspect.isfunction(thing) or inspect.isclass(thing)):
        return False
    if thing not in seen:
        seen[thing] = False  # in case it names itself
        parts = (
            [each for each in vars(thing).values() if inspect.isfunction(each)] if inspect.isclass(thing) else [thing]
        )
        seen[thing] = any(
            _starts(each.__globals__[name], seen)
            for each in parts
            for name in _names(each.__code__)
            if name in each.__globals__
        )
    return seen[thing]


def _names(code: CodeType) -> Iterator[str]:
    """Yield the names that a function uses, with those of the functions in it."""
    yield from code.co_names
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _names(each)


def _refuse(*_args: Any, **_options: Any) -> NoReturn:
    pytest.fail("this test starts a process; name its way to do so among the STARTERS of tests/quick.py")
