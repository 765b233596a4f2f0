"""``sudo edge-infer check`` says what the service will say, whether that runs or is stopped, under a real systemd."""

from __future__ import annotations

import re
from pathlib import Path

from tests.deploy.machine import ROOT, run_under_systemd

SCRIPT = f"""
export PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin
rm -rf /var/lib/edge-infer /etc/edge-infer /opt/edge-infer
{ROOT}/deploy/install >/shared/log 2>&1 || {{ cat /shared/log; exit 0; }}
cd /etc/edge-infer
model={ROOT}/models/face-detect/1.0.0/face_full_range_int8.tflite
mkdir conf.d models /home/pi && chmod 755 /home/pi
for place in models /home/pi /root /tmp; do cp $model $place/m.tflite && chmod 644 $place/m.tflite; done
cp /opt/edge-infer/share/faces.mp4 clip.mp4
openssl req -x509 -newkey rsa:2048 -nodes -keyout /tmp/key.pem -out ca.pem -days 9 -subj /CN=x 2>>/shared/log
echo word >mqtt.pass; echo word >cam.pass
cat >conf.d/yard.yaml <<END
sources: {{yard: {{kind: rtsp, url: "rtsp://127.0.0.1:9/", password_file: cam.pass}}}}
END
write() {{ cat >config.yaml <<END
device: {{state_dir: /var/lib/edge-infer}}
mqtt: {{host: localhost, port: 9, username: u, password_file: mqtt.pass, tls: {{ca_file: ca.pem}}}}
models: {{faces: {{file: $1, labels: [face]}}}}
sources: {{clip: {{kind: video, file: clip.mp4, loop: true}}}}
pipelines: {{clip: {{source: clip, model: faces, fps: 2}}}}
END
}}
good() {{
    chown root:root * conf.d/*; chmod 644 config.yaml ca.pem clip.mp4 models/m.tflite conf.d/yard.yaml
    chgrp edge-infer mqtt.pass cam.pass; chmod 640 mqtt.pass cam.pass; chmod 755 conf.d models
    write models/m.tflite
}}
cases="good model model-home model-root model-tmp folder config mqtt ca clip part parts camera"
set_up() {{
    case $1 in
    model) chmod 600 models/m.tflite ;;
    model-*) write $(echo /home/pi/m.tflite /root/m.tflite /tmp/m.tflite | tr ' ' '\\n' | grep -w ${{1#model-}}) ;;
    folder) chmod 700 models ;;
    config) chmod 600 config.yaml ;;
    mqtt) chgrp root mqtt.pass ;;
    ca) chmod 600 ca.pem ;;
    clip) chmod 600 clip.mp4 ;;
    part) chmod 600 conf.d/yard.yaml ;;
    parts) chmod 700 conf.d ;;
    camera) chmod 600 cam.pass ;;
    esac
}}
code() {{ "$@" >>/shared/log 2>&1; echo $?; }}
for each in $cases; do
    good; set_up $each
    echo "=== $each" >>/shared/log
    echo "$each: $(code edge-infer check) $(code edge-infer reload)"
done >/tmp/running
good; code edge-infer reload >/dev/null
edge-infer inspect models/m.tflite 2>&1 >/dev/null | grep -c 'the service cannot use it'
chmod 600 models/m.tflite
edge-infer inspect models/m.tflite 2>&1 >/dev/null | grep -c 'the service cannot use it: .*chgrp edge-infer'
good
systemctl stop edge-infer
while read -r each found; do
    good; set_up ${{each%:}}
    echo "=== stopped: $each" >>/shared/log
    echo "$each $found $(code edge-infer check)"
done </tmp/running
good; useradd --create-home guest
echo "doctor, stopped: $(edge-infer doctor 2>>/shared/log | grep -c 'config.yaml is valid')"
systemctl start edge-infer
runuser -u guest -- edge-infer check 2>&1 | tail -n 1 | grep -o 'run: sudo edge-infer check'
edge-infer doctor 2>>/shared/log | grep -c 'for the running daemon'
EDITOR="sed -i 's/fps: 2/fpz: 2/'" edge-infer edit </dev/null >>/shared/log 2>&1; echo "edited wrongly: $?"
EDITOR="sed -i 's/fps: 2/fps: 3/'" edge-infer edit 2>&1 | tee -a /shared/log | grep 'fps: 2 -> 3'
stat -c '%U:%G:%a' config.yaml
edge-infer log --level debug --for 1m | grep -o '^debug'
sed -i 's/fps: 3/fpz: 3/' config.yaml
systemctl reload edge-infer >>/shared/log 2>&1 && echo 'not refused'
systemctl status --full edge-infer | grep 'Status: ' | grep -o 'pipelines.clip.fpz'
"""
CASES = re.findall(r"\S+", re.search(r'cases="(.*)"', SCRIPT)[1])  # type: ignore[index]
EXPECTED = "".join(f"{case}: {'0 0 0' if case == 'good' else '2 2 2'}\n" for case in CASES)


REST = """\
doctor, stopped: 1
run: sudo edge-infer check
1
edited wrongly: 2
pipelines.clip.fps: 2 -> 3
root:root:644
debug
pipelines.clip.fpz
"""


def test_check_and_the_service_agree(tmp_path: Path) -> None:
    """Verdicts of ``check`` and ``reload`` beside the service, and of ``check`` while it is stopped; then the rest."""
    output = run_under_systemd(tmp_path, SCRIPT, 1500.0)
    log = tmp_path / "shared/log"
    assert output == f"0\n1\n{EXPECTED}{REST}", output + log.read_text()
