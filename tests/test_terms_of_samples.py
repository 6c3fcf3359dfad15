"""A sample's terms are those of all that it was made from; a release's are its samples', with what forbids the rest."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import audit, workspace
from flows.__main__ import main
from flows.params import Params, load_params
from flows.plan import plan, plan_samples
from flows.terms import FILE, Ledger, nets, show, show_release, told
from forgeline.errors import FactoryError, TermsError
from forgeline.manifest import write_manifest
from forgeline.sample import Sample
from forgeline.terms import Joined
from generators.style_gan import StyleGAN
from tests.test_plan import KEY, TINY, clip

TODAY = date(2026, 11, 20)
ALL = ("commercial", "detection", "education", "research", "training")
GENERATORS: dict[str, Any] = {"control": {}, "blend_swap": {}, "image_control": {"size": 256}, "dcgan": {"size": 256}}


def corpus(agreement: str, licence: str, uses: Sequence[str], **terms: Any) -> dict[str, Any]:
    people = {f"p{n}": {"basis": "form", "scope": ["face", "voice"]} for n in range(6)}
    said = {"agreement": agreement, "licence": licence, "permitted_use": list(uses), "generate": True, "people": people}
    accepted = {"accepted_by": "the lab", "accepted_on": "2026-01-01", "consent": "forms", "redistribute": True}
    return {"kind": "folder", "terms": said | accepted | terms}


SOURCES = {
    "open": corpus("Open People 1", "CC-BY-4.0", ALL),
    "bound": corpus("Bound Agreement", "research only", ["research", "detection"], redistribute=False, expires="2027-06-30"),
}


def params_of(folder: Path, sources: dict[str, Any] | None = None, generators: dict[str, Any] | None = None) -> Params:
    settings = TINY | {"sources": sources or SOURCES, "generators": generators or GENERATORS}
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))
    return load_params(folder / "params.yaml")


def real(source: str, number: int, split: str = "train", **fields: Any) -> Sample:
    """A clip as ingest writes it, in its split."""
    terms = SOURCES[source]["terms"]
    said = {"licence": terms["licence"], "permitted_use": tuple(sorted(terms["permitted_use"])), "split": split}
    return clip(f"p{number}/c.mp4", f"p{number}", source=source, **said | fields)


NC = {"licence": "CC-BY-4.0 AND CC-BY-NC-2.0", "permitted_use": ALL[1:], "credit": "Ann (flickr.com/ann)"}
CLIPS = [
    real("open", 0, "val", credit="Zoe"),
    real("open", 1, "val", credit="Zoe"),
    real("open", 2, "train", **NC),
    real("open", 3, "train", credit="Bo"),
    real("bound", 4, "test"),
    real("bound", 5, "test"),
]


def ledger(params: Params, clips: Sequence[Sample] = CLIPS) -> Ledger:
    lessons = [c.sample_id for c in clips if c.split == "train"]
    return Ledger(params, {c.sample_id: c for c in clips}, {"dcgan": lessons})


def made(params: Params, clips: Sequence[Sample] = CLIPS) -> list[Sample]:
    return [p.sample for rows in plan_samples(clips, params).values() for p in rows]


def test_a_sample_has_the_terms_of_what_it_was_made_from_and_no_others(tmp_path: Path) -> None:
    """Of six clips of two corpora: each swap is of its own two, painted faces are of the train split alone."""
    real_of = {c.sample_id: c for c in CLIPS}
    rows = made(params_of(tmp_path))
    assert {r.method for r in rows} == set(GENERATORS)
    for row in rows:
        parents = [real_of[p] for p in row.parents] or [c for c in CLIPS if c.split == "train"]
        assert set(row.permitted_use) == set(ALL).intersection(*(p.permitted_use for p in parents))
        assert set(row.licence.split(" AND ")) == {x for p in parents for x in p.licence.split(" AND ")}
        assert row.credit == "; ".join(sorted({p.credit for p in parents if row.parents} - {""}))
    by_target = {(r.method, r.target_id): r for r in rows}
    assert by_target["control", "open:p0"].permitted_use == ALL
    assert by_target["control", "open:p2"].permitted_use == ALL[1:]
    assert "commercial" not in by_target["blend_swap", "open:p3"].permitted_use, "its source is the NC clip"
    assert by_target["control", "bound:p4"].licence == "research only"
    painted = [r for r in rows if r.method == "dcgan"]
    assert {r.licence for r in painted} == {"CC-BY-4.0 AND CC-BY-NC-2.0"}, "of what the net learned from"


def test_a_release_has_the_meet_of_its_samples_and_says_what_forbids_the_rest(tmp_path: Path) -> None:
    params = params_of(tmp_path)
    rows, book = made(params), ledger(params)
    table = book.table(rows)
    assert table.left == Joined(
        licences=("CC-BY-4.0", "CC-BY-NC-2.0", "research only"),
        permitted_use=("detection", "research"),
        generate=True,
        redistribute=False,
        expires="2027-06-30",
    )
    why = book.why_not(rows)
    assert why["commercial"] == ["bound (Bound Agreement)", "open: licence CC-BY-NC-2.0 on 1 clips"]
    assert why["training"] == why["education"] == why["passing on"] == ["bound (Bound Agreement)"]
    assert why["research"] == why["detection"] == []
    assert sum(line.samples for line in table.lines) == len(rows) == len(table.line_of)
    for row in rows:
        (line,) = (each for each in table.lines if each.name == table.line_of[row.sample_id])
        assert (line.left.licence, line.left.permitted_use) == (row.licence, row.permitted_use)
    credits = {(line.sources, line.left.permitted_use): line.credits for line in table.lines}
    assert credits == {
        (("bound",), ("detection", "research")): (),
        (("open",), ALL): ("Bo", "Zoe"),
        (("open",), ALL[1:]): ("Ann (flickr.com/ann)", "Bo"),
    }
    alone = [row for row in rows if row.method == "dcgan"]
    assert book.table(alone).lines[0].credits == ("Ann (flickr.com/ann)", "Bo"), "of those that the net learned from"
    assert book.why_not(alone)["commercial"] == ["open: licence CC-BY-NC-2.0 on 1 clips"]


def test_the_end_of_one_consent_ends_what_that_person_is_in(tmp_path: Path) -> None:
    people: dict[str, Any] = {f"p{n}": {"basis": "form", "scope": ["face", "voice"]} for n in range(6)}
    people["p3"]["expires"] = "2027-01-31"
    book = ledger(params_of(tmp_path, SOURCES | {"open": corpus("Open People 1", "CC-BY-4.0", ALL, people=people)}))
    zoe, other, third = (CLIPS[n].sample_id for n in (0, 1, 3))
    assert book.left("blend_swap", (zoe, other)).expires is None
    assert book.left("blend_swap", (zoe, third)).expires == "2027-01-31"
    assert book.left("dcgan", ()).expires == "2027-01-31", "they are among those that the net learned from"


def test_what_is_not_on_record_is_refused(tmp_path: Path) -> None:
    params = params_of(tmp_path)
    book = ledger(params)
    with pytest.raises(TermsError, match="is a parent that no corpus holds"):
        book.left("control", ("0" * 20,))
    with pytest.raises(TermsError, match="makes something of nothing"):
        book.left("control", ())
    with pytest.raises(TermsError, match="is not in params"):
        book.left("vae", ())
    gone = Ledger(params.model_copy(update={"sources": {"open": params.sources["open"]}}), book.clips, book.learned)
    with pytest.raises(TermsError, match=r"sources\.bound: has no terms"):
        gone.left("control", (CLIPS[4].sample_id,))
    stranger = replace(CLIPS[0], target_id="open:p9")
    with pytest.raises(TermsError, match="no consent is recorded for p9"):
        Ledger(params, {stranger.sample_id: stranger}, {}).left("control", (stranger.sample_id,))


NET = {"file": "net.onnx", "sha256": "0" * 64, "licence": "non-commercial weights"}


def test_a_net_that_a_team_brings_narrows_what_is_made_with_it(tmp_path: Path) -> None:
    restored = {"steps": ["blend_swap", {"restore": {"method": "face_restoration", "net": NET}}]}
    params = params_of(tmp_path, generators=GENERATORS | {"restored": restored})
    assert list(nets(params.generators["restored"])) == [("net.onnx", "non-commercial weights", ("detection", "research"))]
    rows = [row for row in made(params) if row.split == "val"]
    left = {row.method: (row.licence, row.permitted_use) for row in rows}
    assert left["restored"] == ("CC-BY-4.0 AND non-commercial weights", ("detection", "research"))
    assert left["blend_swap"] == left["control"] == ("CC-BY-4.0", ALL)
    book = ledger(params)
    assert book.why_not(rows)["commercial"] == [
        "open: licence CC-BY-NC-2.0 on 1 clips",
        "net net.onnx (non-commercial weights)",
    ]
    (line,) = book.table([row for row in rows if row.method == "restored"]).lines
    assert line.nets == ("net.onnx (non-commercial weights)",)
    brought = StyleGAN.model_validate({"weights": NET | {"file": "faces.safetensors", "permitted_use": ["research"]}})
    assert list(nets(brought)) == [("faces.safetensors", "non-commercial weights", ("research",))]


# The stage ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a private key and the manifests of both corpora, as current folder."""
    (tmp_path / "key").write_text(KEY + "\n")
    (tmp_path / "key").chmod(0o600)
    monkeypatch.setenv("FORGELINE_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.chdir(tmp_path)
    for name in SOURCES:
        write_manifest(workspace.REAL / name / workspace.MANIFEST, [c for c in CLIPS if c.source == name])
    return tmp_path


def planned(folder: Path, today: date = TODAY, **terms: Any) -> list[Sample]:
    from watermark.keys import read_key

    sources = SOURCES | {"open": {"kind": "folder", "terms": SOURCES["open"]["terms"] | terms}}
    params = params_of(folder, sources)
    seal = params.seal.model_copy(update={"key": read_key(folder / "key").id})
    return [p.sample for rows in plan(params.model_copy(update={"seal": seal}), today).values() for p in rows]


def test_whoever_takes_consent_back_is_gone_with_the_next_plan(place: Path) -> None:
    """As target, as source, and from what nets learn from; a corpus whose terms end goes as a whole."""
    people: dict[str, Any] = {f"p{n}": {"basis": "form", "scope": ["face", "voice"]} for n in range(6)}
    people["p3"]["expires"] = "2026-12-31"

    def left(today: date) -> tuple[set[str], set[str]]:
        rows = planned(place, today, people=people)
        lines = workspace.train_file("dcgan").read_text().splitlines()[1:]
        used = {p for row in rows for p in (row.target_id, row.source_id) if p}
        return used, {json.loads(line)["media"] for line in lines}

    used, learned = left(date(2026, 12, 31))
    assert used == {c.target_id for c in CLIPS}
    assert learned == {"data/raw/open/p2/c.mp4", "data/raw/open/p3/c.mp4"}
    used, learned = left(date(2027, 1, 1))
    assert used == {c.target_id for c in CLIPS} - {"open:p3"}
    assert learned == {"data/raw/open/p2/c.mp4"}
    used, _ = left(date(2027, 7, 1))
    assert used == {"open:p0", "open:p1", "open:p2"}, "the agreement of the other corpus ended on 2027-06-30"


def test_nothing_is_made_from_works_that_permit_no_derivatives(place: Path) -> None:
    bound = replace(CLIPS[0], licence="CC-BY-4.0 AND CC-BY-ND-2.0")
    write_manifest(workspace.REAL / "open" / workspace.MANIFEST, [bound, *(c for c in CLIPS[1:] if c.source == "open")])
    assert "open:p0" not in {p for row in planned(place) for p in (row.target_id, row.source_id)}
    refused = json.loads((workspace.PLAN / "splits.json").read_text())["refused"]
    assert refused == {bound.sample_id: "its licence (CC-BY-ND-2.0) permits nothing that is made from it"}


def test_a_file_in_two_corpora_is_kept_in_both_in_one_split_and_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned(place)
    assert "more than one corpus" not in capsys.readouterr().out
    first, second = replace(CLIPS[3], split=None), replace(CLIPS[4], sha256=CLIPS[3].sha256)
    write_manifest(workspace.REAL / "open" / workspace.MANIFEST, [*CLIPS[:3], first])
    write_manifest(workspace.REAL / "bound" / workspace.MANIFEST, [second, CLIPS[5]])
    rows = [row for row in planned(place) if row.method == "control"]
    said = capsys.readouterr().out
    assert "plan: 1 files lie in more than one corpus; all are kept, and share a split (" in said
    assert f"({second.media} is {first.media})" in said
    assert {row.target_id: row.split for row in rows if row.target_id in ("open:p3", "bound:p4")} == {
        "open:p3": "test",
        "bound:p4": "test",
    }


def test_the_workspaces_ledger_is_the_plans(place: Path) -> None:
    rows = planned(place)
    book = Ledger.here(params_of(place))
    assert {c for c in book.learned["dcgan"]} == {c.sample_id for c in CLIPS if c.split == "train"}
    assert not book.learned["control"]
    for row in rows:
        left = book.left(row.method, row.parents)
        assert (left.licence, left.permitted_use) == (row.licence, row.permitted_use)
    workspace.train_file("dcgan").unlink()
    with pytest.raises(FactoryError, match="run `dvc repro`, which plans first"):
        Ledger.here(params_of(place))


def test_the_audit_finds_what_says_more_than_it_may(place: Path) -> None:
    rows, params = planned(place), params_of(place)
    assert not list(audit._terms(rows, params))
    for change in ({"permitted_use": ALL}, {"licence": "CC-BY-4.0"}, {"permitted_use": ()}):
        wrong = [replace(row, **change) if row.source == "bound" and row.role == "control" else row for row in rows]
        faults = list(audit._terms(wrong, params))
        assert sum("says other terms than those of what it was made from" in fault for fault in faults) == 4
        assert any("says more (" in fault for fault in faults) == (change != {"permitted_use": ()})
    # One of the clips that the net learned from turns out to permit less: nothing but its own samples and the net's are wrong.
    less = replace(CLIPS[3], permitted_use=("research",))
    write_manifest(workspace.REAL / "open" / workspace.MANIFEST, [*CLIPS[:3], less])
    found = {fault.partition(":")[0] for fault in audit._terms(rows, params)}
    wrong_ones = {row.sample_id for row in rows if less.sample_id in row.parents or row.method == "dcgan"}
    assert wrong_ones < found
    assert found - wrong_ones == {"control", "blend_swap", "image_control", "dcgan"}
    terms = SOURCES["bound"]["terms"] | {"generate": False}
    faults = list(audit._terms(rows, params_of(place, SOURCES | {"bound": {"kind": "folder", "terms": terms}})))
    assert any("do not permit forgeries" in fault for fault in faults)


# The command ----------------------------------------------------------------------------------------------------------


def released(folder: Path, rows: Sequence[Sample], params: Params) -> None:
    book = ledger(params)
    folder.mkdir(parents=True)
    (folder / FILE.name).write_text(json.dumps(told(book.table(rows), book.why_not(rows), "demo")))


def test_terms_says_what_may_be_done_with_a_release_and_why_not_the_rest(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = params_of(place)
    rows = made(params)
    released(workspace.RELEASE, rows, params)
    said = show(params)
    count = sum("commercial" in row.permitted_use for row in rows)
    assert f"  commercial:  no, because of bound (Bound Agreement), open: licence CC-BY-NC-2.0 on 1 clips ({count} of " in said
    assert "  research:    yes\n" in said
    assert "  passing on:  no, because of bound (Bound Agreement)\n" in said
    assert "  in force:    until 2027-06-30\n" in said
    assert "  credit:      Ann (flickr.com/ann), Bo, Zoe\n" in said
    assert "6 of 6 people without their document's hash: p0, p1, p2, p3, p4, p5" in said

    pulled = place / "elsewhere"
    released(pulled, [row for row in rows if row.source == "open" and row.split == "val"], params)
    (place / "params.yaml").unlink()
    assert main(["terms", "--release", str(pulled)]) == 0
    said = capsys.readouterr().out
    assert "  passing on:  yes\n" in said
    assert "  in force:    without end\n" in said
    assert main(["terms", "--release", str(place)]) == 2
    assert "terms.json: can't be read" in capsys.readouterr().err


def test_a_release_of_another_version_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / FILE.name).write_text('{"licence": "CC0-1.0"}')
    with pytest.raises(FactoryError, match="a release made by this version"):
        show_release(tmp_path)
