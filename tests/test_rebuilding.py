"""Rebuilds: only what changed is made again, and the result is a clean build's, byte for byte."""

import json
import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml

from forgeline.manifest import read_manifest
from forgeline.video import Encoding, VideoWriter, open_video
from tests.conftest import ROOT, Checkout, copied, new_checkout


def clean_build(checkout: Checkout, path: Path) -> Checkout:
    """The same commit built from nothing but the demo's footage (checked by its stage, which no case here changes)."""
    clean = copied(checkout, path, data=("data/raw/demo",))
    clean.repro()
    return clean


def edit(checkout: Checkout, file: str, old: str, new: str) -> None:
    path = checkout.path / file
    text = path.read_text()
    assert text.count(old) == 1, f"{file} holds {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new))
    checkout.commit(f"Change {file}")


def made(checkout: Checkout) -> dict[str, bytes]:
    """Every made file by its path."""
    folder = checkout.path / "data/made"
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*.mp4"))}


def test_second_repro_does_nothing(tiny: Checkout) -> None:
    assert "Data and pipelines are up to date." in tiny.repro().stdout


def test_what_changed_is_made_again_and_nothing_is_left_behind(clone: Checkout, tmp_path: Path) -> None:
    """One line of a generator, one of the seal, a generator removed, and added again; each step on what the last one left."""
    before = made(clone)
    file = clone.path / "generators/blend_swap.py"
    file.write_text(file.read_text() + "\n# a new line\n")
    clone.commit("Change a line")
    said = clone.repro().stdout
    assert "generate blend_swap" in said
    assert "generate control" not in said
    assert made(clone) == before  # a comment makes nothing else of it

    edit(clone, "watermark/tile.py", "_TILT = 0.25", "_TILT = 0.3")
    clone.repro()
    after = made(clone)
    assert set(after) == set(before)
    assert all(after[name] != before[name] for name in before if not name.endswith(".mask.mp4"))
    with_swap = clone.lock()

    params = clone.params()
    kept = params["generators"].pop("blend_swap")
    clone.set_params(params)
    clone.commit("Remove blend_swap")
    clone.repro()
    assert not (clone.path / "data/made/blend_swap").exists()
    assert clone.lock() == clean_build(clone, tmp_path / "clean").lock()

    params["generators"]["blend_swap"] = kept
    clone.set_params(params)
    clone.repro()
    assert made(clone) == after
    assert clone.lock() == with_swap


@pytest.fixture
def with_folder(clone: Checkout) -> Checkout:
    """The clone with the demo's people as a `folder` corpus, marked with a key of its own."""
    key = clone.path.parent / "key"
    said = clone.flows("key", "new", str(key)).stdout
    clone.env["FORGELINE_KEY_FILE"] = str(key)
    people = sorted(p.name for p in (clone.path / "data/raw/demo").iterdir() if p.is_dir())
    corpus = clone.path.parent / "corpus"
    shutil.copytree(clone.path / "data/raw/demo", corpus, ignore=shutil.ignore_patterns("*.json", "*.key", ".*"))
    (clone.path / "data/raw/people").symlink_to(corpus)
    params = clone.params()
    consent = {"basis": "release form", "scope": ["face", "voice"]}
    params["sources"] = {
        "people": {
            "kind": "folder",
            "terms": {
                "agreement": "release form 1",
                "licence": "research only",
                "accepted_by": "the tests",
                "accepted_on": "2026-01-01",
                "permitted_use": ["research", "detection"],
                "generate": True,
                "consent": "release forms",
                "people": dict.fromkeys(people, consent),
            },
        }
    }
    params["seal"]["key"] = said.split()[1]
    params["release"]["accepted"] = {"shortcuts": "the tests: four people decide nothing"}
    # After four steps a net paints the mean of three people, which counts as a copy of one of them: rows with a reason.
    params["generate"]["max_dropped"] = 1.0
    clone.set_params(params)
    clone.flows("scan")
    clone.commit("Take in people")
    clone.repro()
    return clone


def mirror(path: Path) -> None:
    """Turn a clip left for right."""
    clip, part = open_video(path), path.with_suffix(".new.mp4")
    with VideoWriter(part, clip.width, clip.height, clip.fps, Encoding(), clip.sound()) as out:
        for picture in clip.pictures():
            out.write(np.ascontiguousarray(picture[:, ::-1]))
    part.replace(path)


def test_one_clip_changed(with_folder: Checkout, tmp_path: Path) -> None:
    rows = read_manifest(with_folder.path / "data/real/people/manifest.parquet")
    (changed,) = [s.sample_id for s in rows if s.media.endswith("p00/c0.mp4")]
    before = made(with_folder)
    mirror(with_folder.path.parent / "corpus/p00/c0.mp4")
    with_folder.flows("scan")
    with_folder.commit("Exchange a clip")
    assert "ingest people: 3 of 4 are up to date" in with_folder.repro().stdout
    clean = copied(with_folder, tmp_path / "clean", data=("data/raw/people",))
    clean.env["FORGELINE_KEY_FILE"] = with_folder.env["FORGELINE_KEY_FILE"]
    clean.repro()
    assert with_folder.lock() == clean.lock()
    manifests = (with_folder.path / "data/made").glob("*/manifest.parquet")
    named = {f"{s.method}/{s.sample_id}.mp4" for m in manifests for s in read_manifest(m) if changed in s.parents}
    after = made(with_folder)
    different = {name for name in after if after[name] != before.get(name) and not name.endswith(".mask.mp4")}
    assert set(after) == set(before)
    assert different == {name for name in named if name in after}


def kill_at_random(victim: Checkout, kills: int, longest_s: float) -> None:
    """`dvc repro`, killed with SIGKILL at a random moment: dvc alone and its whole process group by turns."""
    chance = random.Random(os.environ.get("FORGELINE_TEST_SEED", "1"))
    for kill in range(kills):
        run = subprocess.Popen(
            ["dvc", "repro"],
            cwd=victim.path,
            env=victim.env | {"SHELL": ("/bin/bash", "/bin/sh")[kill // 2 % 2]},  # bash becomes its command, dash waits for it
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            run.wait(chance.uniform(1, longest_s))
        except subprocess.TimeoutExpired:
            family = psutil.Process(run.pid).children(recursive=True)
            if kill % 2:
                os.killpg(run.pid, signal.SIGKILL)
            else:
                run.kill()
            run.wait()
            _, alive = psutil.wait_procs(family, timeout=2)  # less than a stage takes to end by itself
            working = [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
            assert not working, f"outlived dvc: {working}"
        else:
            assert run.returncode == 0, "dvc repro ended by itself, and failed"
        for own in (victim.path / "dvc.lock", victim.path / ".dvc/tmp/rwlock"):
            if torn(own):
                own.unlink()  # what docs/running.md says to do


def torn(file: Path) -> bool:
    """Whether DVC, which writes files of its own in place, was killed in the middle of writing this one."""
    try:
        told = yaml.safe_load(file.read_text()) if file.exists() else {"stages": {}}
    except yaml.YAMLError:
        return True
    return not isinstance(told, dict) or (file.name == "dvc.lock" and "stages" not in told)


def no_halves(checkout: Checkout) -> bool:
    return not [p for p in (checkout.path / "data").rglob("*") if ".part" in p.name]


def test_another_clone_with_one_worker_killed_at_any_moment_makes_the_same(tiny: Checkout, tmp_path: Path) -> None:
    victim = copied(tiny, tmp_path / "victim", data=())
    victim.env["FORGELINE_WORKERS"] = "1"
    kill_at_random(victim, 6, 12)
    victim.repro()
    assert victim.lock() == tiny.lock()
    assert no_halves(victim)


def test_what_a_kill_left_unfinished_is_no_part_of_a_model(clone: Checkout) -> None:
    folder = clone.path / "data/models/dcgan"
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    (folder / ".begun").write_text(json.loads(before["model.json"])["key"])
    (folder / "model.json").rename(folder / ".part-1-model.json")
    clone.flows("train", "dcgan")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_who_learns_the_same_has_the_same_model(clone: Checkout) -> None:
    """A chain with a step that has learned already copies its model; one that learns otherwise, or finds it torn, does not."""
    params = clone.params()
    params["generators"] |= {"painted": {"steps": ["dcgan", "attributes"]}}
    clone.set_params(params)
    clone.flows("plan")
    models = clone.path / "data/models"
    assert "train painted: has the model of dcgan" in clone.flows("train", "painted").stdout
    whole = {p.name: p.read_bytes() for p in (models / "dcgan").iterdir()}
    assert {p.name: p.read_bytes() for p in (models / "painted").iterdir()} == whole
    shutil.rmtree(models / "painted")
    (models / "dcgan/losses.csv").write_text("torn")
    assert "has the model" not in clone.flows("train", "painted").stdout
    assert {p.name: p.read_bytes() for p in (models / "painted").iterdir()} == whole, "another model from the same lessons"
    params["generators"]["dcgan"]["batch"] = 8
    clone.set_params(params)
    clone.flows("plan")
    assert "has the model" not in clone.flows("train", "dcgan").stdout


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The default demo, built with two workers."""
    checkout = new_checkout(tmp_path_factory.mktemp("demo") / "checkout")
    shutil.copy2(ROOT / "params.yaml", checkout.path)
    checkout.commit("Take the default params")
    checkout.repro(FORGELINE_WORKERS="2")
    return checkout


@pytest.mark.proof
def test_the_demo_in_another_clone_with_another_worker_count(demo: Checkout, tmp_path: Path) -> None:
    other = copied(demo, tmp_path / "other", data=())
    other.run("dvc", "repro", "--force", FORGELINE_WORKERS="3")
    assert (other.path / "dvc.lock").read_bytes() == (demo.path / "dvc.lock").read_bytes()


@pytest.mark.proof
def test_the_demo_killed_ten_times(demo: Checkout, tmp_path: Path) -> None:
    victim = copied(demo, tmp_path / "victim", data=())
    kill_at_random(victim, 10, 60)
    victim.repro()
    assert victim.lock() == demo.lock()
    assert no_halves(victim)
