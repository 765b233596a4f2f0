"""Whatever is in the file: a plan or a list of problems, never an exception, and not for long."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_infer.config.schema.file import Config, dangling
from edge_infer.plan.records import Problem
from edge_infer.yamlfile.load import read_document, validate
from tests.config.test_broken import BROKEN
from tests.config.test_compile import GOOD

SNIPPETS = [
    *("{", "}", "[", "]", ":", ": ", "- ", "\n", "\t", "  ", "'", '"', "&a ", "*a", "!!int ", "#", "|\n", ">\n", "? "),
    *(
        "null",
        "true",
        ".nan",
        "-1",
        "1e999",
        "0x",
        "${HOME}",
        "${",
        "<<: ",
        "---\n",
        "%",
        "@",
        "\0",
        "\x85",
        "\u2028",
        "é",
    ),
]
SETTINGS = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def outcome(data: bytes, folder: Path) -> None:
    """Reads the bytes as a configuration and checks what every outcome must be."""
    path = folder / "config.yaml"
    path.write_bytes(data)
    document = read_document(path, {"HOME": "/home/a"})
    config, problems = validate(document, Config)
    assert (config is None) <= bool(problems)
    lines = data.count(b"\n") + data.count(b"\r") + data.count(b"\x85") + data.count(b"\xa8") + data.count(b"\xa9") + 2
    for problem in problems:
        assert isinstance(problem, Problem)
        assert problem.text
        assert 1 <= problem.line <= lines
    if document.value is not None:
        dangling(document.value)


@SETTINGS
@given(st.binary(max_size=400))
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    outcome(data, tmp_path)


@SETTINGS
@given(st.text(st.sampled_from("ab:-[]{}\"'#&*!|>%@? \n\t,0.~$"), max_size=200))
def test_any_punctuation(tmp_path: Path, text: str) -> None:
    outcome(f"{text}\n".encode(), tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["kind", "source", "model", "url", "size", "publish", "mask", "x"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@pytest.mark.long
@SETTINGS
@given(st.dictionaries(st.sampled_from(["device", "mqtt", "models", "sources", "pipelines"]), JSON, max_size=5))
def test_any_structure(tmp_path: Path, value: object) -> None:
    import yaml

    outcome(yaml.safe_dump(value).encode("utf-8", "replace"), tmp_path)


@pytest.mark.parametrize("seed", range(10))
def test_mutations_of_good_and_broken_files(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        text = rng.choice([GOOD, GOOD, *BROKEN.values()])
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(text) + 1)
            end = min(len(text), at + rng.choice([0, 0, 1, 5, 40]))
            text = text[:at] + rng.choice(SNIPPETS) + text[end:]
        outcome(text.encode(), tmp_path)
