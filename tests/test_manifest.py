"""Manifests hold what was put in, byte for byte, and no broken promise goes through the check."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgeline.clip import Segment
from forgeline.errors import PromiseError
from forgeline.manifest import (
    SCHEMA,
    broken_promises,
    by_id,
    check,
    from_record,
    read_manifest,
    to_record,
    write_manifest,
)
from forgeline.recipe import Recipe, recipe_id
from forgeline.sample import Sample

Record = dict[str, Any]


def pair(number: int, split: str, **control: Any) -> list[Sample]:
    """A control, its fake and its null twin, of three people, as the factory makes them."""
    recipe = Recipe("control", (f"{number:020x}",), 1, {})
    common: Record = {
        "media_type": "video",
        "source": "demo",
        "pair_id": recipe.id,
        "target_id": f"demo:p{number}a",
        "split": split,
        "width": 640,
        "height": 480,
        "fps": Fraction(30000, 1001),
        "frames": 90,
        "duration_s": float(90 / Fraction(30000, 1001)),
        "sample_rate": 48000,
        "video_label": "real",
        "audio_label": "real",
        "licence": "CC0-1.0",
        "permitted_use": ("detection", "research"),
        "sha256": hashlib.sha256(str(number).encode()).hexdigest(),
        "bytes": 1000,
        "mark_key_id": f"demo/{split}",
        "mark_read": "payload",
        "fingerprint": "0" * 96,
        "attributes": {"glasses": "round", "age": "71"},
        "drawn": {"weather": "rain"},
        "sensors": {"temperature": "21.5"},
        "scores": {"mark_score": 20.5},
    }
    rows = [
        Sample(
            **common | control,
            sample_id=recipe.id,
            media=f"data/made/control/{recipe.id}.mp4",
            label="real",
            role="control",
            content_class="control",
            method="control",
            recipe=recipe.canonical(),
            parents=recipe.parents,
            shard=f"control-{split}-0000",
            mark_id=f"{3 * number:010x}",
        )
    ]
    for place, method in enumerate(("blend_swap", "self_swap"), 1):
        swapped = method == "blend_swap"
        parents = (f"{number:020x}", f"{number + 1000:020x}") if swapped else (f"{number:020x}",)
        made = Recipe(method, parents, 1, {"blend": "poisson"})
        rows.append(
            Sample(
                **common
                | {
                    "sample_id": made.id,
                    "media": f"data/made/{method}/{made.id}.mp4",
                    "mask": f"data/made/{method}/{made.id}.mask.mp4",
                    "segments": (Segment(0.0, 1.5, "video"),) if swapped else (),
                    "label": "fake" if swapped else "real",
                    "video_label": "fake" if swapped else "real",
                    "role": "forgery" if swapped else "null_twin",
                    "content_class": "partially_synthetic" if swapped else "augmented_real",
                    "method": method,
                    "recipe": made.canonical(),
                    "parents": parents,
                    "source_id": f"demo:p{number}b" if swapped else None,
                    "shard": f"{method}-{split}-0000",
                    "mark_id": f"{3 * number + place:010x}",
                }
            )
        )
    return rows


def little() -> list[Sample]:
    """A small manifest without a fault: two splits, a sample that was dropped, and a corpus's own clip."""
    lost = Recipe("blend_swap", ("3" * 20, "4" * 20), 1, {})
    clip = Recipe("ingest", (), 0, {"source": "demo", "path": "p0/c0.mp4"})
    rows = pair(1, "train") + pair(2, "test")
    dropped = replace(rows[1], sample_id=lost.id, recipe=lost.canonical(), parents=lost.parents, reason="too dark", sha256="")
    return [
        *rows,
        dropped,
        Sample(
            sample_id=clip.id,
            media="data/raw/demo/p0/c0.mp4",
            media_type="video",
            label="real",
            role="ingested",
            method="ingest",
            source="demo",
            recipe=clip.canonical(),
            width=640,
            height=480,
            fps=Fraction(25),
            frames=50,
            duration_s=2.0,
            licence="CC0-1.0",
            sha256="a" * 64,
            bytes=9,
        ),
    ]


def table(records: list[Record]) -> pa.Table:
    return pa.Table.from_pylist(records, schema=SCHEMA)


def records() -> list[Record]:
    return [to_record(s) for s in sorted(little(), key=lambda s: s.sample_id)]


def of_role(rows: list[Record], role: str) -> Record:
    return next(r for r in rows if r["role"] == role and r["reason"] is None)


def test_a_valid_manifest_passes(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.parquet", little())
    check(tmp_path / "m.parquet")


def changed(role: str, /, **values: Any) -> Callable[[list[Record]], None]:
    return lambda rows: of_role(rows, role).update(values)


def lose_the_controls(rows: list[Record]) -> None:
    rows[:] = [r for r in rows if r["role"] != "control"]


def move_a_control(rows: list[Record]) -> None:
    """It and its people into another split than its fake."""
    control = of_role(rows, "control")
    control["split"] = "val"


def share_a_person(rows: list[Record]) -> None:
    first, second = (r for r in rows if r["role"] == "forgery" and r["reason"] is None)
    first["source_id"] = second["source_id"]


def share_a_mark(rows: list[Record]) -> None:
    first, second = (r for r in rows if r["role"] == "forgery" and r["reason"] is None)
    second["mark_key_id"], second["mark_id"] = first["mark_key_id"], first["mark_id"]


def change_the_recipe(rows: list[Record]) -> None:
    row = of_role(rows, "forgery")
    row["recipe"] = row["recipe"].replace('"seed":1', '"seed":2')


def no_json(rows: list[Record]) -> None:
    row = of_role(rows, "ingested")
    row["recipe"] = "not JSON"
    row["sample_id"] = recipe_id("not JSON")
    rows.sort(key=lambda r: str(r["sample_id"]))


def fake_without_video(rows: list[Record]) -> None:
    of_role(rows, "forgery").update(video_label=None)


def segment(**values: Any) -> Callable[[list[Record]], None]:
    return changed("forgery", segments=[{"start_s": 0.0, "end_s": 1.0, "modality": "video"} | values])


BROKEN: dict[str, tuple[Callable[[list[Record]], object], str]] = {
    "unsorted": (list.reverse, "not sorted by sample_id"),
    "doubled": (lambda rows: rows.insert(0, dict(rows[0])), "appears 2 times"),
    "an empty cell": (changed("control", width=None), "empty cells in width"),
    "an id of its own": (change_the_recipe, "its id is not its recipe's"),
    "no recipe": (no_json, "its recipe and its parents differ"),
    "other parents": (changed("forgery", parents=["1" * 20]), "its recipe and its parents differ"),
    "another role": (changed("control", role="original"), "role 'original' does not exist"),
    "an empty reason": (changed("control", reason=" "), "dropped without a reason"),
    "an absolute path": (changed("control", media="/etc/passwd"), "media '/etc/passwd' is not a path inside"),
    "a path upwards": (changed("forgery", mask="data/../../x.mp4"), "mask 'data/../../x.mp4' is not a path inside"),
    "a backslash": (changed("control", track="data\\x.npz"), "is not a path inside"),
    "an empty path": (changed("control", media=""), "media '' is not a path inside"),
    "no hash": (changed("control", sha256=""), "no sha256 or no size"),
    "an upper-case hash": (changed("control", sha256="A" * 64), "no sha256 or no size"),
    "no bytes": (changed("ingested", bytes=0), "no sha256 or no size"),
    "another label": (changed("ingested", label="genuine"), "neither real nor fake"),
    "another stream's label": (changed("ingested", audio_label="cloned"), "neither real nor fake"),
    "no licence": (changed("control", licence=""), "no licence"),
    "another official split": (changed("ingested", split="dev"), "split 'dev' does not exist"),
    "an odd width": (changed("control", width=641), "size 641x480 is not even"),
    "no height": (changed("control", height=0), "size 640x0 is not even"),
    "no frames": (changed("control", frames=0), "it has 0 frames"),
    "two frames of an image": (changed("ingested", media_type="image"), "it has 50 frames"),
    "a lasting image": (changed("ingested", media_type="image", frames=1), "an image, and has a duration"),
    "another media type": (changed("ingested", media_type="film"), "media type 'film' does not exist"),
    "no rate": (changed("control", fps="0"), "duration is not frames / fps"),
    "a broken rate": (changed("control", fps="25/0"), "fps '25/0' is no fraction"),
    "a rate in words": (changed("control", fps="fast"), "fps 'fast' is no fraction"),
    "another duration": (changed("control", duration_s=3.0), "duration is not frames / fps"),
    "no duration": (changed("control", duration_s=float("nan")), "duration is not frames / fps"),
    "a segment outside": (segment(end_s=99.0), "segment 0.0-99.0 s is not inside"),
    "a segment backwards": (segment(start_s=1.0, end_s=0.5), "segment 1.0-0.5 s is not inside"),
    "a segment before": (segment(start_s=-1.0), "segment -1.0-1.0 s is not inside"),
    "a segment of nothing": (segment(modality="smell"), "segment of 'smell'"),
    "a segment of real sound": (segment(modality="audio"), "says that its audio was changed, its label does not"),
    "a class of another role": (changed("control", content_class="augmented_real"), "does not go with role"),
    "a fake called real": (changed("forgery", label="real"), "label does not follow"),
    "a real called fake": (changed("control", label="fake", video_label="fake"), "label does not follow"),
    "a forgery of nothing": (changed("forgery", label="real", video_label="real", segments=[]), "label does not follow"),
    "a stream without a label": (fake_without_video, "a stream has no label"),
    "sound without a label": (changed("control", audio_label=None), "a stream has no label"),
    "a label without sound": (changed("control", sample_rate=0), "a label no stream"),
    "another method": (changed("forgery", method="lip_sync"), "its method is not its recipe's generator"),
    "no mark": (changed("control", mark_id=None), "mark is not recorded"),
    "a mark of no size": (changed("control", mark_id="abc"), "mark is not recorded"),
    "a mark without a key": (changed("control", mark_key_id=None), "mark is not recorded"),
    "a mark not read": (changed("control", mark_read=None), "mark is not recorded"),
    "a mark in no sound": (changed("control", sound_mark_read="payload", sample_rate=0, audio_label=None), "in its sound"),
    "forged sound unmarked": (changed("forgery", audio_label="fake"), "forged sound carries no mark"),
    "no fingerprint": (changed("control", fingerprint=None), "no fingerprint"),
    "an ingredient that is no mark": (changed("forgery", ingredients=("a/b",)), "ingredients are no marks"),
    "a mark hoped for": (changed("control", mark_read="hoped"), "mark is not recorded"),
    "no split": (changed("control", split=None), "no split or no shard"),
    "no shard": (changed("control", shard=None), "no split or no shard"),
    "no mask": (changed("forgery", mask=None), "neither where nor when"),
    "no segments": (changed("forgery", segments=[]), "neither where nor when"),
    "a doubled mark": (share_a_mark, "is used 2 times under key"),
    "a person in two splits": (share_a_person, "is in more than one split"),
    "no control": (lose_the_controls, "is not here"),
    "no pair": (changed("null_twin", pair_id=None), "its control None is not here"),
    "a control elsewhere": (move_a_control, "its control in val"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_every_broken_promise_is_caught(kind: str) -> None:
    rows = records()
    assert not list(broken_promises(table(rows)))
    corrupt, says = BROKEN[kind]
    corrupt(rows)
    found = list(broken_promises(table(rows)))
    assert any(says in what for what in found), found


def test_parents_are_demanded_of_all_but_what_is_wholly_synthetic() -> None:
    rows = little()
    recipe = Recipe("control", (), 1, {})
    control = replace(rows[0], sample_id=recipe.id, recipe=recipe.canonical(), parents=(), pair_id=recipe.id, mark_id="0" * 10)
    control = replace(control, mark_key_id="demo/x", target_id=None)
    found = list(broken_promises(table([to_record(control)])))
    assert found == [f"{recipe.id}: it has no parents"]


def test_the_error_names_the_first_faults_on_one_line(tmp_path: Path) -> None:
    rows = [replace(s, licence="") for s in little()]
    write_manifest(tmp_path / "m.parquet", rows)
    with pytest.raises(PromiseError, match=r"it has no licence; .* \(and 2 more\)") as caught:
        check(tmp_path / "m.parquet")
    assert caught.value.which == str(tmp_path / "m.parquet")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    with pytest.raises(PromiseError, match="can't be read as a manifest"):
        read_manifest(path)
    write_manifest(path, little())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(PromiseError, match="can't be read as a manifest") as caught:
        read_manifest(path)
    assert "\n" not in str(caught.value)
    pq.write_table(pa.table({"sample_id": ["a"]}), path)
    with pytest.raises(PromiseError, match="other columns"):
        read_manifest(path)


def test_a_folder_named_like_a_column_adds_none(tmp_path: Path) -> None:
    path = tmp_path / "split=train" / "m.parquet"
    write_manifest(path, little())
    assert len(read_manifest(path)) == len(little())


TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
NAME = st.none() | TEXT
LABEL = st.sampled_from([None, "real", "fake"])
NUMBER = st.floats(allow_nan=False, width=64)
SAMPLES = st.builds(
    Sample,
    sample_id=st.text("0123456789abcdef", min_size=20, max_size=20),
    media=TEXT,
    media_type=st.sampled_from(["video", "image", "audio"]),
    label=st.sampled_from(["real", "fake"]),
    role=st.sampled_from(["ingested", "control", "null_twin", "forgery", "augmentation"]),
    method=TEXT,
    source=TEXT,
    recipe=TEXT,
    video_label=LABEL,
    audio_label=LABEL,
    pair_id=NAME,
    target_id=NAME,
    parents=st.lists(TEXT, max_size=3).map(tuple),
    origin=NAME,
    split=st.sampled_from([None, "train", "val", "test"]),
    mask=NAME,
    segments=st.lists(st.builds(Segment, NUMBER, NUMBER, st.sampled_from(["video", "audio"])), max_size=3).map(tuple),
    width=st.integers(0, 2**31 - 1),
    fps=st.fractions(min_value=0, max_denominator=10**6),
    frames=st.integers(0, 2**62),
    duration_s=NUMBER,
    permitted_use=st.lists(TEXT, max_size=3).map(tuple),
    bytes=st.integers(0, 2**62),
    scores=st.dictionaries(TEXT, NUMBER, max_size=3),
    reason=NAME,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(SAMPLES, max_size=4, unique_by=lambda s: s.sample_id), st.randoms(use_true_random=False))
def test_what_is_written_is_read_whatever_the_order(
    tmp_path_factory: pytest.TempPathFactory, samples: list[Sample], shuffle: Any
) -> None:
    folder = tmp_path_factory.getbasetemp() / "manifests"
    write_manifest(folder / "a.parquet", samples)
    assert read_manifest(folder / "a.parquet") == sorted(samples, key=lambda s: s.sample_id)
    shuffled = [replace(s, scores=dict(reversed(s.scores.items()))) for s in samples]
    shuffle.shuffle(shuffled)
    write_manifest(folder / "b.parquet", shuffled)
    assert (folder / "a.parquet").read_bytes() == (folder / "b.parquet").read_bytes()
    assert [from_record(to_record(s)) for s in samples] == samples


def test_samples_by_id() -> None:
    rows = little()
    assert by_id(rows)[rows[3].sample_id] == rows[3]
