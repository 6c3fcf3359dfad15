"""Items are kept while all that makes them is the same, and made again when anything is not."""

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from flows.items import SPREAD, Finished, Item, bring_up_to_date, dropped
from forgeline.compute import Died
from forgeline.files import write_text
from forgeline.manifest import read_manifest
from forgeline.recipe import Recipe
from forgeline.sample import Sample


@dataclass(frozen=True)
class Job(Item):
    folder: Path
    log: Path
    does: str = "make"


def make(job: Job) -> Finished:
    """Two files, or a reason, or death, as the job's `does` says; every call leaves a line in the log."""
    with job.log.open("a") as log:
        log.write(job.name + "\n")
    if job.does == "die":
        (job.folder / f".{job.name}.part.txt").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
    if job.does == "fail":
        return Finished(replace(job.sample, reason="too dark; leave it out"), ())
    if job.does == "crash":
        raise RuntimeError("a bug")
    files = (job.folder / f"{job.name}.txt", job.folder / "below" / f"{job.name}.txt")
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_text(job.name + job.key)
    return Finished(replace(job.sample, bytes=len(job.name)), files)


def in_this_process(work: Callable[[Job], Finished], jobs: Sequence[Job]) -> Iterator[tuple[Job, Finished | Died]]:
    """One item after the other; one that would kill its process works in a fork."""
    for job in jobs:
        if job.does != "die":
            yield job, work(job)
            continue
        child = os.fork()
        if not child:
            work(job)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        yield job, Died("the process that worked on it died")


class Workbench:
    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder / "out", folder / "log"

    def job(self, name: str, key: str = "k", does: str = "make") -> Job:
        recipe = Recipe("x", (name,), 0, {})
        sample = Sample(
            sample_id=recipe.id,
            media=f"{name}.txt",
            media_type="video",
            label="real",
            role="control",
            method="x",
            source="s",
            recipe=recipe.canonical(),
            parents=(name,),
        )
        return Job(name, key, sample, self.folder, self.log, does)

    def run(self, *jobs: Job) -> list[str]:
        """The names that were worked on."""
        self.log.write_text("")
        samples = bring_up_to_date(self.folder, jobs, make, "test")
        assert read_manifest(self.folder / "manifest.parquet") == sorted(samples, key=lambda s: s.sample_id)
        assert {s.sample_id for s in samples} == {j.sample.sample_id for j in jobs}
        return sorted(self.log.read_text().split())

    def files(self) -> dict[str, str]:
        found = (p for p in self.folder.rglob("*") if p.is_file() and p.suffix == ".txt")
        return {p.relative_to(self.folder).as_posix(): p.read_text() for p in sorted(found)}

    def bytes(self) -> dict[str, bytes]:
        return {p.relative_to(self.folder).as_posix(): p.read_bytes() for p in self.folder.rglob("*") if p.is_file()}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    token = SPREAD.set(in_this_process)
    yield Workbench(tmp_path)
    SPREAD.reset(token)


def test_what_is_there_is_kept(bench: Workbench) -> None:
    jobs = [bench.job(name) for name in "abc"]
    assert bench.run(*jobs) == ["a", "b", "c"]
    before = bench.bytes()
    assert bench.run(*jobs) == []
    assert bench.bytes() == before
    assert bench.run(*jobs, bench.job("d")) == ["d"]


def test_a_changed_key_makes_its_item_anew(bench: Workbench) -> None:
    bench.run(bench.job("a"), bench.job("b"))
    assert bench.run(bench.job("a"), bench.job("b", "other")) == ["b"]
    assert bench.files()["b.txt"] == "bother"


@pytest.mark.parametrize("damage", ["change", "cut", "delete", "delete below", "link", "record", "no record", "old record"])
def test_a_damaged_item_is_made_anew(bench: Workbench, damage: str) -> None:
    jobs = [bench.job(name) for name in "ab"]
    bench.run(*jobs)
    before = bench.bytes()
    file, record = bench.folder / "a.txt", bench.folder / "a.json"
    match damage:
        case "change":
            file.write_text("A" + file.read_text()[1:])
        case "cut":
            file.write_text("")
        case "delete":
            file.unlink()
        case "delete below":
            (bench.folder / "below/a.txt").unlink()
        case "link":
            file.unlink()
            file.symlink_to("nowhere")
        case "record":
            record.write_text(record.read_text()[:-20])
        case "no record":
            record.unlink()
        case "old record":
            told = json.loads(record.read_text())
            del told["sample"]["media"]
            write_text(record, json.dumps(told))
    assert bench.run(*jobs) == ["a"]
    assert bench.bytes() == before


def test_what_is_unwanted_goes(bench: Workbench) -> None:
    bench.run(bench.job("a"), bench.job("b"))
    (bench.folder / "stray").mkdir()
    (bench.folder / "stray" / "x").touch()
    (bench.folder / ".a.part.txt").touch()
    assert bench.run(bench.job("a")) == []
    assert sorted(bench.bytes()) == ["a.json", "a.txt", "below/a.txt", "manifest.parquet"]
    assert not (bench.folder / "stray").exists()


def test_any_history_ends_in_the_same_bytes(bench: Workbench) -> None:
    bench.run(bench.job("a"), bench.job("x"), bench.job("c", "old"))
    bench.run(bench.job("c"), bench.job("b", does="fail"), bench.job("a"))
    found = bench.bytes()
    for path in bench.folder.rglob("*"):
        if path.is_file():
            path.unlink()
    bench.run(bench.job("a"), bench.job("b", does="fail"), bench.job("c"))
    assert bench.bytes() == found


def test_what_cannot_be_made_is_a_row_that_is_kept(bench: Workbench) -> None:
    jobs = [bench.job("a"), bench.job("b", does="fail")]
    assert bench.run(*jobs) == ["a", "b"]
    assert bench.run(*jobs) == []
    row = {s.media: s for s in read_manifest(bench.folder / "manifest.parquet")}
    assert row["b.txt"].reason == "too dark; leave it out"
    assert row["a.txt"].reason is None
    lines = list(dropped(row.values()))
    assert lines == [f"  dropped {row['b.txt'].sample_id} (b.txt): too dark; leave it out"]


def test_an_item_whose_process_died_is_tried_again_and_leaves_nothing(bench: Workbench) -> None:
    jobs = [bench.job("a"), bench.job("b", does="die")]
    assert bench.run(*jobs) == ["a", "b"]
    assert ".b.part.txt" not in bench.bytes()
    row = {s.media: s for s in read_manifest(bench.folder / "manifest.parquet")}
    assert "died" in str(row["b.txt"].reason)
    assert bench.run(*jobs) == ["b"]
    assert bench.run(bench.job("a"), bench.job("b")) == ["b"]


def test_a_crash_keeps_what_was_finished(bench: Workbench) -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        bench.run(bench.job("a"), bench.job("b", does="crash"), bench.job("c"))
    assert bench.run(*(bench.job(name) for name in "abc")) == ["b", "c"]


def test_the_manifest_is_of_the_records_whatever_happened_to_it(bench: Workbench) -> None:
    """It is written when something changed, and only then: lost, cut, of a crash, with a row that nobody wants any more."""
    manifest = bench.folder / "manifest.parquet"
    bench.run(bench.job("a"), bench.job("b"))
    before = manifest.stat().st_mtime_ns
    assert bench.run(bench.job("a"), bench.job("b")) == []
    assert manifest.stat().st_mtime_ns == before
    for damage in (manifest.unlink, lambda: manifest.write_bytes(manifest.read_bytes()[:-9])):
        damage()
        assert bench.run(bench.job("a"), bench.job("b")) == []
    with pytest.raises(RuntimeError, match="a bug"):
        bench.run(bench.job("a"), bench.job("b", "new"), bench.job("x", does="crash"))
    assert not manifest.exists(), "b's row is no longer what it said"
    assert bench.run(bench.job("a"), bench.job("b", "new"), bench.job("c", does="die")) == ["c"]
    assert bench.run(bench.job("a"), bench.job("b", "new")) == [], "and c, of which nothing was kept, is gone from it"
    bench.run(bench.job("a"), bench.job("b", "new", does="fail"), bench.job("d", does="fail"))
    (bench.folder / "d.json").unlink()  # a second try
    with pytest.raises(RuntimeError, match="a bug"):
        bench.run(bench.job("a"), bench.job("b", "new"), bench.job("d"), bench.job("x", does="crash"))
    assert bench.run(bench.job("a"), bench.job("b", "new"), bench.job("d")) == [], "but d's row is of the second try"


def test_the_work_is_spread_over_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing set, items are made in worker processes, which see the same thing."""
    (tmp_path / "forgeline_items_work.py").write_text(
        "import os\nfrom dataclasses import replace\nfrom flows.items import Finished\n"
        "def make(job):\n    return Finished(replace(job.sample, bytes=os.getpid()), ())\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("FORGELINE_WORKERS", "1")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    import forgeline_items_work  # type: ignore[import-not-found]

    recipe = Recipe("x", (), 0, {})
    sample = Sample(
        sample_id=recipe.id, media="m", media_type="video", label="real", role="control", method="x", source="s", recipe="r"
    )
    (done,) = bring_up_to_date(tmp_path / "out", [Item("a", "k", sample)], forgeline_items_work.make, "test")
    assert done == replace(sample, bytes=done.bytes)
    assert done.bytes not in (0, os.getpid())
