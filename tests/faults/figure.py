"""One line of a table of promises."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, what it counts, and what is promised: at most, or at least where ``least``."""

    name: str
    value: float
    promised: float
    least: bool = False
    note: str = ""

    @property
    def kept(self) -> bool:
        """Whether the promise held."""
        return self.value >= self.promised if self.least else self.value <= self.promised

    def __str__(self) -> str:
        """One line of the table."""
        sign = ">=" if self.least else "<="
        verdict = "" if self.kept else "   BROKEN"
        return f"{self.name:<62} {self.value:>12.3f}   {sign} {self.promised:<10g} {self.note}{verdict}"
