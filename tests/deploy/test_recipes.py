"""deploy/recipes: each file does what its page says, with the real programs where they can be had."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from edge_infer.client import Client
from edge_infer.contract.codec import dumps, replace
from edge_infer.contract.messages import Health, OutboxHealth, State, timestamp
from edge_infer.contract.topics import Place, retained_names
from edge_infer.publisher.homeassistant.discovery import announce, object_id
from tests.broker import MOSQUITTO, Broker, Certificates, Talker, eventually, free_port
from tests.homeassistant.recipe import RECIPE, announced_entities, gate_plan
from tests.homeassistant.rules import environment
from tests.nodered.host import FLOW, recipe_of_page
from tests.publisher.samples import BOOT, SHA, P, mqtt_plan
from tests.publisher.test_discovery import with_sensors
from tests.running import Daemon, config
from tests.test_tutorial import entities

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "deploy" / "recipes"
USERS = {"gate-3": "a-secret", "dashboard": "b-secret", "head-office": "change-me", "home-assistant": "c-secret"}


@contextmanager
def mosquitto(text: str, folder: Path, port: int) -> Iterator[None]:
    """A broker with this configuration."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    folder.mkdir(exist_ok=True)
    (folder / "mosquitto.conf").write_text(f"{text}\nuser root\nlog_dest file {folder / 'log'}\n")
    process = subprocess.Popen([MOSQUITTO, "-c", folder / "mosquitto.conf"])
    try:
        listening = ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}"]
        eventually(lambda: not subprocess.run(listening, capture_output=True, check=False).returncode, "broker")
        yield
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """The broker of a site with its users, as the page sets it up."""
    folder, port = tmp_path_factory.mktemp("site"), free_port()
    certificates = Certificates(folder)
    certificate, key = certificates.issue("broker", "IP:127.0.0.1")
    for source, name in ((certificates.ca, "ca.pem"), (certificate, "broker.pem"), (key, "broker.key")):
        if source != folder / name:
            shutil.copy(source, folder / name)
    shutil.copy(RECIPES / "mosquitto" / "acl", folder / "acl")
    (folder / "passwords").touch(0o600)
    for name, password in USERS.items():
        subprocess.run(["mosquitto_passwd", "-b", folder / "passwords", name, password], check=True)
        (folder / f"{name}.pass").write_text(password)
    text = (RECIPES / "mosquitto" / "site.conf").read_text().replace("/etc/mosquitto/edge", str(folder))
    text = text.replace("listener 8883", f"listener {port} 127.0.0.1").replace("/var/lib/mosquitto/", f"{folder}/")
    with mosquitto(text, folder / "run", port):
        yield folder, port


def publish(folder: Path, port: int, *words: str) -> subprocess.CompletedProcess[str]:
    """Publishes with mosquitto's own client and MQTT 5, where the broker tells that it denies a topic."""
    command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(port), "--cafile", str(folder / "ca.pem"), "-V", "5"]
    return subprocess.run([*command, "-q", "1", *words], capture_output=True, text=True, timeout=20, check=False)


def watching(folder: Path, port: int) -> Client:
    return Client(
        "127.0.0.1", port, username="dashboard", password_file=str(folder / "dashboard.pass"),
        ca_file=str(folder / "ca.pem"),
    )  # fmt: skip


def test_a_device_may_speak_for_itself_only(site: tuple[Path, int]) -> None:
    folder, port = site
    gate = ("-u", "gate-3", "-P", USERS["gate-3"])
    denied = "Not authorized"
    assert denied not in publish(folder, port, *gate, "-t", "edge-infer/gate-3/status", "-m", "online").stderr
    assert denied in publish(folder, port, *gate, "-t", "edge-infer/gate-4/status", "-m", "online").stderr
    announcements = [Place("discovery", object_id(f"edge-infer/{name}")).topic("") for name in ("gate-3", "gate-4")]
    assert denied not in publish(folder, port, *gate, "-t", announcements[0], "-m", "{}").stderr
    assert denied in publish(folder, port, *gate, "-t", announcements[1], "-m", "{}").stderr
    assert publish(folder, port, "-t", "edge-infer/gate-3/status", "-m", "offline").returncode != 0  # without a user
    wrong = publish(folder, port, "-u", "gate-3", "-P", "wrong", "-t", "edge-infer/gate-3/status", "-m", "x")
    assert wrong.returncode != 0


@pytest.mark.parametrize("name", ["dashboard", "home-assistant", "head-office"])
def test_a_program_that_watches_writes_nothing(site: tuple[Path, int], name: str) -> None:
    """mosquitto gives the rights of a device to every user that is not denied them."""
    folder, port = site
    announced = [Place("discovery", object_id(f"edge-infer/{each}")).topic("") for each in ("gate-3", name)]
    for topic in ("edge-infer/gate-3/status", f"edge-infer/{name}/status", *announced, "homeassistant/status"):
        done = publish(folder, port, "-u", name, "-P", USERS[name], "-t", topic, "-m", "offline")
        assert "Not authorized" in done.stderr, topic
    assert (
        publish(folder, port, "-u", "gate-3", "-P", USERS["gate-3"], "-r", "-t", announced[0], "-m", "{}").stderr == ""
    )
    command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "--cafile", str(folder / "ca.pem"), "-u", name]
    done = subprocess.run(
        [*command, "-P", USERS[name], "-W", "3", "-C", "1", "-v", "-t", "homeassistant/#"],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.stdout == (f"{announced[0]} {{}}\n" if name == "home-assistant" else "")


def test_a_daemon_and_a_bridge_join_it(site: tuple[Path, int], tmp_path: Path) -> None:
    folder, port = site
    office = free_port()
    text = (RECIPES / "mosquitto" / "head-office.conf").read_text().replace("/etc/mosquitto/edge", str(folder))
    text = text.replace("listener 1883", f"listener {office}").replace("broker.site:8883", f"127.0.0.1:{port}")
    page = (ROOT / "docs" / "recipes.md").read_text()
    shown = yaml.safe_load(re.findall(r"```yaml\n(device.*?)```", page, re.DOTALL)[0])
    mqtt = shown["mqtt"] | {"host": "127.0.0.1", "port": port}
    mqtt |= {"password_file": str(folder / "gate-3.pass"), "tls": {"ca_file": str(folder / "ca.pem")}}
    (folder / "gate-3.pass").chmod(0o644)  # root's daemon becomes another user
    daemon_text = config(port).replace(f"mqtt: {{host: 127.0.0.1, port: {port}}}", f"mqtt: {json.dumps(mqtt)}")
    daemon_text = daemon_text.replace("id: box", f"id: {shown['device']['id']}")
    (tmp_path / "box").mkdir()
    with ExitStack() as stack:
        stack.enter_context(mosquitto(text, tmp_path / "office", office))
        daemon = stack.enter_context(Daemon(tmp_path / "box", daemon_text))
        daemon.wait_serving(60)
        with Client("127.0.0.1", office) as client:
            results = (update for update in client.results(60) if update.device == "gate-3")
            assert next(results).pipeline == "faces"
        with watching(folder, port) as client:
            eventually(lambda: client.poll(0.5) is not None and client.snapshot("gate-3").complete, "snapshot", 60)


def state(count: int | None) -> bytes:
    """A state with this number of persons; None: the camera is lost."""
    known = State(1, timestamp(1796000000.0), BOOT, "m@1", SHA[:8], counts={"person": count} if count else {})
    return dumps(known if count is not None else replace(known, counts=None, reason="source_lost"))


CUT = dumps(State(1, timestamp(1796000000.0), BOOT, "m@1", SHA[:8], counts={"car": 1}, more=3))
"""A state that had no room for all labels."""


def test_the_shell_tells_three_answers(tmp_path: Path, broker: Broker) -> None:
    if shutil.which("jq") is None or shutil.which("mosquitto_sub") is None:
        pytest.skip("jq and mosquitto_sub are not installed")
    with Talker(broker.port) as talker, (tmp_path / "out").open("w+") as out:
        talker.say(f"{P}/door/state", state(1), retain=True)  # of long ago
        command = [RECIPES / "shell" / "presence", "person", "-h", "127.0.0.1", "-p", str(broker.port)]
        process = subprocess.Popen(command, stdout=out, start_new_session=True)
        try:
            sent: list[tuple[str, bytes]] = [
                ("status", b"online"), ("door/state", state(2)), ("door/state", state(3)), ("door/state", state(0)),
                ("door/state", state(None)), ("door/state", state(1)), ("door/state", CUT), ("door/state", state(2)),
                ("status", b"offline"),
            ]  # fmt: skip
            expected = [None, "yes", None, "no", "unknown", "yes", "unknown", "yes", "unknown"]
            told: list[str] = []

            def lines() -> list[str]:
                return (tmp_path / "out").read_text().splitlines()

            subscribed = re.compile("Sending SUBACK")
            eventually(lambda: subscribed.search(broker.log.read_text()), "subscription", 20)
            for (topic, payload), answer in zip(sent, expected, strict=True):
                talker.say(f"{P}/{topic}", payload, retain=True)
                told += [] if answer is None else [f"gate-3/door {answer}"]
                wanted = list(told)
                eventually(lambda wanted=wanted: lines() == wanted, f"{wanted} of the script")
        finally:
            os.killpg(process.pid, signal.SIGTERM)  # both programs of the pipe
            process.wait(10)


def test_the_flow_has_the_function_of_the_page() -> None:
    nodes = {node["id"]: node for node in json.loads(FLOW.read_text())}
    assert nodes["edge-infer-recipe"]["func"] == recipe_of_page("person")
    wires = {name: node["wires"][0] for name, node in nodes.items() if node.get("wires")}
    assert {name for name, to in wires.items() if to == ["edge-infer-recipe"]} == {
        f"edge-infer-{name}" for name in ("status", "state", "connection", "tick")
    }
    assert all(target in nodes for to in wires.values() for target in to)


def test_home_assistant_has_the_entities_of_its_recipe(tmp_path: Path) -> None:
    plan = gate_plan(mqtt_plan(1883))
    found = announce(plan, object_id(P), {}, with_sensors(tmp_path)).cmps.values()
    announced = {f"{each.p}.gate_3_{str(each.name).replace(' ', '_')}" for each in found}
    tutorial = {each.replace(".", ".gate_3_", 1) for each in entities()}
    assert len(tutorial) == 3
    assert tutorial <= announced  # it is the device of the tutorial
    for name, least in (("package.yaml", 3), ("dashboard.yaml", 12)):
        used = announced_entities((RECIPE / name).read_text())
        assert len(used) >= least
        assert used <= announced


@pytest.mark.parametrize(
    ("present", "shown"),
    [("on", "person"), ("off", "nobody"), ("unknown", "not known"), ("unavailable", "not known")],
)
def test_the_recipe_for_home_assistant_tells_nobody_from_not_known(present: str, shown: str) -> None:
    (template,) = yaml.safe_load((RECIPE / "package.yaml").read_text())["template"]
    (watch,) = template["sensor"]
    states = {"binary_sensor.gate_3_yard_gate_person_present": present}
    assert environment().from_string(watch["state"]).render(states=states.__getitem__) == shown


def fits(pattern: str, topic: str) -> bool:
    return re.fullmatch(pattern.replace("+", "[^/]+").replace("#", ".+"), topic) is not None


def telegraf() -> dict[str, Any]:
    """Its configuration."""
    toml = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    found: dict[str, Any] = toml.loads((RECIPES / "telegraf" / "telegraf.conf").read_text())
    return found


@pytest.mark.parametrize(
    ("count", "fields"),
    [
        (2, {"v": 1, "person": 2}),
        (0, {"v": 1, "person": 0}),
        (None, {"v": 1, "reason": "source_lost"}),
    ],
)
def test_telegraf_tells_nobody_from_not_known(count: int | None, fields: dict[str, Any]) -> None:
    """The function is Starlark, which Python understands; null and what is missing give no field there."""
    (parser,) = telegraf()["inputs"]["mqtt_consumer"][1]["json_v2"]
    payload = json.loads(state(count))
    found = {field["path"]: payload[field["path"]] for field in parser["field"] if field["path"] in payload}
    metric = SimpleNamespace(fields=found | (payload[parser["object"][0]["path"]] or {}))
    (processor,) = telegraf()["processors"]["starlark"]
    names: dict[str, Any] = {}
    exec(processor["source"], names)
    assert names["apply"](metric).fields == fields
    assert parser["timestamp_path"] in payload


def test_the_patterns_of_telegraf_fit_real_topics() -> None:
    found = telegraf()["inputs"]["mqtt_consumer"]
    topics = [f"edge-infer/gate-3/{name}" for name in retained_names(["door"], ["faces"])]
    for consumer, wanted in zip(found, (["edge-infer/gate-3/health"], ["edge-infer/gate-3/door/state"]), strict=True):
        (subscribed,), (parsing,) = consumer["topics"], consumer["topic_parsing"]
        assert [topic for topic in topics if fits(subscribed, topic)] == wanted
        assert parsing["topic"] == subscribed
        for key in ("measurement", "tags"):
            assert len(parsing[key].split("/")) == len(wanted[0].split("/"))


def test_the_paths_of_telegraf_are_in_health() -> None:
    (parser,) = telegraf()["inputs"]["mqtt_consumer"][0]["json_v2"]
    outbox, board = parser["object"]
    assert {outbox["path"], board["path"], parser["timestamp_path"]} <= set(Health.__struct_fields__)
    assert set(outbox["included_keys"]) <= set(OutboxHealth.__struct_fields__)
