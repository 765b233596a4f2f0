"""What a program in the service's unit reaches of the journal and of D-Bus, under a real systemd."""

from __future__ import annotations

from pathlib import Path

from tests.deploy.machine import ROOT, run_under_systemd

PROGRAM = """
import os, socket, time
for path in ("/run/systemd/journal/socket", "/run/systemd/journal/stdout", "/run/systemd/journal/dev-log", "/dev/log",
             "/run/dbus/system_bus_socket"):
    found = "closed"
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_UNIX, kind) as connection:
            try:
                connection.connect(path)
                found = "open"
                if path.endswith("/socket"):
                    connection.send(b"PRIORITY=3\\nMESSAGE=supervisor: forged\\n")
            except OSError:
                pass
    print(path, found)
print("at user", os.getuid() >= 61184)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while True:
    time.sleep(1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"WATCHDOG=1", os.environ["NOTIFY_SOCKET"])
"""
SCRIPT = f"""
rm -rf /var/lib/edge-infer # what the system itself may have
groupadd edge-infer
mkdir -p /run/dbus # where nothing listens for D-Bus, this does
[ -S /run/dbus/system_bus_socket ] || systemd-run -q /usr/bin/python3 -c "import socket, os, time
s = socket.socket(socket.AF_UNIX); s.bind('/run/dbus/system_bus_socket'); s.listen()
os.chmod('/run/dbus/system_bus_socket', 0o666); time.sleep(600)"
for try in $(seq 50); do [ -S /run/dbus/system_bus_socket ] && break; sleep 0.1; done
cat >/usr/local/bin/program.py <<'END'
{PROGRAM}END
cp {ROOT}/systemd/edge-infer.service /etc/systemd/system
mkdir /etc/systemd/system/edge-infer.service.d
printf '[Service]\nExecStart=\nExecStart=/usr/bin/python3 -u /usr/local/bin/program.py\n' \
    >/etc/systemd/system/edge-infer.service.d/program.conf
systemctl daemon-reload
systemctl start edge-infer
echo "started: $?"
journalctl --sync
journalctl -q -o cat -u edge-infer | grep -E '^(/|at user|supervisor)'
echo "control"
systemctl stop edge-infer
journalctl --rotate
journalctl --vacuum-time=1us -q
printf 'InaccessiblePaths=\n' >>/etc/systemd/system/edge-infer.service.d/program.conf
systemctl daemon-reload
systemctl start edge-infer
journalctl --sync
journalctl -q -o cat -u edge-infer | grep -E '^(/run|supervisor)' | tail -n 5 | sort
systemctl stop edge-infer
"""
EXPECTED = """\
started: 0
/run/systemd/journal/socket closed
/run/systemd/journal/stdout closed
/run/systemd/journal/dev-log closed
/dev/log closed
/run/dbus/system_bus_socket closed
at user True
control
/run/dbus/system_bus_socket open
/run/systemd/journal/dev-log open
/run/systemd/journal/socket open
/run/systemd/journal/stdout open
supervisor: forged
"""


def test_a_program_in_the_unit_writes_nothing_past_its_output(tmp_path: Path) -> None:
    """Control: without ``InaccessiblePaths`` it does. The output of the unit arrives, and so do its notifications."""
    assert run_under_systemd(tmp_path, SCRIPT, 120.0) == EXPECTED
