"""The engine reads no secret and no configuration, wherever clips and pictures are, however their paths are written."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_infer.config.compile.compile import compile_config
from edge_infer.contract.codec import replace
from edge_infer.plan.credentials import credential_name
from edge_infer.plan.records import Plan, SourcePlan
from edge_infer.platform.paths import KnownFiles
from edge_infer.sandbox.fence import Fence
from edge_infer.sandbox.needs import engine_fence, opens_private, reader_fence, replay_fence
from edge_infer.supervisor.processes.supervisor import _Renewals
from tests.broker import Broker, Subscriber, eventually
from tests.running import CLIP, ROOT, Daemon, config
from tests.sandbox.test_attackers import attacked, own_reads, refused

SECRET = "mqtt: {host: 127.0.0.1, username: box, password_file: mqtt.pass, port:"
PICTURE = ROOT / "models/face-detect/1.0.0/golden/astronaut.png"


@pytest.fixture(params=["plain", "credentials"])
def folder(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like /etc/edge-infer with a clip and a picture in it, and a link to it elsewhere."""
    found = tmp_path / "edge-infer"
    (found / "conf.d").mkdir(parents=True)
    (found / "conf.d/more.yaml").write_text("{}\n")
    (found / ".ssh").mkdir()
    for name in ("mqtt.pass", "other.key", ".ssh/id"):
        (found / name).write_text("hunter2\n")
        (found / name).chmod(0o640)
    shutil.copy(CLIP, found / "clip.mp4")
    shutil.copy(PICTURE, found / "a.png")
    (tmp_path / "clips").symlink_to(found)
    if request.param == "credentials":
        copies = tmp_path / "credentials"
        copies.mkdir()
        shutil.copy(found / "mqtt.pass", copies / credential_name(str(found / "mqtt.pass")))
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(copies))
    else:
        monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    return found


def written(folder: Path, source: str) -> Path:
    (folder / "config.yaml").write_text(config(1883, source).replace("mqtt: {host: 127.0.0.1, port:", SECRET))
    return folder / "config.yaml"


def compiled(folder: Path, source: str) -> Plan:
    found = compile_config(written(folder, source))
    assert found.problems == ()
    assert found.plan is not None
    return found.plan


def check(plan: Plan, folder: Path, *, allowed: str = "") -> None:
    """Try to read everything in the folder from a locked engine; only ``allowed`` may be readable."""
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    assert {"config.yaml", "mqtt.pass", "other.key", ".ssh/id", "conf.d/more.yaml"} <= set(names)
    tries = {name: own_reads(it=str(folder / name)) for name in names}
    closed = {f"{way} {name}": what for name in names if name != allowed for way, what in tries[name].items()}
    assert refused(attacked("engine", engine_fence(plan), plan, closed))
    if allowed:
        (folder / allowed).write_text("content")  # the same file, with text
        assert set(attacked("engine", engine_fence(plan), plan, tries[allowed]).values()) == {"allowed"}


@pytest.mark.parametrize("path", ["clip.mp4", "../edge-infer/clip.mp4", "{parent}/clips/clip.mp4"])
def test_the_engine_reads_a_clip_and_nothing_beside_it(folder: Path, path: str) -> None:
    source = f"{{kind: video, file: '{path.format(parent=folder.parent)}', loop: true}}"
    check(compiled(folder, source), folder, allowed="clip.mp4")


def test_a_clip_that_is_a_link_out_of_its_folder_opens_nothing(folder: Path) -> None:
    """Who may write to the folder of a clip could otherwise choose what the engine reads."""
    clip = folder.parent / "uploads/own.mp4"
    clip.parent.mkdir()
    shutil.copy(CLIP, clip)
    plan = compiled(folder, f"{{kind: video, file: {clip}, loop: true}}")
    assert engine_fence(plan).files == (str(clip),)
    clip.unlink()
    clip.symlink_to(folder / "other.key")
    check(plan, folder)
    clip.unlink()
    (clip.parent / "second.mp4").symlink_to(CLIP)
    clip.symlink_to("second.mp4")
    assert engine_fence(plan).files == ()


def test_the_engine_reads_a_picture_and_nothing_beside_it(folder: Path) -> None:
    check(compiled(folder, "{kind: images, path: a.png}"), folder, allowed="a.png")


def test_a_missing_clip_with_brackets_in_its_name_opens_no_folder(folder: Path) -> None:
    (folder / "clip.mp4").rename(folder / "clip [1].mp4")
    plan = compiled(folder, "{kind: video, file: 'clip [1].mp4'}")
    (folder / "clip [1].mp4").unlink()
    check(plan, folder)
    device = SourcePlan("wind", "serial", "", live=True, network=False, options={"device": f"{folder}/tty*"})
    assert reader_fence(device).reads == (f"{folder}/tty*",)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("*.png", "{folder}"),
        (".", "{folder}"),
        ("conf.d", "{folder}/conf.d"),
        ("../*/*.png", "{folder}/.."),
        ("../edge-infer", "{folder}/../edge-infer"),
        ("{parent}/clips", "{parent}/clips"),
        ("{parent}/clips/*.png", "{parent}/clips"),
    ],
)
def test_pictures_beside_the_configuration_are_rejected(folder: Path, path: str, place: str) -> None:
    path, place = (each.format(folder=folder, parent=folder.parent) for each in (path, place))
    file = written(folder, f"{{kind: images, path: '{path}'}}")
    found = compile_config(file)
    assert found.plan is None
    inside = f"{folder}/conf.d" if path == "conf.d" else f"{file}"
    (problem,) = found.problems
    assert str(problem) == (
        f"{file}:6: sources.cam.path: the folder {place} contains {inside}, which belongs to the configuration or its "
        "secrets, and the process that reads the source may read the whole folder; use a folder that contains only its "
        "files"
    )


def test_pictures_beside_a_secret_elsewhere_are_rejected_also_behind_a_link(folder: Path) -> None:
    pictures = folder.parent / "pictures"
    pictures.mkdir()
    shutil.copy(PICTURE, pictures)
    assert compile_config(written(folder, f"{{kind: images, path: {pictures}}}")).problems == ()
    (folder / "mqtt.pass").rename(pictures / "mqtt.pass")
    (folder / "mqtt.pass").symlink_to(pictures / "mqtt.pass")
    (problem,) = compile_config(written(folder, f"{{kind: images, path: {pictures}}}")).problems
    assert f"the folder {pictures} contains {folder}/mqtt.pass, which belongs to" in str(problem)


@pytest.mark.parametrize("file", ["mqtt.pass", "config.yaml", "{parent}/clips/mqtt.pass", "hard"])
def test_a_secret_is_no_input(folder: Path, file: str) -> None:
    os.link(folder / "mqtt.pass", folder / "hard")
    file = file.format(parent=folder.parent)
    found = [str(each) for each in compile_config(written(folder, f"{{kind: lines, file: '{file}'}}")).problems]
    path = folder / file
    assert f"{folder}/config.yaml:6: sources.cam.file: {path} belongs to the configuration or its secrets; " in found[0]


def test_a_stored_plan_of_an_earlier_version_opens_no_secret(folder: Path) -> None:
    """It names the original of no credential, but its own passwords; and a later link may lead to a secret."""
    plan = compiled(folder, "{kind: video, file: clip.mp4}")
    source = SourcePlan("cam", "images", "", live=False, network=False, options={"path": f"{folder.parent}/clips"})
    check(replace(plan, sources=(source,)), folder)
    mqtt = replace(plan.mqtt, password_file=str(folder / "mqtt.pass"))
    check(replace(plan, sources=(source,), private=(), mqtt=mqtt), folder)
    stored = replace(plan, sources=(source,), private=())
    known = (str(folder / "config.yaml"), str(folder / "conf.d"))  # as the supervisor knows them
    assert engine_fence(stored, known).reads == ()
    assert opens_private(Fence(reads=(str(folder),)), stored, known)


def test_a_new_secret_in_an_open_folder_needs_another_engine(folder: Path) -> None:
    plan = compiled(folder, "{kind: video, file: clip.mp4}")
    pictures = folder.parent / "pictures"
    pictures.mkdir()
    source = SourcePlan("cam", "images", "", live=False, network=False, options={"path": str(pictures)})
    before = engine_fence(replace(plan, sources=(source,)))
    assert before.reads == (str(pictures),)
    assert not opens_private(before, plan)
    assert opens_private(before, replace(plan, private=(*plan.private, f"{pictures}/new.pass")))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_bind_mount_is_the_folder_itself(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there/below").mkdir(parents=True)
    (tmp_path / "there/below/secret").touch()
    if subprocess.run(
        ["mount", "--bind", tmp_path / "there", tmp_path / "here"], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounts are not allowed here")
    try:
        secret = f"{tmp_path}/there/below/secret"
        assert KnownFiles([secret]).first_within(f"{tmp_path}/here") == secret
    finally:
        subprocess.run(["umount", tmp_path / "here"], check=True)


def test_a_clip_that_is_replaced_goes_on(tmp_path: Path) -> None:
    """The new file is not the one that the engine may read, so another engine takes over."""
    clip = tmp_path / "clip.mp4"
    shutil.copy(CLIP, clip)
    with Broker(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        text = config(broker.port, f"{{kind: video, file: {clip}, loop: true}}")
        with Daemon(tmp_path, text) as daemon:
            daemon.wait_serving()
            first = subscriber.wait("edge-infer/box/faces/result").value["boot"]
            shutil.copy(CLIP, tmp_path / "new.mp4")
            (tmp_path / "new.mp4").replace(clip)
            subscriber.wait("edge-infer/box/faces/result", lambda heard: heard.value["boot"] != first, 60)
            eventually(lambda: daemon.status()["sources"]["cam"]["state"] == "ok", "a source that is well")
            assert "needs access to files that were missing before or have been replaced" in daemon.log.read_text()
            assert daemon.status()["last_error"] is None


def test_the_engine_restarts_for_files_that_are_replaced_again_and_again_only_now_and_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    renewals = _Renewals()
    assert [renewals.may_restart("engine") for _ in range(5)] == [True, True, True, False, False]
    assert sum(renewals.may_restart("publisher") for _ in range(30)) == 20, "this stops no pipeline"
    often = "files of the {} are replaced again and again; it restarts for them only every {} s"
    assert [line.getMessage() for line in caplog.records] == [
        f"{often.format('engine', 300)} (for pictures, name their folder as the path)",
        often.format("publisher", 30),
    ]


def test_a_replay_of_a_recording_opens_nothing_of_the_configuration(folder: Path) -> None:
    plan = compiled(folder, "{kind: images, path: a.png}")
    source = SourcePlan("cam", "images", "", live=False, network=False, options={"path": str(folder)})
    assert str(folder) not in replay_fence([replace(plan, sources=(source,))], f"{folder}/clip.mp4").reads


def test_a_secret_is_no_picture_of_a_made_up_scene(folder: Path) -> None:
    found = compile_config(written(folder, "{kind: synthetic, images: [a.png, mqtt.pass]}")).problems
    assert "sources.cam.images[1]: " in str(found[0])
    assert "mqtt.pass belongs to the configuration or its secrets; name another file" in str(found[0])
