"""What may be pushed, and that a remote which fails or never answers ends in an error, not in a wait."""

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from flows import push as module
from flows.audit import FILE
from flows.command import PYTHON, run
from flows.params import Params, load_params
from flows.push import push
from flows.release import TERMS
from forgeline.errors import FactoryError, KeyFileError, TermsError
from tests.conftest import ROOT, user_env

TODAY = date(2026, 11, 20)
STATED = {
    "licences": ["CC0-1.0"],
    "permitted_use": ["research"],
    "generate": True,
    "redistribute": True,
    "expires": None,
    "licence": "CC0-1.0",
    "key": "demo",
}
TERMS_OF_PEOPLE = {
    "agreement": "release form 1",
    "licence": "as agreed",
    "accepted_by": "the tests",
    "accepted_on": "2026-01-01",
    "permitted_use": ["research"],
    "generate": True,
    "redistribute": True,
    "consent": "release forms",
    "people": {f"p{n}": {"basis": "release form", "scope": ["face"]} for n in range(4)},
}


@pytest.fixture(scope="module")
def project_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC project that holds a release which passed its audit."""
    project = tmp_path_factory.mktemp("push") / "project"
    (project / ".dvc").mkdir(parents=True)
    (project / ".dvc/config").write_text("[core]\n    no_scm = true\n    remote = store\n")
    lay(project, STATED)
    return project


@pytest.fixture
def project(project_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in, with a remote in `store`."""
    for name, value in user_env(tmp_path).items():
        monkeypatch.setenv(name, value)
    shutil.copytree(project_once, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    remote("store", str(tmp_path / "store"))
    return tmp_path / "project"


def remote(name: str, url: str) -> None:
    with Path(".dvc/config").open("a") as config:
        config.write(f"['remote \"{name}\"']\n    url = {url}\n")


def lay(project: Path, stated: dict[str, Any], passed: bool = True) -> None:
    """Put a release and its audit there, and have DVC track both."""
    audited = {"passed": passed, "checks": {"pairs": {"first": ["a fault"]}, "shortcuts": {"first": [], "undecided": []}}}
    for path, told in ((TERMS, stated), (FILE, audited)):
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(json.dumps(told))
    track = ["dvc", "add", "--quiet", str(TERMS.parent), str(FILE.parent)]
    subprocess.run(track, cwd=project, env=user_env(project.parent), check=True)


def params(**sources: Any) -> Params:
    """The tiny params, with these sources instead of the demo."""
    value = yaml.safe_load((ROOT / "params.tiny.yaml").read_text())
    value["sources"] = sources or value["sources"]
    Path("params.yaml").write_text(yaml.safe_dump(value))
    return load_params()


def stored(tmp_path: Path) -> int:
    return sum(p.is_file() for p in (tmp_path / "store").rglob("*"))


def test_what_may_go_goes(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    push(params(), None, 60, TODAY)
    assert stored(tmp_path) == 4  # two folders of one file
    assert "4 files pushed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        ({"redistribute": False}, "passing on what is made from it is not permitted"),
        ({"expires": "2026-11-19"}, "they ended on 2026-11-19"),
    ],
)
def test_stated_terms_bind(project: Path, tmp_path: Path, stated: dict[str, Any], says: str) -> None:
    lay(project, STATED | stated)
    with pytest.raises(TermsError, match=says):
        push(params(), None, 60, TODAY)
    assert stored(tmp_path) == 0


@pytest.mark.parametrize(
    "terms",
    [
        {"redistribute": False},
        {"expires": "2026-11-19"},
    ],
)
def test_terms_that_became_narrower_bind(project: Path, tmp_path: Path, terms: dict[str, Any]) -> None:
    lay(project, STATED | {"key": "0123456789ab"})
    with pytest.raises(TermsError, match=r"sources\.people\.terms"):
        push(params(people={"kind": "folder", "terms": TERMS_OF_PEOPLE | terms}), None, 60, TODAY)
    assert stored(tmp_path) == 0


def test_demo_key_marks_nothing_but_the_demo(project: Path, tmp_path: Path) -> None:
    people = {"kind": "folder", "terms": TERMS_OF_PEOPLE}
    with pytest.raises(KeyFileError, match="people would be marked with the public demo key"):
        push(params(demo={"kind": "demo"}, people=people), None, 60, TODAY)
    assert stored(tmp_path) == 0
    lay(project, STATED | {"key": "0123456789ab"})
    push(params(people=people), None, 60, TODAY)
    assert stored(tmp_path) == 4


def test_failed_audit(project: Path, tmp_path: Path) -> None:
    lay(project, STATED, passed=False)
    with pytest.raises(FactoryError, match="the audit failed"):
        push(params(), None, 60, TODAY)
    assert stored(tmp_path) == 0


def test_no_release(project: Path) -> None:
    TERMS.unlink()
    with pytest.raises(FactoryError, match="there is no release to push"):
        push(params(), None, 60, TODAY)


def test_what_was_not_looked_at_does_not_go(project: Path, tmp_path: Path) -> None:
    (TERMS.parent / "more.parquet").write_text("from elsewhere")
    with pytest.raises(FactoryError, match=r"is not what dvc.lock says was built"):
        push(params(), None, 60, TODAY)
    assert stored(tmp_path) == 0


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = []

        def take() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        for connection in taken:
            connection.close()


def test_remote_that_never_answers(
    project: Path, silent: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    remote("silent", f"http://127.0.0.1:{silent}/store")
    monkeypatch.setattr(module, "_PAUSE_S", 0)
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(FactoryError, match=r"dvc push --remote silent: was stopped after 4 s"):
        push(params(), "silent", 4, TODAY)
    assert "attempt 2 of 3" in capsys.readouterr().err
    assert set(psutil.Process().children(recursive=True)) <= before


def test_a_second_attempt_is_enough(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A remote that can't be written to until the first attempt is over."""
    store = tmp_path / "store"
    store.write_text("in the way")
    monkeypatch.setattr(module, "_PAUSE_S", 0)
    monkeypatch.setattr(module, "ATTEMPTS", 20)

    def clear() -> None:
        late = time.monotonic() + 60
        for wanted in (True, False):
            while _pushes() != wanted and time.monotonic() < late:
                time.sleep(0.02)
        store.unlink()

    clearer = threading.Thread(target=clear)
    clearer.start()
    push(params(), None, 60, TODAY)
    clearer.join()
    assert "attempt 1 of 20" in capsys.readouterr().err
    assert stored(tmp_path) == 4


def _pushes() -> bool:
    with suppress(psutil.NoSuchProcess):
        return any("push" in p.cmdline() for p in psutil.Process().children())
    return False


def test_a_command_takes_all_that_it_started_with_it(tmp_path: Path) -> None:
    """Also what works on when its starter is gone."""
    script = (
        "import subprocess, sys, time, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "pathlib.Path('pid').write_text(str(child.pid))\n"
        "time.sleep(600)"
    )
    with pytest.raises(FactoryError, match="was stopped after 3 s"):
        run([PYTHON, "-c", script], cwd=tmp_path, timeout_s=3)
    _, alive = psutil.wait_procs([p] if (p := _process(int((tmp_path / "pid").read_text()))) else [], timeout=10)
    assert not alive


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None
