"""The plugin of ``scripts/test --quick`` finds the tests that start a process."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.broker import Broker
from tests.quick import STARTERS, _starts
from tests.sandbox.locked import run


def by_name() -> None:
    subprocess.run(["true"], check=True)


def by_a_helper() -> str:
    return run("", "")


def by_a_class_of_the_tests() -> object:
    return Broker


def through_another_function() -> None:
    by_name()


def within_a_function() -> object:
    def inner() -> None:
        by_name()

    return inner


def without() -> str:
    return sys.executable + os.sep


@pytest.mark.parametrize(
    "function", [by_name, by_a_helper, by_a_class_of_the_tests, through_another_function, within_a_function]
)
def test_a_function_that_starts_a_process_is_found(function: object) -> None:
    assert _starts(function, {})


def test_another_one_is_not() -> None:
    assert not _starts(without, {})


@pytest.mark.parametrize("name", STARTERS)
def test_a_module_that_starts_processes_exists(name: str) -> None:
    """A module that was renamed would no longer be recognised."""
    assert importlib.util.find_spec(name) is not None
