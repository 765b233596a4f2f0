"""Upgrades that go wrong, of the service that ``deploy/install`` made, under a real systemd.

After each of them the version before has to serve, and a subscriber has to get its results again at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from tests.broker import Broker
from tests.deploy.machine import ROOT, run_under_systemd

LONGEST_GAP: Final = 3.0
"""Seconds without a result, unless the fault shows in this service alone: then the new version has to fail there."""
DEADLINE: Final = 7200.0
REFUSING: Final = """
_read = compile_config
def compile_config(path, **words):
    refused = Problem(str(path), 1, "", "this version does not take it")
    return Compiled("", None, (refused,)) if "/etc/edge-infer" in str(path) else _read(path, **words)
"""
ENDING: Final = 'import os; "RUNTIME_DIRECTORY" in os.environ and os._exit(9)'
ALONE: Final = "in this service alone"
OURS: Final = 'import os; os.environ.get("HOME") == "/var/lib/edge-infer" and os._exit(9)'
SYNTAX: Final = {
    "supervisor": "supervisor/daemon.py",
    "engine": "engine/process.py",
    "publisher": "publisher/process.py",
    "reader": "readers/process.py",
    "configuration": "config/compile/compile.py",
}
BROKEN: Final = {
    **{f"syntax error: {name}": f"echo 'def broken(:' >>$new/edge_infer/{file}" for name, file in SYNTAX.items()},
    "missing dependency": "sed -i '/msgspec/d' $new/pyproject.toml",
    "refused configuration": f"printf %s '{REFUSING}' >>$new/edge_infer/config/compile/compile.py",
    "engine ends in the unit": f"echo '{ENDING}' >>$new/edge_infer/engine/process.py",
    "publisher ends in the unit": f"echo '{ENDING}' >>$new/edge_infer/publisher/process.py",
    "supervisor ends in the unit": f"echo '{ENDING}' >>$new/edge_infer/supervisor/daemon.py",
    f"engine ends {ALONE}": f"echo '{OURS}' >>$new/edge_infer/engine/process.py",
    "full disk": "fallocate -l $(($(stat -fc '%a*%S' /opt/edge-infer) - 60000000)) /opt/edge-infer/filler",
}
"""What is done to a copy of the checkout, or to the machine, before an upgrade that has to fail."""
KILLED: Final = {
    "killed while it installs": "[ -d /opt/edge-infer/versions/*/source ]",
    "killed while it rehearses": "[ -S /run/edge-infer-rehearsal/control.sock ]",
    "killed before it switches": "[ -e /etc/systemd/system/edge-infer-upgrade.service ]",
    "killed while it switches": "[ $(settling) = activating ]",
}
"""When an upgrade to a sound version is killed; then either version has to serve."""
SCRIPT: Final = """
export PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin
new=/tmp/new
fresh() {
    rm -rf $new; mkdir $new
    cp -r @ROOT@/{deploy,edge_infer,models,systemd,pyproject.toml,README.md,LICENSE} $new
}
settling() { systemctl show -p ActiveState --value edge-infer-upgrade; }
version() { readlink /opt/edge-infer/current; }
report() { # NAME BEGIN CODE
    edge-infer status --wait --timeout 60s >>/shared/log 2>&1; serves=$?
    sleep 2
    echo "$1|$2|$(date +%s.%N)|$3|$serves|$([ "$before" = "$(version)" ] && echo same || echo other)"
}
rm -rf /var/lib/edge-infer /etc/edge-infer /opt/edge-infer
mkdir /opt/edge-infer && mount -t tmpfs -o size=2g none /opt/edge-infer
@ROOT@/deploy/install >>/shared/log 2>&1 || { cat /shared/log; exit 0; }
sed -i 's/  # port: 8883/  port: @PORT@/; s/    # publish: change.*/    publish: every/' /etc/edge-infer/config.yaml
edge-infer reload >>/shared/log 2>&1
mosquitto_sub -p @PORT@ -t '+/+/clip-faces/result' -F %U >/shared/results &
until [ -s /shared/results ]; do sleep 0.2; done
before=$(version)
"""
BREAK: Final = """
fresh
echo "=== @NAME@" >>/shared/log
begin=$(date +%s.%N)
@STEP@
$new/deploy/install --upgrade >>/shared/log 2>&1
code=$?
rm -f /opt/edge-infer/filler
report '@NAME@' $begin $code
"""
KILL: Final = """
fresh
echo "=== @NAME@" >>/shared/log
before=$(version)
begin=$(date +%s.%N)
($new/deploy/install --upgrade >>/shared/log 2>&1 & echo $! >/tmp/upgrade)
until @STEP@ >/dev/null 2>&1 || ! kill -0 $(cat /tmp/upgrade) 2>/dev/null; do sleep 0.05; done
kill -KILL $(cat /tmp/upgrade)
while [ "$(settling)" = activating ]; do sleep 0.2; done
report '@NAME@' $begin killed
"""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What became of one upgrade; ``gap`` is the longest time without a result from its beginning to its end."""

    name: str
    code: str
    serves: bool
    same: bool
    gap: float

    @property
    def kept(self) -> bool:
        """Whether a version serves, the one before if the new one is broken, and results came again at once."""
        right = self.code == "killed" or (self.code == "1" and self.same)
        soon = self.gap <= LONGEST_GAP or self.name.endswith(ALONE) or self.code == "killed"
        return self.serves and right and soon

    def __str__(self) -> str:
        """One line."""
        version = "the version before" if self.same else "the new version"
        served = f"{version} serves" if self.serves else "NOTHING SERVES"
        return f"{self.name:<30} exit code {self.code:<6} {served}, longest gap {self.gap:.1f} s"


def main(folder: Path, only: str | None = None) -> int:
    """Print a line for each upgrade; return 1 if one of them broke a promise."""
    folder.mkdir(exist_ok=True)
    kept = True
    for upgrade in upgrades(folder, only):
        print(upgrade, flush=True)
        kept &= upgrade.kept
    return 0 if kept else 1


def upgrades(folder: Path, only: str | None = None) -> Iterator[Upgrade]:
    """Make all upgrades, or those whose names begin like this, on one machine."""
    parts = [(BREAK, name, step) for name, step in BROKEN.items()] + [(KILL, *each) for each in KILLED.items()]
    chosen = [each for each in parts if only is None or each[1].startswith(only)]
    script = SCRIPT + "".join(text.replace("@NAME@", name).replace("@STEP@", step) for text, name, step in chosen)
    with Broker(folder, "allow_anonymous true") as broker:
        script = script.replace("@ROOT@", str(ROOT)).replace("@PORT@", str(broker.port))
        output = run_under_systemd(folder, script, DEADLINE)
    times = [float(line) for line in (folder / "shared/results").read_text().split()]
    lines = [line.split("|") for line in output.splitlines() if line.count("|") == 5]
    if len(lines) != len(chosen):
        raise AssertionError(f"{output}\n{(folder / 'shared/log').read_text()[-4000:]}")
    for name, begin, end, code, serves, same in lines:
        during = [float(begin), *(time for time in times if float(begin) < time < float(end)), float(end)]
        gap = max(later - earlier for earlier, later in pairwise(during))
        yield Upgrade(name, code, serves == "0", same == "same", gap)
