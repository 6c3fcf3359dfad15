"""Protocols choose what they say they choose, and are disjoint; one that isn't is refused."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows import protocols as module
from flows.params import Params, load_params
from flows.protocols import FOLDER, PUBLISHED, SAYS, chosen, protocols, write_protocols
from forgeline.errors import PromiseError
from forgeline.sample import SPLITS, Label, Sample
from tests.test_plan import ROOT, clip

METHODS: dict[str, Label] = {
    "control": "real",
    "blend_swap": "fake",
    "self_swap": "real",
    "restore": "real",
    "restored_swap": "fake",
    "attributes": "fake",
    "dcgan": "fake",
}


def rows() -> Iterator[Sample]:
    """Of each split and corpus two people and of each a clip, what each method makes of it, and a variant of that."""
    for split in SPLITS:
        for source in ("demo", "own"):
            people = [f"{split}{n}" for n in range(2)]
            for person in people:
                parent = clip(f"{person}.mp4", person, source=source)
                for method, label in METHODS.items():
                    name = f"{source}/{person}/{method}"
                    made = replace(parent, sample_id=name, method=method, label=label, split=split, parents=(parent.sample_id,))
                    made = replace(made, pair_id=f"{source}/{person}/control")
                    if method == "self_swap":
                        made = replace(made, role="null_twin")
                    if method == "blend_swap":
                        donor = f"{'own' if source == 'demo' else 'demo'}:{people[1]}" if person == people[0] else None
                        made = replace(made, source_id=donor)
                    yield made
                    yield replace(made, sample_id=f"{name}-c40", variant="c40", pair_id=f"{made.pair_id}-c40")


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params(ROOT / "params.yaml")


@pytest.fixture(scope="module")
def told(params: Params) -> dict[str, dict[str, Any]]:
    found = protocols(list(rows()), params.generators)
    return {name: {fold["held_out"]: fold for fold in folds} for name, folds in found.items()}


def choice(fold: dict[str, Any], split: str) -> list[Sample]:
    return [row for row in rows() if chosen(row, fold[split])]


def test_all_are_there_and_no_part_shares_anything(told: dict[str, dict[str, Any]]) -> None:
    assert set(told) == set(SAYS)
    assert set(told["method-held-out"]) == {"blend_swap", "restored_swap", "attributes", "dcgan"}
    assert set(told["source-held-out"]) == {"demo", "own"}
    assert set(told["compression-held-out"]) == {"master", "c40"}
    for folds in told.values():
        for fold in folds.values():
            assert fold["usable"]
            assert not any(fold["proof"].values())
            for split in SPLITS:
                found = choice(fold, split)
                assert {row.split for row in found} == {split}
                counted = {label: sum(row.label == label for row in found) for label in ("real", "fake")}
                assert fold["samples"][split] == counted
                assert "self_swap" not in {row.method for row in found}
    whole = told["identity-disjoint"]["all"]
    assert sum(len(choice(whole, split)) for split in SPLITS) == sum(row.role != "null_twin" for row in rows())


def test_a_method_is_held_out_with_every_chain_that_has_it(told: dict[str, dict[str, Any]]) -> None:
    fold = told["method-held-out"]["blend_swap"]
    assert {row.method for row in choice(fold, "train")} == {"control", "restore", "attributes", "dcgan"}
    assert {row.method for row in choice(fold, "test") if row.label == "fake"} == {"blend_swap"}
    fold = told["method-held-out"]["restored_swap"]
    assert {row.method for row in choice(fold, "val")} == {"control", "restore", "attributes", "dcgan"}
    fold = told["method-held-out"]["attributes"]
    assert {row.method for row in choice(fold, "train")} == set(METHODS) - {"attributes", "self_swap"}


def test_a_corpus_is_held_out_with_its_donors_and_what_was_learned_from_it(told: dict[str, dict[str, Any]]) -> None:
    fold = told["source-held-out"]["own"]
    train = choice(fold, "train")
    assert {row.source for row in train} == {"demo"}
    assert not [row for row in train if row.source_id and row.source_id.startswith("own:")]
    assert any(row.method == "blend_swap" for row in train)
    assert "dcgan" not in {row.method for row in train}, "it learned from every corpus"
    assert {row.source for row in choice(fold, "test")} == {"own"}


def test_a_variant_is_held_out(told: dict[str, dict[str, Any]]) -> None:
    fold = told["compression-held-out"]["c40"]
    assert {row.variant for row in choice(fold, "train")} == {"master"}
    assert {row.variant for row in choice(fold, "test")} == {"c40"}


def test_one_corpus_can_not_be_held_out_and_a_part_that_lacks_a_class_is_told(params: Params) -> None:
    some = [row for row in rows() if row.source == "demo" and row.source_id is None and row.variant == "master"]
    found = protocols(some, params.generators)
    assert found["source-held-out"] == found["compression-held-out"] == []
    (fold,) = protocols([row for row in some if row.method == "control"], params.generators)["identity-disjoint"]
    assert (fold["usable"], fold["lacking"]) == (False, ["no fake in train", "no fake in test"])


def test_people_whom_kept_splits_share_are_counted_and_no_others(params: Params) -> None:
    every = list(rows())
    one = next(row for row in every if row.split == "train")
    at = next(n for n, row in enumerate(every) if row.split == "test" and row.method == one.method)
    every[at] = replace(every[at], apparent_id=one.target_id)
    leaks = ["recording demo:film", f"person {one.target_id}"]
    found = protocols(every, params.generators, leaks)
    assert "identity-disjoint" not in found
    (fold,) = found[PUBLISHED]
    assert fold["proof"]["people of train and test"] == 1
    assert not any(many for what, many in fold["proof"].items() if what != "people of train and test")
    with pytest.raises(PromiseError, match=r"protocol all: shares people of train and test: 1; report it"):
        protocols(every, params.generators, leaks[:1])
    every[at] = replace(every[at], parents=one.parents)
    with pytest.raises(PromiseError, match=r"protocol all: shares parents of train and test: 1; report it"):
        protocols(every, params.generators, leaks)


def test_the_files_do_not_call_leaking_splits_disjoint(params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = write_protocols(list(rows()), params.generators, ["recording demo:film"])
    assert files == {FOLDER / f"{name}.json" for name in {*module.SAYS, PUBLISHED} - {"identity-disjoint"}}
    for path in files:
        says = json.loads(path.read_text())["says"]
        assert "disjoint" not in says
        assert "which leaks: see `kept` in data/plan/certificate.json" in says


@pytest.mark.parametrize("what", ["people", "parents", "pairs"])
def test_what_would_leak_is_refused(params: Params, what: str) -> None:
    every = list(rows())
    one = next(row for row in every if row.split == "train")
    at = next(n for n, row in enumerate(every) if row.split == "test" and row.method == one.method)
    shared: dict[str, Any] = {
        "people": {"apparent_id": one.target_id},
        "parents": {"parents": one.parents},
        "pairs": {"pair_id": one.pair_id},
    }
    every[at] = replace(every[at], **shared[what])
    with pytest.raises(PromiseError, match=rf"protocol all: shares {what} of train and test: 1; report it"):
        protocols(every, params.generators)


def test_the_files_say_it(params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = write_protocols(list(rows()), params.generators)
    assert files == {FOLDER / f"{name}.json" for name in module.SAYS}
    before = {path: path.read_bytes() for path in files}
    write_protocols(list(rows())[::-1], params.generators)
    assert {path: path.read_bytes() for path in files} == before
    told = json.loads((FOLDER / "identity-disjoint.json").read_text())
    assert told["folds"][0]["train"]["split"] == ["train"]
