"""The installed service under a real systemd: start, reload, crash, upgrade, failed upgrade, stop, removal."""

from __future__ import annotations

from pathlib import Path

from tests.broker import Broker
from tests.deploy.machine import ROOT, run_under_systemd

SCRIPT = f"""
export PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin
install={ROOT}/deploy/install
say() {{ echo "$1: $(shift; "$@" 2>&1 | tail -n 1)"; }}
code() {{ name=$1; shift; "$@" >>/shared/log 2>&1; echo "$name: $?"; }}
until_shows() {{ for _ in $(seq 300); do edge-infer status 2>/dev/null | grep -q "$1" && return; sleep 0.2; done; }}

code installed $install
echo "state: $(stat -c %U:%a /var/lib/edge-infer) $(stat -c %U /var/lib/edge-infer/models/face-detect/1.0.0)"
echo "camera group: $(id -Gn edge-infer | grep -cw video)"
sed -i 's/  # port: 8883/  port: @PORT@/' /etc/edge-infer/config.yaml
code reloaded systemctl reload edge-infer
until_shows 'broker *ok'
until_shows 'faces: active'
say connected sh -c "edge-infer status | grep -c 'broker *ok'"
say serving sh -c "edge-infer status | grep -c 'faces: active'"
say heard sh -c "mosquitto_sub -p @PORT@ -t '+/+/status' -C 1 -W 20"
say notified sh -c "systemctl show -p StatusText --value edge-infer | grep -c 'models serve'"
cp /etc/edge-infer/config.yaml /tmp/good
echo 'nonsense: 1' >> /etc/edge-infer/config.yaml
code 'bad reload' systemctl reload edge-infer
say 'after it' systemctl is-active edge-infer
cp /tmp/good /etc/edge-infer/config.yaml
code examined edge-infer doctor

kill -KILL $(systemctl show -p MainPID --value edge-infer)
for _ in $(seq 100); do systemctl show -p NRestarts edge-infer | grep -q =1 && break; sleep 0.2; done
until_shows 'broker *ok'
say restarted systemctl is-active edge-infer

code upgraded $install --upgrade
say 'after it' systemctl is-active edge-infer
before=$(readlink /opt/edge-infer/current)
mkdir /tmp/broken && cp -r {ROOT}/{{deploy,edge_infer,models,systemd,pyproject.toml,README.md,LICENSE}} /tmp/broken
echo 'raise SystemExit(9)' >> /tmp/broken/edge_infer/supervisor/daemon.py
code 'broken upgrade' /tmp/broken/deploy/install --upgrade
say 'after it' systemctl is-active edge-infer
[ "$before" = "$(readlink /opt/edge-infer/current)" ] && echo 'the old one serves: yes'

systemctl stop edge-infer
say stopped systemctl show -p Result --value edge-infer
say 'last word' sh -c "mosquitto_sub -p @PORT@ -t '+/+/status' -C 1 -W 20"
code removed $install --remove --purge
say 'after it' systemctl is-active edge-infer
ls -d /opt/edge-infer /etc/edge-infer /var/lib/edge-infer /usr/local/bin/edge-infer 2>/dev/null
getent passwd edge-infer
"""
EXPECTED = """\
installed: 0
state: edge-infer:750 edge-infer
camera group: 1
reloaded: 0
connected: 1
serving: 1
heard: online
notified: 1
bad reload: 1
after it: active
examined: 0
restarted: active
upgraded: 0
after it: active
broken upgrade: 1
after it: active
the old one serves: yes
stopped: success
last word: offline
removed: 0
after it: inactive
"""


def test_the_life_of_the_service(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        output = run_under_systemd(tmp_path, SCRIPT.replace("@PORT@", str(broker.port)))
    log = tmp_path / "shared/log"
    assert output == EXPECTED, output + log.read_text()
