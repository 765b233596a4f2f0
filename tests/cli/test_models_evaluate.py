"""``models add --evaluate``: only a package that is right often enough comes into the store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.evaluate.written import write_model, write_rows


class Store:
    """A store of its own, and 400 labelled rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "config.yaml").write_text(f"device: {{state_dir: {folder}/state}}\n")
        self.apart = write_rows(folder / "rows.csv", 400)

    def add(self, bias: float, version: str, *words: str) -> subprocess.CompletedProcess[str]:
        package = write_model(self.folder / "packages" / version, bias, version)
        command = [
            sys.executable,
            "-m",
            "edge_infer",
            "models",
            "add",
            str(package),
            "-c",
            str(self.folder / "config.yaml"),
        ]
        return subprocess.run([*command, *words], capture_output=True, text=True, timeout=120, check=False)

    def evaluated(self, bias: float, version: str, *words: str) -> subprocess.CompletedProcess[str]:
        return self.add(bias, version, "--evaluate", str(self.folder / "rows.csv"), *words)

    @property
    def versions(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "state" / "models" / "rows").glob("*"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_a_package_that_is_there_already_is_held_to_its_figures(store: Store) -> None:
    assert store.add(0.6, "1.0.0").returncode == 0
    again = store.evaluated(0.6, "1.0.0", "--at-least", "accuracy=0.99")
    assert (again.returncode, again.stdout) == (3, "")
    assert "rows@1.0.0 is rejected: accuracy is 0." in again.stderr
    assert store.evaluated(0.6, "1.0.0", "--at-least", "nonsense=0.1").returncode == 2
    good = store.evaluated(0.6, "1.0.0", "--at-least", "accuracy=0.1")
    assert (good.returncode, good.stdout) == (0, "rows@1.0.0\n")
    assert store.versions == ["1.0.0"]


def test_a_version_that_is_worse_is_refused_and_one_that_is_not_is_taken(store: Store) -> None:
    assert store.add(0.0, "1.0.0").returncode == 0
    assert store.add(2.0, "0.9.0").returncode == 0  # worse than all, but older than the one to compare with
    worse = store.evaluated(0.6, "1.1.0")
    assert (worse.returncode, worse.stdout) == (3, "")
    assert "rows@1.1.0 is rejected: rows@1.1.0 is worse than rows@1.0.0 on 400 rows: accuracy 0." in worse.stderr
    alike = store.evaluated(0.001, "1.2.0")
    assert (alike.returncode, alike.stdout) == (0, "rows@1.2.0\n"), alike.stderr
    assert "cannot be told from 400 rows" in alike.stderr
    assert store.versions == ["0.9.0", "1.0.0", "1.2.0"]


def test_the_least_values_of_figures_decide(store: Store) -> None:
    wrong = int(((store.apart > 0) & (store.apart < 0.6)).sum())
    low = store.evaluated(0.6, "1.0.0", "--at-least", "top5=1", "--at-least", "accuracy=0.99")
    assert low.returncode == 3
    assert f"rows@1.0.0 is rejected: accuracy is {1 - wrong / 400:.4g} on 400 examples, below 0.99" in low.stderr
    assert store.versions == []
    most = store.evaluated(0.6, "1.0.0", "--at-most", "accuracy=0.5")
    assert (most.returncode, store.versions) == (3, [])
    assert "examples, above 0.5" in most.stderr
    high = store.evaluated(0.6, "1.0.0", "--at-least", "accuracy=0.5")
    assert (high.returncode, store.versions) == (0, ["1.0.0"])
    assert f"rows@1.0.0: accuracy is {1 - wrong / 400:.4g} on 400 examples" in high.stderr


def test_several_classes_of_the_labels_count_as_one_of_the_package(store: Store) -> None:
    rows = store.folder / "rows.csv"
    header, *lines = rows.read_text().splitlines()
    half = [line.replace(",b", ",other") if place % 2 else line for place, line in enumerate(lines)]
    rows.write_text("\n".join([header, *half, ""]))
    good = store.evaluated(0.0, "1.0.0", "--rename", "other=b", "--at-least", "accuracy=1")
    assert (good.returncode, good.stdout) == (0, "rows@1.0.0\n"), good.stderr
    assert "accuracy is 1 on 400 examples" in good.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            ("--evaluate", "{rows}"),
            2,
            "the store has no other version of rows to compare with; set a limit",
        ),
        (
            ("--evaluate", "{rows}", "--at-least", "map50=0.5"),
            2,
            "there is no figure map50; the figures of rows@1.0.0 are accuracy, ",
        ),
        (("--evaluate", "{rows}", "--at-least", "good"), 2, "good is not a figure and its limit"),
        (("--evaluate", "{rows}.gone", "--at-least", "accuracy=0.5"), 2, "there is no "),
        (("--at-least", "accuracy=0.5"), 2, "--at-least belongs to --evaluate LABELS"),
        (("--evaluate", "{folder}", "--at-least", "accuracy=0.5"), 3, "rows@1.0.0 could not be evaluated: "),
    ],
)
def test_conditions_that_cannot_be_checked_are_told(store: Store, words: tuple[str, ...], code: int, said: str) -> None:
    done = store.add(
        0.0, "1.0.0", *(word.format(rows=store.folder / "rows.csv", folder=store.folder) for word in words)
    )
    assert (done.returncode, done.stdout, store.versions) == (code, "", [])
    assert said in done.stderr
    assert "Traceback" not in done.stderr
