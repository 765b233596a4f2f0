"""The delivery account of a process that ended while its disk was full, in a file beside the outbox.

The next process that opens the outbox moves the account into it (see `Database.amend`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Final

from edge_infer.contract.codec import Record, at_most, dumps, matching, replace
from edge_infer.contract.messages import Count
from edge_infer.ipc.messages import NumberedKind
from edge_infer.publisher.outbox.database import MAX_REASONS, MAX_SERIES, Batch, SeriesRow
from edge_infer.publisher.outbox.delivery_ledger import LEFT_OUT, UNKNOWN
from edge_infer.publisher.outbox.entry import MessageSeries

FILE: Final = "outbox.account"
_REASON: Final = matching("[a-z_]{1,32}", 32)


class SavedSeries(Record, frozen=True):
    """The account of one series. The outbox itself has the number of messages that wait."""

    pipeline: Annotated[str, at_most(64)]
    boot: Annotated[str, at_most(32)]
    kind: NumberedKind
    upto: Count
    closed: bool
    lost: Annotated[Mapping[Annotated[str, _REASON], Count], at_most(MAX_REASONS)]

    @property
    def row(self) -> SeriesRow:
        """The row for the outbox, without waiting messages."""
        return SeriesRow(
            MessageSeries(self.pipeline, self.boot, self.kind), self.upto, 0, 0, self.closed, {**self.lost}
        )


class SavedAccount(Record, frozen=True):
    """Changes of the outbox, without messages.

    ``at`` is the time of the last commit in the outbox, by the clock of the outbox. An outbox that has been written
    since has a later time, and the account is then out of date. ``gone`` are ranges of numbers of messages, as the
    outbox numbers them.
    """

    at: float
    series: Annotated[tuple[SavedSeries, ...], at_most(MAX_SERIES)]
    forgotten: Annotated[tuple[MessageSeries, ...], at_most(MAX_SERIES)]
    gone: tuple[tuple[Count, Count], ...]

    def followed_by(self, later: SavedAccount) -> SavedAccount:
        """Return both accounts as one; the later one is of a process that could not open the outbox."""
        series = {each.row.series: each for each in (*self.series, *later.series)}
        return replace(self, series=tuple(series.values()))

    def packed(self, most: int) -> bytes:
        """Return JSON of at most ``most`` bytes.

        What does not fit is left out: first removals, so that messages are sent again, then the oldest series. Without
        these, the total of the series that were merged into it has to stay as it is in the outbox.
        """
        account = self
        while len(data := dumps(account)) > most and (account.gone or account.series):
            if account.gone:
                account = replace(account, gone=account.gone[len(account.gone) // 2 + 1 :])
            else:
                newer = account.series[len(account.series) // 2 + 1 :]
                account = replace(account, forgotten=(), series=tuple(each for each in newer if each.pipeline))
        return data


def account_of(batch: Batch, at: float, base: int) -> SavedAccount:
    """Return the account in a batch; ``base`` is the difference between the numbers in the outbox and in the batch."""
    return SavedAccount(
        at,
        tuple(SavedSeries(*row.series, row.upto, row.closed, row.lost) for row in batch.series),
        batch.forgotten,
        tuple(_ranges(number + base for number in batch.gone)),
    )


def followed_by(row: SeriesRow, later: SeriesRow) -> SeriesRow:
    """Return the row of a file with the counts of a later process that did not know it (as `DeliveryLedger.restore`).

    That process counted what was lost before as ``unknown``, or left it out. The file itself has the number of waiting
    messages.
    """
    lost = Counter(later.lost)
    lost[UNKNOWN] = max(0, lost[UNKNOWN] - sum(row.lost.values()))
    lost[LEFT_OUT] = max(0, lost[LEFT_OUT] - row.upto)
    lost.update(row.lost)
    closed = row.closed or later.closed
    return SeriesRow(row.series, max(row.upto, later.upto), 0, 0, closed, {**+lost})


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and number <= found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found
