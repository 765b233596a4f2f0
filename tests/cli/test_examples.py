"""``-h`` of every command and of every action ends with an example."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib import import_module

import pytest

from edge_infer.cli import COMMANDS, main


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from parsers(child)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_one_example_of_itself(command: str) -> None:
    parser = argparse.ArgumentParser(prog=f"edge-infer {command}")
    import_module(f"edge_infer.cli.{command}").add(parser)
    for each in parsers(parser):
        assert (each.epilog or "").count("example: ") == 1, each.prog
        assert f"example: {each.prog}" in each.format_help(), each.prog


def test_the_whole_has_one_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["-h"])
    assert capsys.readouterr().out.count("example: edge-infer check") == 1
