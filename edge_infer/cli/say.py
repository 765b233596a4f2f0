"""Lines for a terminal, of which any part may come from a camera, a model or a broker."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from edge_infer.logs import printable


def say(lines: Iterable[object], file: TextIO | None = None) -> None:
    """Prints each as one line, without what would steer the terminal or look like a further line."""
    for line in lines:
        print(printable(str(line)), file=file, flush=True)


def complain(error: object) -> None:
    """Prints an error, every line of it as one of an error: the further ones are indented.

    A model on trial words its own errors: no line of them may look like the outcome of the command.
    """
    first, *further = str(error).split("\n")
    say([f"edge-infer: {first}", *(f"edge-infer:   {line}" for line in further)], sys.stderr)


def as_json(value: Any, **options: Any) -> str:
    """JSON whose strings hold nothing that a terminal obeys; letters of all languages stay as they are."""
    text = json.dumps(value, ensure_ascii=False, **options)
    return "".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text)
