"""A pytest plugin: with ``--allowed-skips FILE``, a skip whose reason the file does not name fails the run.

A line of the file is ``part of the skip's text -- why that is all right``; empty lines and ``#`` lines do not count.
With ``EDGE_INFER_ASSETS`` set, a test that reads assets may not be skipped at all. Where the tests run in several
processes (pytest-xdist), each judges its own, and the first one hears of it when they end.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

REFUSED = 8
"""The exit code after such a skip, none of pytest's. ``scripts/test` repeats failed tests, but no skipped ones."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declares the option."""
    parser.addoption("--allowed-skips", type=Path, metavar="FILE", help="fail on any skip that FILE does not name")


def pytest_configure(config: pytest.Config) -> None:
    """Puts the gate up when it is asked for."""
    path: Path | None = config.getoption("--allowed-skips")
    if path is not None:
        config.pluginmanager.register(SkipGate(read_allowed(path)), "skip-gate")


def read_allowed(path: Path) -> list[str]:
    """The texts of the file; raises UsageError for a line without a reason."""
    allowed = []
    for line in filter(None, map(str.strip, path.read_text(encoding="utf-8").splitlines())):
        text, _, reason = (part.strip() for part in line.partition(" -- "))
        if line.startswith("#"):
            continue
        if not text or not reason:
            raise pytest.UsageError(f"{path}: {line!r} is not 'part of the skip -- why that is all right'")
        allowed.append(text)
    return allowed


class SkipGate:
    """Collects the skips that nobody allowed, and makes the run fail over them."""

    def __init__(self, allowed: list[str]) -> None:
        """``allowed``: parts of texts of skips."""
        self._allowed = allowed
        self._refused: dict[str, None] = {}
        """In order; a module that is skipped as a whole is so in every process."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Sees every test that was skipped, from within or by a mark."""
        report = yield
        if report.skipped and not hasattr(report, "wasxfail"):
            reads_assets = "assets" in getattr(item, "fixturenames", ())
            self._judge(item.nodeid, report, may_skip=not (reads_assets and os.environ.get("EDGE_INFER_ASSETS")))
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Sees every module that was skipped as a whole."""
        if report.skipped:
            self._judge(report.nodeid, report, may_skip=True)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Hears what another process refused."""
        self._refused.update(dict.fromkeys(getattr(node, "workeroutput", {}).get("refused-skips", ())))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Makes the run end with `REFUSED`; in one of several processes, tells the first one."""
        output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["refused-skips"] = list(self._refused)
        if self._refused and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            session.exitstatus = REFUSED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Says which, and what to do."""
        if self._refused:
            terminalreporter.section("skips that are not allowed: provide what they lack, or name them in the file")
            for line in self._refused:
                terminalreporter.write_line(line)

    def _judge(self, name: str, report: pytest.TestReport | pytest.CollectReport, *, may_skip: bool) -> None:
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not (may_skip and any(part in text for part in self._allowed)):
            self._refused[f"{name}: {text}"] = None
