"""Broken configurations: each of the faulty lines is named, with its path and the remedy, and no other line is.

A comment ``#! PATH: FRAGMENT`` on a line says what `compile_config` must report for it; ``broken.txt`` holds all that
it says, as the operator reads it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_infer.config.compile.compile import compile_config

WORDS = Path(__file__).with_name("broken.txt")

ONE = (
    "sources: {s: {kind: synthetic}}\nmodels: {m: {}} #! models.m: file\npipelines:\n  p:\n"
    "    source: s\n    model: m\n"
)
"""A pipeline to go on with; its model is faulty, so that none is tried."""
BROKEN = {
    # the form of YAML
    "a tab": "mqtt:\n\tport: 1883 #! : a tab\n",
    "a colon in a text": "mqtt:\n  host: broker: lan #! : needs quotes\n",
    "no blank after a colon": "mqtt:\n  host:broker #! : a blank is missing after the colon\n\n  port: 1883\n",
    "an address in the line above": "mqtt:\n  http://broker\n  port: 1883 #! : a second colon\n",
    "wrong indentation": "mqtt:\n    host: a\n  port: 1 #! : wrong indentation\n",
    "a key without a colon": "mqtt:\n  host a #! : without a colon\n  port: 1\n",
    "an open bracket": "pipelines:\n  p: {labels: [a, b #! : closing bracket\nmqtt: {}\n",
    "a quote that does not end": 'mqtt:\n  host: "broker  #! : has no end\n  port: 1883\n',
    "a special character": "mqtt:\n  username: @me #! : in quotes\n",
    "a backslash": 'mqtt:\n  username: "a\\qb" #! : single quotes\n',
    "a tag": "mqtt:\n  host: !!str 5 #! : tags\n",
    "a Python object": "mqtt: !!python/object/apply:os.system [ls] #! : tags\n",
    "two documents": "mqtt: {}\n--- #! : second document\nmqtt: {}\n",
    "an alias of nothing": "mqtt: *nothing #! : refers to no anchor\n",
    "an alias within itself": "models: &a {b: *a} #! : a value that contains it\n",
    "braces of a template": "mqtt:\n  host: {{ broker }} #! : need quotes\n",
    "a list at the top": "- mqtt #! : keys with a colon\n",
    "a single word": "mqtt #! : keys with a colon\n",
    # keys
    "a misspelt section": 'sorces: {} #! sorces: did you mean "sources"\n',
    "a misspelt section is not missing as well": (
        'source: {s: {kind: synthetic}} #! source: did you mean "sources"\n'
        "models: {m: {}} #! models.m: file\n"
        "pipelines: {p: {source: s, model: m}}\n"
    ),
    "a misspelt key": 'mqtt:\n  pasword_file: x #! mqtt.pasword_file: did you mean "password_file"\n',
    "a password": 'mqtt:\n  password: hunter2 #! mqtt.password: did you mean "password_file"\n',
    "keys of later work": (
        "dashboard: {port: 8080} #! dashboard: is not known here\n"
        "sources:\n  s: {kind: synthetic}\n"
        "models:\n  m: {}  #! models.m: needs either file\n"
        "pipelines:\n  p:\n    source: s\n    model: m\n"
        "    shadow: {}  #! pipelines.p.shadow.model: is missing\n"
    ),
    "duplicate keys": "mqtt:\n  port: 1\n  host: a\n  port: 2 #! mqtt.port: line 2\n",
    "a duplicate section": "mqtt: {port: 1}\nmodels: {}\nmqtt: {port: 2} #! mqtt: line 1\n",
    "a duplicate name": "sources:\n  a: {kind: synthetic}\n  a: {kind: synthetic} #! sources.a: twice\n",
    "a merge key": "mqtt: &a {port: 1}\ndevice: {<<: *a} #! device.<<: is not known here\n",
    "a section that is a list": "sources: [] #! sources: not []\n",
    "a section that is a word": "mqtt: broker.lan #! mqtt: expected keys\n",
    # values
    "a word for a number": f"{ONE}"
    '    threshold: high #! pipelines.p.threshold: expected a number between 0 and 1, not "high"\n',
    "references to nothing": "pipelines: {p: {source: s, model: m}} "
    '#! pipelines.p.source: there is no "s" #! pipelines.p.model: there is no "m"\n',
    "a variable in brackets": "mqtt: {port: ${PORT}} #! : needs quotes\n",
    "numbers out of range": (
        f"{ONE}"
        "    threshold: -0.01 #! pipelines.p.threshold: between 0 and 1\n"
        "    fps: 0           #! pipelines.p.fps: 0.001\n"
        "    top_k: 0         #! pipelines.p.top_k: between 1 and 100\n"
        "    max_payload: 2M  #! pipelines.p.max_payload: 16384\n"
        "    threads: 0       #! pipelines.p.threads: auto or\n"
        "    priority: 101    #! pipelines.p.priority: between -100 and 100\n"
        "    heartbeat: 100ms #! pipelines.p.heartbeat: between 1s and 1d\n"
        "    nms: {iou: 7, max: none} #! pipelines.p.nms.iou: between 0 and 1 #! pipelines.p.nms.max: whole number\n"
    ),
    "CPUs": (f"{ONE}    affinity: 2 #! pipelines.p.affinity: expected a list of CPU numbers such as [2, 3], not 2\n"),
    "CPUs twice and below none": (
        f"{ONE}    affinity: [-1, 0, 0] #! pipelines.p.affinity[0]: the number of a CPU, 0 to 4095\n"
    ),
    "motion of nothing": f"{ONE}    motion: 1 #! pipelines.p.motion: true, false, or the keys threshold, area\n",
    "motion that is always or never": (
        f"{ONE}    motion:\n"
        "      threshold: 0      #! pipelines.p.motion.threshold: between 0.01 and 0.9\n"
        "      area: 1.5         #! pipelines.p.motion.area: between 0.0001 and 0.5\n"
        "      still_check: -10s #! pipelines.p.motion.still_check: between 500ms and 1h\n"
    ),
    "motion of less than nothing": (
        f"{ONE}    motion:\n"
        "      threshold: -0.1   #! pipelines.p.motion.threshold: between 0.01 and 0.9\n"
        "      area: 0           #! pipelines.p.motion.area: between 0.0001 and 0.5\n"
        "      still_check: 7d   #! pipelines.p.motion.still_check: between 500ms and 1h\n"
        "      speed: 3          #! pipelines.p.motion.speed: is not known here\n"
    ),
    "not a number": "sources: {s: {kind: synthetic, fps: .nan}} #! sources.s.fps: not .nan\n",
    "a number in quotes": 'mqtt:\n  port: "1883" #! mqtt.port: without quotes\n',
    "a port that is none": "mqtt:\n  port: 70000 #! mqtt.port: 65535\n",
    "a half port": "mqtt:\n  port: 1883.5 #! mqtt.port: whole number\n",
    "a port in the host": "mqtt:\n  host: broker:1883 #! mqtt.host: port\n",
    "a scheme in the host": "mqtt:\n  host: mqtts://broker #! mqtt.host: tls\n",
    "an empty host": 'mqtt:\n  host: "" #! mqtt.host: host name\n',
    "a quality of service": "mqtt:\n  qos: 2 #! mqtt.qos: one of 0, 1\n",
    "yes is a word": "mqtt:\n  tls: yes #! mqtt.tls: true, false\n",
    "on is a word": 'sources:\n  v: {kind: synthetic, realtime: on} #! sources.v.realtime: true or false, not "on"\n',
    "a key without its certificate": "mqtt:\n  tls:\n    key_file: k #! mqtt.tls.key_file: needs cert_file\n",
    "a password without a user": "mqtt:\n  password_file: p #! mqtt.password_file: needs username\n",
    "a wildcard in the prefix": "mqtt:\n  prefix: a/+/b #! mqtt.prefix: without +\n",
    "a dollar before the prefix": "mqtt:\n  prefix: $SYS/edge #! mqtt.prefix: leading $\n",
    "an empty level in the prefix": "mqtt:\n  prefix: /edge #! mqtt.prefix: empty levels\n",
    "a prefix that turns the text of a terminal round": 'mqtt:\n  prefix: "a/\u202e" #! mqtt.prefix: U+202E\n',
    "a client id with an invisible character": 'mqtt:\n  client_id: "a\u2066" #! mqtt.client_id: U+2066\n',
    "an empty prefix": 'mqtt:\n  prefix: "" #! mqtt.prefix: topic levels\n',
    "a name with a space": "device:\n  id: gate 3 #! device.id: letters, digits\n",
    "nothing as a value": "mqtt:\n  port: #! mqtt.port: remove the key\n",
    "nothing as a value that has no default": (
        "sources:\n  s: {kind: serial, device: , rate: 2} #! sources.s.device: not nothing\n"
    ),
    "nothing as one of two": "models:\n  m: {use: } #! models.m.use: not nothing\n",
    "nothing as a file or a device": "sources:\n  s: {kind: audio, file: } #! sources.s.file: not nothing\n",
    "a truth as a text": "mqtt:\n  username: true #! mqtt.username: in quotes\n",
    "an unset variable": "mqtt:\n  host: ${NOBODY_SETS_THIS} #! mqtt.host: is not set\n",
    "a variable that does not end": "mqtt:\n  host: ${HOST #! mqtt.host: ${NAME}\n",
    # models
    "neither file nor package": "models:\n  m: {labels: [a]} #! models.m: either file\n",
    "both file and package": "models:\n  m: {file: a, use: a@1} #! models.m: not both\n",
    "a package without version": "models:\n  m:\n    use: face #! models.m.use: NAME@VERSION\n",
    "a short digest": "models:\n  m: {file: a, sha256: 3fa9} #! models.m.sha256: 64 hexadecimal\n",
    "labels that are none": "models:\n  m: {file: a, labels: [a, true, [b]]} #! models.m.labels[1]: in quotes\n",
    "no labels": "models:\n  m: {file: a, labels: []} #! models.m.labels: empty\n",
    "a model that is not there": "models:\n  m:\n    file: none.tflite #! models.m.file: none.tflite\n",
    "a package that is not there": (
        "device: {state_dir: .}\nmodels:\n  m:\n    use: face@9 #! models.m.use: the store has no face@9\n"
    ),
    # sources
    "no kind": "sources:\n  s: {device: /dev/video0} #! sources.s.kind: is missing\n",
    "an unknown kind": 'sources:\n  s: {kind: v4l} #! sources.s.kind: did you mean "v4l2"\n',
    "a kind that is none": "sources:\n  s: {kind: [v4l2]} #! sources.s.kind: expected\n",
    "a source that is a word": "sources:\n  s: /dev/video0 #! sources.s: kind: v4l2\n",
    "no device": "sources:\n  s: {kind: v4l2} #! sources.s.device: /dev/video0\n",
    "a misspelt key is not missing as well": (
        'sources:\n  s:\n    kind: v4l2\n    devise: /dev/video0 #! sources.s.devise: did you mean "device"\n'
    ),
    "a device by number": "sources:\n  s: {kind: v4l2, device: 0} #! sources.s.device: /dev/video0, not 0\n",
    "a key of another kind": "sources:\n  s: {kind: v4l2, device: /d, url: x} #! sources.s.url: is not known here\n",
    "picture sizes": "sources:\n  s: {kind: synthetic, size: 640*480} #! sources.s.size: 640x480\n"
    "  t: {kind: synthetic, size: 1x1} #! sources.t.size: between 16\n",
    "an odd size": "sources:\n  s: {kind: exec, command: [cat], size: 101x101, format: nv12} #! sources.s: even\n",
    "a quarter turn and a bit": "sources:\n  s: {kind: synthetic, rotate: 45} #! sources.s.rotate: 0, 90, 180, 270\n",
    "a mirror": 'sources:\n  s: {kind: synthetic, flip: vertically} #! sources.s.flip: did you mean "vertical"\n',
    "a shell command": "sources:\n  s: {kind: exec, command: cat x, size: 64x64} #! sources.s.command: a list\n",
    "a program that is not there": "sources:\n  s: {kind: exec, command: [no-such-one], size: 64x64} "
    "#! sources.s.command[0]: no-such-one\n",
    "a password in an address": "sources:\n  s: {kind: rtsp, url: 'rtsp://u:hunter2@cam/'} "
    "#! sources.s.url: password_file\n",
    "a password in a query": "sources:\n  s: {kind: http, url: 'http://cam/i?user=u&Pwd=hunter2'} "
    "#! sources.s.url: write Pwd={password} there\n",
    "a place without a password": "sources:\n  s: {kind: http, url: 'http://cam/i?pwd={password}'} "
    "#! sources.s.url: needs password_file\n",
    "more than a device can tell of": "sources: #! sources: 257 entries are more\n"
    + "".join(f"  s{number}: {{kind: synthetic}}\n" for number in range(257)),
    "another scheme": "sources:\n  s: {kind: rtsp, url: 'http://cam/'} #! sources.s.url: begins with http\n",
    "no scheme": "sources:\n  s: {kind: http, url: cam/stream} #! sources.s.url: http://HOST\n",
    "no host": "sources:\n  s: {kind: http, url: 'http:///stream'} #! sources.s.url: http://HOST\n",
    "a port of an address": "sources:\n  s: {kind: rtsp, url: 'rtsp://cam:99999/'} #! sources.s.url: rtsp://HOST\n",
    "a clip that is not there": "sources:\n  s: {kind: video, file: no.mp4} #! sources.s.file: does not exist\n",
    "pictures that are not there": "sources:\n  s: {kind: images, path: no/*.png} "
    "#! sources.s.path: is not a folder, and no file\n",
    # pipelines
    "no source and no model": "pipelines:\n  p: {} "
    "#! pipelines.p.source: source: door #! pipelines.p.model: model: people\n",
    "a misspelt source": "sources: {door: {kind: synthetic}}\nmodels: {m: {}} #! models.m: file\npipelines:\n"
    '  p: {source: dor, model: m} #! pipelines.p.source: did you mean "door"\n',
    "a reserved name": "sources: {s: {kind: synthetic}}\nmodels: {m: {}} #! models.m: file\n"
    "pipelines:\n  health: {source: s, model: m} #! pipelines.health: topic of the device\n",
    "a reserved name of a model": "models:\n  state: {file: a.tflite} #! models.state: topic of each pipeline\n"
    "  event: {file: a.tflite} #! models.event: result, state are reserved\n",
    "a name with a slash": "sources:\n  a/b: {kind: synthetic} #! sources.a/b: letters, digits\n",
    "a label that is not a list": 'pipelines:\n  p:\n    source: s #! pipelines.p.source: no "s"\n    model: m '
    '#! pipelines.p.model: no "m"\n    labels: person #! pipelines.p.labels: [person, dog]\n',
    "masks": (
        f"{ONE}"
        "    mask:\n"
        "      - [[0, 0], [1, 0]] #! pipelines.p.mask[0]: 3 to 100 points\n"
        "      - [[0, 0], [1, 0], [1, 1]]\n"
        "      - - [0, 0]\n"
        "        - [1, 1.2] #! pipelines.p.mask[2][1]: between 0 and 1\n"
        "        - [1, 0]\n"
        "      - [[0, 0], [0.5, 0.5], [1, 1]] #! pipelines.p.mask[3]: no area\n"
        "      - 7 #! pipelines.p.mask[4]: not 7\n"
    ),
    "a mask in pixels": f"{ONE}    mask: [[[0, 0], [640, 0], [640, 480]]] #! pipelines.p.mask[0][1]: fractions\n",
    "a single polygon": f"{ONE}    mask: [[0, 0], [1, 0], [1, 1]] #! pipelines.p.mask: another pair of brackets\n",
    "publish": (
        "sources: {s: {kind: synthetic}}\nmodels: {m: {}} #! models.m: file\npipelines:\n"
        "  a: {source: s, model: m, publish: on} #! pipelines.a.publish: change, every, off\n"
        "  b: {source: s, model: m, publish: {}} #! pipelines.b.publish: interval\n"
        '  c: {source: s, model: m, publish: {intervall: 5s}} #! pipelines.c.publish.intervall: "interval"\n'
        "  d: {source: s, model: m, publish: {interval: 5}, heartbeat: 5min} #! pipelines.d.heartbeat: 5min\n"
        "  e: {source: s, model: m, publish: {interval: 1ms}} #! pipelines.e.publish.interval: 100ms\n"
    ),
    "preprocessing": f"{ONE}"
    "    preprocess:\n      resize: fit #! pipelines.p.preprocess.resize: stretch, letterbox, crop\n"
    "      color: RGB #! pipelines.p.preprocess.color: rgb\n"
    "      tiles: 2 #! pipelines.p.preprocess.tiles: COLUMNSxROWS, 2 to 16 tiles\n"
    "      overlap: 10 #! pipelines.p.preprocess.overlap: between 0 and 0.5\n",
    "tiles": f'{ONE}    preprocess: {{tiles: 5x4}} #! pipelines.p.preprocess.tiles: such as 2x2, not "5x4\n',
    # what is followed
    "zones": (
        f"{ONE}    track: true\n    zones:\n"
        "      two: [[0, 0], [1, 1]] #! pipelines.p.zones.two.polygon: 3 to 100 points\n"
        "      bow: [[0, 0], [1, 1], [1, 0], [0, 1]] #! pipelines.p.zones.bow.polygon: crosses itself: the edge after\n"
        "      touch: [[0, 0], [1, 0], [0.5, 0.5], [1, 1], [0, 1], [0.5, 0.5]] "
        "#! pipelines.p.zones.touch.polygon: crosses itself\n"
        "      flat: [[0, 0], [0.5, 0.5], [1, 1]] #! pipelines.p.zones.flat.polygon: no area\n"
        "      far: [[0, 0], [1.5, 0], [1, 1]] #! pipelines.p.zones.far.polygon[1]: between 0 and 1\n"
        "      pixels: [[0, 0], [640, 0], [640, 480]] #! pipelines.p.zones.pixels.polygon[1]: fractions\n"
        "      minus: [[0, 0], [-0.1, 0], [1, 1]] #! pipelines.p.zones.minus.polygon[1]: between 0 and 1\n"
        "      nan: [[0, 0], [.nan, 0], [1, 1]] #! pipelines.p.zones.nan.polygon[1]: between 0 and 1\n"
        "      word: drive #! pipelines.p.zones.word: expected\n"
        "      none: {labels: [a]} #! pipelines.p.zones.none.polygon: is missing\n"
        "      'a b': [[0, 0], [1, 0], [1, 1]] #! pipelines.p.zones.a b: letters, digits\n"
        "      feet: {polygon: [[0, 0], [1, 0], [1, 1]], anchor: feet} "
        "#! pipelines.p.zones.feet.anchor: bottom, center\n"
    ),
    "lines": (
        f"{ONE}    track: true\n    lines:\n"
        "      dot: {from: [0.5, 0.5], to: [0.5, 0.5]} #! pipelines.p.lines.dot.to: two different points\n"
        "      short: {from: [0.5, 0.5], to: [0.5, 0.505]} #! pipelines.p.lines.short.to: two different points\n"
        "      half: {from: [0.5, 0.5]} #! pipelines.p.lines.half.to: is missing\n"
        "      far: {from: [0, 0], to: [2, 0]} #! pipelines.p.lines.far.to: fractions\n"
        "      odd: {from: [0, 0, 0], to: [1, 1]} #! pipelines.p.lines.odd.from: expected\n"
        "      list: [[0, 0], [1, 1]] #! pipelines.p.lines.list: expected the keys from, to\n"
        "      side: {from: [0, 0], to: [1, 1], direction: left} "
        "#! pipelines.p.lines.side.direction: is not known here\n"
    ),
    "times of what is followed": (
        f"{ONE}"
        "    track: {lost: 0s, confirm: -1s} #! pipelines.p.track.lost: between 100ms and 1h "
        "#! pipelines.p.track.confirm: a duration\n"
        "    zones: {z: {polygon: [[0, 0], [1, 0], [1, 1]], loiter: 0s}} "
        "#! pipelines.p.zones.z.loiter: between 1s and 1d\n"
        "    events: {min_duration: 99d, min_interval: -5, most: 0/min, hysteresis: 0.9} "
        "#! pipelines.p.events.min_duration: between 0s and 1h #! pipelines.p.events.min_interval: between 0s and 1d "
        "#! pipelines.p.events.most: between 1/min and 6000/min #! pipelines.p.events.hysteresis: between 0 and 0.5\n"
    ),
    "words for times of what is followed": (
        f"{ONE}"
        "    track: {lost: soon, confirm: .inf} #! pipelines.p.track.lost: a duration "
        "#! pipelines.p.track.confirm: between 0s and 1m\n"
        "    events: {most: 60, min_duration: 1e9} #! pipelines.p.events.most: such as 60/min "
        "#! pipelines.p.events.min_duration: between 0s and 1h\n"
    ),
    "one tile": f"{ONE}    preprocess: {{tiles: 1x1}} #! pipelines.p.preprocess.tiles: 2 to 16 tiles in all\n",
}


def expected_of(text: str) -> list[tuple[int, str, str]]:
    """Line, path and fragment of every problem that the text announces."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for part in line.split("#! ")[1:]:
            path, _, fragment = part.partition(": ") if not part.startswith(": ") else ("", "", part[2:])
            found.append((number, path, fragment.strip()))
    return found


@pytest.mark.parametrize("name", BROKEN)
def test_every_faulty_line_is_named_and_no_other(name: str, tmp_path: Path) -> None:
    text = BROKEN[name]
    path = tmp_path / "config.yaml"
    path.write_text(text)
    compiled = compile_config(path, environment={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
    told = [(problem.line, problem.path) for problem in compiled.problems]
    wanted = expected_of(text)
    assert sorted(told) == sorted((line, place) for line, place, _ in wanted), "\n".join(map(str, compiled.problems))
    for line, place, fragment in wanted:
        texts = [problem.text for problem in compiled.problems if (problem.line, problem.path) == (line, place)]
        assert any(fragment in found for found in texts), f"{fragment!r} is not in {texts}"
    assert compiled.plan is None


@pytest.mark.parametrize("name", BROKEN)
def test_no_message_speaks_python_or_repeats_a_password(name: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(BROKEN[name])
    for problem in compile_config(path, environment={"PATH": "/usr/bin:/bin"}).problems:
        assert "hunter2" not in str(problem)
        assert not re.search(r"Input should|pydantic|str_type|Traceback|<class|ValueError|\bNone\b", problem.text)
        assert "\n" not in problem.text
        assert str(problem).startswith(f"{path}:{problem.line}: ")


def test_a_key_without_a_blank_is_named_although_the_parser_notices_it_a_line_later(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("mqtt:\n  host:broker\n  port: 1883\n")
    (problem,) = compile_config(path).problems
    assert str(problem) == f"{path}:2: a blank is missing after the colon; write key: value"


def test_the_whole_text_of_every_problem(tmp_path: Path) -> None:
    told = ""
    for name, text in BROKEN.items():
        path = tmp_path / "config.yaml"
        path.write_text(text)
        compiled = compile_config(path, environment={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
        told += f"# {name}\n" + "".join(f"{problem}\n" for problem in compiled.problems)
    assert told.replace(f"{tmp_path}/", "") == WORDS.read_text(encoding="utf-8")


def test_there_are_enough_of_them() -> None:
    assert len(BROKEN) >= 40
