"""A second ingest of what did not change opens nothing, and everything that could make a difference is noticed."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from flows import ingest, workspace
from flows.items import SPREAD, Finished
from flows.params import load_params
from flows.rejected import retry
from flows.scan import scan_all
from flows.unchanged import forget, is_unchanged, remember
from forgeline.compute import Died
from forgeline.errors import SourceError
from forgeline.manifest import read_manifest
from forgeline.sample import Sample

ROOT = Path(__file__).parents[1]
PEOPLE = ("ana", "ben", "cem", "dua")


def here(work: Callable[[Any], Finished], jobs: Sequence[Any]) -> Iterator[tuple[Any, Finished]]:
    return ((job, work(job)) for job in jobs)


def lay_out(**changes: Any) -> None:
    people = {name: {"basis": "form", "scope": ["face", "voice"]} for name in PEOPLE}
    terms = {
        "agreement": "forms",
        "licence": "as signed",
        "accepted_by": "the lab",
        "accepted_on": "2026-01-01",
        "permitted_use": ["detection"],
        "generate": True,
        "consent": "forms",
        "people": people,
    }
    tiny = yaml.safe_load((ROOT / "params.tiny.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump(tiny | {"sources": {"own": {"kind": "folder", "terms": terms}}} | changes))


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of four voices, ingested once."""
    monkeypatch.chdir(tmp_path)
    usual = SPREAD.get()
    SPREAD.set(here)  # no process of its own
    raw = workspace.RAW / "own"
    for number, name in enumerate(PEOPLE):
        (raw / name).mkdir(parents=True)
        soundfile.write(raw / name / "a.flac", 0.2 * np.sin(np.arange(16000) / (7 + number)), 16000)
    lay_out()
    ingested()
    yield workspace.REAL / "own"
    SPREAD.set(usual)


def ingested() -> list[Sample]:
    params = load_params()
    scan_all(["own"], params)
    return ingest.ingest("own", params)


def worked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is worked on from now on, by the names of the functions that do it."""
    done: list[str] = []

    def spread(work: Callable[[Any], Finished], jobs: Sequence[Any]) -> Iterator[tuple[Any, Finished]]:
        done.extend(work.__name__ for _ in jobs)
        return here(work, jobs)

    SPREAD.set(spread)
    monkeypatch.setattr(ingest, "_report", lambda corpus: done.append("_report"))
    return done


def test_what_did_not_change_is_not_opened(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, before = read_manifest(corpus / "manifest.parquet"), {p: p.stat().st_mtime_ns for p in corpus.rglob("*")}
    done = worked(monkeypatch)
    assert sorted(ingested(), key=lambda s: s.sample_id) == first
    assert done == []
    assert "all 4 are up to date" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in corpus.rglob("*")} == before


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (lambda: next((workspace.REAL / "own/prints").glob("*.npz")).unlink(), ["_report", "_print"]),
        (lambda: next((workspace.REAL / "own/prints").glob("*.npz")).write_bytes(b"other"), ["_report", "_print"]),
        (lambda: (workspace.REAL / "own/manifest.parquet").unlink(), ["_report"]),
        (lambda: (workspace.REAL / "own/stray").touch(), ["_report"]),
        (lambda: lay_out(ingest={"min_seen": 0.7}), ["_report", *["_look"] * 4]),
        (lambda: lay_out(ingest={"denoise": {"below_db": 10}}), ["_report", *["_print"] * 4]),
        (lambda: (workspace.RAW / "own/ana/a.flac").rename(workspace.RAW / "own/ana/b.flac"), ["_report", "_look", "_print"]),
    ],
    ids=[
        "a print is gone",
        "a print is damaged",
        "the manifest is gone",
        "a stray file",
        "min_seen",
        "denoise",
        "another name",
    ],
)
def test_what_changed_is_seen(
    corpus: Path, change: Callable[[], Any], again: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = worked(monkeypatch)
    change()
    rows = ingested()
    assert [each for each in done if each != "_read_marks"] == again
    assert len(rows) == 4
    assert not (corpus / "stray").exists()
    assert sorted(rows, key=lambda s: s.sample_id) == read_manifest(corpus / "manifest.parquet")


def test_what_is_said_of_a_clip_later_is_in_its_row(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is the same, so its marks and its print are not looked for again."""
    (workspace.RAW / "own/attributes.csv").write_text("person,glasses\nana,round\n")
    done = worked(monkeypatch)
    assert [row.attributes.get("glasses") for row in sorted(ingested(), key=lambda s: s.media)] == ["round", None, None, None]
    assert done == ["_report", "_look"]


def test_an_inventory_that_is_written_meanwhile_is_not_taken_for_ingested(corpus: Path) -> None:
    """DVC looks at it after the stage has run."""

    def meanwhile(work: Callable[[Any], Finished], jobs: Sequence[Any]) -> Iterator[tuple[Any, Finished]]:
        raw = workspace.RAW / "own/dua"
        soundfile.write(raw / f"b{len(list(raw.iterdir()))}.flac", np.full(16000, 0.1), 16000)
        scan_all(["own"], load_params())
        return here(work, jobs)

    lay_out(ingest={"min_seen": 0.6})
    SPREAD.set(meanwhile)
    with pytest.raises(SourceError, match=r"own\.jsonl: was written anew while it was ingested; run the same again"):
        ingested()
    assert not (corpus / "manifest.parquet").exists()
    SPREAD.set(here)
    assert len(ingested()) > 4


def test_an_ingest_that_was_stopped_leaves_no_manifest(corpus: Path) -> None:
    """Its rows would be of items that are gone."""

    def stopped(work: Callable[[Any], Finished], jobs: Sequence[Any]) -> Iterator[tuple[Any, Finished]]:
        raise KeyboardInterrupt

    lay_out(ingest={"min_seen": 0.6})
    SPREAD.set(stopped)
    with pytest.raises(KeyboardInterrupt):
        ingested()
    assert not (corpus / "manifest.parquet").exists()


def test_other_work_of_ingest_makes_marks_and_prints_anew(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = ingest.code_digest
    monkeypatch.setattr(ingest, "code_digest", lambda *names: told(*names) + ("x" if "flows.ingest" in names else ""))
    done = worked(monkeypatch)
    ingested()
    assert {name: done.count(name) for name in ("_look", "_read_marks", "_print")} == dict.fromkeys(
        ("_look", "_read_marks", "_print"), 4
    )


def test_what_a_process_died_over_is_tried_again(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dying(work: Callable[[Any], Finished], jobs: Sequence[Any]) -> Iterator[tuple[Any, Finished | Died]]:
        for job in jobs:
            yield job, Died("the process that worked on it died (exit code -9)")

    lay_out(ingest={"min_seen": 0.7, "max_dropped": 1.0})
    SPREAD.set(dying)
    assert all("died" in str(row.reason) for row in ingested())
    assert (corpus / "manifest.parquet").is_file()
    assert retry(load_params(), "own", None) == 4
    assert not (corpus / "manifest.parquet").exists(), "so that DVC runs the stage again"
    done = worked(monkeypatch)
    assert all(row.reason is None for row in ingested())
    assert done.count("_look") == 4


def test_times_sizes_and_makers_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    file = folder / "deep/a"
    file.write_text("a")
    os.utime(file, ns=(1, 1))
    assert not is_unchanged("s", [1], folder)
    remember("s", [1], folder)
    assert is_unchanged("s", [1], folder)
    assert not is_unchanged("s", [2], folder)
    assert not is_unchanged("t", [1], folder)
    os.utime(file, ns=(1, 2))
    assert not is_unchanged("s", [1], folder)
    remember("s", [1], folder)
    forget("s")
    assert not is_unchanged("s", [1], folder)
    assert not is_unchanged("s", [1], tmp_path / "nowhere")
