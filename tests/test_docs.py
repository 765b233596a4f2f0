"""Every example of README.md and docs/ is run; what comes after ``` says how.

- ``yaml``: a configuration, whole or some of its sections, or a manifest (its keys say which). It must be valid; files
  that it names need not be there. A YAML file of another program is marked otherwise, as in ``yaml ansible``.
- ``console``: lines ``$ edge-infer …`` are run in a folder where the repository's ``models/`` lies and, as
  ``config.yaml``, the last configuration above on the page. They must end with 0, in ``console fails`` with another
  code, those of ``console walk`` in a test of their page. Output that is given must be what comes out, ``…`` standing
  for anything. What needs a daemon, a broker or a camera is only parsed, as is ``edge-infer`` in ``sh`` blocks. Other
  commands are not run. In ``console public`` the public test models and recordings lie in that folder, too.
- ``text NAME``: a file of this name in that folder, for the commands below.
- ``python`` is run in a folder where the repository's ``models/`` lies.
- ``python live`` is run beside a daemon and a broker, by the tests of what it shows.
- ``yaml faulty``: a configuration to show an error with; it is ``config.yaml`` for what comes below.
- ``json NAME``: a payload that must fit the schema NAME (as in ``edge-infer schema NAME``). Plain ``json`` must be JSON
  and, where it has a version (``"v"``), fit one of the payloads.
- Everything else, ``text`` for example, is not looked at.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_infer.cli import COMMANDS, _parser
from edge_infer.config.compile.compile import compile_config
from edge_infer.config.schema.file import Config
from edge_infer.contract.codec import decode, decode_json
from edge_infer.contract.messages import PAYLOADS
from edge_infer.engine.decoders import DECODERS
from edge_infer.errors import WireError
from edge_infer.models.packages.manifest import Manifest
from edge_infer.plan.records import Problem
from edge_infer.yamlfile.load import load_yaml, read_document

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS_MORE = frozenset({"run", "reload", "status", "top", "watch", "cameras", "doctor", "metrics", "pause", "resume"})
"""Commands that need a daemon, a broker or a camera."""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page; ``config`` is the last configuration above it, ``files`` are text files by name."""

    page: Path
    line: int
    info: str
    text: str
    config: str
    files: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page in their order."""
    text, found, config = page.read_text(encoding="utf-8"), [], ""
    files: tuple[tuple[str, str], ...] = ()
    for match in re.finditer(r"^( *)```([^\n]*)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
        body = re.sub(rf"^{match[1]}", "", match[3], flags=re.MULTILINE)
        block = Block(page, text.count("\n", 0, match.start()) + 1, match[2].strip(), body, config, files)
        if block.info in ("yaml", "yaml faulty") and is_config(body):
            config = body
        if block.info.startswith("text "):
            files = (*files, (block.info.removeprefix("text "), body))
        found.append(block)
    return found


def is_config(text: str) -> bool:
    """Whether the keys at the beginning of lines are those of a configuration."""
    return set(re.findall(r"^(\w+):", text, re.MULTILINE)) <= set(Config.model_fields)


def blocks(*kinds: str) -> list[Block]:
    """All blocks whose first word is one of ``kinds``."""
    return [block for page in PAGES for block in blocks_of(page) if block.info.partition(" ")[0] in kinds]


def ids(block: Block) -> str:
    return str(block)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "models", tmp_path / "models")  # models are not opened through links
    return tmp_path


@pytest.mark.parametrize("block", [block for block in blocks("yaml") if block.info == "yaml"], ids=ids)
def test_yaml(block: Block, folder: Path) -> None:
    if is_config(block.text):
        path = folder / "config.yaml"
        path.write_text(block.text, encoding="utf-8")
        assert [str(problem) for problem in faults(path)] == []
    else:
        path = folder / "manifest.yaml"
        path.write_text(block.text, encoding="utf-8")
        assert load_yaml(path, Manifest)[1] == ()


def faults(path: Path) -> list[Problem]:
    """Problems of the text itself; a fragment may refer to sections that it does not show."""
    shown = read_document(path).value or {}
    elsewhere = [key for key, section in (("source", "sources"), ("model", "models")) if section not in shown]
    hidden = re.compile(rf"pipelines\.[^.]+\.(?:{'|'.join(elsewhere) or '-'})")
    problems = compile_config(path, environment={**os.environ, "HOME": str(path.parent)}).problems
    return [problem for problem in problems if not problem.outside and not hidden.fullmatch(problem.path)]


@pytest.mark.parametrize("block", blocks("console", "sh"), ids=ids)
def test_commands_exist(block: Block) -> None:
    for line in commands(block):
        words = shlex.split(line, comments=True)[1:]
        if words and not words[0].startswith("-"):
            assert words[0] in COMMANDS, line
            _parser(words[0]).parse_args([word for word in words if word not in {">", "|"}][: cut(words)])


def commands(block: Block) -> list[str]:
    """The lines that call edge-infer, by whatever path and with or without a prompt."""
    lines = re.sub(r"\\\n\s*", " ", block.text).splitlines()
    found = [re.match(r"(?:\$ )?(?:sudo )?(?:\S*/)?(edge-infer .*)", line) for line in lines]
    return [match[1] for match in found if match]


def cut(words: list[str]) -> int:
    """How many words belong to the command, before a pipe or a redirection."""
    return next((index for index, word in enumerate(words) if word in {">", "|", "&&", "&", ";"}), len(words))


def steps_of(block: Block) -> list[tuple[str, str]]:
    """Commands of a console block, each with the output that is given for it."""
    parts = re.split(r"^\$ ", re.sub(r"\\\n\s*", " ", block.text), flags=re.MULTILINE)[1:]
    return [(command.strip(), output) for command, _, output in (part.partition("\n") for part in parts)]


def runnable(block: Block) -> bool:
    """Whether one of its commands is run here."""
    return "walk" not in block.info.split() and any(runs(command) for command, _ in steps_of(block))


def runs(command: str) -> bool:
    words = command.split()
    if words[:3] == ["edge-infer", "models", "pull"]:
        return "--from" in words or "--catalogue models/catalogue.yaml" in command  # the internet is no place for tests
    return words[0] == "edge-infer" and len(words) > 1 and words[1] not in NEEDS_MORE


@pytest.mark.parametrize("block", [block for block in blocks("console") if runnable(block)], ids=ids)
def test_console(block: Block, folder: Path, request: pytest.FixtureRequest) -> None:
    if "public" in block.info.split():
        for kind in ("models", "audio"):
            for file in (request.getfixturevalue("assets") / kind).iterdir():
                (folder / file.name).symlink_to(file)
    for name, text in block.files:
        (folder / name).write_text(text, encoding="utf-8")
    if block.config:
        (folder / "config.yaml").write_text(block.config, encoding="utf-8")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for command, output in steps_of(block):
        if not runs(command):
            continue
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=folder,
            env={**os.environ, "PATH": path, "COLUMNS": "120"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode != 0) == ("fails" in block.info.split()), done.stdout
        if output.strip():
            assert re.fullmatch(wildcard(output), done.stdout.strip(), re.DOTALL), done.stdout


@pytest.mark.parametrize("block", [block for block in blocks("python") if block.info == "python"], ids=ids)
def test_python(block: Block, folder: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", block.text]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def wildcard(output: str) -> str:
    """A regular expression for an output in which … stands for anything."""
    return ".*".join(map(re.escape, output.strip().split("…")))


@pytest.mark.parametrize("block", blocks("json"), ids=ids)
def test_json(block: Block) -> None:
    value = json.loads(block.text)
    _, _, name = block.info.partition(" ")
    if name:
        decode(PAYLOADS[name], value)
    elif isinstance(value, dict) and "v" in value:
        assert [kind for kind, record in PAYLOADS.items() if fits(record, block.text)], block.text


def fits(record: type, text: str) -> bool:
    try:
        decode_json(record, text.encode())
    except WireError:
        return False
    return True


def test_links_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_there_are_examples() -> None:
    assert blocks("yaml")
    assert blocks("console")
    assert blocks("json")


def test_every_family_has_a_row() -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    missing = [name for name in DECODERS if f"\n| `{name}` |" not in page]
    assert not missing, f"docs/models.md says nothing of {', '.join(missing)}"
