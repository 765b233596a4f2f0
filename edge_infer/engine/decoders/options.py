"""Options of a decoder in the manifest: ``decoder: {kind: NAME, …}``."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence

from edge_infer.contract.codec import JsonValue
from edge_infer.engine.decoders import DECODERS, Decoder, Layout
from edge_infer.errors import ModelError


def make_decoder(kind: str, decoder: type[Decoder], layout: Layout) -> Decoder:
    """Return a decoder of the family ``kind``; raises `ModelError`, also for an unknown parameter.

    A decoder of this package that declares no ``parameters`` accepts none. A decoder of another package that declares
    none checks its options itself.
    """
    known = getattr(decoder, "parameters", () if kind in DECODERS else None)
    if known is not None:
        check_known(kind, layout.options, known)
    return decoder(layout)


def check_known(kind: str, options: Mapping[str, JsonValue], known: Sequence[str]) -> None:
    """Raise `ModelError` if a parameter is not among ``known``."""
    for name in options:
        if name not in known:
            right, close = ", ".join(known) or "none", difflib.get_close_matches(name, known, 1)
            meant = f'; did you mean "{close[0]}"?' if close else ""
            raise ModelError(
                f"the manifest's `decoder` has the unknown parameter {name!r}; known for {kind}: {right}{meant}",
                key="decoder",
            )


class Options:
    """Options of one decoder. Every method raises `ModelError`, which names the valid values, for an invalid option."""

    def __init__(self, layout: Layout) -> None:
        self._options = layout.options
        self._names = [output.name for output in layout.outputs]

    def get(self, name: str) -> JsonValue:
        """Return the raw value, None if it is absent."""
        return self._options.get(name)

    def choice(self, name: str, allowed: Sequence[str]) -> str | None:
        """Return an option that must be one of ``allowed``; None if it is absent."""
        said = self.get(name)
        if said is None or said in allowed:
            return None if said is None else str(said)
        raise wrong(name, said, " or ".join((", ".join(allowed[:-1]), allowed[-1])))

    def output(self, name: str) -> int | None:
        """Return the position of the output that the option names; None if it is absent."""
        said = self.get(name)
        if said is None:
            return None
        if said not in self._names:
            raise wrong(name, said, "one of " + ", ".join(self._names))
        return self._names.index(str(said))

    def number(self, name: str, low: float, high: float) -> float | None:
        """Return an option that must be a number from ``low`` to ``high``; None if it is absent."""
        said = self.get(name)
        return None if said is None else number(name, said, low, high)


def number(name: str, said: JsonValue, low: float, high: float) -> float:
    """Return ``said`` as a number from ``low`` to ``high``; raise `ModelError` otherwise."""
    if isinstance(said, bool) or not isinstance(said, (int, float)) or not math.isfinite(said):
        raise wrong(name, said, f"a number from {low:g} to {high:g}")
    if not low <= said <= high:
        raise wrong(name, said, f"a number from {low:g} to {high:g}")
    return float(said)


def wrong(name: str, said: JsonValue, right: str) -> ModelError:
    """Return the error for an invalid parameter."""
    return ModelError(f"the manifest's `decoder: {name}` is {said!r}; expected {right}", key="decoder")
