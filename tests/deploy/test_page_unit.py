"""The page's units under a real systemd, with code of somebody else in the page's process."""

from __future__ import annotations

from pathlib import Path

from edge_infer.supervisor.page_service import MAX_WRITERS_IN_A_ROW
from edge_infer.supervisor.processes.output import MAX_BURST_BYTES
from tests.deploy.machine import ROOT, run_under_systemd
from tests.page.attacking import HOOK

ATTACK = """
def attack():
    for path in ("/run/systemd/journal/stdout", "/run/edge-infer-page/draw.sock"):
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
            os.write(2, b"reached %s\\n" % path.encode())
        except OSError as error:
            os.write(2, b"not reached: %s\\n" % type(error).__name__.encode())
    import base64
    (peers,) = [each for each in gc.get_objects() if type(each).__name__ in ("GivenPeers", "SocketPeers")]
    started = 0
    for _ in range(300):
        try:
            peers.writer().close()
            started += 1
        except OSError:
            pass
    os.write(2, b"writers: %d\\n" % started)
    picture = base64.b64encode(os.urandom(30000))
    for _ in range(50):
        os.write(2, picture + b"\\n")
"""
SCRIPT = f"""
groupadd edge-infer; groupadd edge-infer-pictures
useradd --system --user-group --no-create-home edge-infer-page
/usr/bin/python3 -m venv --without-pip /opt/edge-infer/current
packages=$(echo /opt/edge-infer/current/lib/python3*/site-packages)
cp -r {ROOT}/edge_infer $packages
echo 'import attack' >$packages/attack.pth
cat >$packages/attack.py <<'END'
{ATTACK}{HOOK}
END
chmod -R a+rX /opt/edge-infer
cp {ROOT}/systemd/edge-infer-{{page,draw}}* /etc/systemd/system
mkdir /etc/systemd/system/edge-infer-{{draw@,page}}.service.d
printf '[Service]\\nExecStart=\\nExecStart=/bin/true\\n' >/etc/systemd/system/edge-infer-draw@.service.d/none.conf
systemctl daemon-reload
systemctl start edge-infer-draw.socket edge-infer-page.socket
page() {{ curl -s --max-time $1 --unix-socket /run/edge-infer-page/page.sock http://localhost/ | grep -c '<html'; }}
echo "served: $(page 60)"
sleep 3
lines() {{ journalctl -q -o cat -u edge-infer-page "$@"; }}
lines | grep -oE '(reached|not reached:|writers:) .*'
echo "bytes: $(lines | wc -c)"
echo "writer: $(systemctl is-active edge-infer-draw.socket)"
kill -KILL $(pgrep -u edge-infer-page -f 'edge_infer.page --listen')
sleep 2
echo "told: $(lines -p err | grep -c 'the page was killed by SIGKILL')"
echo "named: $(journalctl -q -o cat -t edge-infer-page -u edge-infer-page -p err | grep -c SIGKILL)"
echo "served: $(page 5)"
echo "service: $(systemctl is-active edge-infer-page.service)"
timeout 20 systemctl stop edge-infer-page.service 2>/dev/null
echo "stopped: $?"
echo "served: $(page 60)"
for restart in 1 2 3 4 5 6 7; do systemctl restart edge-infer-page.service; done
echo "listens: $(systemctl is-active edge-infer-page.socket)"
printf '[Service]\nExecStart=\nExecStart=/bin/false\n' >/etc/systemd/system/edge-infer-page.service.d/none.conf
few=/etc/systemd/system/edge-infer-page.socket.d
mkdir $few
printf '[Socket]\nTriggerLimitIntervalSec=1min\nTriggerLimitBurst=2\n' >$few/few.conf
systemctl daemon-reload
systemctl stop edge-infer-page.service 2>/dev/null
page 5
for try in $(seq 100); do systemctl -q is-failed edge-infer-page.socket && break; sleep 0.2; done
/opt/edge-infer/current/bin/python -c 'from edge_infer.cli.as_service import *; print(failed_sockets())'
journalctl -q -o cat >/shared/journal
"""
EXPECTED = f"""\
served: 1
not reached: PermissionError
not reached: PermissionError
writers: {MAX_WRITERS_IN_A_ROW}
writer: active
told: 1
named: 1
served: 0
service: active
stopped: 0
served: 1
listens: active
0
['edge-infer-page.socket']
"""


def test_a_page_that_was_taken_over_reaches_the_journal_and_the_writer_within_limits(tmp_path: Path) -> None:
    output = run_under_systemd(tmp_path, SCRIPT)
    said = output.splitlines(keepends=True)
    (written,) = [line for line in said if line.startswith("bytes: ")]
    assert int(written.split()[1]) < 2 * MAX_BURST_BYTES
    assert "".join(line for line in said if line != written) == EXPECTED, output
