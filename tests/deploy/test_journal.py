"""What a program in the service's unit reaches of the journal and of other services, under a real systemd."""

from __future__ import annotations

from pathlib import Path

from edge_infer.sandbox.other_services import AVAHI, RESOLVED, STUB
from edge_infer.sandbox.selftest import BUT_SERVICES
from tests.deploy.machine import ROOT, run_under_systemd

SENDERS = (f"{AVAHI}/socket", RESOLVED, "/run/snapd.socket")
PROGRAM = f"""
import os, socket, sys, time
for path in ("/run/systemd/journal/socket", "/run/systemd/journal/stdout", "/run/systemd/journal/dev-log", "/dev/log",
             "/run/dbus/system_bus_socket", *{SENDERS}):
    found = "closed"
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_UNIX, kind) as connection:
            try:
                connection.connect(path)
                found = "open"
                if path.endswith("journal/socket"):
                    connection.send(b"PRIORITY=3\\nMESSAGE=supervisor: forged\\n")
            except OSError:
                pass
    print(path, found)
print("at user", os.getuid() >= 61184)
print("at name servers:", open("{STUB}").read().strip())
print("at tmp of its own", os.stat(os.environ["TMPDIR"]).st_dev != os.stat("/run").st_dev)
open(os.environ["TMPDIR"] + "/file", "w").close()
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
if os.fork() == 0:
    sys.path.insert(0, "/usr/local/share/program")
    from edge_infer.sandbox import lock
    from edge_infer.sandbox.fence import Fence
    print("at network", lock("reader", fence=Fence(anywhere=True, unix="programs"))["no_network"])
    os._exit(0)
os.wait()
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.sendto(b"STATUS=done", os.environ["NOTIFY_SOCKET"])
while True:
    time.sleep(1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"WATCHDOG=1", os.environ["NOTIFY_SOCKET"])
"""
SERVICES = f"""
import os, socket, time
for path in ("/run/dbus/system_bus_socket", *{SENDERS}):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.exists(path):
        if path.startswith("/run/dbus"):
            continue
        os.unlink(path)
    globals().setdefault("kept", []).append(socket.socket(socket.AF_UNIX))
    kept[-1].bind(path)
    kept[-1].listen()
    os.chmod(path, 0o666)
with open("{STUB}", "w") as file:
    file.write("nameserver 127.0.0.53")
open("/run/services", "w").close()
time.sleep(600)
"""
SCRIPT = f"""
rm -rf /var/lib/edge-infer # what the system itself may have
groupadd edge-infer
cat >/usr/local/bin/services.py <<'END'
{SERVICES}END
serve() {{ # where nothing listens, this does
    rm -f /run/services
    systemd-run -q --unit "$1" /usr/bin/python3 /usr/local/bin/services.py
    for try in $(seq 100); do [ -e /run/services ] && break; sleep 0.1; done
}}
serve first
cat >/usr/local/bin/program.py <<'END'
{PROGRAM}END
mkdir -p /usr/local/share/program
cp -r {ROOT}/edge_infer /usr/local/share/program
chmod -R a+rX /usr/local/share/program
cp {ROOT}/systemd/edge-infer.service /etc/systemd/system
mkdir /etc/systemd/system/edge-infer.service.d
printf '[Service]\nExecStart=\nExecStart=/usr/bin/python3 -u /usr/local/bin/program.py\n' \
    >/etc/systemd/system/edge-infer.service.d/program.conf
start() {{
    systemctl daemon-reload
    systemctl start edge-infer
    echo "started: $?"
    for try in $(seq 100); do [ "$(systemctl show -P StatusText edge-infer)" = done ] && break; sleep 0.1; done
    journalctl --sync
}}
start
journalctl -q -o cat -u edge-infer | grep -E '^(/|at |supervisor)'
echo "control"
systemctl stop edge-infer
journalctl --rotate
journalctl --vacuum-time=1us -q
printf 'InaccessiblePaths=\n' >>/etc/systemd/system/edge-infer.service.d/program.conf
start
journalctl -q -o cat -u edge-infer | grep -E '^(/run|at network|supervisor)' | tail -n 9 | sort
systemctl stop edge-infer
echo "drop-in, and the services start again"
journalctl --rotate
journalctl --vacuum-time=1us -q
printf 'TemporaryFileSystem={Path(STUB).parent}:ro\nBindReadOnlyPaths=-{STUB}\nExecStartPre=+/bin/true\n' \
    >>/etc/systemd/system/edge-infer.service.d/program.conf
sed -i 's/^import os, socket, sys, time$/&; time.sleep(5)/' /usr/local/bin/program.py
systemctl daemon-reload
systemctl start --no-block edge-infer
sleep 2
systemctl stop first
serve second
start
journalctl -q -o cat -u edge-infer | grep -E '^(at name|{RESOLVED})'
systemctl stop edge-infer
"""
EXPECTED = f"""\
started: 0
/run/systemd/journal/socket closed
/run/systemd/journal/stdout closed
/run/systemd/journal/dev-log closed
/dev/log closed
/run/dbus/system_bus_socket closed
{SENDERS[0]} closed
{SENDERS[1]} closed
{SENDERS[2]} closed
at user True
at name servers: nameserver 127.0.0.53
at tmp of its own True
at network enforced
control
started: 0
/run/avahi-daemon/socket open
/run/dbus/system_bus_socket open
/run/snapd.socket open
/run/systemd/journal/dev-log open
/run/systemd/journal/socket open
/run/systemd/journal/stdout open
/run/systemd/resolve/io.systemd.Resolve open
at network {BUT_SERVICES}
supervisor: forged
drop-in, and the services start again
started: 0
/run/systemd/resolve/io.systemd.Resolve closed
at name servers: nameserver 127.0.0.53
"""


def test_a_program_in_the_unit_reaches_no_other_service(tmp_path: Path) -> None:
    """Control: without ``InaccessiblePaths`` it does, and its report says so.

    The output of the unit arrives, and so do its notifications. With the drop-in, the socket of systemd-resolved stays
    closed when that service starts again.
    """
    assert run_under_systemd(tmp_path, SCRIPT, 120.0) == EXPECTED
