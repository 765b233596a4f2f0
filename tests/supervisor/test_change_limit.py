"""Requests in a row fill neither the log nor the card, and keep nobody else from a change."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_infer.errors import EdgeInferError
from edge_infer.supervisor.control.checks import Checks
from edge_infer.supervisor.control.log_level import LogLevel
from edge_infer.supervisor.control.peer import MAX_AT_ONCE, MAX_USERS, ChangeLimit, Peer
from edge_infer.supervisor.control.requests import ModelRequests, PauseRequests
from edge_infer.supervisor.control.server import Request
from edge_infer.supervisor.reload.reload import Reload
from tests.supervisor.test_schedule import scheduled


def asked(begin: Callable[[Request], None], body: Mapping[str, Any], files: tuple[int, ...] = ()) -> dict[str, Any]:
    told: list[bytes] = []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        begin(Request(ours, Peer(1, os.geteuid(), frozenset()), body, files, lambda _, data: told.append(data)))
    (answer,) = told
    found: dict[str, Any] = json.loads(answer)
    return found


@contextmanager
def root_level() -> Iterator[None]:
    before = logging.getLogger().level
    try:
        yield
    finally:
        logging.getLogger().setLevel(before)


def test_each_user_has_a_number_of_changes_that_comes_back() -> None:
    now = [0.0]
    limit = ChangeLimit(lambda: now[0])
    for _ in range(MAX_AT_ONCE):
        limit.count(1000)
    with pytest.raises(EdgeInferError, match=f"too many changes: after {MAX_AT_ONCE} in a row.*try again"):
        limit.count(1000)
    limit.count(0)
    now[0] += 1.0
    limit.count(1000)
    with pytest.raises(EdgeInferError):
        limit.count(1000)


def test_many_user_numbers_of_one_person_share_a_limit() -> None:
    now = [0.0]
    limit, made = ChangeLimit(lambda: now[0]), 0
    for uid in range(2000, 2000 + 10 * MAX_USERS):
        with suppress(EdgeInferError):
            for _ in range(MAX_AT_ONCE):
                limit.count(uid)
                made += 1
    assert made == (MAX_USERS + 1) * MAX_AT_ONCE
    assert len(limit._users._users) == MAX_USERS + 1
    limit.count(0)  # root's is its own, however many others there are
    now[0] += MAX_AT_ONCE
    limit.count(1000)
    assert len(limit._users._users) == 1, "who is quiet is forgotten"


def test_a_flood_of_log_levels_is_a_bounded_number_of_lines(caplog: pytest.LogCaptureFixture) -> None:
    sent: list[str] = []
    house: Any = SimpleNamespace(set_log_level=sent.append)
    now = [0.0]
    levels = LogLevel(house, "info", ChangeLimit(lambda: now[0]))
    with root_level():
        for number in range(1000):
            asked(levels.begin, {"level": ("error", "warning")[number % 2]})
        assert "too many changes" in asked(levels.begin, {"level": "debug"})["error"]
        assert len(sent) == MAX_AT_ONCE
        assert len([line for line in caplog.messages if line.startswith("the log level is")]) <= MAX_AT_ONCE
        now[0] += 10
        sent.clear()
        for _ in range(100):
            assert asked(levels.begin, {"level": "info", "seconds": 5})["level"] == "info"
    assert sent == ["info"], "what is set already is not set again"


@pytest.mark.parametrize(
    "body",
    [{"do": "pause", "pipeline": "door"}, {"do": "resume", "pipeline": "door"}, {"action": "retry", "name": "m"},
     {"action": "rollback", "name": "m"}],
)  # fmt: skip
def test_other_changes_count_together(body: Mapping[str, str]) -> None:
    done: list[str] = []

    def change(*_: object) -> str:
        done.append("")
        return "done"

    schedule = SimpleNamespace(pause=change, resume=change)
    swap: Any = SimpleNamespace(
        schedule=schedule, plan=scheduled(), roll_back=change, retry=change, record=SimpleNamespace(refused={})
    )
    limit = ChangeLimit(lambda: 0.0)
    pauses, models = PauseRequests(swap, limit), ModelRequests(swap, lambda: None, limit)
    begin = pauses.begin if "do" in body else models.begin
    for _ in range(MAX_AT_ONCE):
        assert asked(begin, body) == {"done": "done"}
    assert "too many changes" in asked(begin, body)["error"]
    assert "too many changes" in asked(models.begin, {"action": "retry", "name": "m"})["error"]
    assert len(done) == MAX_AT_ONCE


def test_reloads_of_a_user_count_and_those_of_root_do_not() -> None:
    """`systemctl reload` connects as root, and the page's process may use up the changes of root."""
    limit, read = ChangeLimit(lambda: 0.0), []
    house: Any = SimpleNamespace()
    reload = Reload(Path("/nowhere/config.yaml"), house, SimpleNamespace(), lambda: None, limit)  # type: ignore[arg-type]
    reload._read = lambda: read.append("")  # type: ignore[method-assign]
    told: list[bytes] = []
    for uid, most in ((1000, MAX_AT_ONCE), (1001, MAX_AT_ONCE), (0, 2 * MAX_AT_ONCE)):
        told.clear()
        before = len(read)
        for _ in range(2 * MAX_AT_ONCE):
            reload._waiting.clear()
            ours, theirs = socket.socketpair()
            with ours, theirs:
                peer = Peer(1, uid, frozenset())
                reload.begin(Request(ours, peer, {"do": "reload"}, (), lambda _, data: told.append(data)))
        assert len(read) - before == most, uid
        assert len(told) == 2 * MAX_AT_ONCE - most
        assert all(b"too many changes" in each for each in told)
    reload._waiting.clear()
    reload.close()


def test_a_draft_for_a_path_with_a_nul_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("models: {}\n")
    file = os.open(config, os.O_RDONLY)
    checks = Checks(config)
    body = {"config": str(config), "program": sys.prefix, "draft": "a\0b"}
    assert "a draft needs the path of its configuration file" in asked(checks.begin, body, (file,))["error"]
    assert checks.pids() == []
