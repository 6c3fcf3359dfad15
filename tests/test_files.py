"""Files are whole or not there, and an output has one writer."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from forgeline.errors import FactoryError, LockedError
from forgeline.files import prune, replacing, sha256_of, write_text
from forgeline.lock import holding

ROOT = Path(__file__).parents[1]


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}", *map(str, arguments)]


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    write_text(path, "früher\n")
    with replacing(path) as part:
        part.write_text("half")
        assert path.read_text(encoding="utf-8") == "früher\n"
        assert part.parent == path.parent
    assert path.read_text() == "half"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, OSError])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(failure), replacing(path) as part:  # noqa: PT012
        part.write_text("half")
        raise failure
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    code = "import os, signal\nfrom pathlib import Path\nfrom forgeline.files import replacing\n"
    code += "with replacing(Path(sys.argv[1])) as part:\n    part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    assert subprocess.run(python(code, path), check=False).returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert prune(tmp_path, {path})  # what the kill left can be told from what is kept


_FULL = """
import resource
from pathlib import Path
from forgeline.errors import FactoryError
from forgeline.files import write_text
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_text(Path(sys.argv[1]), "x" * 10_000)
except FactoryError as error:
    print(error)
"""


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """A limit on the size of files stands for a disk that is full."""
    path = tmp_path / "a.txt"
    write_text(path, "old")
    done = subprocess.run(python(_FULL, path), capture_output=True, text=True, check=True)
    assert done.stdout == f"{path}: could not be written: the disk is full; free some space and run again\n"
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_other_troubles_of_the_system_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a"):
        pass  # nothing was written


def test_hash_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")  # FIPS 180-4, example
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_prune_keeps_what_is_named_alone(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.txt").touch()
    folder = tmp_path / "folder"
    for name in ("a", "b/c", "b/d/e", "f/g/h"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "link").symlink_to(outside)
    (folder / "dangling").symlink_to("nowhere")
    (folder / "empty" / "within").mkdir(parents=True)
    gone = prune(folder, {folder / "a", folder / "b/d/e"})
    assert gone == [folder / name for name in ("b/c", "dangling", "f/g/h", "link")]
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*")) == ["a", "b", "b/d", "b/d/e"]
    assert (outside / "kept.txt").exists()


# ---------------------------------------------------------------------------------------------------------------- locks

_HOLD = """
from pathlib import Path
from forgeline.lock import holding
with holding(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
print("let go", flush=True)
"""


def holder(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        python(_HOLD, path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_second_process_waits_and_says_for_whom(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "plan.lock"
    first, second = holder(path), None
    try:
        assert first.stdout
        assert first.stdout.readline() == "held\n"
        second = holder(path)
        assert second.stderr
        assert second.stdout
        assert second.stderr.readline() == f"plan: is being written by process {first.pid}; waiting for it to end\n"
        with (
            pytest.raises(LockedError, match=f"plan: is being written by process {first.pid}; wait"),
            holding(path, wait=False),
        ):
            pytest.fail("two hold it")
        first.communicate("\n")
        assert second.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match=f"process {second.pid};"), holding(path, wait=False):
            pytest.fail("two hold it")
    finally:
        end(first)
        if second:
            end(second)


def test_a_kill_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    first = holder(path)
    assert first.stdout
    assert first.stdout.readline() == "held\n"
    end(first)
    with holding(path, wait=False):
        assert path.read_text() == f"process {os.getpid()}"


def test_children_do_not_inherit_it(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with holding(path):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with holding(path, wait=False):
            pass
    finally:
        child.kill()
        child.wait()


def test_an_error_lets_go(tmp_path: Path) -> None:
    with pytest.raises(FactoryError), holding(tmp_path / "a.lock"):
        raise FactoryError("a", "b", "c")
    with holding(tmp_path / "a.lock", wait=False):
        pass
