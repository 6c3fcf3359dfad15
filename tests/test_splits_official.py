"""Official splits, kept as published: what they leak is named, what nobody published is found, and no forgery crosses them."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from flows import workspace
from flows.audit import _splits
from flows.params import Params, Plan, load_params
from flows.plan import plan_samples
from flows.splits import (
    CERTIFICATE,
    NOTHING_ALIKE,
    SPLITS_FILE,
    Component,
    assign_splits,
    certify,
    kept_leaks,
    leaks,
    look_alike,
    prove_disjoint,
    recheck,
    show,
    summary,
    ties_of,
    unmended,
    write_certificate,
)
from forgeline.errors import FactoryError, PromiseError
from forgeline.files import write_text
from forgeline.manifest import write_manifest
from forgeline.prints import save_print
from forgeline.sample import SPLITS, Sample, Split
from sources.celeb_df import TEST_LIST, CelebDF
from sources.ffpp import FaceForensics
from tests.test_plan import CLIPS, ROOT, clip, corpus, split_of
from tests.test_sources import given_file, official_ffpp, on_disk, with_clips
from tests.test_splits import copied, told

KEEP, MEND = Plan(official="keep"), Plan()
SEVEN = {
    "nUNnFudF2pA": ("605 591 train", "606 567 val"),
    "pGmDKODT6V4": ("639 841 train", "640 638 val"),
    "tR7z_H1qPMc": ("755 759 test", "756 503 train"),
    "wERnQNuwQbM": ("837 890 val", "838 810 train"),
    "xG9J__APvnY": ("875 979 val", "876 891 train"),
    "yvf0HOswcPk": ("954 976 train", "955 078 test"),
    "zPdvu-SUnbg": ("982 004 val", "983 113 train"),
}
"""FaceForensics++: the YouTube videos that its splits cut in two, with the sequences, their partners and splits."""


def ffpp(tmp_path: Path) -> list[Sample]:
    """All sequences of `SEVEN` with both Deepfakes of each pair, as the adapter reads them."""
    pairs: dict[str, list[list[str]]] = {split: [] for split in SPLITS}
    videos: dict[str, str] = {}
    for video, both in SEVEN.items():
        for part, each in enumerate(both):
            one, other, split = each.split()
            pairs[split].append([one, other])
            videos |= {one: f"{video} {part}", other: f"{other:->11} 0"}
    files: dict[str, str | bytes] = {f"splits/{split}.json": json.dumps(some) for split, some in pairs.items()}
    metadata = on_disk(tmp_path / "raw", files | {"conversion_dict.json": json.dumps(videos)})
    names = [pair for some in pairs.values() for pair in some]
    clips = [f"original/{name}.mp4" for pair in names for name in pair]
    clips += [f"Deepfakes/{a}_{b}.mp4" for pair in names for a, b in (pair, pair[::-1])]
    source = FaceForensics(terms=FaceForensics.template)
    return own_bytes(source("ffpp", tmp_path / "raw", with_clips(metadata, clips)))


def celeb_df(tmp_path: Path, clips: Iterable[str], tests: str) -> list[Sample]:
    metadata = on_disk(tmp_path / "raw", {TEST_LIST: tests})
    source = CelebDF(terms=CelebDF.template, version="v2")
    return own_bytes(source("celeb", tmp_path / "raw", with_clips(metadata, clips)))


def own_bytes(rows: Iterable[Sample]) -> list[Sample]:
    """Listed files have one hash; here no two files are the same."""
    return [replace(row, sha256=hashlib.sha256(row.media.encode()).hexdigest()) for row in rows]


def stems(clips: Iterable[str]) -> set[str]:
    return {Path(each).stem for each in clips}


def by_rule(certificate: dict[str, Any]) -> dict[str, int]:
    return dict(Counter(leak["rule"] for leak in certificate["kept"]["leaks"]))


def test_ffpps_seven_videos_are_kept_in_two_splits_and_named(tmp_path: Path) -> None:
    samples = ffpp(tmp_path)
    assert len(samples) == 56
    components = assign_splits(samples, KEEP)
    where = split_of(components)
    assert {s.media: where[s.sample_id] for s in samples} == {s.media: s.split for s in samples}
    prove_disjoint(components, samples, official="keep")
    with pytest.raises(PromiseError, match=r"recording ffpp:youtube:.* is in \w+ and in \w+; report it"):
        prove_disjoint(components, samples)
    wrong = certify(components, samples, NOTHING_ALIKE)
    assert (wrong["passed"], wrong["kept"]["leaks"]) == (False, [])
    told = certify(components, samples, NOTHING_ALIKE, "keep")
    assert told["passed"]
    found = {leak["tie"]: leak for leak in told["kept"]["leaks"]}
    assert set(found) == {f"recording ffpp:youtube:{video}" for video in SEVEN}
    for video, both in SEVEN.items():
        leak = found[f"recording ffpp:youtube:{video}"]
        assert leak["published"]
        assert leak["splits"] == {each.split()[2]: 2 for each in both}  # the sequence, and the forgery on it
        for each in both:
            one, other, split = each.split()
            assert stems(leak["clips"][split]) == {one, f"{one}_{other}"}
    assert told["official"]["asked"] == "keep"
    assert (told["official"]["clips"], told["official"]["kept"], told["official"]["moved"]) == (56, 56, 0)
    assert [leak["tie"] for leak in told["official"]["leaks"]] == sorted(found)
    assert len(told["kept"]["clips"]) == 28
    assert told["kept"]["clips"]["data/raw/ffpp/original/605.mp4"] == {"split": "train", "shares": {"val": ["recording"]}}
    assert "data/raw/ffpp/original/591.mp4" not in told["kept"]["clips"]
    verdicts = {rule["rule"]: rule["verdict"] for rule in told["rules"]}
    assert verdicts["recording"] == "leaks in 7 ties, as official splits are kept"
    assert verdicts["person"] == verdicts["parent"] == "holds"
    text = show(told)
    assert "splits of 56 clips: disjoint but for 7 ties, as official splits are kept" in text
    assert "leaks that are kept: 7; 14 clips of train, 10 clips of val, 4 clips of test share something" in text
    for video in SEVEN:
        assert f"    recording ffpp:youtube:{video}: 2 in " in text


def test_they_are_mended_unless_asked_otherwise_and_told_all_the_same(tmp_path: Path) -> None:
    samples = ffpp(tmp_path)
    components = assign_splits(samples, MEND)
    prove_disjoint(components, samples)
    told = certify(components, samples, NOTHING_ALIKE)
    assert told["passed"]
    assert told["kept"] == {"leaks": [], "clips": {}}
    assert len(told["official"]["leaks"]) == 7
    assert told["official"]["moved"] == 28
    assert "they leak in 7 ties, mended" in show(told)


def test_all_of_ffpp_leaks_nothing_else(tmp_path: Path) -> None:
    splits = {split: json.loads(given_file(f"ffpp/splits/{split}.json")) for split in SPLITS}
    clips = [f"original/{n:03}.mp4" for n in range(1000)]
    clips += [f"Deepfakes/{a}_{b}.mp4" for some in splits.values() for pair in some for a, b in (pair, pair[::-1])]
    source = FaceForensics(terms=FaceForensics.template)
    metadata = on_disk(tmp_path / "raw", official_ffpp())
    samples = own_bytes(source("ffpp", tmp_path / "raw", with_clips(metadata, clips)))
    told = certify(assign_splits(samples, KEEP), samples, NOTHING_ALIKE, "keep")
    assert told["passed"]
    assert {leak["tie"] for leak in told["kept"]["leaks"]} == {f"recording ffpp:youtube:{video}" for video in SEVEN}
    assert told["official"]["kept"] == 2000


SWAPS = ["id0_id1_0000", "id1_id0_0000", "id2_id1_0003", "id39_id40_0000"]
"""Two of Celeb-DF's four groups of people; the list has clips of the first alone."""


def small_celeb_df(tmp_path: Path) -> list[Sample]:
    reals = ["id0_0000", "id1_0000", "id2_0003", "id39_0000", "id40_0001"]
    clips = [f"Celeb-real/{name}.mp4" for name in reals] + [f"Celeb-synthesis/{name}.mp4" for name in SWAPS]
    clips += ["YouTube-real/00000.mp4", "YouTube-real/00170.mp4"]
    tests = "1 Celeb-real/id1_0000.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n1 YouTube-real/00170.mp4"
    return celeb_df(tmp_path, clips, tests)


def test_celeb_dfs_list_shares_people_and_parents(tmp_path: Path) -> None:
    samples = small_celeb_df(tmp_path)
    mended = split_of(assign_splits(samples, MEND))
    assert sum(mended[s.sample_id] == "test" for s in samples) == 7  # what id0 … id2 are tied to, as well as the list's
    components = assign_splits(samples, KEEP)
    where = split_of(components)
    assert {Path(s.media).stem for s in samples if where[s.sample_id] == "test"} == {"id1_0000", "id0_id1_0000", "00170"}
    told = certify(components, samples, NOTHING_ALIKE, "keep")
    assert told["passed"]
    assert by_rule(told) == {"parent": 2, "person": 2}
    found = {leak["tie"]: leak for leak in told["kept"]["leaks"]}
    assert found["person celeb:id1"]["splits"] == {"train": 2, "test": 2}
    assert stems(found["person celeb:id0"]["clips"]["train"]) == {"id0_0000", "id1_id0_0000"}
    shared = {Path(name).stem: each["shares"] for name, each in told["kept"]["clips"].items()}
    assert shared["id0_id1_0000"] == {"train": ["parent", "person"]}
    assert shared["id2_id1_0003"] == {"test": ["person"]}
    assert not {"id2_0003", "id39_id40_0000", "id39_0000", "00000", "00170"} & set(shared)


def test_all_of_celeb_df(tmp_path: Path) -> None:
    """Against what was counted from its names: 234 of the list's 340 forgeries, and 1015 of the others, are of another split
    than the clip they were made from.
    """
    names = given_file("celeb-df-v2/all_video_names.derived.txt").split()
    samples = celeb_df(tmp_path, names, given_file("celeb-df-v2/List_of_testing_videos.txt"))
    components = assign_splits(samples, KEEP)
    told = certify(components, samples, NOTHING_ALIKE, "keep")
    assert told["passed"]
    assert told["official"]["moved"] == 0
    base = {s.sample_id: s for s in samples}
    torn = Counter(s.split for s in samples for parent in s.parents if base[parent].split != s.split)
    assert torn == {"test": 234, "train": 1015}
    across = {s.media for s in samples if any(base[parent].split != s.split for parent in s.parents)}
    made = {
        name for name, each in told["kept"]["clips"].items() if {"parent"} & {r for s in each["shares"].values() for r in s}
    }
    assert across <= made
    assert {leak["rule"] for leak in told["kept"]["leaks"]} == {"parent", "person"}
    # The list's YouTube clips are of nobody known: they share nothing.
    assert sum(s.split == "test" and s.media not in told["kept"]["clips"] for s in samples) >= 70
    mended = split_of(assign_splits(samples, MEND))
    assert sum(where == "test" for where in mended.values()) > 5000


# ------------------------------------------------------------------------------------- clips without an official split


def film(name: str, person: str | None, split: Split | None = None, **fields: Any) -> Sample:
    return clip(name, person, split=split, **fields)


def test_a_clip_without_a_split_goes_with_what_it_shares_something_with() -> None:
    samples = [
        film("a", "p", "train", origin="film"),
        film("b", "q", "test", origin="film"),
        film("of p", "p"),
        film("of p's friend", "r", source_id="demo:p"),
        film("of r", "r"),
        film("of nobody else", "s"),
    ]
    where = split_of(assign_splits(samples, KEEP))
    assert [where[s.sample_id] for s in samples[:5]] == ["train", "test", "train", "train", "train"]
    assert where[samples[5].sample_id] == split_of(assign_splits(samples, MEND))[samples[5].sample_id]
    assert list(unmended(samples)) == ["recording demo:film"]


def test_a_clip_that_is_torn_between_two_is_named_as_nobodys_publication() -> None:
    samples = [film("a", "p", "train"), film("b", "q", "test"), film("of both", "p", source_id="demo:q"), film("r", "p")]
    components = assign_splits(samples, KEEP)
    assert split_of(components)[samples[2].sample_id] == split_of(components)[samples[3].sample_id] == "test"
    told = certify(components, samples, NOTHING_ALIKE, "keep")
    assert told["passed"]
    (leak,) = told["kept"]["leaks"]
    assert (leak["tie"], leak["published"], leak["splits"]) == ("person demo:p", False, {"train": 1, "test": 2})
    assert told["official"]["leaks"] == []
    assert "by a clip that has no official split" in show(told)
    between = film("s", "s", source_id="demo:p", origin="film")
    torn = [samples[0], film("b", "q", "test", origin="film"), between]
    assert split_of(assign_splits(torn, KEEP))[between.sample_id] == "test"
    by_hand = assign_splits(torn, Plan(official="keep", assign={"demo:s": "train"}))
    assert split_of(by_hand)[between.sample_id] == "train"
    prove_disjoint(by_hand, torn, official="keep")


def test_nobody_is_put_by_hand_where_kept_splits_forbid_it() -> None:
    samples = [film("a", "p", "train"), film("b", "q"), film("c", "q", source_id="demo:p")]
    for person in ("demo:p", "demo:q"):
        with pytest.raises(
            FactoryError, match=rf"plan.assign.{person}: asks for val; official splits are kept, .* train; remove"
        ):
            assign_splits(samples, Plan(official="keep", assign={person: "val"}))
    both = [*samples, film("d", "p", "test")]
    with pytest.raises(FactoryError, match=r"plan.assign.demo:p: asks for test; .* into train"):
        assign_splits(both, Plan(official="keep", assign={"demo:p": "test"}))
    assert split_of(assign_splits(samples, Plan(official="keep", assign={"demo:q": "train"})))[samples[1].sample_id] == "train"


@settings(max_examples=150, deadline=None)
@given(CLIPS)
def test_kept_splits_are_proven_whatever_there_is(rows: Sequence[Any]) -> None:
    samples = corpus(rows)
    usable = [s for s in samples if s.reason is None]
    components = assign_splits(samples, KEEP)
    assert assign_splits(samples[::-1], KEEP) == components
    where = split_of(components)
    assert set(where) == {s.sample_id for s in usable}
    assert all(s.split in (None, where[s.sample_id]) for s in usable)
    prove_disjoint(components, samples, official="keep")
    told = certify(components, samples, NOTHING_ALIKE, "keep")
    named = {leak["tie"] for leak in told["kept"]["leaks"]}
    # Exactly what is in two splits is named, found here without the code that names it.
    splits: dict[str, set[str]] = {}
    for s in usable:
        for tie in ties_of(s):
            splits.setdefault(tie, set()).add(where[s.sample_id])
    assert named == {tie for tie, some in splits.items() if len(some) > 1}
    if not named:
        assert [(c.split, c.clips) for c in components] == [(c.split, c.clips) for c in assign_splits(samples, MEND)]
    # A clip that has a split may be nowhere else.
    for s in [s for s in usable if s.split][:3]:
        other = next(split for split in SPLITS if split != s.split)
        assert dict(leaks(where | {s.sample_id: other}, samples, official="keep"))[s.sample_id].startswith(
            f"is in {other}, not"
        )
    # One that has none may not leave the others of its kind, nor go where none of its kin is.
    for s in [s for s in usable if not s.split][:3]:
        kin = [o for o in usable if o is not s and set(ties_of(o)) & set(ties_of(s))]
        for split in set(SPLITS) - {where[o.sample_id] for o in kin}:
            assert bool(list(leaks(where | {s.sample_id: split}, samples, official="keep"))) == bool(kin)


# ------------------------------------------------------------------------------------------------------- the audit's gate


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.chdir(tmp_path)
    tiny = load_params(ROOT / "params.tiny.yaml")
    return tiny.model_copy(update={"plan": Plan(official="keep", assign={"demo:u": "train"})})


def cut() -> list[Sample]:
    """A film that the official splits cut in two, a person of each part with more clips, and somebody without a split."""
    samples = [film("a", "p", "train", origin="film"), film("b", "q", "test", origin="film")]
    return [*samples, film("c", "p", "train"), film("d", "q", "test"), film("e", "u"), film("f", "u")]


def planned(samples: Sequence[Sample], params: Params, prints: bool = True) -> list[Component]:
    write_manifest(workspace.REAL / "demo" / workspace.MANIFEST, samples)
    for at, sample in enumerate(samples if prints else ()):
        save_print(workspace.print_file("demo", sample.sample_id), told(at // 2, at % 2))
    alike = look_alike(samples, params)
    components = assign_splits(samples, params.plan, alike)
    write_text(workspace.PLAN / SPLITS_FILE, json.dumps({"components": [vars(c) for c in components]}))
    write_certificate(components, samples, alike, params.plan.official)
    return components


def move(sample: Sample, split: Split) -> None:
    file = workspace.PLAN / SPLITS_FILE
    proof = json.loads(file.read_text())
    for component in proof["components"]:
        component["clips"] = [name for name in component["clips"] if name != sample.sample_id]
    proof["components"].append({"split": split, "because": "by hand", "people": [], "clips": [sample.sample_id]})
    write_text(file, json.dumps(proof))


def rename(change: Callable[[dict[str, Any]], object]) -> None:
    told = json.loads(CERTIFICATE.read_text())
    change(told["kept"])
    write_text(CERTIFICATE, json.dumps(told))


def test_the_audit_accepts_what_the_certificate_names(params: Params) -> None:
    planned(cut(), params)
    assert [leak["tie"] for leak in kept_leaks()] == ["recording demo:film"]
    assert list(_splits([], params)) == []
    said = summary()
    assert "certifies that no two splits share a parent, a person, a file" in said
    assert "leak: 1 ties (1 by recording) are in two splits" in said
    assert "1 clips of train, 1 clips of test share something with another split" in said


def test_a_leak_that_the_certificate_does_not_name_fails(params: Params) -> None:
    planned(cut(), params)
    rename(lambda kept: kept["leaks"].clear())
    assert f"recording demo:film: is in train and in test, which {CERTIFICATE} does not name" in list(_splits([], params))
    rename(lambda kept: kept.pop("leaks"))
    assert any("can't be read" in fault for fault in _splits([], params))


def test_a_leak_that_is_named_in_other_splits_fails(params: Params) -> None:
    planned(cut(), params)
    rename(lambda kept: kept["leaks"][0].update(splits={"train": 1, "val": 1}))
    assert any("does not name" in fault for fault in _splits([], params))


def test_a_leak_that_is_named_and_is_not_there_fails(params: Params) -> None:
    planned(cut(), params)
    rename(lambda kept: kept["leaks"].append(kept["leaks"][0] | {"tie": "person demo:p"}))
    assert any("its `kept` is not what is found now" in fault for fault in _splits([], params))


def test_a_copy_across_kept_splits_that_came_later_fails(params: Params) -> None:
    samples = cut()
    planned(samples, params)
    save_print(workspace.print_file("demo", samples[3].sample_id), copied())  # of the first, in the other split
    faults = list(_splits([], params))
    assert any(f.startswith("picture ") and "does not name" in f for f in faults)


@pytest.mark.parametrize(("at", "split", "rule"), [(2, "test", "person demo:p"), (4, "val", "person demo:u")])
def test_a_clip_that_was_moved_by_hand_fails(params: Params, at: int, split: Split, rule: str) -> None:
    samples = cut()
    planned(samples, params)
    move(samples[at], split)
    faults = list(recheck(samples, params))
    if samples[at].split:
        assert f"{samples[at].sample_id}: is in {split}, not in {samples[at].split}, where its corpus has it" in faults
    assert any(fault.startswith(f"{rule}: is in") for fault in faults)


def test_kept_splits_fail_where_params_ask_for_mended_ones(params: Params) -> None:
    samples = cut()
    planned(samples, params)
    asked = params.model_copy(update={"plan": Plan(assign={"demo:u": "train"})})
    assert any(f.startswith("recording demo:film: is in") for f in recheck(samples, asked))


# ------------------------------------------------------------------------------------------------------------- forgeries


def test_no_forgery_has_parents_in_two_splits(params: Params) -> None:
    """Though everybody is in two."""
    samples = [film(f"{person}{split}{n}", person, split) for person in "pqrs" for split in ("train", "test") for n in (0, 1)]
    params = params.model_copy(update={"plan": KEEP})
    components = planned(samples, params, prints=False)
    where = split_of(components)
    parents = [replace(s, split=where[s.sample_id]) for s in samples]
    swaps = [p for rows in plan_samples(parents, params).values() for p in rows if len(p.parents) > 1]
    assert len(swaps) == len(samples)
    assert {p.sample.split for p in swaps} == {"train", "test"}
    for swap in swaps:
        assert {where[parent] for parent in swap.sample.parents} == {swap.sample.split}
    rows = [p.sample for p in swaps]
    assert list(_splits(rows, params)) == []
    first = rows[0]
    torn = replace(first, parents=(first.parents[0], next(s.sample_id for s in samples if s.split != first.split)))
    assert any("its parent" in fault for fault in _splits([torn], params))
    moved = replace(first, split="val")
    assert any(f"is in val, {first.target_id} in test and train" in fault for fault in _splits([moved], params))
