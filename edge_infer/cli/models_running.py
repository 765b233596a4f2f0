"""What ``edge-infer models`` asks of the running daemon: ``history``, ``rollback``, ``retry``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any, Final

from edge_infer.codec import decode
from edge_infer.errors import EdgeInferError
from edge_infer.models.serving import Happened, What
from edge_infer.supervisor.control import ask, find_socket

ACTIONS: Final = ("history", "rollback", "retry")
WORDS: Final[dict[What, str]] = {
    "first": "first",
    "tried": "tried",
    "committed": "committed",
    "rejected": "rejected",
    "rolled_back": "rolled-back",
    "superseded": "superseded",
    "retry": "retried",
}


def run(args: argparse.Namespace) -> int:
    """0 when the daemon did it; raises `EdgeInferError` with its reason."""
    answer = _ask(args, {"do": "models", "action": args.action, "name": getattr(args, "name", None)})
    if args.action == "history":
        told = [decode(Happened, each) for each in answer["history"]]
        for line in _lines([each for each in told if args.name in (None, each.model)]):
            print("".join(letter if letter.isprintable() else " " for letter in line))
    else:
        print(answer["done"])
    return 0


def _ask(args: argparse.Namespace, request: dict[str, Any]) -> Any:
    answer = ask(find_socket(args.config), request, timeout=30.0)
    if "error" in answer:
        raise EdgeInferError(answer["error"])
    return answer


def _lines(history: list[Happened]) -> Iterator[str]:
    if not history:
        print("edge-infer: nothing has happened yet", file=sys.stderr)
    for each in history:
        why = f": {each.why}" if each.why else ""
        yield f"{each.ts}  {each.model}  {WORDS[each.what]:<11}  {each.title} {each.sha[:8]}  by {each.by}{why}"
