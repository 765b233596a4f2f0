"""The metrics of a running daemon: equal to its health, whatever becomes of its processes, models and names."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.broker import Broker, Subscriber, eventually
from tests.exposition import by_label, counters, label_values, samples, value
from tests.moody import write_model
from tests.readers.conftest import free_port
from tests.running import CLIP, MODEL, Daemon, config
from tests.swapping import short, swapping

P = "edge-infer/box"
CANARY = "canary-Q7"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "metrics"
    folder.mkdir()
    folder.chmod(0o777)  # root's daemon becomes another user
    return folder / "edge.prom"


def with_metrics(text: str, file: Path) -> str:
    return f"{text}metrics: {{file: {file}, every: 1s}}\n"


def asked(daemon: Daemon) -> str:
    done = daemon.command("metrics")
    assert done.returncode == 0, done.stderr
    return done.stdout


def promtool_says_nothing(text: str) -> None:
    if subprocess.run(["which", "promtool"], capture_output=True, check=False).returncode:
        pytest.skip("promtool is not installed")
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_family_equals_health(box: Path, file: Path, broker: Broker, subscriber: Subscriber) -> None:
    text = config(broker.port, f"{{kind: video, file: {CLIP}}}")
    text = text.replace("faces: {file:", f"faces: {{labels: [{CANARY}], file:")
    with Daemon(box, with_metrics(text, file)) as daemon:
        daemon.wait_serving()
        eventually(lambda: daemon.status()["sources"]["cam"]["state"] == "ended", "end of the clip", 60)
        eventually(lambda: not daemon.status()["outbox"]["pending"], "delivery of everything")
        broker.stop()
        eventually(lambda: value(file.read_text(), "broker_connected") == 0, "broken connection in the metrics")
        broker.start()
        sent = set()

        def health_again() -> bool:
            sent.add(value(file.read_text(), "egress_bytes_total"))
            found = again.on(f"{P}/health")  # the one from before the break again, and a new one within half a minute
            delivered = value(file.read_text(), "results_delivered_total")
            return bool(found) and found[-1].value["outbox"]["delivered"] == delivered

        with Subscriber(broker.port) as again:
            eventually(health_again, "health after the connection", 60)
            health = again.on(f"{P}/health")[-1].value
        eventually(lambda: value(file.read_text(), "broker_connected") == 1, "connection in the metrics")
        metrics = asked(daemon)
        promtool_says_nothing(metrics)
        promtool_says_nothing(file.read_text())
        faces, outbox = health["pipelines"]["faces"], health["outbox"]
        frames = by_label(metrics, "pipeline_frames_total", "outcome")
        assert frames["dropped"] == faces["dropped"]
        assert (frames["failed"], frames["still"]) == (faces.get("faults", 0), 0)
        assert frames["looked"] == value(metrics, "pipeline_latency_seconds_count", pipeline="faces") > 0
        assert value(metrics, "results_delivered_total") == outbox["delivered"] == faces["produced"]
        assert sum(by_label(metrics, "results_lost_total", "reason").values()) == sum(outbox["lost"].values())
        assert (value(metrics, "outbox_messages"), value(metrics, "outbox_bytes")) == (0, outbox["bytes"])
        assert value(metrics, "egress_rejected_total") == health["egress"]["rejected"]
        assert float(health["egress"]["bytes"]) in sent
        states = by_label(metrics, "source_state", "state")
        assert [state for state, there in states.items() if there] == [health["sources"]["cam"]["state"]]
        assert value(metrics, "temperature_celsius") is None or health["board"]["temperature"] is not None
        assert value(metrics, "clock_synchronized") == ("clock" not in health)
        assert stat.S_IMODE(file.stat().st_mode) == 0o644
        assert CANARY in str([heard.value for heard in subscriber.on(f"{P}/faces/result")])
        assert not any(CANARY in text or "face_" in text for text in label_values(metrics))
        assert len(samples(metrics)) <= 60 + 25
        pss, cpu = by_label(metrics, "memory_pss_bytes", "process"), by_label(metrics, "cpu_seconds_total", "process")
        assert pss.keys() == cpu.keys() == {"supervisor", "engine", "publisher"}
        assert all(1 << 20 < size < 1 << 30 for size in pss.values())
        assert set(by_label(metrics, "sandbox_missing_rules", "process")) == {"engine", "publisher"}
    assert not file.exists()  # a daemon that has stopped leaves no metrics


def rising(daemon: Daemon) -> Callable[[], str]:
    """Asks for the metrics again and again, and compares each counter with the time before."""
    seen: dict[object, float] = {}

    def look() -> str:
        text = asked(daemon)
        for series, count in counters(text).items():
            assert count >= seen.get(series, 0), series
            seen[series] = count
        return text

    return look


def test_counters_never_go_back_and_names_come_from_the_file(
    box: Path, file: Path, broker: Broker, subscriber: Subscriber
) -> None:
    text = with_metrics(config(broker.port, "{kind: synthetic, size: 64x64, seed: 1, fps: 20}"), file)
    with Daemon(box, text) as daemon:
        daemon.wait_serving()
        look = rising(daemon)
        subscriber.wait(f"{P}/faces/result")
        looked = eventually(lambda: by_label(look(), "pipeline_frames_total", "outcome")["looked"], "frames")
        for process in ("engine", "publisher"):
            os.kill(daemon.pids()[process], signal.SIGKILL)
            eventually(
                lambda: value(look(), "process_restarts_total", process=process) == 1,  # noqa: B023
                f"restart of the {process}",
                30,
            )
        daemon.wait_serving()
        eventually(
            lambda: by_label(look(), "pipeline_frames_total", "outcome")["looked"] > looked, "more frames than before"
        )
        daemon.config.write_text(text.replace("  faces: {source", "  doors: {source"))
        assert daemon.reload()["state"] == "applied"
        assert set(by_label(look(), "pipeline_frames_total", "pipeline")) == {"doors"}
        eventually(lambda: 'pipeline="doors"' in file.read_text(), "the new name in the file")
        assert 'pipeline="faces"' not in file.read_text()
        daemon.config.write_text(text.replace("every: 1s", "every: soon"))
        assert daemon.reload()["state"] == "rejected"
        assert value(look(), "config_applied") == 0
        daemon.config.write_text(text.partition("metrics:")[0])
        assert daemon.reload()["state"] == "applied"
        eventually(lambda: not file.exists(), "removal of the file")
        assert value(look(), "config_applied") == 1


def test_a_process_that_is_replaced_on_purpose_is_no_restart(box: Path, file: Path, broker: Broker) -> None:
    text = with_metrics(config(broker.port, "{kind: synthetic, size: 64x64, seed: 1, fps: 20}"), file)
    with Daemon(box, text) as daemon:
        daemon.wait_serving()
        before = daemon.pids()["publisher"]
        daemon.config.write_text(text.replace(f"port: {broker.port}", f"port: {free_port()}"))
        assert daemon.reload()["state"] == "applied"
        eventually(lambda: daemon.pids().get("publisher", before) != before, "another publisher", 60.0)
        room = daemon.status()["rooms"]["publisher"]
        assert (room["restarts"], room["planned"]) == (1, 1)
        assert value(asked(daemon), "process_restarts_total", process="publisher") == 0
        lines = daemon.command("status").stdout.splitlines()
        (line,) = [line for line in lines if line.startswith("room      publisher: ")]
        assert line.endswith(", 0 restarts")


def test_a_swap_leaves_no_series_behind_and_a_roll_back_counts(tmp_path: Path) -> None:
    old, new = write_model(tmp_path / "old.tflite"), write_model(tmp_path / "new.tflite", gain=0.9, version="2.0.0")
    bad = write_model(tmp_path / "bad.tflite", "nan", gain=0.8, version="3.0.0")
    with swapping(tmp_path / "box", old) as running:
        look = rising(running.daemon)
        before = look()
        assert value(before, "model_info", model="light", version="1.0.0", sha=short(old)) == 1
        running.edit(new)
        running.model(state="active", sha=short(new), deadline=60)
        after = look()
        assert len(samples(after)) == len(samples(before))
        assert value(after, "model_info", model="light", version="2.0.0", sha=short(new)) == 1
        assert by_label(after, "model_swaps_total", "outcome") == {"committed": 1, "rolled_back": 0}
        running.edit(bad)
        running.model(state="rolled_back", deadline=60)
        last = look()
        assert by_label(last, "model_swaps_total", "outcome") == {"committed": 1, "rolled_back": 1}
        assert len(samples(last)) == len(samples(before))
        assert not {"dark", "medium", "bright"} & set(label_values(last))


def test_a_pipeline_with_its_source_and_model_has_at_most_25_series(box: Path, broker: Broker) -> None:
    sections = {
        "models": f"{{file: {MODEL}}}",
        "sources": "{kind: exec, command: [cat, /dev/zero], size: 64x64, format: rgb24, fps: 2}",
        "pipelines": "{source: sources-%d, model: models-%d}",
    }
    text = f"device: {{id: box, state_dir: state}}\nmqtt: {{host: 127.0.0.1, port: {broker.port}}}\n"
    for name, keys in sections.items():
        lines = [f"  {name}-{number}: {keys.replace('%d', str(number))}\n" for number in (1, 2, 3)]
        text += f"{name}:\n{''.join(lines)}"
    with Daemon(box, text) as daemon:
        daemon.wait_serving(60)

        def measured() -> bool:
            text = asked(daemon)
            return all(value(text, "memory_pss_bytes", process="reader", source=f"sources-{n}") for n in (1, 2, 3))

        eventually(measured, "use of every reader", 60)
        owners = Counter(
            next((found.rpartition("-")[2] for _, found in labels if found.rpartition("-")[0] in sections), "")
            for _, labels in samples(asked(daemon))
        )
        assert owners.keys() == {"", "1", "2", "3"}
        assert owners[""] <= 60
        assert max(owners[number] for number in "123") <= 25


def test_a_reader_has_its_processor_time_and_memory(box: Path, broker: Broker, subscriber: Subscriber) -> None:
    with Daemon(
        box, config(broker.port, "{kind: exec, command: [cat, /dev/zero], size: 64x64, format: rgb24}")
    ) as daemon:
        subscriber.wait(f"{P}/faces/state", deadline=60)

        def measured() -> bool:
            text = asked(daemon)
            busy, size = (
                value(text, name, process="reader", source="cam") for name in ("cpu_seconds_total", "memory_pss_bytes")
            )
            return bool(busy and size and size > 1 << 20)

        eventually(measured, "use of the reader", 30)
        assert "reader" in by_label(asked(daemon), "sandbox_missing_rules", "process")
