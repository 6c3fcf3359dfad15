"""Splits are proven disjoint, pairs stay within them, and one change alters only what names it."""

import copy
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flows import workspace
from flows.params import Params, load_params
from flows.params import Plan as PlanSection
from flows.plan import Planned, plan, plan_file, plan_samples, show
from flows.splits import Component, assign_splits, prove_disjoint
from forgeline.errors import FactoryError, ParamsError, PromiseError, SourceError
from forgeline.manifest import write_manifest
from forgeline.recipe import Recipe
from forgeline.sample import SPLITS, Sample, Split

ROOT = Path(__file__).parents[1]
TINY: dict[str, Any] = yaml.safe_load((ROOT / "params.tiny.yaml").read_text())
TODAY = date(2026, 11, 20)
DRAWN = PlanSection()


def clip(name: str, person: str | None = None, **fields: Any) -> Sample:
    """A real clip as ingest leaves it: 640x480, with sound."""
    source = fields.pop("source", "demo")
    recipe = Recipe("ingest", (), 0, {"source": source, "path": name})
    values: dict[str, Any] = {
        "label": "real",
        "target_id": f"{source}:{person}" if person else None,
        "width": 640,
        "height": 480,
        "duration_s": 3.0,
        "sha256": hashlib.sha256(f"{source}/{name}".encode()).hexdigest(),
        "licence": "CC0-1.0",
        "permitted_use": ("commercial", "detection", "education", "research", "training"),
    }
    return Sample(
        sample_id=recipe.id,
        media=f"data/raw/{source}/{name}",
        media_type="video",
        role="ingested",
        method="ingest",
        source=source,
        recipe=recipe.canonical(),
        video_label="real",
        audio_label="real",
        fps=Fraction(25),
        frames=75,
        sample_rate=48000,
        bytes=1,
        **values | fields,
    )


def split_of(components: Iterable[Component]) -> dict[str, Split]:
    return {name: c.split for c in components for name in c.clips}


# --------------------------------------------------------------------------------------------------------------- splits

PEOPLE = st.none() | st.integers(0, 12).map("p{}".format)
CLIPS = st.lists(
    st.tuples(
        PEOPLE,
        PEOPLE,
        st.none() | st.integers(0, 6).map("film {}".format),
        st.none() | st.integers(0, 6),
        st.sampled_from([None, None, None, *SPLITS]),
        st.booleans(),
        st.none() | st.integers(0, 24),
    ),
    max_size=25,
)


def corpus(rows: Sequence[Any], first: int = 0) -> list[Sample]:
    """Clips of random people, some with a second person, a recording, a copy of a file, an official split, a parent."""
    made: list[Sample] = []
    for number, (person, other, origin, file, split, lost, parent) in enumerate(rows, first):
        fields: dict[str, Any] = {"origin": origin, "split": split, "reason": "too dark" if lost and number % 5 == 0 else None}
        if file is not None:
            fields["sha256"] = hashlib.sha256(str(file).encode()).hexdigest()
        if other is not None:
            fields["source_id"] = f"demo:{other}"
        if parent is not None and parent < len(made):
            fields["parents"] = (made[parent].sample_id,)
        made.append(clip(f"{number}.mp4", person, **fields))
    return made


@settings(max_examples=150, deadline=None)
@given(CLIPS, st.randoms(use_true_random=False))
def test_splits_are_always_proven_whatever_the_order(rows: Sequence[Any], shuffle: Any) -> None:
    samples = corpus(rows)
    components = assign_splits(samples, DRAWN)
    prove_disjoint(components, samples)
    clips = [name for c in components for name in c.clips]
    assert sorted(clips) == sorted(s.sample_id for s in samples if s.reason is None)  # each in one component
    shuffled = list(samples)
    shuffle.shuffle(shuffled)
    assert assign_splits(shuffled, DRAWN) == components


@settings(max_examples=100, deadline=None)
@given(CLIPS)
def test_a_person_more_moves_nobody(rows: Sequence[Any]) -> None:
    samples = corpus(rows)
    more = [clip(f"new {n}.mp4", "somebody new", origin="a new film") for n in range(2)]
    before, after = assign_splits(samples, DRAWN), assign_splits([*samples, *more], DRAWN)
    assert [c for c in after if "demo:somebody new" not in c.people] == before
    assert len(after) == len(before) + 1


@settings(max_examples=100, deadline=None)
@given(CLIPS)
def test_components_are_the_smallest_that_are_closed(rows: Sequence[Any]) -> None:
    """Against an independent closure: spread from clip to clip until nothing is new."""
    samples = [s for s in corpus(rows) if s.reason is None]

    def tied(a: Sample, b: Sample) -> bool:
        people = {p for p in (a.target_id, a.source_id) if p} & {p for p in (b.target_id, b.source_id) if p}
        family = {a.sample_id, *a.parents} & {b.sample_id, *b.parents}
        return bool(people or family or a.sha256 == b.sha256 or (a.origin and a.origin == b.origin))

    left, groups = list(samples), set()
    while left:
        group = [left.pop()]
        for one in group:
            near = [s for s in left if tied(one, s)]
            group += near
            left = [s for s in left if s not in near]
        groups.add(tuple(sorted(s.sample_id for s in group)))
    assert {c.clips for c in assign_splits(samples, DRAWN)} == groups


TIES: dict[str, tuple[Sample, Sample]] = {
    "a person": (clip("a", "p"), clip("b", "p")),
    "a donor who is a target": (clip("a", "p"), clip("b", "q", source_id="demo:p")),
    "two donors": (clip("a", "o", source_id="demo:p"), clip("b", "q", source_id="demo:p")),
    "a recording": (clip("a", "p", origin="film"), clip("b", "q", origin="film")),
    "a file": (clip("a", "p", sha256="0" * 64), clip("b", "q", sha256="0" * 64)),
    "a parent": (clip("a", "p"), clip("b", "q", parents=(clip("a", "p").sample_id,))),
    "a parent that is not here": (clip("a", "p", parents=("0" * 20,)), clip("b", "q", parents=("0" * 20,))),
}


@pytest.mark.parametrize("tie", TIES)
def test_a_planted_leak_is_found(tie: str) -> None:
    first, second = TIES[tie]
    (together,) = assign_splits([first, second], DRAWN)
    prove_disjoint([together], [first, second])
    leak = [
        Component("train", "planted", (), (first.sample_id,)),
        Component("test", "planted", (), (second.sample_id,)),
    ]
    with pytest.raises(PromiseError, match="is in train and in test; report it"):
        prove_disjoint(leak, [first, second])


def test_a_clip_without_a_split_is_found() -> None:
    with pytest.raises(PromiseError, match="is in no split"):
        prove_disjoint([], [clip("a", "p")])
    prove_disjoint([], [clip("a", "p", reason="too dark")])


def test_recordings_of_two_corpora_are_not_the_same() -> None:
    samples = [clip("a", "p", origin="000"), clip("a", "p", origin="000", source="ffpp")]
    assert len(assign_splits(samples, DRAWN)) == 2


def test_shares_are_kept_roughly() -> None:
    components = assign_splits([clip(str(n), f"p{n}") for n in range(400)], DRAWN)
    share = {split: sum(c.split == split for c in components) / 400 for split in SPLITS}
    assert share["train"] == pytest.approx(0.5, abs=0.1)
    assert share["val"] == pytest.approx(0.25, abs=0.08)
    nobody = PlanSection(splits={"train": 0.5, "val": 0.5, "test": 0.0})
    assert {c.split for c in assign_splits([clip(str(n), f"p{n}") for n in range(100)], nobody)} == {"train", "val"}


def test_official_splits_are_kept_and_nothing_official_leaks_into_training() -> None:
    samples = [clip(f"{s}{n}", f"{s}{n}", split=s) for s in SPLITS for n in range(5)]
    for sample, component in ((s, c) for s in samples for c in assign_splits(samples, DRAWN) if s.sample_id in c.clips):
        assert (component.split, component.because) == (sample.split, "official")
    tied = [clip("a", "p", split="train"), clip("b", "p", split="test"), clip("c", "p")]
    (component,) = assign_splits(tied, DRAWN)
    assert component.split == "test"
    assert component.because == "official; official splits test and train are tied together"


def test_people_are_put_by_hand_where_params_say() -> None:
    samples = [clip("a", "p", split="train"), clip("b", "q"), clip("c", "q", source_id="demo:r")]
    components = assign_splits(samples, PlanSection(assign={"demo:p": "val", "demo:r": "test"}))
    assert split_of(components) == {samples[0].sample_id: "val", samples[1].sample_id: "test", samples[2].sample_id: "test"}
    with pytest.raises(FactoryError, match=r"plan.assign: put people into test and train who have clips in common"):
        assign_splits(samples, PlanSection(assign={"demo:q": "train", "demo:r": "test"}))


# ------------------------------------------------------------------------------------------------------ what is made


def params_of(tmp_path: Path, **changes: Any) -> Params:
    swaps: dict[str, Any] = {"generators": {"control": {}, "blend_swap": {}, "self_swap": {}}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(copy.deepcopy(TINY) | swaps | changes))
    return load_params(tmp_path / "params.yaml")


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Params:
    return params_of(tmp_path_factory.mktemp("params"))


def people(count: int, clips: int = 2) -> list[Sample]:
    """Real clips with their splits, as `plan_samples` is given them."""
    samples = [clip(f"p{p}/c{c}.mp4", f"p{p}") for p in range(count) for c in range(clips)]
    splits = split_of(assign_splits(samples, DRAWN))
    return [replace(s, split=splits[s.sample_id]) for s in samples]


def recipes(planned: dict[str, list[Planned]]) -> dict[str, Planned]:
    return {p.sample.sample_id: p for rows in planned.values() for p in rows}


def test_pairs_are_of_one_split_and_two_people(params: Params) -> None:
    clips = {s.sample_id: s for s in people(20)}
    planned = plan_samples(list(clips.values()), params)
    assert {name: len(rows) for name, rows in planned.items()} == {"control": 40, "blend_swap": 40, "self_swap": 40}
    for row in planned["blend_swap"]:
        target, source = (clips[p] for p in row.sample.parents)
        assert target.split == source.split == row.sample.split
        assert target.target_id != source.target_id
        assert (row.sample.target_id, row.sample.source_id) == (target.target_id, source.target_id)
        assert row.sample.apparent_id == source.target_id
        assert [p.sample_id for p in row.parents] == list(row.sample.parents)
    controls = {p.sample.sample_id: p.sample for p in planned["control"]}
    for row in (*planned["blend_swap"], *planned["self_swap"]):
        control = controls[str(row.sample.pair_id)]
        assert (control.split, control.parents) == (row.sample.split, row.sample.parents[:1])
        assert (control.width, control.height) == (row.sample.width, row.sample.height)


def test_labels_follow_from_the_generator(params: Params) -> None:
    clips = people(8)
    clips[0] = replace(clips[0], sample_rate=0, audio_label=None)
    for name, rows in plan_samples(clips, params).items():
        for row in rows:
            fake = name == "blend_swap"
            assert row.sample.label == row.sample.video_label == ("fake" if fake else "real")
            assert row.sample.audio_label == (None if row.sample.parents[0] == clips[0].sample_id else "real")
            assert row.sample.recipe == Recipe(name, row.sample.parents, 1, params.generators[name].settings()).canonical()


def test_a_person_alone_in_a_split_is_paired_with_nobody(params: Params) -> None:
    clips = [replace(clip(f"c{n}", "p"), split="train") for n in range(3)]
    planned = plan_samples(clips, params)
    assert (len(planned["control"]), planned["blend_swap"]) == (3, [])
    unnamed = [replace(clip(f"c{n}", None), split="train") for n in range(3)]
    assert plan_samples(unnamed, params)["blend_swap"] == []


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 12), st.integers(1, 3), st.data())
def test_a_clip_less_changes_only_what_names_it(params: Params, count: int, clips: int, data: st.DataObject) -> None:
    samples = people(count, clips)
    gone = data.draw(st.sampled_from(samples))
    assume(sum(s.split == gone.split for s in samples) > 1)
    before = recipes(plan_samples(samples, params))
    after = recipes(plan_samples([s for s in samples if s != gone], params))
    for name, row in before.items():
        if gone.sample_id not in row.sample.parents:
            assert after[name].parents == row.parents
    # What is new is what another donor had to be found for.
    lost = {r.sample.parents[0] for r in before.values() if gone.sample_id in r.sample.parents[1:]}
    assert {after[name].sample.parents[0] for name in after.keys() - before.keys()} <= lost


def test_other_settings_change_only_their_generator(tmp_path: Path) -> None:
    samples = people(6)
    before, after = (
        plan_samples(samples, params_of(tmp_path, generators={"control": {}, "blend_swap": {"max_yaw": yaw}, "attributes": {}}))
        for yaw in (20.0, 30.0)
    )
    assert before["control"] == after["control"]
    assert before["attributes"] == after["attributes"]
    assert [p.sample.parents for p in before["blend_swap"]] != []
    assert {tuple(p.sample.parents) for p in before["blend_swap"]} == {tuple(p.sample.parents) for p in after["blend_swap"]}
    assert not {p.sample.sample_id for p in before["blend_swap"]} & {p.sample.sample_id for p in after["blend_swap"]}


def test_who_is_made_to_say_something_is_paired_with_who_speaks_about_as_long(tmp_path: Path) -> None:
    lengths = {"a": 3.0, "b": 15.0, "c": 3.5, "d": 14.0, "e": 40.0}
    clips = [clip(name, name, duration_s=seconds, split="train") for name, seconds in lengths.items()]
    known = {c.sample_id: Path(c.media).name for c in clips}
    generators: dict[str, Any] = {"control": {}, "sound_control": {}, "lip_sync": {}, "voice": {}, "blend_swap": {}}
    planned = plan_samples(clips, params_of(tmp_path, generators=generators, plan=TINY["plan"] | {"shares": {}}))
    for name in ("lip_sync", "voice"):
        pairs = {tuple(known[parent] for parent in json.loads(p.sample.recipe)["parents"]) for p in planned[name]}
        assert pairs == {("a", "c"), ("c", "a"), ("b", "d"), ("d", "b")}, "nobody speaks as long as e"
    assert len(planned["blend_swap"]) == len(clips), "faces go onto clips of any length"


def test_a_share_of_the_clips_is_the_same_for_all_and_stays(tmp_path: Path) -> None:
    """Smaller shares lie in larger ones; another clip changes nobody's; controls are made of all."""
    generators: dict[str, Any] = {"control": {}, "blend_swap": {}, "self_swap": {}, "attributes": {}}

    def targets(clips: Sequence[Sample], **shares: float) -> dict[str, set[str]]:
        settings = {"seed": 7, "shares": shares}
        planned = plan_samples(clips, params_of(tmp_path, generators=generators, plan=settings))
        return {name: {row.sample.parents[0] for row in rows} for name, rows in planned.items()}

    clips = [replace(s, split="train") for s in people(100)]
    found = targets(clips, blend_swap=0.5, self_swap=0.2, attributes=0.0)
    assert found["control"] == {clip.sample_id for clip in clips}
    assert found["self_swap"] < found["blend_swap"] < found["control"]
    assert found["attributes"] == set()
    assert 0.1 < len(found["self_swap"]) / len(clips) < 0.3
    assert 0.4 < len(found["blend_swap"]) / len(clips) < 0.6
    fewer = targets(clips[10:], blend_swap=0.5, self_swap=0.2, attributes=0.0)
    assert fewer["blend_swap"] == found["blend_swap"] & fewer["control"]


@pytest.mark.parametrize("name", ["control", "blend_swop"])
def test_a_share_is_of_a_generator_that_is_there_and_makes_no_controls(tmp_path: Path, name: str) -> None:
    with pytest.raises(ParamsError, match=rf"plan\.shares\.{name}: .*there are blend_swap"):
        params_of(tmp_path, generators={"control": {}, "blend_swap": {}}, plan={"shares": {name: 0.5}})


def test_marks_are_unique_under_a_key(tmp_path: Path) -> None:
    """Small pictures have 16 bits of id: among 1200 of them there are collisions to be resolved."""
    clips = [replace(s, width=320, height=240, split="train") for s in people(600)]
    rows = plan_samples(clips, params_of(tmp_path, generators={"control": {}}))["control"]
    assert len({p.sample.mark_id for p in rows}) == len(rows) == 1200
    assert {len(str(p.sample.mark_id)) for p in rows} == {4}
    assert len({int(hashlib.sha256(str(p.sample.mark_id).encode()).hexdigest(), 16) % 7 for p in rows}) == 7  # all over
    assert {p.sample.mark_key_id for p in rows} == {"demo/train-0000"}


def test_a_fake_and_its_control_have_one_key_and_two_ids(tmp_path: Path) -> None:
    """A key for each generator would tell the class: parts of a key's code never change."""
    clips = [replace(s, width=320, height=240) for s in people(300)]
    some = {"control": {}, "blend_swap": {}, "self_swap": {}}
    settings = {"seed": 1, "splits": {"train": 0.5, "val": 0.25, "test": 0.25}, "assign": {}, "batches": 3}
    rows = [p.sample for ps in plan_samples(clips, params_of(tmp_path, generators=some, plan=settings)).values() for p in ps]
    key_of = {s.sample_id: s.mark_key_id for s in rows}
    assert len(set(key_of.values())) == 9
    assert all(s.mark_key_id == key_of[str(s.pair_id)] for s in rows)
    assert len({(s.mark_key_id, s.mark_id) for s in rows}) == len(rows) > 1000


def test_pictures_that_cannot_be_marked_are_rows_with_a_reason(params: Params) -> None:
    clips = [replace(s, width=96) for s in people(4)]
    for rows in plan_samples(clips, params).values():
        assert all("too small for the mark" in str(p.sample.reason) for p in rows)


def test_batches_divide_shards(tmp_path: Path) -> None:
    params = params_of(tmp_path, plan=TINY["plan"] | {"batches": 4})
    samples = [replace(s, split="train") for s in people(40)]
    rows = plan_samples(samples, params)["control"]
    assert {p.sample.shard for p in rows} == {f"control-train-{n:04d}" for n in range(4)}
    fewer = plan_samples(samples[:-20], params)["control"]
    shard = {p.sample.sample_id: p.sample.shard for p in rows}
    assert all(shard[p.sample.sample_id] == p.sample.shard for p in fewer)


# ------------------------------------------------------------------------------------------------------------ the stage


FOLDER: dict[str, Any] = {
    "kind": "folder",
    "terms": {
        "agreement": "release form",
        "licence": "as signed",
        "accepted_by": "the lab",
        "accepted_on": "2026-01-01",
        "permitted_use": ["detection"],
        "generate": True,
        "consent": "forms",
        "people": {f"p{n}": {"basis": "form", "scope": ["face", "voice"]} for n in range(6)},
    },
}
KEY = "0123456789abcdef" * 4


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a private key, in which stages can run."""
    key = tmp_path / "key"
    key.write_text(KEY + "\n")
    key.chmod(0o600)
    monkeypatch.setenv("FORGELINE_KEY_FILE", str(key))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def signed(number: int, **fields: Any) -> Sample:
    """A clip of one's own, as ingest writes it: it says what the folder's terms say."""
    terms = {"licence": "as signed", "permitted_use": ("detection",)}
    return clip(f"p{number}/c.mp4", f"p{number}", source="own", **terms | fields)


def own(checkout: Path, key: str | None = None, **terms: Any) -> Params:
    """Params with a folder of one's own, and its manifest of six people."""
    section = copy.deepcopy(FOLDER)
    section["terms"] |= terms
    from watermark.keys import read_key

    seal = TINY["seal"] | {"key": key or read_key(checkout / "key").id}
    write_manifest(workspace.REAL / "own" / workspace.MANIFEST, [signed(n) for n in range(6)])
    return params_of(checkout, sources={"own": section}, seal=seal, plan=TINY["plan"] | {"splits": {"train": 1.0}})


def refused() -> dict[str, str]:
    told: dict[str, str] = json.loads(Path("data/plan/splits.json").read_text())["refused"]
    return told


def test_the_stage_writes_what_it_plans(checkout: Path) -> None:
    params = own(checkout)
    (workspace.MADE / "removed_generator").mkdir(parents=True)
    (workspace.MADE / "control").mkdir()
    planned = plan(params, TODAY)
    assert {name: len(rows) for name, rows in planned.items()} == {"control": 6, "blend_swap": 6, "self_swap": 6}
    for name, rows in planned.items():
        head, *lines = (json.loads(line) for line in plan_file(name).read_text().splitlines())
        assert head["generator"] == name
        assert [line["sample"]["sample_id"] for line in lines] == [p.sample.sample_id for p in rows]
    assert refused() == {}
    assert sorted(p.name for p in workspace.MADE.iterdir()) == ["control"]
    before = {p: p.read_bytes() for p in workspace.PLAN.rglob("*") if p.is_file()}
    plan(params, date(2027, 5, 5))  # the day isn't written
    assert {p: p.read_bytes() for p in workspace.PLAN.rglob("*") if p.is_file()} == before
    assert "blend_swap       forgery      fake" in show(planned)


@pytest.mark.parametrize(
    ("terms", "today"),
    [
        ({"generate": False}, TODAY),
        ({"expires": "2026-11-19"}, TODAY),
        ({"accepted_on": "2026-11-21"}, TODAY),
        ({"expires": "2027-01-01"}, date(2027, 1, 2)),
    ],
)
def test_nothing_is_made_where_terms_do_not_permit_it(checkout: Path, terms: dict[str, Any], today: date) -> None:
    with pytest.raises(SourceError, match="there is no clip that forgeries may be made from; record the operator's permission"):
        plan(own(checkout, **terms), today)
    assert not plan_file("blend_swap").exists()


def test_each_person_is_asked(checkout: Path) -> None:
    """One without a record, one who gave the voice alone, one whose consent is over: neither targets nor donors."""
    people: dict[str, Any] = copy.deepcopy(FOLDER["terms"]["people"])
    del people["p0"]
    people["p1"]["scope"] = ["voice"]
    people["p2"]["expires"] = "2026-11-19"
    people["p3"]["expires"] = "2026-11-20"  # the last day
    planned = plan(own(checkout, people=people), TODAY)
    used = {p for rows in planned.values() for row in rows for p in (row.sample.target_id, row.sample.source_id) if p}
    assert used == {"own:p3", "own:p4", "own:p5"}
    assert sorted(refused().values()) == [
        "no consent is recorded for p0",
        "p1 did not agree to the use of their face",
        "the consent of p2 ended on 2026-11-19",
    ]


def test_fakes_of_a_corpus_are_never_parents(checkout: Path) -> None:
    params = own(checkout)
    samples = [signed(n, label="fake" if n == 0 else "real") for n in range(6)]
    samples[1] = replace(samples[1], reason="too dark")
    write_manifest(workspace.REAL / "own" / workspace.MANIFEST, samples)
    used = {p for rows in plan(params, TODAY).values() for row in rows for p in row.sample.parents}
    assert used == {s.sample_id for s in samples[2:]}


def test_the_public_key_marks_the_demo_alone(checkout: Path) -> None:
    with pytest.raises(
        FactoryError, match=r"seal.key: the public demo key would mark something other than the demo; make a key"
    ):
        plan(own(checkout, key="demo"), TODAY)
    assert not workspace.PLAN.exists()


def test_terms_travel_with_the_samples(checkout: Path) -> None:
    planned = plan(own(checkout), TODAY)
    assert {(p.sample.licence, p.sample.permitted_use) for rows in planned.values() for p in rows} == {
        ("as signed", ("detection",))
    }


def test_a_plan_says_who_is_alone_in_a_split(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params = own(checkout)
    plan(params, TODAY)
    assert "nobody else in their split" not in capsys.readouterr().out
    alone = params.plan.model_copy(update={"assign": {"own:p0": "val"}})
    planned = plan(params.model_copy(update={"plan": alone}), TODAY)
    assert "plan: blend_swap: 1 clips have nobody else in their split" in capsys.readouterr().out
    assert len(planned["blend_swap"]) == len(planned["control"]) - 1
