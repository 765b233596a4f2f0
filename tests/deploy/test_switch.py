"""The switch to another version under a real systemd, with programs that only say how they were stopped."""

from __future__ import annotations

from pathlib import Path

from tests.deploy.machine import ROOT, run_under_systemd

PROGRAM = """\
#!/bin/bash
case $* in
run)
    [ @NAME@ = new ] || echo '{"slots":{},"refused":{}}' >/var/lib/edge-infer/serving.json
    (trap 'echo "engine of @NAME@ killed" >>/shared/ended; exit' TERM
    trap 'echo "engine of @NAME@ ended" >>/shared/ended; exit' PWR
    while :; do sleep 0.1; done) &
    trap 'touch /shared/stopping; sleep 0.5; kill -PWR $!; wait $!; exit 0' TERM
    wait $!
    ;;
'status -h') echo '@HELP@' ;;
*--wait*) [ '@HELP@' = --wait ] ;;
*) echo @NAME@ ;;
esac
"""
"""Its supervisor ends the engine, which does not ignore SIGTERM: whoever sends it one kills it."""
UNIT = """\
[Service]
ExecStart=/opt/edge-infer/bin/edge-infer run
KillMode=@MODE@
Restart=always
[Install]
WantedBy=multi-user.target
"""
SCRIPT = f"""
cat >/shared/program <<'END'
{PROGRAM}
END
cat >/shared/unit <<'END'
{UNIT}
END
export PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin
rm -rf /var/lib/edge-infer /etc/edge-infer /opt/edge-infer /etc/systemd/system/edge-infer*
mkdir /var/lib/edge-infer
version() {{ # NAME MODE HELP
    mkdir -p /opt/edge-infer/versions/$1/{{bin,share}}
    for each in edge-infer python; do
        sed "s/@NAME@/$1/; s/@HELP@/$3/" /shared/program >/opt/edge-infer/versions/$1/bin/$each
        chmod 755 /opt/edge-infer/versions/$1/bin/$each
    done
    sed "s/@MODE@/$2/" /shared/unit >/opt/edge-infer/versions/$1/share/edge-infer.service
}}
code() {{ name=$1; shift; "$@" >>/shared/log 2>&1; echo "$name: $?"; }}
serves() {{
    echo "$(systemctl is-active edge-infer) $(systemctl show -p KillMode --value edge-infer) \
$(readlink /opt/edge-infer/current)"
    cat /shared/ended && rm /shared/ended
}}
switch='{ROOT}/deploy/install --rollback'
version old mixed ''
version new control-group --wait
mkdir /opt/edge-infer/bin
ln -s ../current/bin/edge-infer /opt/edge-infer/bin/edge-infer
ln -s versions/old /opt/edge-infer/current
ln -s versions/new /opt/edge-infer/previous
cp /opt/edge-infer/current/share/edge-infer.service /etc/systemd/system
cat >/etc/systemd/system/needs-it.service <<'END'
[Unit]
Requires=edge-infer.service
[Service]
ExecStart=sleep infinity
END
systemctl daemon-reload
systemctl start edge-infer needs-it
code 'to a version with other rules' $switch
serves
echo '{{"refused":{{"faces":[]}}}}' >/var/lib/edge-infer/serving.json
code 'to one whose status cannot wait' $switch
serves
echo "said that it forgot the rejected models: $(grep -c 'which models were rejected or rolled back' /shared/log)"
rm /shared/stopping
$switch >>/shared/log 2>&1 &
until [ ${{settler:-0}} != 0 ]; do settler=$(systemctl show -p MainPID --value edge-infer-upgrade); done
until [ -e /shared/stopping ]; do sleep 0.01; done
kill -KILL $settler
wait
while [ -e /etc/systemd/system/edge-infer-upgrade.service ]; do sleep 0.1; done
echo 'killed at the stop of a service that is not enabled'
serves | grep -v 'engine of new' # the new version may have been started by then
echo "the unit that needs it: $(systemctl is-active needs-it)"
systemctl stop edge-infer
rm /shared/ended
code 'while it is off' $switch
echo "$(systemctl is-active edge-infer) $(readlink /opt/edge-infer/current)"
ls /run | grep edge-infer
"""
EXPECTED = """\
to a version with other rules: 0
active control-group versions/new
engine of old ended
to one whose status cannot wait: 0
active mixed versions/old
engine of new killed
said that it forgot the rejected models: 1
killed at the stop of a service that is not enabled
active control-group versions/new
engine of old ended
the unit that needs it: active
while it is off: 0
inactive versions/old
"""


def test_a_version_is_stopped_by_the_rules_of_its_own_unit(tmp_path: Path) -> None:
    output = run_under_systemd(tmp_path, SCRIPT)
    assert output == EXPECTED, output + (tmp_path / "shared/log").read_text()
