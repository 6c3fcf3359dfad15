"""Whatever is wrong in params.yaml is said in one line, with the key's path and what to do."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators.table import EVALUATORS
from flows.params import load_params
from forgeline.errors import ParamsError
from generators.chain import Chain
from generators.table import GENERATORS

ROOT = Path(__file__).parents[1]
TINY: dict[str, Any] = yaml.safe_load((ROOT / "params.tiny.yaml").read_text())
FOLDER = {
    "kind": "folder",
    "terms": {
        "agreement": "release form",
        "licence": "as the forms say",
        "permitted_use": ["detection"],
        "consent": "forms",
        "people": {f"p{n}": {"basis": "form", "scope": ["face"], "expires": "2030-01-31"} for n in range(4)},
    },
}


def set_to(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(params: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for key in parents:
            params = params[key]
        params[last] = value

    return change


def without(path: str) -> Callable[[dict[str, Any]], None]:
    def change(params: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for key in parents:
            params = params[key]
        del params[last]

    return change


def folder(**changes: Any) -> Callable[[dict[str, Any]], None]:
    """A `folder` source named own, with changed terms."""
    section = copy.deepcopy(FOLDER)
    section["terms"] |= changes  # type: ignore[operator]
    return set_to("sources.own", section)


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a misspelt section": (set_to("genrate", {}), r"genrate: there is no such key; remove it; .*did you mean generate\?"),
    "a misspelt key": (set_to("demo.frame", 9), r"demo.frame: there is no such key; remove it; .*did you mean frames\?"),
    "a misspelt key below": (
        set_to("seal.encoding.cfr", 20),
        r"seal.encoding.cfr: there is no such key; remove it; there are crf, preset, gop; did you mean crf\?",
    ),
    "a misspelt key of a plug-in": (
        set_to("generators.blend_swap", {"belnd": "poisson"}),
        r"generators.blend_swap.belnd: there is no such key; .*did you mean blend\?",
    ),
    "a misspelt key of terms": (
        folder(licens="x"),
        r"sources.own.terms.licens: there is no such key; remove it; there are agreement, .*did you mean licence\?",
    ),
    "a text for a number": (set_to("demo.people", "four"), r"demo.people: input should be a valid integer .*'four'.*; correct"),
    "a number that is quoted": (set_to("demo.people", "4"), r"demo.people: .*'4'"),
    "a number for yes": (folder(generate=1), r"sources.own.terms.generate: .*boolean"),
    "a fraction for a count": (set_to("score.frames", 4.5), r"score.frames: .*integer"),
    "a variant that is scored and not made": (set_to("score.variants", ["c99"]), r"score.variants.c99: is not in variants"),
    "infinity": (set_to("ingest.min_seen", float("inf")), r"ingest.min_seen|holds what params can't"),
    "noise reduction that loses": (set_to("ingest.denoise", {"below_db": 21}), r"ingest.denoise.below_db: .*equal to 20"),
    "too much": (set_to("ingest.min_seen", 1.5), r"ingest.min_seen: .*less than or equal to 1.*; correct it: Share of"),
    "an unknown detector": (set_to("ingest.detector", "yolo"), r"ingest.detector: .*'yolo'.*; correct it: What finds faces"),
    "one detector twice": (
        set_to("ingest", {"detector": "yunet", "second": "yunet"}),
        r"ingest: second names yunet, which is the first already",
    ),
    "a section that is a list": (set_to("plan", [1]), r"plan: "),
    "a section that is nothing": (set_to("plan", None), r"plan: "),
    "a missing section": (without("seal"), r"seal: is missing; add it"),
    "wrong shares": (set_to("plan.splits.train", 0.9), r"plan.splits: shares sum to 1.4, not to 1"),
    "an unknown split": (set_to("plan.splits.dev", 0.0), r"plan.splits.dev"),
    "someone put nowhere": (set_to("plan.assign", {"demo:p00": "dev"}), r"plan.assign.demo:p00: .*'dev'"),
    "an unknown generator": (
        set_to("generators.blendswap", {}),
        r"generators.blendswap: does not exist; there are control, .*did you mean blend_swap\?",
    ),
    "an unknown evaluator": (
        set_to("evaluators.fit", {}),
        r"evaluators.fit: does not exist; there are .*did you mean fid\?",
    ),
    "an unknown kind": (
        set_to("sources.x", {"kind": "ffp"}),
        r"sources.x: 'ffp' does not exist; there are demo, .*did you mean ffpp\?",
    ),
    "no kind": (set_to("sources.x", {}), r"sources.x: None does not exist; there are demo, "),
    "a kind that is a list": (set_to("sources.x", {"kind": ["ffpp"]}), r"sources.x: \['ffpp'\] does not exist"),
    "a source that is a word": (set_to("sources.x", "ffpp"), r"sources.x: None does not exist"),
    "a source named with a slash": (set_to("sources.a/b", FOLDER), r"sources.a/b: is no name for a source; use small letters"),
    "a source named upwards": (set_to("sources", {"..": FOLDER}), r"sources.\.\.: is no name for a source"),
    "a demo of another name": (
        set_to("sources.mine", {"kind": "demo"}),
        r"sources.mine: is of kind 'demo'; the source named demo",
    ),
    "one's own clips where the demo is rendered": (
        set_to("sources.demo", FOLDER),
        r"sources.demo: is of kind 'folder'; the source named demo",
    ),
    "a source without terms": (set_to("sources.own", {"kind": "folder"}), r"sources.own.terms: is missing; add it"),
    "terms of three people": (folder(people={}), r"sources.own.terms: people: at least 4"),
    "forgeries that nobody answers for": (folder(generate=True), r"sources.own.terms: generate: true needs accepted_by"),
    "a day that is none": (folder(expires="2026-02-30"), r"sources.own.terms.expires: "),
    "no sources": (set_to("sources", []), r"sources: is no list of names with their settings; write `sources:`"),
    "generator without control": (
        without("generators.control"),
        r"generators.blend_swap: needs its matched control 'control'; add",
    ),
    "settings that are a list": (set_to("generators.blend_swap", [1]), r"generators.blend_swap: holds no settings; write"),
    "an unknown preset": (set_to("seal.encoding.preset", "placebo"), r"seal.encoding.preset: .*'placebo'"),
    "a release of an odd name": (set_to("release.name", "My Data"), r"release.name: .*; correct it: Its name"),
}


def said(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    error = caught.value
    assert error.which
    assert error.what
    assert error.todo
    assert "\n" not in str(error)
    assert str(error) == f"{error.which}: {error.what}; {error.todo}"
    assert error.exit_code == 2
    return str(error)


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_names_its_key_and_what_to_do(tmp_path: Path, fault: str) -> None:
    params = copy.deepcopy(TINY)
    change, says = FAULTS[fault]
    change(params)
    found = said(tmp_path / "p.yaml", yaml.safe_dump(params))
    assert found.startswith(f"{tmp_path}/p.yaml: ")
    assert re.search(says, found), found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("demo: [", "is not YAML"),
        ("a: b: c", "is not YAML"),
        ("\tdemo: {}", "is not YAML"),
        ("demo: !!python/object:os.system {}", "is not YAML"),
        ("demo: \x00", "is not YAML"),
        ("", "holds no sections"),
        ("- demo", "holds no sections"),
        ("{}", "demo: is missing"),
        ("2026-11-20: {}", "holds what params can't"),
        ("demo: &a [*a]", "holds what params can't"),
    ],
)
def test_what_is_no_params_file_is_said(tmp_path: Path, text: str, says: str) -> None:
    assert says in said(tmp_path / "p.yaml", text)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("title: größer".encode("latin-1"))
    for name, says in (("none.yaml", "is not there"), ("latin.yaml", "is not YAML"), (".", "is not YAML")):
        with pytest.raises(ParamsError, match=says):
            load_params(tmp_path / name)


@settings(max_examples=30, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*TINY, "x", "kind"]), inner, max_size=3),
    )
)
def test_nothing_but_a_params_error_comes_of_anything(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    for params in (value, *(TINY | {name: value} for name in TINY)):
        path.write_text(yaml.safe_dump(params, allow_unicode=True), encoding="utf-8")
        try:
            load_params(path)
        except ParamsError as error:
            line = str(error)
        else:
            line = ""
        assert "\n" not in line


@pytest.mark.parametrize("name", sorted(p.name for p in ROOT.glob("params*.yaml")))
def test_the_shipped_params_are_sound(name: str) -> None:
    params = load_params(ROOT / name)
    assert params.generators
    for generator, section in params.generators.items():
        assert type(section) is GENERATORS.get(generator, Chain)
    for evaluator, found in params.evaluators.items():
        assert type(found) is EVALUATORS[evaluator]


def test_settings_reach_their_plug_in(tmp_path: Path) -> None:
    params = copy.deepcopy(TINY)
    params["generators"]["blend_swap"] = params["generators"]["self_swap"] = {"max_yaw": 20.0}
    params["sources"]["own"] = copy.deepcopy(FOLDER)
    del params["plan"]["splits"]["test"]
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(params))
    found = load_params(tmp_path / "p.yaml")
    assert found.generators["blend_swap"].settings()["max_yaw"] == 20.0
    assert found.sources["own"].terms.people["p0"].expires == "2030-01-31"  # type: ignore[attr-defined]
    assert found.plan.splits == {"train": 0.5, "val": 0.5, "test": 0.0}
