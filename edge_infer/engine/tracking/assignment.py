"""Assignment problem: find the pairs of two lists with the lowest total cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

LARGEST: Final = 48
"""Maximum number of rows of a component that is solved exactly. Larger components, which no scene has, get the cheapest
pairs first."""

Pairs = list[tuple[int, int]]


def assign(cost: NDArray[np.float64]) -> Pairs:
    """Return the rows and columns of the pairs with the lowest total cost; a cost of 0 or more never forms a pair.

    Most rows and columns can only be paired with each other. The other rows and columns split into connected
    components. The Hungarian method (Kuhn 1955) solves each component by shortest paths (Jonker and Volgenant 1987).
    """
    rows, columns = np.nonzero(cost < 0.0)
    by_row: dict[int, list[int]] = {}
    by_column: dict[int, list[int]] = {}
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        by_row.setdefault(row, []).append(column)
        by_column.setdefault(column, []).append(row)
    pairs: Pairs = []
    while by_row:
        row, only = next(iter(by_row.items()))
        if len(only) == 1 == len(by_column[only[0]]):
            del by_row[row]
            pairs.append((row, only[0]))
            continue
        some_rows, some_columns = _knot(row, by_row, by_column)
        for row in some_rows:
            del by_row[row]
        if len(some_rows) == 1:
            pairs.append((row, min(some_columns, key=lambda column: float(cost[row, column]))))
            continue
        part = cost[np.ix_(some_rows, some_columns)]
        solved = _exact(part.tolist()) if len(some_rows) <= LARGEST else _greedy(part)
        pairs += [(some_rows[row], some_columns[column]) for row, column in solved]
    return pairs


def _knot(start: int, by_row: dict[int, list[int]], by_column: dict[int, list[int]]) -> tuple[list[int], list[int]]:
    """Return all rows and columns that are connected to a row, directly or indirectly."""
    rows, columns, open_rows = {start}, set[int](), [start]
    while open_rows:
        for column in by_row[open_rows.pop()]:
            if column not in columns:
                columns.add(column)
                new = set(by_column[column]) - rows
                rows |= new
                open_rows += new
    return sorted(rows), sorted(columns)


def _greedy(cost: NDArray[np.float64]) -> Pairs:
    pairs: Pairs = []
    left = np.where(cost < 0.0, cost, math.inf)
    for _ in range(min(cost.shape)):
        row, column = divmod(int(left.argmin()), cost.shape[1])
        if not left[row, column] < 0.0:
            break
        pairs.append((row, column))
        left[row, :] = left[:, column] = math.inf
    return pairs


def _exact(cost: Sequence[Sequence[float]]) -> Pairs:
    """Solve a component exactly. A row may also stay unassigned at no cost, as if it had a column of its own."""
    count, real = len(cost), len(cost[0])
    table = [[min(value, 0.0) for value in row] + [0.0] * count for row in cost]
    width = real + count
    row_price, column_price = [0.0] * (count + 1), [0.0] * (width + 1)
    owner = [0] * (width + 1)  # the row assigned to each column; both are counted from 1
    for row in range(1, count + 1):
        owner[0] = row
        least, way, used = [math.inf] * (width + 1), [0] * (width + 1), [False] * (width + 1)
        column = 0
        while owner[column]:
            used[column] = True
            prices, here = table[owner[column] - 1], row_price[owner[column]]
            step, following = math.inf, 0
            for other in range(1, width + 1):
                if used[other]:
                    continue
                price = prices[other - 1] - here - column_price[other]
                if price < least[other]:
                    least[other], way[other] = price, column
                if least[other] < step:
                    step, following = least[other], other
            for other in range(width + 1):
                if used[other]:
                    row_price[owner[other]] += step
                    column_price[other] -= step
                else:
                    least[other] -= step
            column = following
        while column:
            owner[column], column = owner[way[column]], way[column]
    return [(owner[c] - 1, c - 1) for c in range(1, real + 1) if owner[c] and cost[owner[c] - 1][c - 1] < 0.0]
