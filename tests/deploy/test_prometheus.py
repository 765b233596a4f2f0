"""deploy/prometheus with a real Prometheus that scrapes a real node_exporter beside a real daemon."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.broker import Broker, eventually, free_port
from tests.exposition import samples
from tests.running import CLIP, MODEL, Daemon
from tests.supervisor import governed

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
CONFIG = f"""\
device: {{{{id: box, state_dir: state}}}}
mqtt: {{{{host: 127.0.0.1, port: {{port}}}}}}
governor: {{{{max_temperature: 80}}}}
metrics: {{{{file: {{file}}, every: 1s}}}}
models:
  faces: {{{{file: {MODEL}}}}}
sources:
  cam: {{{{kind: video, file: {CLIP}, loop: true}}}}
pipelines:
  door: {{{{source: cam, model: faces, publish: every, fps: 8}}}}
"""


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def test_the_rules_fire_and_are_quiet() -> None:
    done = subprocess.run(
        [program("promtool"), "test", "rules", "rules_test.yaml"],
        cwd=FOLDER, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_a_case_and_a_quiet_twin() -> None:
    cases = [case["alert_rule_test"][0] for case in yaml.safe_load((FOLDER / "rules_test.yaml").read_text())["tests"]]
    for expected in (True, False):
        tested = {case["alertname"] for case in cases if bool(case["exp_alerts"]) == expected}
        assert tested == {rule["alert"] for rule in RULES}


def test_the_configuration_is_valid() -> None:
    done = subprocess.run(
        [program("promtool"), "check", "config", "--lint-fatal", "prometheus.yaml"],
        cwd=FOLDER, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


class Prometheus:
    """Scrapes a node_exporter every second; it has the shipped rules."""

    def __init__(self, folder: Path, target: int) -> None:
        self.port = free_port()
        shutil.copy(FOLDER / "rules.yaml", folder / "rules.yaml")
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{"job_name": "edge", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        self.command = [
            program("prometheus"), f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{self.port}",
        ]  # fmt: skip

    def _get(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=10
        ) as answer:
            return json.load(answer)["data"]

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The series that a query gives now; none while it does not answer."""
        try:
            found: list[dict[str, Any]] = self._get("query", query=query)["result"]
        except OSError:
            return []
        return found

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        return {each["labels"]["alertname"] for each in self._get("alerts")["alerts"] if each["state"] == "firing"}


@contextmanager
def running(command: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


class Box:
    """A daemon on a hot board, its metrics, and the Prometheus that watches it."""

    def __init__(self, daemon: Daemon, file: Path, prometheus: Prometheus) -> None:
        self.daemon = daemon
        self.file = file
        self.prometheus = prometheus


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder, exporter = tmp_path_factory.mktemp("watched"), free_port()
    zone, firmware = (
        folder / "board/sys/class/thermal/thermal_zone0",
        folder / "board/sys/devices/platform/soc/soc:firmware",
    )
    for each, name, text in ((zone, "temp", "95000\n"), (firmware, "get_throttled", "4\n")):
        each.mkdir(parents=True)
        (each / name).write_text(text)
    file = folder / "metrics" / "edge.prom"
    file.parent.mkdir()
    file.parent.chmod(0o777)
    prometheus = Prometheus(folder, exporter)
    collector = [
        program("prometheus-node-exporter"), "--collector.disable-defaults", "--collector.textfile", "--collector.time",
        f"--collector.textfile.directory={file.parent}", f"--web.listen-address=127.0.0.1:{exporter}",
    ]  # fmt: skip
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(folder))
        stack.enter_context(running(collector, folder / "exporter.log"))
        stack.enter_context(running(prometheus.command, folder / "prometheus.log"))
        (folder / "box").mkdir()
        text = CONFIG.format(port=broker.port, file=file)
        program_of = (str(governed.__file__), str(folder / "board"))
        daemon = stack.enter_context(Daemon(folder / "box", text, program=program_of))
        daemon.wait_serving(60)
        eventually(lambda: "governor_limit_fps" in file.read_text(), "limit of the governor", 60)
        yield Box(daemon, file, prometheus)


def test_every_series_gets_to_prometheus_as_it_is(box: Box) -> None:
    eventually(lambda: box.prometheus.ask("edge_infer_governor_limit_fps"), "the last family in Prometheus", 60)
    written = samples(box.file.read_text())
    found = box.prometheus.ask('{__name__=~"edge_infer_.*"}')
    local = {"__name__", "instance", "job"}
    series = {
        (each["metric"]["__name__"], frozenset((key, text) for key, text in each["metric"].items() if key not in local))
        for each in found
    }
    assert series == {(name, frozenset(pair for pair in labels if pair[1])) for name, labels in written}
    assert len({re.sub("_(bucket|sum|count)$", "", name) for name, _ in written}) <= 25
    assert [each["value"][1] for each in box.prometheus.ask("node_textfile_scrape_error")] == ["0"]
    (same,) = [each["value"][1] for each in box.prometheus.ask("edge_infer_temperature_celsius")]
    assert float(same) == 95.0


@pytest.mark.parametrize(
    "query",
    [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]],
    ids=lambda query: query[:60],
)
def test_each_query_of_the_dashboard_gets_an_answer(box: Box, query: str) -> None:
    query = query.replace("$instance", ".*").replace("$__rate_interval", "10s")
    eventually(lambda: box.prometheus.ask(query), f"answer to {query}", 30)


def test_the_panels_of_the_dashboard_have_a_place_and_a_table_is_one_table() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place, refs = panel["gridPos"], [target["refId"] for target in panel["targets"]]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
        assert len(set(refs)) == len(refs)
        if panel["type"] == "table":  # Grafana shows one of several results only, unless they are merged
            assert all(target["instant"] and target["format"] == "table" for target in panel["targets"])
            assert len(refs) == 1 or panel["transformations"][0]["id"] == "merge", panel["title"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_dashboard_shows_every_family(box: Box) -> None:
    queries = " ".join(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])
    families = set(re.findall("^# TYPE (\\S+)", box.file.read_text(), re.MULTILINE))
    assert [family for family in families if family not in queries] == []


@pytest.mark.long
def test_a_killed_daemon_raises_the_alarm_within_two_minutes(box: Box) -> None:
    assert "EdgeInferSilent" not in box.prometheus.firing()
    os.kill(box.daemon.pid, signal.SIGKILL)
    killed = time.monotonic()
    box.daemon.wait(10)
    eventually(lambda: "EdgeInferSilent" in box.prometheus.firing(), "alert", 120)
    assert time.monotonic() - killed < 120
