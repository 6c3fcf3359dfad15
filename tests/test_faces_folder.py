"""What an ingest keeps in `data/real/<source>` is what params ask for now: no embedding of a face outlives its net there."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from flows.ingest import ingest
from flows.items import SPREAD, Finished
from flows.params import load_params
from flows.scan import scan_all
from tests.test_bad_input import PEOPLE, TERMS, TINY, film, heads
from tests.tiny_onnx import embedder, put

REAL = Path("data/real/own")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with a corpus of four people."""
    path = tmp_path_factory.mktemp("checkout")
    for number, person in enumerate(PEOPLE):
        film(path / "data/raw/own" / person / "c.mp4", heads(number, 3))
    return path


@pytest.fixture
def made(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """In that checkout; the names of what is made there, as it is made."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("FORGELINE_WEIGHTS", str(home))
    items: list[str] = []

    def here(work: Callable[[Any], Finished], jobs: Sequence[Any]) -> Iterator[tuple[Any, Finished]]:
        for job in jobs:
            items.append(work.__name__)
            yield job, work(job)

    usual = SPREAD.set(here)
    yield items
    SPREAD.reset(usual)


def run(**section: Any) -> dict[str, bytes]:
    """Ingest with these settings; what lies there afterwards."""
    sources = {"own": {"kind": "folder", "terms": TERMS}}
    Path("params.yaml").write_text(yaml.safe_dump(TINY | {"sources": sources, "ingest": TINY["ingest"] | section}))
    params = load_params()
    scan_all(["own"], params)
    ingest("own", params)
    return {path.relative_to(REAL).as_posix(): path.read_bytes() for path in sorted(REAL.rglob("*")) if path.is_file()}


def test_embeddings_go_when_params_name_no_net_any_more(made: list[str], home: Path) -> None:
    plain = run()
    assert not [path for path in plain if path.startswith("faces/")]
    made.clear()
    faces = {"net": put(home, "who.onnx", embedder()), "least": 0.6}
    with_faces = run(faces=faces)
    rows = [path for path in with_faces if path.startswith("faces/") and path.endswith(".npy")]
    assert len(rows) == len(PEOPLE)
    assert np.load(REAL / rows[0]).shape == (512,)
    assert {*made} == {"_embed"}
    made.clear()
    assert run(faces=faces) == with_faces
    assert made == []
    assert run() == plain
    assert made == [], "nothing else is made anew"
    assert not (REAL / "faces").exists()


def test_what_else_lies_there_goes_and_links_are_not_followed(made: list[str], tmp_path: Path) -> None:
    plain = run()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/kept").write_text("somebody's own")
    (REAL / "faces").symlink_to(tmp_path / "elsewhere")
    (REAL / "notes.txt").write_text("stray")
    (REAL / "old/deep").mkdir(parents=True)
    (REAL / "old/deep/file").touch()
    made.clear()
    assert run() == plain
    assert made == []
    assert {path.name for path in REAL.iterdir()} == {path.partition("/")[0] for path in plain}
    assert (tmp_path / "elsewhere/kept").read_text() == "somebody's own"
