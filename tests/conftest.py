"""What tests of all rooms share."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.broker import Broker
from tests.program import open_program

_FOLDER = pytest.StashKey[Path]()

# A shell starts what it sends into the background with the interrupt ignored, and every program that a test starts
# would inherit that: those that tests interrupt would never end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the commands do, for what tests call without them


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """As root the folders of tests are in one that other users may enter: what root starts goes on as another user.

    Not in the one that pytest shares between runs: every run closes that one again.
    """
    open_program()
    if os.geteuid() == 0 and config.option.basetemp is None:
        folder = Path(tempfile.mkdtemp(prefix="edge-infer-tests-"))
        folder.chmod(0o755)
        config.option.basetemp = str(folder / "run")
        config.stash[_FOLDER] = folder


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """After failures the folders stay, so that one can look."""
    if exitstatus == 0 and (folder := session.config.stash.get(_FOLDER, None)) is not None:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def tmp_path_factory(tmp_path_factory: pytest.TempPathFactory) -> pytest.TempPathFactory:
    """Makes folders, those of `tmp_path` too, that other users may enter."""
    make = tmp_path_factory.mktemp
    base = tmp_path_factory.getbasetemp()
    for folder in (base, base.parent) if os.geteuid() == 0 else ():  # below the one of a run, workers have one each
        folder.chmod(folder.stat().st_mode | 0o055)

    def mktemp(basename: str, numbered: bool = True) -> Path:
        folder = make(basename, numbered)
        folder.chmod(0o755)
        return folder

    tmp_path_factory.mktemp = mktemp  # type: ignore[method-assign]
    return tmp_path_factory


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """Takes back what a test changes in the environment: readers do so on purpose, and a child would inherit it.

    The same holds for the umask, which commands that write pictures change.
    """
    before, mask, writes = dict(os.environ), os.umask(0o022), sys.dont_write_bytecode
    os.umask(mask)
    yield
    os.umask(mask)
    sys.dont_write_bytecode = writes
    for key in {*before, *os.environ} - {"PYTEST_CURRENT_TEST"}:
        if key in before:
            os.environ[key] = before[key]
        else:
            os.environ.pop(key, None)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A real broker on a free port."""
    with Broker(tmp_path) as running:
        yield running


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of public test inputs (models, pictures, clips) that ``EDGE_INFER_ASSETS`` names."""
    folder = os.environ.get("EDGE_INFER_ASSETS")
    if not folder:
        pytest.skip("EDGE_INFER_ASSETS is not set: it names the folder of public test models and pictures")
    return Path(folder)


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A folder of somebody else's; while the test runs this process, even if it is root's, may not look into it."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        os.seteuid(mine)
        folder.chmod(0o700)


settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # timing is never a test
settings.load_profile("here")
