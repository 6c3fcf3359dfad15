"""What changed in the figures from one version to another, and what is not compared; the stage's files, of a whole checkout."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows import compare as module
from flows.compare import compare
from forgeline.errors import FactoryError
from tests.conftest import Checkout


def figure(name: str = "ssim", value: float | None = 1.0, n: int = 4, **fingerprint: str) -> dict[str, Any]:
    place = {"method": "swap", "variant": "master", "split": "test", "group": "", "name": name}
    reason = None if value is not None else "there are no frames"
    return place | {"value": value, "low": None, "high": None, "n": n, "fingerprint": fingerprint, "reason": reason}


def told(monkeypatch: pytest.MonkeyPatch, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[str]:
    texts = {"v1": json.dumps({"figures": before}), ".": json.dumps({"figures": after})}
    monkeypatch.setattr(module, "_text", texts.__getitem__)
    return compare("v1", ".").splitlines()


def test_what_changed_is_told_with_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = told(monkeypatch, [figure(), figure("psnr", 30.0, 4)], [figure(), figure("psnr", 32.5, 6)])
    assert lines[0].split() == ["method", "variant", "split", "group", "figure", "v1", ".", "change", "n"]
    assert lines[1].split() == ["swap", "master", "test", "psnr", "30", "32.5", "+2.5", "4,", "then", "6"]
    assert lines[2:] == ["1 figures changed, 1 are equal"]


def test_figures_that_were_not_made_alike_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [figure(), figure("fid", 2.0, resize="area", frames="64"), figure("kid", 0.1, resize="area")]
    after = [figure(), figure("fid", 3.0, resize="bilinear", frames="65"), figure("kid", None)]
    lines = told(monkeypatch, before, after)
    assert lines == [
        "0 figures changed, 1 are equal",
        "1 figures not comparable: differs in frames, resize",
        "1 figures not there in one: there are no frames",
    ]


def test_versions_with_nothing_to_compare_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FactoryError, match=r"v1 and \.: 1 figures not comparable: differs in code; score both"):
        told(monkeypatch, [figure(code="a")], [figure(code="b")])
    with pytest.raises(FactoryError, match="no figure in common"):
        told(monkeypatch, [figure("a")], [figure("b")])


def test_figures_of_one_version_alone_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = told(monkeypatch, [figure(), figure("old"), figure("older")], [figure(), figure("new")])
    assert lines[1:] == ["2 figures are in v1 alone", "1 figures are in . alone"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"figures": {"a": 1}}', '{"figures": [{"method": "swap"}]}'])
def test_another_format_is_an_error_that_says_so(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_text", lambda _: text)
    with pytest.raises(FactoryError, match="is none of this format"):
        compare("v1", ".")


def test_versions_of_a_checkout_with_variants_and_groups(clone: Checkout) -> None:
    """The stage by `dvc repro`, its files, what it keeps, and the command on two versions of them."""
    clone.commit("A version")
    told = clone.flows("compare", "HEAD", ".").stdout
    assert told.startswith("0 figures changed, ")
    params = clone.params()
    params["score"] |= {"variants": ["c40"], "groups": ["glasses"]}
    clone.set_params(params)
    rows = clone.path / "data/scores/rows"
    masters = {file.name: file.stat().st_mtime_ns for file in rows.glob("*.npz")}
    clone.run("dvc", "repro", "--single-item", "score")
    assert {name: (rows / name).stat().st_mtime_ns for name in masters} == masters  # no pair is measured again
    figures = json.loads((clone.path / "data/scores/about.json").read_text())["figures"]
    keys = [tuple(f[key] for key in ("method", "variant", "split", "group", "name")) for f in figures]
    assert keys == sorted(set(keys))
    whole = {(f["method"], f["variant"], f["split"], f["name"]): f for f in figures if not f["group"]}
    swaps = {
        f["variant"]: f
        for f in figures
        if (f["method"], f["split"], f["group"], f["name"]) == ("blend_swap", "train", "", "ssim")
    }
    assert 0 < swaps["c40"]["value"] < 1
    assert swaps["c40"]["value"] != swaps["master"]["value"]
    assert '"crf":40' in swaps["c40"]["fingerprint"]["encoding"]
    assert '"crf":18' in swaps["master"]["fingerprint"]["encoding"]
    assert all("encoding" not in f["fingerprint"] for f in figures if f["method"] == "dcgan")
    assert not [f for f in figures if f["variant"] == "c40" and f["name"].startswith(("stoi", "speaker", "pitch"))]
    grouped = [f for f in figures if f["group"] and f["name"] == "ssim" and f["method"] == "blend_swap"]
    assert {f["group"].partition("=")[0] for f in grouped} == {"glasses"}
    for split in ("train", "val"):
        own = [f for f in grouped if f["split"] == split and f["variant"] == "master"]
        assert sum(f["n"] for f in own) == whole["blend_swap", "master", split, "ssim"]["n"]
    numbers = json.loads((clone.path / "data/scores/figures.json").read_text())
    assert numbers["blend_swap"]["c40"]["train"]["ssim"] == pytest.approx(swaps["c40"]["value"], abs=1e-6)
    told = clone.flows("compare", "HEAD", ".").stdout
    assert f"{len(figures) - len(whole) + sum(key[1] == 'c40' for key in whole)} figures are in . alone" in told
    assert told.startswith("0 figures changed, ")
    before = (clone.path / "data/scores/about.json").read_bytes()
    (clone.path / ".forgeline/figures.json").unlink()
    clone.flows("score")
    assert (clone.path / "data/scores/about.json").read_bytes() == before
    said = clone.flows("compare", "nonesuch", ".", fails=True)
    assert said.returncode == 2
    assert "nonesuch: its figures can't be read" in said.stderr
    Path(clone.path / "data/scores/about.json").unlink()
    assert "run `dvc repro`" in clone.flows("compare", "HEAD", ".", fails=True).stderr
