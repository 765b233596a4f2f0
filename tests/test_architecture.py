"""docs/architecture.md names files, functions and folders; each of them is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PATH = re.compile(r"(?:edge_infer|tests|scripts)/[\w./-]*")
NAME = re.compile(r"_?[A-Za-z]\w*(?:\.\w+)?")
CODE = re.compile(r"`([^`\n]+)`")


def blocks() -> list[str]:
    """The paragraphs, table rows and list items of the page."""
    return re.split(r"\n\n|\n(?=\||\s*(?:\d+\.|-) )", PAGE)


def named() -> list[tuple[str, str]]:
    """Each name with the file before it: what follows a path directly, and each class or constant after one."""
    found = []
    for block in blocks():
        path, end = "", -1
        for code in CODE.finditer(block):
            word = code[1]
            if PATH.fullmatch(word):
                path, end = word, code.end()
            elif path.endswith(".py") and NAME.fullmatch(word):
                follows = not block[end : code.start()].strip()
                if follows or re.search(r"[A-Z]", word):
                    found.append((path, word))
    return found


@cache
def defined(path: str) -> frozenset[str]:
    """The classes, functions and constants of a file, and its methods as ``Class.method``."""
    found = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        if isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return frozenset(found)


@pytest.mark.parametrize("path", sorted({code for code in CODE.findall(PAGE) if PATH.fullmatch(code)}))
def test_a_path_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize(("path", "name"), sorted(set(named())))
def test_a_name_is_defined_in_its_file(path: str, name: str) -> None:
    assert name in defined(path)


def test_the_names_are_found() -> None:
    assert len(set(named())) > 60


def test_every_folder_of_the_package_has_a_row() -> None:
    rows = set(re.findall(r"^\| `(edge_infer/[\w/]*)` \|", PAGE, re.MULTILINE))
    folders = {f"{path.parent.relative_to(ROOT)}/" for path in (ROOT / "edge_infer").rglob("__init__.py")}
    assert rows == folders
