"""Mapping between the classes of the labels and the classes of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Final

from edge_infer.errors import InputError

SHOWN: Final = 5


class ClassNames:
    """The classes that are compared, and the names that count as each of them in the data and in the model.

    ``renamed`` maps names of the data to names of the model. Names count as equal if they differ only in case, or in
    spaces, hyphens and underscores. Such names stay separate only if the data and the model have exactly the same
    names. Several classes of the data, or of the model, can be one class. A class that the model does not know is its
    own class.
    """

    def __init__(self, names: Sequence[str], labels: Sequence[str], renamed: Mapping[str, str]) -> None:
        self.renamed = tuple(renamed.get(name, name) for name in names)
        """The names of the data in the model's words."""
        theirs, ours = _spellings(self.renamed), _spellings(labels)
        apart = {name for plain, alike in theirs.items() if alike == ours.get(plain) for name in alike}

        def same(name: str) -> str:
            return name if name in apart else _plain(name)

        known = {same(label) for label in labels}
        numbers: dict[str | int, int] = {}
        keys = [key if (key := same(name)) in known else place for place, name in enumerate(self.renamed)]
        self.of_data = tuple(numbers.setdefault(key, len(numbers)) for key in keys)
        """For each class of the data, the index of the compared class."""
        self.of_model = tuple(numbers.get(same(label), -1) for label in labels)
        """For each class id of the model, the index of the compared class, or -1."""
        self.known = frozenset(place for place, key in enumerate(keys) if key in known)
        """Indices of the data's names that the model also has."""
        self.unknown = [name for place, name in enumerate(names) if place not in self.known]
        """Names of the data that the model does not know."""
        self.names = self._names(names, labels)

    def _names(self, names: Sequence[str], labels: Sequence[str]) -> tuple[str, ...]:
        """Return a name for each class: the data's name, or the model's name for several classes of the data."""
        found = dict(zip(reversed(self.of_data), reversed(names), strict=True))
        several = {number for number, count in Counter(self.of_data).items() if count > 1}
        ours = zip(reversed(self.of_model), reversed(labels), strict=True)
        found |= {number: label for number, label in ours if number in several}
        return tuple(found[number] for number in range(len(found)))

    def number(self, class_id: int) -> int:
        """Return the class of a class id of the model, or -1."""
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


def _spellings(names: Iterable[str]) -> dict[str, set[str]]:
    """Return the names, keyed by their form without case, spaces, hyphens and underscores."""
    found: dict[str, set[str]] = {}
    for name in names:
        found.setdefault(_plain(name), set()).add(name)
    return found


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
