"""Every corpus is read as it is distributed: whole, with the right labels, people and bases, and nothing in silence."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from forgeline.errors import SourceError
from forgeline.inventory import File, Inventory, scan
from forgeline.sample import Sample
from forgeline.terms import Consent
from sources.corpus import Corpus
from sources.folder import TEMPLATE, Demo, Folder
from sources.table import SOURCES, template_yaml

SHARED = Path(__file__).parents[2] / "shared" / "datasets"


def listed(paths: Iterable[str]) -> Inventory:
    """An inventory of files whose content does not matter."""
    return Inventory({path: File(path, 1, "0" * 64) for path in sorted(paths)}, {})


def on_disk(root: Path, files: dict[str, str | bytes]) -> Inventory:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    return scan(root, root.parent / "inventory.jsonl", root.parent / "cache")


def by_path(corpus: Corpus) -> dict[str, Sample]:
    """Rows by path inside the corpus; also checks what holds for every row."""
    rows = list(corpus)
    assert len({row.sample_id for row in rows}) == len({row.media for row in rows}) == len(rows)
    assert all(row.role == "ingested" and row.source == corpus.name for row in rows)
    ids = {row.sample_id for row in rows if row.reason is None}
    assert all(set(row.parents) <= ids for row in rows)
    return {row.media.removeprefix(f"data/raw/{corpus.name}/"): row for row in rows}


@pytest.mark.parametrize("kind", SOURCES)
def test_the_template_of_each_kind_can_be_pasted_into_params(kind: str) -> None:
    entry = yaml.safe_load(template_yaml(kind))[kind]
    source = SOURCES[kind].model_validate(entry)
    assert entry["kind"] == kind
    assert source.terms.generate == (kind == "demo")


PEOPLE = {name: Consent(basis="form", scope=("face",)) for name in ("anna", "ben", "carl", "dora")}
CONSENTED = TEMPLATE.model_copy(update={"people": PEOPLE})


def test_folder_reads_a_folder_a_person() -> None:
    paths = ["anna/1.mp4", "anna/1.truth.json", "ben/a b.MOV", "carl/x.wav", "dora/y.png", "dora/notes.txt"]
    strays = ["eve/1.mp4", "1.mp4", "anna/deep/1.mp4", ".git/1.mp4"]
    corpus = Folder(terms=CONSENTED)("vox", Path("unread"), listed(paths + strays))
    rows = by_path(corpus)
    assert {path for path, row in rows.items() if row.reason is None} == {
        "anna/1.mp4",
        "ben/a b.MOV",
        "carl/x.wav",
        "dora/y.png",
    }
    assert {path for path, row in rows.items() if row.reason} == set(strays)
    assert rows["eve/1.mp4"].reason == "no consent is recorded for eve"
    anna, carl = rows["anna/1.mp4"], rows["carl/x.wav"]
    assert (anna.label, anna.target_id, anna.apparent_id, anna.source_id) == ("real", "vox:anna", "vox:anna", None)
    assert (anna.media, anna.media_type) == ("data/raw/vox/anna/1.mp4", "video")
    assert (carl.media_type, carl.video_label, carl.audio_label) == ("audio", None, "real")
    report = corpus.report()
    assert report.have == {"audio": 1, "image": 1, "video": 2}
    assert report.unexpected.count == 4  # notes.txt, and the strays that are not under a person's name
    assert report.mismatching.examples == ("eve/1.mp4: no consent is recorded for eve",)


def test_folder_is_for_at_least_four_people() -> None:
    with pytest.raises(ValidationError, match="at least 4 people"):
        Folder(terms=CONSENTED.model_copy(update={"people": dict(list(PEOPLE.items())[:3])}))
    with pytest.raises(SourceError, match="clips of 3 people with consent; have at least 4"):
        Folder(terms=CONSENTED)("vox", Path("unread"), listed(["anna/1.mp4", "ben/1.mp4", "carl/1.mp4", "eve/1.mp4"]))
    with pytest.raises(ValidationError, match="can't be a folder's name"):
        Folder(terms=CONSENTED.model_copy(update={"people": PEOPLE | {"../x": PEOPLE["anna"]}}))


def test_demo_has_fixed_terms() -> None:
    corpus = Demo()("demo", Path("unread"), listed(["000/1.mp4", "000/1.truth.json"]))
    (row,) = corpus
    assert (row.target_id, row.licence, row.reason) == ("demo:000", "CC0-1.0", None)
    with pytest.raises(ValidationError, match="fixed"):
        Demo(terms=TEMPLATE)


def test_what_the_inventory_refused_becomes_a_row_with_its_reason(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    inventory = on_disk(root, {f"{name}/1.mp4": b"" for name in PEOPLE})
    (root / "anna" / "out.mp4").symlink_to("/etc/hostname")
    inventory = scan(root, tmp_path / "i", tmp_path / "c")
    rows = by_path(Folder(terms=CONSENTED)("vox", root, inventory))
    assert rows["anna/out.mp4"].reason == "a link that leaves the corpus"


def test_a_corpus_with_no_clip_at_all_is_an_error() -> None:
    with pytest.raises(SourceError, match="none of its 1 files is a clip"):
        Demo()("demo", Path("unread"), listed(["wrapped/one/deeper/1.mp4"]))
