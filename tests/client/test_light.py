"""The subscriber library in a package of its own: nothing large, and all of it."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.broker import Broker, Talker
from tests.publisher.samples import P

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import asyncio, sys
from edge_infer.client import AsyncClient, Client, ConfigError, EdgeInferError, StatusUpdate

async def main(port):
    async with AsyncClient("127.0.0.1", port) as client:
        async for update in client.updates(20):
            if isinstance(update, StatusUpdate):
                return update.device

with Client("127.0.0.1", int(sys.argv[1])) as client:
    first = next(update for update in client.updates(20) if isinstance(update, StatusUpdate))
print(first.device, asyncio.run(main(int(sys.argv[1]))))
large = {"numpy", "cv2", "yaml", "pydantic", "PIL", "ai_edge_litert", "tflite_runtime", "psutil"}
print(sorted(large & sys.modules.keys()))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel, unpacked, and the two packages that it needs."""
    folder = tmp_path_factory.mktemp("light")
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "client_wheel.py"), str(folder)],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    site = folder / "site"
    with zipfile.ZipFile(done.stdout.strip()) as wheel:
        wheel.extractall(site)
    for name in ("paho", "msgspec"):
        found = importlib.util.find_spec(name)
        assert found is not None
        assert found.submodule_search_locations is not None
        (site / name).symlink_to(next(iter(found.submodule_search_locations)))
    return site


def test_it_works_without_anything_large(installed: Path, broker: Broker) -> None:
    with Talker(broker.port) as talker:
        talker.say(f"{P}/status", b"online", retain=True)
    done = subprocess.run(
        [sys.executable, "-S", "-c", PROGRAM, str(broker.port)],
        env={"PYTHONPATH": str(installed)}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "gate-3 gate-3\n[]\n"), done.stderr


def test_its_metadata_names_two_packages_and_its_files(installed: Path) -> None:
    (metadata,) = installed.glob("*.dist-info/METADATA")
    needs = [line for line in metadata.read_text().splitlines() if line.startswith("Requires-Dist: ")]
    assert [re.findall(r"[\w-]+", line.partition(": ")[2])[0] for line in needs] == ["paho-mqtt", "msgspec"]
    (record,) = installed.glob("*.dist-info/RECORD")
    named = {line.partition(",")[0] for line in record.read_text().splitlines()}
    assert named == {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()} - {
        str(path.relative_to(installed)) for name in ("paho", "msgspec") for path in (installed / name).rglob("*")
    }
    assert not any("engine" in name or "supervisor" in name or "readers" in name for name in named)
