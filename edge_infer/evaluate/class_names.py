"""Which class of the labels is which class of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Final

from edge_infer.errors import InputError

SHOWN: Final = 5


class ClassNames:
    """The classes of the data, and the model's class ids for each of them.

    Names are the same if they differ only in case, or in spaces, hyphens and underscores. ``renamed`` maps names of
    the data to names of the model.
    """

    def __init__(self, names: Sequence[str], labels: Sequence[str], renamed: Mapping[str, str]) -> None:
        places = {_plain(renamed.get(name, name)): place for place, name in enumerate(names)}
        exact = {renamed.get(name, name): place for place, name in enumerate(names)}
        self.names = tuple(names)
        self.of_model = tuple(exact.get(label, places.get(_plain(label), -1)) for label in labels)
        """For each class id of the model the place in ``names``, or -1."""
        self.known = frozenset(self.of_model) - {-1}
        """Places of the classes that the model knows."""

    @property
    def unknown(self) -> list[str]:
        """Names of the data that the model does not know."""
        return [name for place, name in enumerate(self.names) if place not in self.known]

    def place(self, class_id: int) -> int:
        """Return the place of a class of the model in the names of the data, or -1."""
        return self.of_model[class_id] if 0 <= class_id < len(self.of_model) else -1


def check_known(classes: ClassNames, labels: Sequence[str], where: str) -> None:
    """Raise `InputError` if the model knows no class of the data."""
    if classes.known:
        return
    theirs, ours = _few(classes.names), _few(labels)
    close = {name: found[0] for name in classes.names if (found := get_close_matches(name, labels, 1, 0.6))}
    hint = next((f"--rename {name}={label}" for name, label in close.items()), "--rename THEIRS=OURS")
    raise InputError(
        f"{where}: the model knows none of its classes; it has {theirs}, the model {ours}; map names with {hint}, or "
        "set the model's labels with --labels"
    )


def check_renamed(renamed: Mapping[str, str], names: Sequence[str]) -> None:
    """Raise `InputError` for a renamed class that the data do not have."""
    for name in renamed:
        if name not in names:
            raise InputError(f"--rename {name}={renamed[name]}: the labels have no class {name}, only {_few(names)}")


def repeated(names: Sequence[str]) -> list[str]:
    """Return the names that occur more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "") or "none"


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
