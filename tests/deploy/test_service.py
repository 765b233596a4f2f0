"""The installed service under a real systemd: start, reload, crash, upgrade, failed upgrade, stop, removal."""

from __future__ import annotations

from pathlib import Path

from tests.broker import Broker
from tests.deploy.machine import ROOT, run_under_systemd
from tests.publisher.test_faults import passwords

SCRIPT = f"""
export PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin
install={ROOT}/deploy/install
say() {{ echo "$1: $(shift; "$@" 2>&1 | tail -n 1)"; }}
code() {{ name=$1; shift; "$@" >>/shared/log 2>&1; echo "$name: $?"; }}
until_shows() {{ for _ in $(seq 300); do edge-infer status 2>/dev/null | grep -q "$1" && return; sleep 0.2; done; }}

owner() {{ stat -Lc %u $1; }}
process() {{ systemctl show -p MainPID --value edge-infer; }}

rm -rf /var/lib/edge-infer /etc/edge-infer /opt/edge-infer # what the system itself may have
python3 -c "import socket; s = socket.socket(socket.AF_UNIX); s.bind('/tmp/argus_socket')" # a Jetson's camera service
code installed $install
echo "state: $(readlink /var/lib/edge-infer) $(stat -Lc %G:%a /var/lib/edge-infer)"
[ $(owner /var/lib/edge-infer) -ge 61184 ] && [ $(owner /var/lib/edge-infer/models) = $(owner /var/lib/edge-infer) ] &&
    [ $(owner /proc/$(process)) = $(owner /var/lib/edge-infer) ] && echo 'its user is dynamic: yes'
video=$(getent group video | cut -d: -f3)
echo "cameras: $(ls /proc/$(process)/root/tmp) $(grep -cw "^Groups:.*$video" /proc/$(process)/status)"
environment=$(tr '\\0' '\\n' </proc/$(process)/environ)
echo "its folders: $(grep -E '^(TMPDIR|RUNTIME_DIRECTORY)=' <<<"$environment" | sort | paste -sd' ')"
[ $(owner /run/edge-infer/tmp) = $(owner /run/edge-infer) ] && echo 'both are its own: yes'
sed -i 's/  # port: 8883/  port: @PORT@/' /etc/edge-infer/config.yaml
code reloaded systemctl reload edge-infer
until_shows 'broker *ok'
until_shows 'faces: active'
say connected sh -c "edge-infer status | grep -c 'broker *ok'"
say serving sh -c "edge-infer status | grep -c 'faces: active'"
say heard sh -c "mosquitto_sub -p @PORT@ -t '+/+/status' -C 1 -W 20"
say notified sh -c "systemctl show -p StatusText --value edge-infer | grep -c 'models serve'"
cp /etc/edge-infer/config.yaml /tmp/good
sed -i 's|^sources:|&\\n  zero: {{kind: exec, command: [/bin/cat, /dev/zero], size: 64x48, format: rgb24}}|
    s|^pipelines:|&\\n  zero: {{source: zero, model: faces, fps: 2, publish: every}}|' /etc/edge-infer/config.yaml
code 'with a program' systemctl reload edge-infer
say 'its results' sh -c "mosquitto_sub -p @PORT@ -t '+/+/zero/result' -C 1 -W 60 | grep -c objects"
mkdir /etc/systemd/system/edge-infer.service.d
printf '[Service]\\nSystemCallFilter=~landlock_create_ruleset\\n' >/etc/systemd/system/edge-infer.service.d/old.conf
systemctl daemon-reload
code 'as on a kernel without Landlock' systemctl restart edge-infer
say 'its results' sh -c "mosquitto_sub -p @PORT@ -t '+/+/zero/result' -C 1 -W 60 | grep -c objects"
rm -r /etc/systemd/system/edge-infer.service.d
cp /tmp/good /etc/edge-infer/config.yaml
systemctl daemon-reload
code restarted systemctl restart edge-infer
until_shows 'faces: active'
echo 'nonsense: 1' >> /etc/edge-infer/config.yaml
code 'bad reload' systemctl reload edge-infer
say 'after it' systemctl is-active edge-infer
cp /tmp/good /etc/edge-infer/config.yaml
code examined edge-infer doctor
useradd --create-home --groups edge-infer warden
operator="runuser -u warden --"
say 'an operator asks' sh -c "$operator edge-infer status | grep -c 'broker *ok'"
code 'and examines' $operator edge-infer doctor
code 'but may not look' $operator edge-infer models list
code 'nor see' $operator edge-infer cameras --grab clip -o /tmp/clip.png
usermod --append --groups edge-infer-pictures warden
code 'in the other group' $operator edge-infer cameras --grab clip -o /tmp/clip.png
echo "for the operator: $(stat -c %U:%a /tmp/clip.png)"
say logged sh -c "journalctl -u edge-infer | grep -c 'picture of source clip to warden'"
say 'the page waits' sh -c "systemctl is-active edge-infer-page.socket edge-infer-draw.socket | sort -u"
say 'and runs' systemctl is-active edge-infer-page.service
page() {{ runuser -u $1 -- curl -s --max-time 60 --unix-socket /run/edge-infer-page/page.sock -H 'X-Edge-Infer: page' \
    "http://localhost/api/$2" "${{@:3}}"; }}
page warden overview | grep -o '"user":"[a-z]*"'
page warden 'look?source=clip' | grep -o '"width":[0-9]*'
mosquitto_sub -p @PORT@ -t '+/+/health' -C 2 -W 20 | grep -c '"watched":true' | sed 's/^[12]$/health: watched/'
useradd stranger
page stranger overview; echo "a stranger: $?"
digest=$(page warden scene | sed 's/^{{"digest":"\\([0-9a-f]*\\)".*/\\1/')
edit='{{"what":"mask","name":0,"points":[[0,0],[0.5,0],[0.5,0.5]]}}'
draw() {{ page warden edit -H 'Origin: http://localhost' -H 'Content-Type: application/json' \
    -d "{{\\"digest\\":\\"$digest\\",\\"pipeline\\":\\"clip-faces\\",\\"edits\\":[$edit]}}"; echo; }}
draw | sed 's/"digest":"[0-9a-f]*",//'
draw | grep -o '"kind":"[a-z]*"'
grep -c '^    mask: \\[\\[\\[0, 0\\], \\[0.5, 0\\], \\[0.5, 0.5\\]\\]\\]$' /etc/edge-infer/config.yaml
echo "the file: $(stat -c %U:%G:%a /etc/edge-infer/config.yaml)"
sed -i '/^    mask: /d' /etc/edge-infer/config.yaml
until edge-infer reload >>/shared/log 2>&1; do sleep 0.2; done
say 'the writer is logged' sh -c "journalctl -u 'edge-infer-draw@*' | grep -c 'edited on the page by warden'"
say 'the viewer is logged' sh -c "journalctl -u edge-infer | grep -c ': showing pictures of source clip to warden'"
echo "its user: $(stat -c %U /proc/$(systemctl show -p MainPID --value edge-infer-page))"
echo "complaints: $(journalctl -q -p warning -u edge-infer-page | wc -l)"
dynamic="setpriv --reuid $(owner /var/lib/edge-infer) --regid edge-infer --clear-groups --"
code 'a process of its user' $dynamic edge-infer status
mkdir /tmp/package && cp -r {ROOT}/models/face-detect/1.0.0/* /tmp/package
sed -i 's/^version: .*/version: 1.0.9/' /tmp/package/manifest.yaml
code 'root adds a model' edge-infer models add /tmp/package
[ $(owner /var/lib/edge-infer/models/face-detect/1.0.9) = $(owner /var/lib/edge-infer) ] && echo 'for the service: yes'

printf 'of the broker\n' >/etc/edge-infer/mqtt.pass && chmod 600 /etc/edge-infer/mqtt.pass
sed -i 's/  # username: edge/  username: edge/; s/  # \\(password_file: mqtt\\)/  \\1/' /etc/edge-infer/config.yaml
mkdir /etc/systemd/system/edge-infer.service.d
edge-infer unit >/etc/systemd/system/edge-infer.service.d/box.conf
systemctl daemon-reload
code 'restarted with a credential' systemctl restart edge-infer
until_shows 'broker *ok'
say connected sh -c "edge-infer status | grep -c 'broker *ok'"
code 'and reads it' edge-infer check

kill -KILL $(systemctl show -p MainPID --value edge-infer)
for _ in $(seq 100); do systemctl show -p NRestarts edge-infer | grep -q =1 && break; sleep 0.2; done
until_shows 'broker *ok'
say restarted systemctl is-active edge-infer

# As it was before there was a dynamic user.
useradd --system --gid edge-infer --no-create-home edge-infer
sed -i '/^DynamicUser/d; s/^User=.*/User=edge-infer/' /opt/edge-infer/share/edge-infer.service
cp /opt/edge-infer/share/edge-infer.service /etc/systemd/system && systemctl daemon-reload
code 'with a user of its own' systemctl restart edge-infer
code 'and a credential' edge-infer check
touch /etc/edge-infer/own.pass && chmod 600 /etc/edge-infer/own.pass && chown edge-infer /etc/edge-infer/own.pass
echo "state: $(stat -c %F:%U:%G /var/lib/edge-infer)"
before=$(readlink /opt/edge-infer/current)
mkdir /tmp/broken && cp -r {ROOT}/{{deploy,edge_infer,models,systemd,pyproject.toml,README.md,LICENSE}} /tmp/broken
ran=$(process)
echo 'raise ImportError' >> /tmp/broken/edge_infer/readers/process.py
code 'broken for readers' /tmp/broken/deploy/install --upgrade
cp {ROOT}/edge_infer/readers/process.py /tmp/broken/edge_infer/readers
[ $ran = $(process) ] && [ "$before" = "$(readlink /opt/edge-infer/current)" ] && echo 'nothing was changed: yes'
echo 'import os; "RUNTIME_DIRECTORY" in os.environ and os._exit(9)' >> /tmp/broken/edge_infer/engine/process.py
code 'broken in the unit alone' /tmp/broken/deploy/install --upgrade
[ $ran = $(process) ] && [ "$before" = "$(readlink /opt/edge-infer/current)" ] && echo 'nothing was changed: yes'
ls -d /run/systemd/system/edge-infer-rehearsal.service /var/lib/{{,private/}}edge-infer-rehearsal 2>/dev/null
engine=/tmp/broken/edge_infer/engine/process.py
sed -i '$d' $engine
echo 'import os; os.environ.get("HOME") == "/var/lib/edge-infer" and os._exit(9)' >> $engine
code 'broken in this service alone' /tmp/broken/deploy/install --upgrade
say 'after it' systemctl is-active edge-infer
(/tmp/broken/deploy/install --upgrade >>/shared/log 2>&1 & echo $! >/tmp/upgrade)
until [ "$before" != "$(readlink /opt/edge-infer/current)" ]; do sleep 0.1; done
kill -KILL $(cat /tmp/upgrade) # as the end of an SSH session might, while the new version is tried
for _ in $(seq 1800); do [ -e /etc/systemd/system/edge-infer-upgrade.service ] || break; sleep 0.1; done
say 'and nobody there to go back' systemctl is-active edge-infer
[ "$before" = "$(readlink /opt/edge-infer/current)" ] && echo 'the old one serves: yes'
code 'and has outcomes' edge-infer status --wait
code 'root checks' edge-infer check
chmod 600 /etc/edge-infer/config.yaml
code 'what the service cannot read' edge-infer check
chmod 644 /etc/edge-infer/config.yaml
code 'root audits' edge-infer privacy --seconds 3
ls /opt/edge-infer/versions | wc -l
systemctl stop edge-infer
code 'root checks while it is stopped' edge-infer check
code 'and examines' edge-infer doctor
systemctl start edge-infer
code 'started again' edge-infer status --wait
code upgraded $install --upgrade
code 'with the credential' edge-infer check
echo "judged as root: $(grep -c 'so the check ran as root' /shared/log)"
[ "$before" = "$(readlink /opt/edge-infer/previous)" ] && echo 'the one before is kept: yes'
cp /opt/edge-infer/share/edge-infer.service /opt/edge-infer/previous/share # its own names a user that is gone
code 'rolled back' $install --rollback
echo "nothing is left of the switch: $(ls -d /etc/systemd/system/edge-infer-upgrade.service \
    /etc/systemd/system/*.wants/edge-infer-upgrade.service 2>/dev/null | wc -l)"
[ "$before" = "$(readlink /opt/edge-infer/current)" ] && echo 'the one before serves: yes'
code 'and back again' $install --rollback
ls /opt/edge-infer/versions | wc -l
systemctl disable --now --quiet edge-infer
code 'rolled back while it is off' $install --rollback
say 'it stays off' sh -c 'systemctl is-active edge-infer; systemctl is-enabled edge-infer'
code 'and back while it is off' $install --rollback
systemctl enable --now --quiet edge-infer
say 'after it' systemctl is-active edge-infer
until_shows 'broker *ok'
say connected sh -c "edge-infer status | grep -c 'broker *ok'"
echo "state: $(readlink /var/lib/edge-infer)"
[ $(owner /proc/$(process)) -ge 61184 ] && ! getent passwd edge-infer && echo 'its user is dynamic: yes'
[ -e /var/lib/edge-infer/models/face-detect/1.0.9 ] && echo 'what it had is there: yes'
echo "secrets: $(cd /etc/edge-infer && stat -c %U:%G:%a mqtt.pass own.pass | paste -sd' ')"
say 'an operator asks' sh -c "$operator edge-infer status | grep -c 'broker *ok'"

systemctl stop edge-infer
say stopped systemctl show -p Result --value edge-infer
say 'last word' sh -c "mosquitto_sub -p @PORT@ -t '+/+/status' -C 1 -W 20"
code removed $install --remove --purge
say 'after it' systemctl is-active edge-infer
ls -d /opt/edge-infer /etc/edge-infer /var/lib/{{,private/}}edge-infer /usr/local/bin/edge-infer /run/edge-infer-page \
    /etc/systemd/system/edge-infer* 2>/dev/null
getent group edge-infer edge-infer-pictures edge-infer-page
getent passwd edge-infer-page
"""
EXPECTED = """\
installed: 0
state: private/edge-infer edge-infer:750
its user is dynamic: yes
cameras: argus_socket 1
its folders: RUNTIME_DIRECTORY=/run/edge-infer:/run/edge-infer/tmp TMPDIR=/run/edge-infer/tmp
both are its own: yes
reloaded: 0
connected: 1
serving: 1
heard: online
notified: 1
with a program: 0
its results: 1
as on a kernel without Landlock: 0
its results: 1
restarted: 0
bad reload: 1
after it: active
examined: 0
an operator asks: 1
and examines: 0
but may not look: 3
nor see: 1
in the other group: 0
for the operator: warden:600
logged: 1
the page waits: active
and runs: inactive
"user":"warden"
"width":640
health: watched
a stranger: 7
{"done":["pipelines.clip-faces.mask[0]: added"]}
"kind":"conflict"
1
the file: root:root:644
the writer is logged: 1
the viewer is logged: 1
its user: edge-infer-page
complaints: 0
a process of its user: 1
root adds a model: 0
for the service: yes
restarted with a credential: 0
connected: 1
and reads it: 0
restarted: active
with a user of its own: 0
and a credential: 0
state: directory:edge-infer:edge-infer
broken for readers: 1
nothing was changed: yes
broken in the unit alone: 1
nothing was changed: yes
broken in this service alone: 1
after it: active
and nobody there to go back: active
the old one serves: yes
and has outcomes: 0
root checks: 0
what the service cannot read: 2
root audits: 0
1
root checks while it is stopped: 0
and examines: 0
started again: 0
upgraded: 0
with the credential: 0
judged as root: 0
the one before is kept: yes
rolled back: 0
nothing is left of the switch: 0
the one before serves: yes
and back again: 0
2
rolled back while it is off: 0
it stays off: disabled
and back while it is off: 0
after it: active
connected: 1
state: private/edge-infer
its user is dynamic: yes
what it had is there: yes
secrets: root:root:600 root:edge-infer:640
an operator asks: 1
stopped: success
last word: offline
removed: 0
after it: inactive
"""


def test_the_life_of_the_service(tmp_path: Path) -> None:
    users = passwords(tmp_path, edge="of the broker")
    with Broker(tmp_path, f"password_file {users}", "allow_anonymous true") as broker:
        output = run_under_systemd(tmp_path, SCRIPT.replace("@PORT@", str(broker.port)), 1500.0)
    log = tmp_path / "shared/log"
    assert output == EXPECTED, output + log.read_text()
