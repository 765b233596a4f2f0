"""What the examination says of the daemon that runs, or does not."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from edge_infer.cli.doctor import asked, broker, daemon, sockets, sources
from edge_infer.contract.codec import replace
from edge_infer.contract.messages import ModelStatus, SourceHealth
from edge_infer.doctor.finding import Finding
from edge_infer.doctor.outbox import put_aside
from edge_infer.supervisor.statedir import ASIDE, ON_TRIAL
from edge_infer.supervisor.status import BrokerStatus, Status
from tests.broker import Broker, eventually
from tests.cli.test_top import STATUS
from tests.readers.conftest import free_port
from tests.running import Daemon, config


def status(path: Path) -> Status:
    found = asked(path)
    assert isinstance(found, Status)
    return found


def test_one_that_does_not_run_is_told_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config(free_port()))
    found = asked(path)
    assert isinstance(found, Finding)
    assert (found.level, found.remedy) == ("warn", f"start it with: edge-infer run -c {path}")
    assert found.fact.startswith(f"no daemon answers on {tmp_path}/state/control.sock")


def test_one_that_runs_is_told_and_what_it_had_to_start_again(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker, Daemon(tmp_path, config(broker.port)) as running:
        running.wait_serving(60.0)
        eventually(lambda: running.status()["sources"]["cam"]["state"] == "ok", "a frame of the source", 60.0)
        found = daemon(status(running.config))
        assert found.level == "ok"
        assert "1/1 models serve, 1/1 sources ok, broker: connected to 127.0.0.1" in found.fact
        text = running.config.read_text()
        running.config.write_text(f"{text}pipeline: {{}}\n")
        eventually(lambda: running.status()["config"]["state"] == "rejected", "rejected configuration", 60.0)
        found = daemon(status(running.config), running.config)
        assert (found.level, found.remedy) == ("warn", f"see what to change: edge-infer check -c {running.config}")
        assert "configuration rejected: " in found.fact
        running.config.write_text(text)
        eventually(lambda: running.status()["config"]["state"] == "applied", "applied configuration", 60.0)
        before = running.pids()["engine"]
        os.kill(before, signal.SIGKILL)
        eventually(lambda: running.pids().get("engine", before) != before, "another engine", 60.0)
        found = daemon(status(running.config))
        assert (found.level, found.remedy) == ("warn", "its log shows why each ended")
        assert "restarted: engine 1 time" in found.fact


def test_results_wait_only_if_the_outbox_holds_some() -> None:
    waiting = replace(STATUS.outbox, pending=3) if STATUS.outbox else None
    down, faulty = BrokerStatus(False, "refused"), BrokerStatus(True, "connected, but the broker denies x", True)
    found = [
        broker(replace(STATUS, broker=state, outbox=outbox))
        for state in (down, faulty)
        for outbox in (waiting, replace(waiting, pending=0), None)
    ]
    assert [each.level for each in found] == ["warn"] * 6
    after = "everything else is delivered"
    first = ["results wait in the outbox", "no result waits in the outbox", "the outbox is not read yet"]
    assert [each.remedy for each in found] == [*first, after, after, after]
    assert faulty.word == "ok"
    assert broker(replace(STATUS, broker=BrokerStatus(True, "connected"))).level == "ok"


def test_each_lost_source_has_a_line_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "my config.yaml"
    see = f"see edge-infer status -c '{path}'"
    lost = SourceHealth("lost", 0.0, "cannot open it: no permission; join the group dialout")
    good = {name: SourceHealth(state, 0.0) for name, state in (("a", "ok"), ("b", "black"), ("c", "ended"))}
    assert not list(sources(replace(STATUS, sources={**good, "d": SourceHealth("starting", 0.0)}), path))
    found = list(sources(replace(STATUS, sources={**good, **STATUS.sources, "hall": lost}), path))
    assert [str(each) for each in found] == [
        f"warn  source cam: lost, the camera is unplugged; {see}",
        "warn  source hall: lost, cannot open it: no permission; join the group dialout",
    ]
    frozen = SourceHealth("frozen", 0.0)
    *_, last, more = sources(replace(STATUS, sources={f"cam{number}": frozen for number in range(8)}), path)
    assert str(last) == f"warn  source cam4: frozen; {see}"
    assert str(more) == f"warn  sources: and 3 more; {see}"


def test_the_line_of_the_daemon_is_not_ok_while_a_source_is_lost() -> None:
    healthy = replace(STATUS, rooms={})
    found = daemon(healthy)
    assert (found.level, found.remedy) == ("warn", "see the sources below")
    assert "1/2 sources ok" in found.fact
    assert daemon(replace(healthy, sources={"pump": healthy.sources["pump"]})).level == "ok"


def test_the_line_of_the_daemon_is_not_ok_while_a_refused_model_has_no_other() -> None:
    healthy = replace(STATUS, rooms={}, sources={"pump": STATUS.sources["pump"]})
    serving, gone = ModelStatus("rolled_back", "1.0.0", "0" * 8), ModelStatus("rolled_back", None, None)
    assert daemon(replace(healthy, models={"faces": serving})).level == "ok"
    found = daemon(replace(healthy, models={"faces": gone}))
    assert found.level == "warn"
    again = "name another one in the configuration, or run: edge-infer models retry faces"
    assert found.remedy == f"no model serves as faces: {again}"
    assert daemon(replace(healthy, models={"faces": ModelStatus("staging", None, None)})).level == "ok"


def test_a_restart_on_purpose_is_no_fault(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker, Daemon(tmp_path, config(broker.port)) as running:
        running.wait_serving(60.0)
        running.config.write_text(running.config.read_text().replace(f"port: {broker.port}", f"port: {free_port()}"))
        eventually(lambda: running.status()["rooms"]["publisher"]["planned"] == 1, "end of the publisher", 60.0)
        eventually(lambda: status(running.config).rooms["publisher"].restarts == 1, "another publisher", 60.0)
        found = daemon(status(running.config))
        assert (found.level, "restarted" in found.fact) == ("ok", False), found


def test_folders_that_were_put_aside_are_told_with_the_remedy(tmp_path: Path) -> None:
    assert not list(put_aside(tmp_path / "none", None))
    assert not list(put_aside(tmp_path, None))
    for name in (f"{ASIDE}10", ON_TRIAL, f"{ASIDE}9", "publisher"):
        (tmp_path / name).mkdir()
    found = list(put_aside(tmp_path, None))
    assert [each.fact for each in found] == [
        f"{tmp_path / name} was put aside and may hold messages" for name in (f"{ASIDE}9", f"{ASIDE}10", ON_TRIAL)
    ]
    assert {each.level for each in found} == {"warn"}
    assert "or when the daemon stops" in found[2].remedy
    assert f" {tmp_path / 'publisher'}; or remove it" in found[0].remedy
    paths = tuple(str(tmp_path / name) for name in (f"{ASIDE}9", f"{ASIDE}10", ON_TRIAL))
    assert list(put_aside(tmp_path / "none", replace(STATUS, put_aside=paths))) == found


def test_a_socket_that_systemd_no_longer_listens_on_is_told_with_the_remedy() -> None:
    assert not list(sockets([]))
    [found] = sockets(["edge-infer-page.socket"])
    assert (found.level, found.fact) == ("warn", "edge-infer-page.socket has failed, so nothing answers there")
    assert found.remedy.startswith("run: sudo systemctl restart edge-infer-page.socket; ")
