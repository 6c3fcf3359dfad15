"""Leaks between splits, planted in clips of two corpora: each is found, named in the certificate, and closed."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from flows import workspace
from flows.__main__ import main
from flows.audit import _splits
from flows.ingest import _embed, _FaceJob
from flows.params import Params, Plan, load_params
from flows.splits import (
    CERTIFICATE,
    SPLITS_FILE,
    Alike,
    Component,
    assign_splits,
    certify,
    look_alike,
    names_of_one,
    prove_disjoint,
    recheck,
    show,
    summary,
    write_certificate,
)
from forgeline.errors import PromiseError
from forgeline.files import write_text
from forgeline.manifest import read_manifest, write_manifest
from forgeline.prints import Print, print_of, save_print
from forgeline.sample import Sample
from forgeline.weights import Given
from tests.conftest import Checkout
from tests.test_plan import DRAWN, ROOT, clip, split_of
from tests.test_prints import mirrored, recording, silent, trimmed
from tests.tiny_onnx import embedder, put


@cache
def told(person: int, take: int) -> Print:
    return print_of(recording(person, take))


@cache
def copied() -> Print:
    return silent(print_of(mirrored(trimmed(recording(0, 0)))))


def sound_of(person: int, take: int, seen: Print) -> Print:
    whole = told(person, take)
    return replace(seen, sound=whole.sound, loud=whole.loud)


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.chdir(tmp_path)
    return load_params(ROOT / "params.tiny.yaml")


def corpus() -> list[Sample]:
    """Two people of two clips each."""
    return [clip(f"{person}/{take}", f"p{person}") for person in range(2) for take in range(2)]


def prints_of(samples: Sequence[Sample]) -> None:
    for at, sample in enumerate(samples):
        save_print(workspace.print_file(sample.source, sample.sample_id), told(at // 2, at % 2))


@pytest.mark.parametrize("rule", ["picture", "sound"])
def test_a_copy_under_another_name_is_found_and_closed(params: Params, rule: str) -> None:
    print_ = copied() if rule == "picture" else sound_of(0, 0, told(2, 2))
    samples = corpus()
    prints_of(samples)
    copy = clip("stolen", "somebody else", source="own")
    save_print(workspace.print_file("own", copy.sample_id), print_)
    everyone = [*samples, copy]
    alike = look_alike(everyone, params)
    assert {tie.split()[0] for ties in alike.ties.values() for tie in ties} == {rule}
    assert set(alike.ties) == {samples[0].sample_id, copy.sample_id}
    components = assign_splits(everyone, DRAWN, alike)
    prove_disjoint(components, everyone, alike)
    assert split_of(components)[copy.sample_id] == split_of(components)[samples[0].sample_id]
    assert any({"demo:p0", "own:somebody else"} <= set(c.people) for c in components)
    assert names_of_one(everyone, alike)["demo:p0"] == {"demo:p0", "own:somebody else"}
    apart = [
        Component("train", "planted", (), tuple(s.sample_id for s in samples)),
        Component("test", "planted", (), (copy.sample_id,)),
    ]
    prove_disjoint(apart, everyone)  # names alone don't tell
    with pytest.raises(PromiseError, match=rf"^{rule} .* is in train and in test; report it"):
        prove_disjoint(apart, everyone, alike)
    wrong = certify(apart, everyone, alike)
    assert not wrong["passed"]
    assert {r["rule"]: r["verdict"] for r in wrong["rules"]}[rule] == "broken"
    right = certify(components, everyone, alike)
    assert right["passed"]
    (found,) = [r for r in right["rules"] if r["rule"] == rule]
    assert (found["verdict"], found["ties"], found["between_people"]) == ("holds", 1, 1)
    assert found["checked"] == 4 + (rule == "picture" or print_.sound.size > 0)
    assert set(found["first"][0]["clips"]) == {samples[0].media, copy.media}
    assert found["first"][0]["likeness"] > 0.8


def test_one_person_under_two_ids_is_found_by_an_embedding(params: Params) -> None:
    samples = [*corpus(), clip("c", "q", source="own"), clip("d", None, source="own")]
    rng = np.random.default_rng(0)
    faces = rng.normal(size=(3, 64))
    for sample, who in zip(samples, (0, 0, 1, 1, 0, 2), strict=True):
        path = workspace.face_file(sample.source, sample.sample_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        row = faces[who] + rng.normal(size=64) * 0.3
        np.save(path, (row / np.linalg.norm(row)).astype(np.float32))
    blind = certify(assign_splits(samples, DRAWN), samples, look_alike(samples, params))
    (rule,) = [r for r in blind["rules"] if r["rule"] == "face"]
    assert (rule["verdict"], rule["checked"]) == ("not checked: no embedding model", 0)
    net = {"file": "who.onnx", "sha256": "0" * 64, "licence": "of the tests"}
    named = params.model_copy(update={"ingest": params.ingest.model_validate({"faces": {"net": net, "least": 0.6}})})
    alike = look_alike(samples, named)
    assert set(alike.proof) == {"face demo:p0 own:q"}
    assert set(alike.ties) == {samples[0].sample_id, samples[1].sample_id, samples[4].sample_id}
    (together,) = [c for c in assign_splits(samples, DRAWN, alike) if "own:q" in c.people]
    assert together.people == ("demo:p0", "own:q")
    (rule,) = [r for r in certify([], samples, alike)["rules"] if r["rule"] == "face"]
    assert (rule["checked"], rule["ties"], rule["between_people"]) == (6, 1, 1)
    assert rule["how"] == {"net": "who.onnx", "sha256": "0" * 64, "least": 0.6}


def test_the_certificate_says_what_official_splits_leak_and_what_became_of_it(params: Params) -> None:
    samples = [
        clip("a", "p", split="train", origin="film"),
        clip("b", "q", split="test", origin="film"),
        clip("c", "r", split="train"),
    ]
    components = assign_splits(samples, DRAWN)
    told = certify(components, samples, Alike())
    assert {s.media: split_of(components)[s.sample_id] for s in samples} == {
        "data/raw/demo/a": "test",
        "data/raw/demo/b": "test",
        "data/raw/demo/c": "train",
    }
    assert (told["official"]["clips"], told["official"]["kept"], told["official"]["moved"]) == (3, 2, 1)
    assert told["official"]["first"] == [
        {
            "clip": "data/raw/demo/a",
            "from": "train",
            "to": "test",
            "because": "official; official splits test and train are tied together",
        }
    ]
    crossed = {r["rule"]: r["crossed_official_splits"] for r in told["rules"]}
    assert crossed == {rule: int(rule == "recording") for rule in crossed}
    assert told["splits"]["test"] == {"components": 1, "people": 2, "clips": 2}
    text = show(told)
    assert "official splits: 3 clips have one, 2 keep it, 1 don't" in text
    assert "data/raw/demo/a: train -> test" in text
    assert "no rule looks for:\n    a copy that is played faster or slower" in text


def planned(samples: Sequence[Sample], params: Params) -> None:
    """data/real and data/plan as the stages leave them, as far as the splits are concerned."""
    write_manifest(workspace.REAL / "demo" / workspace.MANIFEST, samples)
    alike = look_alike(samples, params)
    components = assign_splits(samples, params.plan, alike)
    write_text(workspace.PLAN / SPLITS_FILE, json.dumps({"components": [vars(c) for c in components]}))
    write_certificate(components, samples, alike)


def test_the_certificate_is_the_same_whatever_the_order(params: Params) -> None:
    samples = corpus()
    prints_of(samples)
    planned(samples, params)
    before = CERTIFICATE.read_bytes()
    planned(samples[::-1], params)
    assert CERTIFICATE.read_bytes() == before
    assert list(recheck(samples, params)) == list(_splits([], params)) == []
    assert "no two splits share a parent, a person, a recording, a file" in summary()
    assert "face (not checked: no embedding model)" in summary()


def test_a_leak_that_is_planted_after_the_plan_is_found(params: Params) -> None:
    params = params.model_copy(update={"plan": Plan(assign={"demo:p0": "train", "demo:p1": "val"})})
    samples = corpus()
    prints_of(samples)
    planned(samples, params)
    assert list(_splits([], params)) == []
    # The clip of one person is now a copy of another's, who is in another split.
    save_print(workspace.print_file("demo", samples[2].sample_id), copied())
    faults = list(_splits([], params))
    assert any(f.startswith("picture ") and "is in" in f for f in faults)
    assert any("certificate.json: its `rules` is not what is found now" in f for f in faults)


def test_a_plan_that_was_changed_by_hand_is_found(params: Params) -> None:
    samples = corpus()
    prints_of(samples)
    planned(samples, params)
    file = workspace.PLAN / SPLITS_FILE
    proof = json.loads(file.read_text())
    (one,) = [c for c in proof["components"] if "demo:p0" in c["people"]]
    one["clips"] = one["clips"][:1]
    proof["components"].append(
        one | {"split": "test", "clips": [s.sample_id for s in samples[:2] if s.sample_id not in one["clips"]]}
    )
    write_text(file, json.dumps(proof))
    assert any(f.startswith("person demo:p0: is in") for f in recheck(samples, params))
    CERTIFICATE.write_text("nothing")
    assert any("can't be read" in f for f in recheck(samples, params))


def test_ingest_leaves_prints_and_the_release_is_certified(tiny: Checkout) -> None:
    samples = [s for s in read_manifest(tiny.path / "data/real/demo/manifest.parquet") if s.reason is None]
    kept = {p.stem for p in (tiny.path / "data/real/demo/prints").glob("*.npz")}
    assert kept == {s.sample_id for s in samples}
    told = json.loads((tiny.path / CERTIFICATE).read_text())
    assert told["passed"]
    assert {r["rule"]: r["not_checked"] for r in told["rules"]}["picture"] == {"it is shorter than 1.6 s, or nothing moves": 4}
    assert "certificate.json" in (tiny.path / "data/release/README.md").read_text()
    assert "disjoint" in tiny.flows("splits").stdout


@pytest.mark.parametrize("told", ["", "{}", "[]", '{"passed": true, "kept": {"leaks": []}, "official": {"clips": 0}}'])
def test_another_versions_certificate_is_one_line(
    told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_text(CERTIFICATE, told)
    assert main(["splits"]) == 2
    assert "is no certificate that this version writes" in capsys.readouterr().err


def test_a_face_is_embedded_by_a_teams_net(tiny: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.path)
    monkeypatch.setenv("FORGELINE_WEIGHTS", str(tmp_path))
    given = Given(**put(tmp_path, "who.onnx", embedder()))
    (sample, *_) = read_manifest(workspace.REAL / "demo" / workspace.MANIFEST)
    _embed(_FaceJob("x", "", sample, tmp_path, given))
    row = np.load(tmp_path / f"{sample.sample_id}.npy")
    assert row.shape == (512,)
    assert np.linalg.norm(row) == pytest.approx(1, abs=1e-6)
    assert np.ptp(row[:3]) > 0.01
