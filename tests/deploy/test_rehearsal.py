"""The trial of a new version under a real systemd, after a killed installer, with stand-ins for the program."""

from __future__ import annotations

from pathlib import Path

from tests.deploy.machine import ROOT, run_under_systemd

PROGRAM = """\
#!/bin/bash
case @NAME@:$1 in
broken:run) exit 9 ;;
*:run)
    if [ -n "$(ls "$STATE_DIRECTORY")" ]; then echo 'the state of another trial'; exit 9; fi
    touch "$STATE_DIRECTORY/outbox" "${RUNTIME_DIRECTORY%%:*}/serves"
    exec sleep infinity
    ;;
killed:status) exec sleep infinity ;;
*:status) for _ in $(seq 100); do [ ! -e "$RUNTIME_DIRECTORY/serves" ] || exit 0; sleep 0.1; done; exit 1 ;;
esac
"""
"""The daemon of a version, and its status. The installer is killed while it waits for the status of ``killed``."""
SCRIPT = f"""
cat >/shared/program <<'END'
{PROGRAM}
END
export PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin
rm -rf /var/lib/edge-infer /etc/edge-infer /opt/edge-infer /etc/systemd/system/edge-infer*
for each in killed broken good; do
    folder=/opt/edge-infer/versions/$each
    mkdir -p $folder/{{bin,share}}
    sed "s/@NAME@/$each/" /shared/program >$folder/bin/edge-infer
    chmod 755 $folder/bin/edge-infer
    sed '/^SupplementaryGroups=/d' {ROOT}/systemd/edge-infer.service >$folder/share/edge-infer.service
done
sed '/^parse "\\$@"$/,$d' {ROOT}/deploy/install >/shared/functions
rehearse() {{ echo "new=/opt/edge-infer/versions/$1; trap clean_up EXIT; rehearse; new=" >/shared/run.$1
    exec bash -c ". /shared/functions; . /shared/run.$1"; }}
code() {{ name=$1; shift; ("$@") >>/shared/log 2>&1; echo "$name: $?"; }}
kill_in_rehearsal() {{
    (rehearse killed >>/shared/log 2>&1) &
    until [ -e /run/edge-infer-rehearsal/serves ]; do sleep 0.05; done
    kill -KILL $!
    wait $! 2>/dev/null
    case $(systemctl show -p ActiveState --value edge-infer-rehearsal) in activ*) echo 'its trial goes on' ;; esac
}}
kill_in_rehearsal
code 'a version that does not run' rehearse broken
kill_in_rehearsal
code 'a version that runs' rehearse good
mkdir /var/lib/private/edge-infer-rehearsal && touch /var/lib/private/edge-infer-rehearsal/outbox
code 'after a power cut' rehearse good
ls -d /run/systemd/system/edge-infer-rehearsal.service /var/lib/{{,private/}}edge-infer-rehearsal \\
    /run/edge-infer-rehearsal 2>/dev/null
"""
EXPECTED = """\
its trial goes on
a version that does not run: 1
its trial goes on
a version that runs: 0
after a power cut: 0
"""


def test_a_trial_that_a_killed_installer_left_does_not_answer_for_a_new_version(tmp_path: Path) -> None:
    output = run_under_systemd(tmp_path, SCRIPT)
    assert output == EXPECTED, output + (tmp_path / "shared/log").read_text()
