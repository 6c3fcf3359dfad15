"""Work is spread over processes that lose at most what they work on, and outlive nobody."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forgeline.compute import THREADS, Died, processes, workers
from forgeline.errors import MediaError

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are watched through /proc")
LONGEST_S = 60.0

# Workers import what they work with, so it lies in a module of its own.
_WORK = """
import os, signal, time
from pathlib import Path
from forgeline.errors import MediaError

def square(item):
    return item * item

def threads(item):
    return [os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")], os.getpid()

def chance(item):
    import numpy as np
    rng = np.random.default_rng(item)
    return (rng.standard_normal((64, 64)) @ rng.standard_normal((64, 64))).tobytes()

def die_of_three(item):
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item

def fail_at_three(item):
    if item == 3:
        raise MediaError("three", "is odd", "leave it out")
    return item

def meet(item):
    folder, count = item
    Path(folder, str(os.getpid())).touch()
    late = time.monotonic() + 60
    while sum(p.name.isdigit() for p in Path(folder).iterdir()) < count and time.monotonic() < late:
        time.sleep(0.01)
    return os.getpid()

def wait(folder):
    Path(folder, str(os.getpid())).touch()
    time.sleep(600)
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """The module above, importable here and in workers."""
    (tmp_path / "forgeline_work.py").write_text(_WORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)  # so that it is put back afterwards
    import forgeline_work  # type: ignore[import-not-found]

    yield forgeline_work
    del sys.modules["forgeline_work"]


def set_workers(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setenv("FORGELINE_WORKERS", str(count))


def test_every_item_is_worked_on(work: object, monkeypatch: pytest.MonkeyPatch) -> None:
    set_workers(monkeypatch, 2)
    square: Callable[[int], int] = work.square  # type: ignore[attr-defined]
    assert sorted(processes(square, range(40))) == [(n, n * n) for n in range(40)]
    assert list(processes(square, [])) == []


def test_results_do_not_depend_on_the_number_of_workers(work: object, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for count in (1, 2):
        set_workers(monkeypatch, count)
        found.append(dict(processes(work.chance, range(6))))  # type: ignore[attr-defined]
    assert found[0] == found[1]
    assert len(found[0]) == 6


def test_work_is_done_in_one_thread_in_another_process(work: object, monkeypatch: pytest.MonkeyPatch) -> None:
    set_workers(monkeypatch, 1)
    ((_, (said, process)),) = processes(work.threads, [0])  # type: ignore[attr-defined]
    assert said == ["1", "1", "1"]
    assert process != os.getpid()


def test_a_worker_that_is_killed_costs_its_item_alone(work: object, monkeypatch: pytest.MonkeyPatch) -> None:
    set_workers(monkeypatch, 2)
    found = dict(processes(work.die_of_three, range(12)))  # type: ignore[attr-defined]
    assert sorted(found) == list(range(12))
    lost = found.pop(3)
    assert isinstance(lost, Died)
    assert "died" in lost.reason
    assert all(found[n] == n for n in found)


def test_an_exception_ends_the_whole(work: object, monkeypatch: pytest.MonkeyPatch) -> None:
    set_workers(monkeypatch, 2)
    begun = children()
    with pytest.raises(MediaError, match="three: is odd; leave it out"):
        list(processes(work.fail_at_three, range(1000)))  # type: ignore[attr-defined]
    assert until(lambda: children() <= begun), "workers are left"


def test_a_reader_that_stops_early_ends_the_workers(work: object, monkeypatch: pytest.MonkeyPatch) -> None:
    set_workers(monkeypatch, 2)
    begun = children()
    results = processes(work.square, range(1000))  # type: ignore[attr-defined]
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert until(lambda: children() <= begun), "workers are left"


def children() -> set[int]:
    """Our child processes that are no zombies, but for the one that multiprocessing keeps to watch its resources."""
    found = set()
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        found |= {int(pid) for pid in (task / "children").read_text().split() if alive(int(pid)) and not watcher(int(pid))}
    return found


def watcher(pid: int) -> bool:
    try:
        return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def until(condition: Callable[[], object]) -> bool:
    """Whether it comes true in time; it is looked at again and again."""
    deadline = time.monotonic() + LONGEST_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.01)
    return True


_PARENT = """
import sys
from forgeline.compute import processes
if __name__ == "__main__":
    import forgeline_work
    list(processes(forgeline_work.wait, [sys.argv[1]] * 4))
"""


@contextmanager
def parent(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose two workers say that they work, and then wait."""
    (folder / "forgeline_work.py").write_text(_WORK)
    (folder / "parent.py").write_text(_PARENT)
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "FORGELINE_WORKERS": "2"}
    process = subprocess.Popen([sys.executable, str(folder / "parent.py"), str(folder / "pids")], env=env)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_workers_die_with_their_parent(tmp_path: Path) -> None:
    (tmp_path / "pids").mkdir()
    with parent(tmp_path) as process:
        assert until(lambda: len(list((tmp_path / "pids").iterdir())) == 2 or process.poll() is not None)
        pids = [int(p.name) for p in (tmp_path / "pids").iterdir()]
        assert len(pids) == 2
        assert all(alive(pid) for pid in pids)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert until(lambda: not any(alive(pid) for pid in pids)), "workers outlive their parent"


def test_workers_that_are_just_starting_die_with_their_parent(tmp_path: Path) -> None:
    (tmp_path / "pids").mkdir()
    with parent(tmp_path) as process:
        tasks = Path(f"/proc/{process.pid}/task")

        def started() -> set[int]:
            found = {int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()}
            return {pid for pid in found if not watcher(pid)}

        assert until(lambda: started() or process.poll() is not None)
        pids = started()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert pids
        assert until(lambda: not any(alive(pid) for pid in pids)), "workers outlive their parent"


def test_workers_are_as_many_as_asked_for_or_as_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    set_workers(monkeypatch, 3)
    assert workers() == 3
    for nonsense in ("", "0", "-1", "many"):
        monkeypatch.setenv("FORGELINE_WORKERS", nonsense)
        assert workers() == len(os.sched_getaffinity(0))


def test_few_short_items_are_worked_on_by_one_process(work: object, monkeypatch: pytest.MonkeyPatch) -> None:
    set_workers(monkeypatch, 3)
    monkeypatch.setattr("forgeline.compute.HEAD_START_S", LONGEST_S)
    assert len({process for _, (_, process) in processes(work.threads, range(9))}) == 1  # type: ignore[attr-defined]


def test_the_others_are_started_when_the_first_item_takes_long(
    work: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_workers(monkeypatch, 2)
    monkeypatch.setattr("forgeline.compute.HEAD_START_S", 0.1)
    meet: Callable[[tuple[Path, int]], int] = work.meet  # type: ignore[attr-defined]
    assert len({process for _, process in processes(meet, [(tmp_path, 2)] * 2)}) == 2
