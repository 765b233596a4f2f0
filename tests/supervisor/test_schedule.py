"""Hours and pauses: who is inactive when, and what a running daemon makes of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_infer.contract.codec import replace
from edge_infer.errors import EdgeInferError
from edge_infer.plan.records import CropsPlan, HoursPlan, MqttPlan, Plan
from edge_infer.supervisor.schedule import FILE, PipelineSchedule, covers
from tests.broker import Broker, Subscriber, eventually
from tests.publisher.samples import plan as sample
from tests.running import Daemon, config

P = "edge-infer/box"
NIGHTS = HoursPlan((0, 1, 2, 3, 4), 22 * 60, 6 * 60)
DAY = HoursPlan(tuple(range(7)), 8 * 60, 18 * 60)
MONDAY = 1796022000.0
"""2026-11-30 07:00 UTC."""


@pytest.fixture
def berlin() -> Iterator[None]:
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    yield
    del os.environ["TZ"]
    time.tzset()


@pytest.mark.parametrize(
    ("moment", "night", "day"),
    [
        ("Mon 05:59", False, False),  # of the night that begins on Sunday
        ("Mon 21:59", False, False),
        ("Mon 22:00", True, False),
        ("Tue 05:59", True, False),
        ("Tue 06:00", False, False),
        ("Tue 08:00", False, True),
        ("Tue 18:00", False, False),
        ("Sat 05:59", True, False),  # of the night that begins on Friday
        ("Sat 22:00", False, False),
    ],
)
def test_hours_across_midnight_belong_to_the_day_on_which_they_begin(moment: str, night: bool, day: bool) -> None:
    name, _, clock = moment.partition(" ")
    days = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    hour, minute = map(int, clock.split(":"))
    now = time.struct_time((2026, 11, 30, hour, minute, 0, days.index(name), 1, 0))
    assert (covers(NIGHTS, now), covers(DAY, now)) == (night, day)


def scheduled(*hours: HoursPlan, state_dir: str = "/nowhere") -> Plan:
    found = sample(MqttPlan("h", 1, None, None, None, "t", 1, "c"), ("door", "yard"), state_dir=state_dir)
    door, yard = found.pipelines
    return replace(found, pipelines=(replace(door, active=hours), yard))


@pytest.mark.usefixtures("berlin")
def test_a_change_of_summer_time_follows_the_clock_on_the_wall() -> None:
    sundays = HoursPlan((6,), 2 * 60, 3 * 60)
    autumn, spring = 1792886400.0, 1806192000.0  # 2026-10-25 00:00 UTC and 2027-03-28 00:00 UTC
    for begin, inside in ((autumn, 120), (spring, 0)):  # two hours have this time of day in autumn, none in spring
        minutes = 0
        for minute in range(240):
            moment = begin + 60 * minute
            schedule = PipelineSchedule(wall=lambda moment=moment: moment)  # type: ignore[misc]
            minutes += "door" not in schedule.inactive(scheduled(sundays))
        assert minutes == inside


CHANGES = """
import subprocess
from edge_infer.supervisor.schedule import PipelineSchedule
from tests.supervisor.test_schedule import HoursPlan, scheduled
clock = [0.0]
schedule = PipelineSchedule(wall=lambda: 1798718400.0, clock=lambda: clock[0])  # 2026-12-31 12:00 UTC
for zone in ("UTC", "Asia/Tokyo", "Europe/Berlin"):
    subprocess.run(["mount", "--bind", f"/usr/share/zoneinfo/{zone}", "/etc/localtime"], check=True)
    clock[0] += 10.0
    print("door" in schedule.inactive(scheduled(HoursPlan(tuple(range(7)), 11 * 60, 14 * 60))))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may set the time zone of a namespace")
def test_another_time_zone_of_the_box_holds_at_once() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TZ"}
    command = ["unshare", "--mount", sys.executable, "-c", CHANGES]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["False", "True", "False"]


def test_hours_do_not_apply_until_the_clock_is_set() -> None:
    wall = [1000.0]
    schedule = PipelineSchedule(wall=lambda: wall[0], local=time.gmtime, clock=lambda: wall[0])
    assert schedule.inactive(scheduled(DAY)) == {}
    wall[0] = MONDAY
    assert schedule.inactive(scheduled(DAY)) == {"door": "outside its active hours"}
    wall[0] += 3600
    assert schedule.inactive(scheduled(DAY)) == {}


def test_a_cascade_rests_with_its_parent() -> None:
    found = scheduled(DAY)
    door, yard = found.pipelines
    found = replace(found, pipelines=(door, replace(yard, crops=CropsPlan("door"))))
    schedule = PipelineSchedule(wall=lambda: MONDAY, local=time.gmtime)
    assert schedule.inactive(found) == {
        "door": "outside its active hours",
        "yard": "a cascade of door, which is inactive",
    }


class Box:
    """A box with two clocks: the time of day, which somebody may set, and the time since the start of the kernel."""

    def __init__(self, folder: Path, wall: float = MONDAY) -> None:
        self.folder, self.wall, self.uptime, self.boots = folder, wall, 20.0, 1
        self.synchronised: bool | None = None
        self.schedule = self.started()

    def wait(self, seconds: float) -> None:
        self.wall += seconds
        self.uptime += seconds

    def rebooted(self, wall: float) -> PipelineSchedule:
        self.wall, self.uptime, self.boots = wall, 20.0, self.boots + 1
        return self.started()

    def started(self) -> PipelineSchedule:
        self.schedule = PipelineSchedule(
            wall=lambda: self.wall,
            local=time.gmtime,
            clock=lambda: self.uptime,
            kernel=lambda: f"{self.boots:06x}",
            says=lambda: self.synchronised,
        )
        self.schedule.open(self.folder)
        return self.schedule


def test_pauses_outlive_a_restart_and_end(tmp_path: Path) -> None:
    found, device = scheduled(), Box(tmp_path)
    started, schedule = device.started, device.schedule
    assert schedule.pause(found, "door", 3600.0, "ann") == "door is paused by ann until 2026-11-30T08:00:00.000Z"
    assert schedule.pause(found, "yard", None, "ann") == "yard is paused by ann"
    assert started().inactive(found).keys() == {"door", "yard"}
    device.wait(3600)
    assert started().inactive(found) == {"yard": "paused by ann"}
    assert started().resume(found, "yard", "ann") == "yard is active"
    assert started().inactive(found) == {}
    for name, error in (("yard", "yard is not paused"), ("dor", "there is no pipeline 'dor'; did you mean \"door\"?")):
        with pytest.raises(EdgeInferError, match=error.replace("?", r"\?")):
            started().resume(found, name, "ann")
    (tmp_path / FILE).write_text("{")
    assert started().inactive(found) == {}


def test_a_pause_of_a_newer_version_stays(tmp_path: Path) -> None:
    """An unknown key may end or qualify it, and a camera that somebody switched off stays off."""
    (tmp_path / FILE).write_text('{"pipelines": {"yard": {"by": "ann", "newer": 1}}, "newer": 1}')
    assert Box(tmp_path).started().inactive(scheduled()) == {"yard": "paused by ann"}


def test_an_older_version_reads_a_pause_without_an_end(tmp_path: Path) -> None:
    Box(tmp_path).schedule.pause(scheduled(), "yard", None, "ann")
    assert (tmp_path / FILE).read_text() == '{"pipelines":{"yard":{"by":"ann"}}}'


def test_a_pause_lasts_as_long_as_asked_while_the_clock_is_set(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    found, device = scheduled(), Box(tmp_path, wall=20.0)
    assert device.schedule.pause(found, "door", 600.0, "ann") == "door is paused by ann for another 10 min 0 s"
    device.wall = MONDAY  # the network is there
    device.wait(20)
    assert device.schedule.inactive(found) == {"door": "paused by ann until 2026-11-30T07:10:00.000Z"}
    device.synchronised = False
    device.wait(10)
    assert device.schedule.inactive(found) == {"door": "paused by ann for another 9 min 30 s"}
    assert device.started().inactive(found).keys() == {"door"}
    device.wait(569)
    assert device.schedule.inactive(found).keys() == {"door"}
    device.wait(1)
    assert device.schedule.inactive(found) == {}
    assert caplog.messages.count("pipeline door: the pause by ann has ended") == 1
    device.wall -= 86400
    assert device.started().inactive(found) == {}
    assert "door" not in (tmp_path / FILE).read_text()


def test_the_rest_of_a_pause_begins_after_a_reboot(tmp_path: Path) -> None:
    found, device = scheduled(), Box(tmp_path)
    device.schedule.pause(found, "door", 3600.0, "ann")
    device.wait(600)
    device.schedule.close()
    assert device.rebooted(wall=20.0).inactive(found) == {"door": "paused by ann for another 50 min 0 s"}
    device.wait(1800)
    assert device.started().inactive(found) == {"door": "paused by ann for another 20 min 0 s"}
    device.wait(1200)
    assert device.schedule.inactive(found) == {}
    assert device.rebooted(wall=20.0).inactive(found) == {}


def test_power_cuts_again_and_again_do_not_prolong_a_pause_without_end(tmp_path: Path) -> None:
    found, device = scheduled(), Box(tmp_path)
    device.schedule.pause(found, "door", 3600.0, "ann")
    seconds = 0
    while device.schedule.inactive(found) and seconds < 10 * 3600:
        device.wait(1)
        seconds += 1
        if seconds % 450 == 0:
            device.rebooted(wall=MONDAY)
    assert 3600 <= seconds < 2 * 3600


@pytest.mark.parametrize(("wall", "seconds"), [(MONDAY, 600.0), (20.0, 1000.0)])
def test_a_pause_of_an_earlier_version_ends_when_the_clock_says_so(tmp_path: Path, wall: float, seconds: float) -> None:
    (tmp_path / FILE).write_text(f'{{"pipelines": {{"door": {{"by": "ann", "until": {MONDAY + 600}}}}}}}')
    found, device = scheduled(), Box(tmp_path, wall)
    assert device.schedule.inactive(found).keys() == {"door"}
    if wall < MONDAY:
        device.wait(400)
        device.wall = MONDAY
        assert device.schedule.inactive(found).keys() == {"door"}
    device.wait(599)
    assert device.started().inactive(found).keys() == {"door"}
    device.wait(1)
    assert device.schedule.inactive(found) == {}
    assert device.uptime == 20.0 + seconds


def test_what_is_paused_already_is_not_written_again(tmp_path: Path) -> None:
    schedule = PipelineSchedule()
    schedule.open(tmp_path)
    schedule.pause(scheduled(), "door", None, "ann")
    (tmp_path / FILE).unlink()
    assert schedule.pause(scheduled(), "door", None, "bob") == "door is paused by ann"
    assert not (tmp_path / FILE).exists()
    schedule.pause(scheduled(), "door", 60.0, "bob")
    assert (tmp_path / FILE).exists()


def test_a_pause_that_cannot_be_kept_changes_nothing(tmp_path: Path) -> None:
    schedule = PipelineSchedule()
    (tmp_path / "plain").write_text("")
    schedule.open(tmp_path / "plain")
    with pytest.raises(EdgeInferError, match="a pause lasts at least 1 s, not 1e-09 s"):
        schedule.pause(scheduled(), "door", 1e-9, "ann")  # it would be over before it is kept
    with pytest.raises(EdgeInferError, match="nothing was changed, because a restart would lose the change"):
        schedule.pause(scheduled(), "door", None, "ann")
    assert schedule.inactive(scheduled()) == {}


def test_a_paused_pipeline_says_so_and_its_camera_is_closed(box: Path, broker: Broker, subscriber: Subscriber) -> None:
    text = config(broker.port, "{kind: exec, command: [sleep, 1000], size: 64x64, format: rgb24}")
    yard = "  yard: {source: film, model: faces, publish: every, fps: 10}\n"
    film = "  film: {kind: synthetic, size: 64x64, seed: 1, fps: 10}\n"
    text = text.replace("pipelines:\n", f"{film}pipelines:\n") + yard
    with Daemon(box, text) as daemon:
        subscriber.wait(f"{P}/yard/result", deadline=60)
        eventually(lambda: "reader cam" in daemon.pids(), "reader of the camera", 30)
        reader = daemon.pids()["reader cam"]
        done = daemon.command("pause", "faces", "--for", "1h")
        assert (done.returncode, done.stdout.startswith("faces is paused by ")) == (0, True), done.stderr
        state = subscriber.wait(f"{P}/faces/state", lambda heard: heard.value.get("reason") == "inactive", 30)
        assert state.value["counts"] is None
        eventually(lambda: "reader cam" not in daemon.status()["rooms"], "end of the reader", 30)
        assert not Path(f"/proc/{reader}").exists()
        done = daemon.command("cameras", "--grab", "cam", "-o", str(box / "cam.png"))
        assert (done.returncode, "is closed: its pipelines are inactive" in done.stderr) == (1, True), done.stderr
        status = daemon.status()
        assert status["models"]["faces"]["state"] == "active"
        assert status["inactive"].keys() == {"faces"}
        assert "paused by" in daemon.command("status").stdout
        why = daemon.command("why", "--pipeline", "faces")
        assert (why.returncode, "no pipeline" in why.stderr) == (0, False), why.stderr
        assert "faces: it is inactive and has no record: paused by " in why.stderr
        assert " until 20" in why.stderr or " for another 59 min " in why.stderr  # without a time service
        assert "faces: it is inactive" in daemon.command("why").stderr
        assert "faces" not in daemon.command("why", "--pipeline", "yard").stderr
        before = len(subscriber.on(f"{P}/yard/result"))
        eventually(lambda: len(subscriber.on(f"{P}/yard/result")) > before, "results of the other pipeline")
        done = daemon.command("resume", "faces")
        assert (done.returncode, done.stdout) == (0, "faces is active\n")
        eventually(lambda: "reader cam" in daemon.pids(), "reader of the camera", 30)
        assert daemon.status()["rooms"]["engine"]["restarts"] == 0
        done = daemon.command("resume", "faces")
        assert (done.returncode, done.stderr) == (1, "edge-infer: faces is not paused\n")


def test_a_pipeline_outside_of_its_hours_starts_when_they_begin(
    box: Path, broker: Broker, subscriber: Subscriber
) -> None:
    text = config(broker.port, "{kind: synthetic, size: 64x64, seed: 1, fps: 10}")
    day = time.strftime("%a", time.localtime(time.time() + 3 * 86400)).lower()
    resting = text.replace("every, fps: 10}", f"every, fps: 10, active: {{days: {day}}}}}")
    with Daemon(box, resting) as daemon:
        subscriber.wait(f"{P}/faces/state", lambda heard: heard.value.get("reason") == "inactive", 60)
        assert daemon.status()["inactive"] == {"faces": "outside its active hours"}
        assert daemon.command("status", "--wait", "--timeout", "20s").returncode == 0
        assert subscriber.on(f"{P}/faces/result") == []
        daemon.config.write_text(text)
        assert daemon.reload()["state"] == "applied"
        subscriber.wait(f"{P}/faces/result", deadline=30)
        assert daemon.status()["inactive"] == {}
