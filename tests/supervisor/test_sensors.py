"""The condition of boards, read from folders laid out like ``/proc`` and ``/sys``."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_infer.supervisor.governor.sensors import BoardCondition, Sensors


def put(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / PLACES[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


PLACES = {
    "stat": "proc/stat",
    "temp": "sys/class/thermal/thermal_zone0/temp",
    "flags": "sys/devices/platform/soc/soc:firmware/get_throttled",
    "flags5": "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled",
    "pmic": "sys/class/thermal/thermal_zone4/temp",
    "pmic_type": "sys/class/thermal/thermal_zone4/type",
    "fan_type": "sys/class/thermal/cooling_device0/type",
    "fan": "sys/class/thermal/cooling_device0/cur_state",
    "cpu_type": "sys/class/thermal/cooling_device1/type",
    "cpu": "sys/class/thermal/cooling_device1/cur_state",
    "chip": "sys/class/hwmon/hwmon1/name",
    "alarm": "sys/class/hwmon/hwmon1/in0_lcrit_alarm",
    "type": "sys/class/power_supply/BAT0/type",
    "scope": "sys/class/power_supply/BAT0/scope",
    "status": "sys/class/power_supply/BAT0/status",
    "capacity": "sys/class/power_supply/BAT0/capacity",
}


@pytest.mark.parametrize(
    ("files", "condition"),
    [
        ({}, BoardCondition()),
        ({"temp": "78312"}, BoardCondition(78.3)),
        ({"temp": "-273000"}, BoardCondition()),
        ({"temp": "200000"}, BoardCondition()),
        ({"temp": "warm"}, BoardCondition()),
        ({"temp": ""}, BoardCondition()),
        ({"temp": "45000", "pmic": "100000", "pmic_type": "PMIC-Die"}, BoardCondition(45.0)),
        ({"temp": "45000", "pmic": "61000", "pmic_type": "CPU-therm"}, BoardCondition(61.0)),
        ({"flags": "50000"}, BoardCondition()),
        ({"flags": "50001"}, BoardCondition(undervolted=True)),
        ({"flags": "80008"}, BoardCondition(throttled=True)),
        ({"flags5": "0x50005"}, BoardCondition(throttled=True, undervolted=True)),
        ({"flags": "throttled"}, BoardCondition()),
        ({"fan_type": "pwm-fan", "fan": "3"}, BoardCondition()),
        ({"cpu_type": "cpufreq-cpu0", "cpu": "0"}, BoardCondition()),
        ({"cpu_type": "cpufreq-cpu0", "cpu": "2"}, BoardCondition(throttled=True)),
        ({"cpu_type": "Processor", "cpu": "1"}, BoardCondition(throttled=True)),
        ({"cpu_type": "thermal-cpufreq-0", "cpu": "?"}, BoardCondition()),
        ({"chip": "rpi_volt", "alarm": "1"}, BoardCondition(undervolted=True)),
        ({"chip": "rpi_volt", "alarm": "0"}, BoardCondition()),
        ({"chip": "other", "alarm": "1"}, BoardCondition()),
        ({"type": "Battery", "status": "Discharging", "capacity": "18"}, BoardCondition(battery=0.18)),
        ({"type": "Battery", "status": "Charging", "capacity": "18"}, BoardCondition()),
        ({"type": "Battery", "status": "Discharging", "capacity": "-1"}, BoardCondition()),
        ({"type": "Battery", "scope": "Device", "status": "Discharging", "capacity": "18"}, BoardCondition()),
        ({"type": "Mains", "status": "Discharging", "capacity": "18"}, BoardCondition()),
    ],
)
def test_what_a_board_tells(tmp_path: Path, files: dict[str, str], condition: BoardCondition) -> None:
    put(tmp_path, **files)
    assert Sensors(tmp_path, 1).read() == condition


def test_the_load_is_that_of_all_cores_over_some_looks(tmp_path: Path) -> None:
    put(tmp_path, stat="cpu  0 0 0 0 0 0 0 0 0 0")
    sensors = Sensors(tmp_path, 2)
    put(tmp_path, stat="cpu  100 0 0 0 0 0 0 0 0 0")
    assert sensors.read().load is None
    put(tmp_path, stat="cpu  150 0 0 50 0 0 0 0 0 0")
    assert sensors.read().load == 0.75
    put(tmp_path, stat="cpu  150 0 0 100 50 0 0 0 0 0")
    assert sensors.read().load == 0.25
    (tmp_path / "proc/stat").unlink()
    assert sensors.read().load is None


def test_work_that_gives_way_is_no_load(tmp_path: Path) -> None:
    """The daemon measures the fast path of the board with whatever time is left; that is no reason to slow it down."""
    sensors = Sensors(tmp_path, 2)
    loads = []
    for look in range(1, 5):
        put(tmp_path, stat=f"cpu {100 * look} {300 * look} 0 {600 * look} 0 0 0 0 0 0")
        loads.append(sensors.read(measuring=look > 1).load)
    assert loads == [None, 0.25, 0.1, 0.1]


def test_this_machine_has_no_surprises() -> None:
    condition = Sensors(Path("/"), 1).read()
    assert condition.temperature is None or -50 < condition.temperature < 200
    assert condition.load is None or 0 <= condition.load <= 1
