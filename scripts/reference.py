"""Writes the generated reference: docs/cli.md from the argument parsers, docs/payloads.md from the records, and the
tables of docs/configure.md from the sections of the configuration.

usage: python scripts/reference.py [--check]

With --check it writes nothing, names the pages that are out of date, and ends with 1 if there is one.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import configure_tables

from edge_infer.cli import COMMANDS
from edge_infer.contract.asyncapi import document
from edge_infer.contract.codec import schema
from edge_infer.contract.messages import PAYLOADS, Result
from edge_infer.contract.topics import RULES

ROOT: Final = Path(__file__).resolve().parents[1]
MADE: Final = "<!-- Made by scripts/reference.py; do not edit. -->"
DIGITS: Final = re.compile(r"\.0$")
_RESULT: Final[Any] = schema(Result)
TIMESTAMP: Final = str(_RESULT["properties"]["ts"]["pattern"])
MAX_NUMBER: Final = 2**53
"""The maximum of every counter, which the page does not show."""


def cli_page() -> str:
    """Return the page of all commands."""
    rows = [f"| [`{name}`](#edge-infer-{name}) | {_cell(purpose)} |" for name, purpose in COMMANDS.items()]
    exits = (
        "A command ends with 0 when it succeeded, with 1 when it failed, with 2 for wrong usage or a wrong\n"
        "configuration, and with 3 when it could not start or could not use a model. `edge-infer COMMAND -h` prints\n"
        "the help."
    )
    parts = ["# Commands", MADE, exits, "\n".join(["| command | purpose |", "|---|---|", *rows])]
    for name, purpose in COMMANDS.items():
        parser = argparse.ArgumentParser(prog=f"edge-infer {name}", description=purpose)
        import_module(f"edge_infer.cli.{name}").add(parser)
        parts += _command(parser, 2)
    return "\n\n".join(parts) + "\n"


def _command(parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    """Yield the parts of one command, then the parts of its actions."""
    yield f"{'#' * level} `{parser.prog}`"
    purpose = parser.description or ""
    yield f"{purpose[:1].upper()}{purpose[1:]}."
    deeper = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]  # noqa: SLF001
    rows = [_argument(parser, each) for each in parser._actions if _is_shown(each)]  # noqa: SLF001
    if rows:
        yield "\n".join(["| argument | meaning |", "|---|---|", *rows])
    if parser.epilog:
        yield _epilog(parser.epilog)
    for each in deeper:
        for child in each.choices.values():
            yield from _command(child, level + 1)


def _is_shown(action: argparse.Action) -> bool:
    hidden = action.help == argparse.SUPPRESS or isinstance(action, argparse._HelpAction)  # noqa: SLF001
    return not hidden and not isinstance(action, argparse._SubParsersAction)  # noqa: SLF001


def _argument(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Return the table row of an argument."""
    choices = None if action.choices is None else f"{{{','.join(map(str, action.choices))}}}"
    metavar = action.metavar or choices or action.dest.upper()
    value = " ".join(metavar) if isinstance(metavar, tuple) else metavar
    repeated = {"+": f"{value} …", "*": f"[{value} …]", "?": f"[{value}]"}.get(str(action.nargs), value)
    flag = action.nargs == 0
    words = [each if flag else f"{each} {value}" for each in action.option_strings] or [repeated]
    if isinstance(action.nargs, int) and action.nargs > 1 and not isinstance(metavar, tuple):
        words = [f"{each} {' '.join([value] * action.nargs)}" for each in action.option_strings]
    told = parser._get_formatter()._expand_help(action) if action.help else ""  # noqa: SLF001
    return f"| {', '.join(f'`{_cell(each)}`' for each in words)} | {_cell(told)} |"


def _epilog(text: str) -> str:
    """Return the example of a command as a block, followed by the rest of its epilog."""
    example, _, rest = text.partition("\n")
    block = f"```text\n{example.removeprefix('example: ')}\n```"
    return f"{block}\n\n```text\n{rest}\n```" if rest.strip() else block


def payloads_page() -> str:
    """Return the page of all payloads."""
    head = (
        "Every message is one of these records, except `status` (a text) and the announcement to Home Assistant. The\n"
        "publisher rejects any other. [Messages](messages.md) explains them, and `edge-infer schema NAME` prints each\n"
        "as JSON Schema. Payloads only ever gain keys."
    )
    parts = ["# Payloads", MADE, head]
    channels = document()["channels"]
    shown: dict[str, Mapping[str, Any]] = {}
    for kind, record in PAYLOADS.items():
        parts += [f"## `{kind}`", _rule(record, channels), *_record(schema(record), shown)]
    while missing := [title for title in shown if f"## {title}" not in parts]:
        for title in missing:
            parts += [f"## {title}", *_record(shown[title], shown)]
    return "\n\n".join(parts) + "\n"


def _rule(record: type, channels: Mapping[str, Any]) -> str:
    """Return a sentence about the topic, retention, expiry and size of a payload."""
    kind, rule = next((kind, rule) for kind, rule in RULES.items() if rule.record is record)
    retained = "retained" if rule.retained else "not retained"
    expiry = f", expires after {rule.expiry} s" if rule.expiry else ""
    address = str(channels[kind]["address"])
    more = " (`max_payload` of the pipeline can allow more)" if kind == "result" else ""
    return f"Topic `{address}`, {retained}{expiry}, at most {rule.limit:,} bytes{more}."


def _record(body: Mapping[str, Any], shown: dict[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the description and the table of a record; records in it go to ``shown``."""
    if text := str(body.get("description", "")):
        yield text.replace("``", "`")
    required = set(body.get("required", ()))
    yield "\n".join(
        [
            "| key | | value |",
            "|---|---|---|",
            *(
                f"| `{key}` | {'' if key in required else 'optional'} | {_cell(_value(part, shown))} |"
                for key, part in body["properties"].items()
            ),
        ]
    )


def _value(part: Mapping[str, Any], shown: dict[str, Mapping[str, Any]]) -> str:
    """Return the type of a value as text."""
    if "anyOf" in part:
        return " or ".join(_value(each, shown) for each in part["anyOf"])
    if "enum" in part:
        return " or ".join(f"`{'null' if each is None else str(each).lower()}`" for each in part["enum"])
    if "properties" in part:
        title = str(part["title"])
        shown.setdefault(title, part)
        return f"[{title}](#{title.lower()})"
    kind = str(part.get("type", "any"))
    if kind == "array":
        return _array(part, shown)
    if kind == "object":
        return f"by name: {_value(part['additionalProperties'], shown)}"
    if kind == "string":
        return _text(part)
    return "`null`" if kind == "null" else f"{kind}{_range(part)}"


def _array(part: Mapping[str, Any], shown: dict[str, Mapping[str, Any]]) -> str:
    if "prefixItems" in part:
        items = [_value(each, shown) for each in part["prefixItems"]]
        same = len(set(items)) == 1
        return f"list of {len(items)}: {items[0]}" if same else f"list of {', '.join(items)}"
    most = f"up to {part['maxItems']}: " if "maxItems" in part else ""
    return f"list of {most}{_value(part['items'], shown)}"


def _text(part: Mapping[str, Any]) -> str:
    if part.get("pattern") == TIMESTAMP:
        return "a time, as in `2026-11-25T08:45:12.345Z`"
    if "pattern" in part:
        pattern = re.sub(r"^\^\(\?:(.*)\)\$$", r"\1", str(part["pattern"]))
        return f"text `{pattern}`"
    return f"text, at most {part['maxLength']} characters" if "maxLength" in part else "text"


def _range(part: Mapping[str, Any]) -> str:
    low, high = (
        DIGITS.sub("", str(part[key])) if key in part and part[key] != MAX_NUMBER else ""
        for key in ("minimum", "maximum")
    )
    if low and high:
        return f", {low} to {high}"
    return f", from {low}" if low else f", to {high}" if high else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


PAGES: Final = {"docs/cli.md": cli_page, "docs/payloads.md": payloads_page, "docs/configure.md": configure_tables.page}


def main() -> int:
    """Write the pages, or compare them; return the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/reference.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 if a page is out of date")
    args = parser.parse_args()
    stale = []
    for name, made in PAGES.items():
        page, text = ROOT / name, made()
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not args.check:
                page.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"{name} {'is out of date: python scripts/reference.py' if args.check else 'is written'}")
    return 1 if args.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
