"""A generator that learns nothing has a model that says so, and nothing of what it was before."""

import json
from pathlib import Path

import pytest

from flows import workspace
from flows.generate import _whole
from flows.untaught import settled
from forgeline.errors import FactoryError
from forgeline.files import sha256_of


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (workspace.PLAN / "train").mkdir(parents=True)


def planned(text: str) -> Path:
    workspace.train_file("control").write_text(text)
    return workspace.MODELS / "control"


def test_the_model_says_that_nothing_was_learned_and_is_left_alone_then() -> None:
    folder = planned('{"learner":null}\n')
    assert settled("control")
    assert json.loads((folder / workspace.MODEL).read_text())["files"] == {}
    before = (folder / workspace.MODEL).stat().st_mtime_ns
    assert settled("control")
    assert (folder / workspace.MODEL).stat().st_mtime_ns == before


def test_what_it_learned_before_is_gone() -> None:
    folder = planned('{"learner":null}\n')
    (folder / "deep").mkdir(parents=True)
    (folder / workspace.MODEL).write_text('{"files":{"deep/model.safetensors":"0"},"key":"1"}\n')
    (folder / "deep/model.safetensors").touch()
    assert settled("control")
    assert [path.name for path in folder.rglob("*")] == [workspace.MODEL]


def test_who_learns_is_left_to_its_training() -> None:
    folder = planned('{"learner":"generators.dcgan"}\n{"sample_id":"1"}\n')
    assert not settled("control")
    assert not folder.exists()


@pytest.mark.parametrize("text", ["", "{", "{}", "[]"])
def test_a_plan_that_can_not_be_read_is_said(text: str) -> None:
    planned(text)
    with pytest.raises(FactoryError, match=r"can't be read .* run `dvc repro`, which plans first"):
        settled("control")


def test_a_model_is_whole_as_long_as_its_files_are(tmp_path: Path) -> None:
    """Else a damaged one would be called up to date, and DVC would take it for what was learned."""
    done, net = tmp_path / workspace.MODEL, tmp_path / "net.bin"
    assert not _whole(done, "key")
    net.write_bytes(b"net")
    done.write_text(json.dumps({"key": "key", "files": {"net.bin": sha256_of(net)}}))
    assert _whole(done, "key") == {net: sha256_of(net)}
    assert not _whole(done, "another")
    net.write_bytes(b"damaged")
    assert not _whole(done, "key")
    net.unlink()
    assert not _whole(done, "key")
