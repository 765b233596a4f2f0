"""Answers over the control socket that have no record elsewhere; the command line validates them."""

from __future__ import annotations

from collections.abc import Mapping

from edge_infer.contract.codec import Record, ShortText


class CheckAnswer(Record, frozen=True):
    """The outcome of a check; ``counts`` is null if there are problems."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    counts: Mapping[ShortText, int] | None


class LevelAnswer(Record, frozen=True):
    """The current log level, the usual one, and the seconds until the usual one returns (null: at the next start)."""

    level: ShortText
    usual: ShortText
    seconds: float | None
