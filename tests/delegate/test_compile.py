"""A delegate is tried before a configuration is applied, in a child that it may crash, and what was proven is kept."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from edge_infer.cli import main
from edge_infer.config.compile.compile import compile_config
from edge_infer.models.trials.known_results import KNOWN_FILE, read_known
from edge_infer.plan.records import Compiled, DelegatePlan
from tests.running import MODEL

CONFIG = """\
device: {{id: gate, state_dir: state}}
models:
  faces: {{file: {model}}}
sources:
  shapes: {{kind: synthetic, size: 320x240}}
pipelines:
  one:
    source: shapes
    model: faces
    delegate: {delegate}
"""


def compiled(folder: Path, delegate: str, *, store: bool = False) -> Compiled:
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(model=MODEL, delegate=delegate))
    return compile_config(path, store=store)


def delegate_of(found: Compiled) -> DelegatePlan:
    assert found.problems == ()
    assert found.plan is not None
    delegate = found.plan.pipelines[0].delegate
    assert delegate is not None
    return delegate


BAD = {
    "gone": ("{{library: nowhere/lib.so}}", "nowhere/lib.so: cannot open shared object file"),
    "no delegate": ("{{library: libm.so.6}}", "libm.so.6 is not a delegate, it has no tflite_plugin_create_delegate"),
    "a part": ("{{library: {0}}}", "less than min_delegated (90%); it leaves"),
    "nothing": ("{{library: {0}, min_delegated: 0.01, options: {{mood: sulk}}}}", "takes 0 of"),
    "unwilling": ("{{library: {0}, options: {{mood: refuse}}}}", "there is no accelerator on this board"),
    "a crash": (
        "{{library: {0}, options: {{mood: crash}}}}",
        "the delegate crashed the process that tried it (SIGSEGV)",
    ),
    "other numbers": (
        "{{library: {0}, min_delegated: 0.01, options: {{mood: wrong}}}}",
        "the delegate computes other values than the processor: of ",
    ),
}


@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD)
def test_why_it_is_refused(library: Path, tmp_path: Path, text: str, words: str) -> None:
    (problem,) = compiled(tmp_path, text.format(library)).problems
    assert (problem.line, problem.path, problem.outside) == (10, "pipelines.one.delegate", True)
    assert words in problem.text


def test_a_classifier_of_a_thousand_classes_is_refused_though_nearly_all_scores_are_right(
    library: Path, tmp_path: Path, assets: Path
) -> None:
    model = tmp_path / "model.tflite"
    model.write_bytes((assets / "models" / "mobilenet_v2_1.0_224_quant.tflite").read_bytes())
    (tmp_path / "model.yaml").write_text("task: classification\nlabels: names.txt\n")
    (tmp_path / "names.txt").write_text("".join(f"class {number}\n" for number in range(1001)))
    path = tmp_path / "config.yaml"
    text = f"{{library: {library}, min_delegated: 0.01, options: {{ops: add, mood: wrong}}}}"
    path.write_text(CONFIG.format(model=model, delegate=text))
    (problem,) = compile_config(path).problems
    assert "the delegate computes other values than the processor: of " in problem.text
    path.write_text(CONFIG.format(model=model, delegate=text.replace(", mood: wrong", "")))
    assert compile_config(path).problems == ()


@pytest.mark.parametrize("what", ["gone", "a crash", "other numbers"])
def test_or_the_processor_does_it_and_that_is_told(library: Path, tmp_path: Path, what: str) -> None:
    text, words = BAD[what]
    found = compiled(tmp_path, text.format(library).replace("{library", "{on_failure: cpu, library"))
    delegate = delegate_of(found)
    assert words in delegate.unusable
    (warning,) = found.warnings
    assert warning.path == "pipelines.one.delegate"
    assert words in warning.text
    assert warning.text.endswith("; faces runs on the processor")


def test_what_was_proven_is_not_tried_again(library: Path, tmp_path: Path) -> None:
    copy = tmp_path / "lib.so"
    copy.write_bytes(library.read_bytes())
    text = f"{{library: {copy}, min_delegated: 0.05}}"
    first = compiled(tmp_path, text, store=True)
    assert delegate_of(first).unusable == ""
    (proof,) = read_known(tmp_path / "state").proofs
    assert 0.05 <= proof.delegated < 0.9
    was = copy.stat()
    copy.write_bytes(b"?" * was.st_size)  # it could not be loaded now
    os.utime(copy, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert delegate_of(compiled(tmp_path, text, store=True)) == delegate_of(first)
    more = compiled(tmp_path, text.replace("0.05", "0.9"), store=True)
    assert "cannot be loaded" in more.problems[0].text
    os.utime(copy)
    assert "cannot be loaded" in compiled(tmp_path, text, store=True).problems[0].text


def test_a_check_keeps_nothing(library: Path, tmp_path: Path) -> None:
    assert delegate_of(compiled(tmp_path, f"{{library: {library}, min_delegated: 0.05}}")).unusable == ""
    assert not (tmp_path / "state" / "trials" / KNOWN_FILE).exists()


def test_the_bench_measures_with_it(library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compiled(tmp_path, f"{{library: {library}, min_delegated: 0.05}}")
    quick = ("--seconds", "1", "--rounds", "2", "--frame", "320x240")
    assert main(["bench", "-c", str(tmp_path / "config.yaml"), *quick]) == 0
    assert re.search(r"^delegate          1[0-9]% of the operators$", capsys.readouterr().out, re.MULTILINE)


def test_the_bench_says_why_the_processor_does_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compiled(tmp_path, "{library: libm.so.6, on_failure: cpu}")
    quick = ("--seconds", "1", "--rounds", "2", "--frame", "320x240")
    assert main(["bench", "-c", str(tmp_path / "config.yaml"), *quick]) == 0
    said = capsys.readouterr().out
    assert re.search(
        r"^delegate          the processor does it all: .*libm\.so\.6 is not a delegate, it has no", said, re.MULTILINE
    )


def test_options_are_text_and_paths_begin_at_the_configuration(tmp_path: Path) -> None:
    found = compiled(tmp_path, "{library: ./lib.so, on_failure: cpu, options: {a: 1, b: true, c: 007, d: x}}")
    delegate = delegate_of(found)
    assert delegate.library == str(tmp_path / "lib.so")
    assert delegate.options == (("a", "1"), ("b", "true"), ("c", "007"), ("d", "x"))
