"""The JSON Schema says what the program accepts: same keys, same defaults, examples that hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from edge_infer.cli import main
from edge_infer.config.schema.file import config_schema
from edge_infer.contract.messages import PAYLOADS
from edge_infer.yamlfile.load import read_document
from tests.config.test_broken import BROKEN, expected_of
from tests.config.test_compile import GOOD


def valid(text: str, folder: Path) -> bool:
    """Whether an editor would accept this text."""
    path = folder / "config.yaml"
    path.write_text(text)
    document = read_document(path)
    return Draft202012Validator(config_schema()).is_valid(json.loads(json.dumps(document.value)))


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """All parts of a schema."""
    if isinstance(schema, dict):
        yield schema
        for part in schema.values():
            yield from nodes(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from nodes(part)


def test_it_is_json_schema_with_a_title() -> None:
    schema = config_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["title"] == "Configuration of edge-infer"
    sections = [
        "device",
        "security",
        "mqtt",
        "outbox",
        "rooms",
        "governor",
        "metrics",
        "drift",
        "models",
        "sources",
        "pipelines",
    ]
    assert sorted(schema["properties"]) == sorted(sections)


def test_a_good_configuration_is_valid(tmp_path: Path) -> None:
    assert valid(GOOD, tmp_path)
    assert valid("mqtt:\npipelines:\n", tmp_path)


SEEN_BY_EDITORS = [
    *("a misspelt section", "a misspelt key", "keys of later work", "numbers out of range", "a port that is none"),
    *("yes is a word", "an unknown kind", "no device", "a key of another kind", "picture sizes", "publish", "masks"),
    *("no source and no model", "a short digest", "a password in an address", "another scheme", "a reserved name"),
    "a reserved name of a model",
    *("a wildcard in the prefix", "a name with a slash", "a label that is not a list", "a quality of service"),
]


@pytest.mark.parametrize("name", SEEN_BY_EDITORS)
def test_faults_that_an_editor_sees_too(name: str, tmp_path: Path) -> None:
    assert expected_of(BROKEN[name])
    assert not valid(BROKEN[name], tmp_path)


def test_every_key_is_described_and_every_example_holds() -> None:
    schema = config_schema()
    count = 0
    for node in nodes(schema):
        for key, part in node.get("properties", {}).items():
            if key not in ("kind", "interval"):
                assert part.get("description"), key
            validator = Draft202012Validator({**part, "$defs": schema["$defs"]})
            values = [*part.get("examples", []), *([part["default"]] if "default" in part else [])]
            for value in values:
                assert validator.is_valid(value), (key, value)
                count += 1
    assert count > 50


@pytest.mark.parametrize("name", ["config", *PAYLOADS])
def test_the_command_prints_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", name]) == 0
    schema = json.loads(capsys.readouterr().out)
    Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False


def test_the_command_knows_its_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["schema", "resutl"])
    assert stopped.value.code == 2
    assert "config-status" in capsys.readouterr().err
