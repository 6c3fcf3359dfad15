"""A team outside the checkout pulls a version with `dvc get` and reads it with what it has: every line of docs/using.md."""

import hashlib
import io
import re
import subprocess
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
from datasets import Dataset, Video, load_dataset
from numpy.typing import NDArray

from tests.conftest import ROOT, Checkout, copied, user_env

VERSION = "v2026.11.20-0123abcd"


def blocks(language: str) -> str:
    """All code of one language in docs/using.md, in order."""
    text = (ROOT / "docs/using.md").read_text(encoding="utf-8")
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def published(tiny: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout with a tagged version; `origin.git` and the DVC remote `store` beside it have it, too."""
    home = tmp_path_factory.mktemp("published")
    checkout = copied(tiny, home / "checkout")
    checkout.run("dvc", "remote", "add", "--default", "store", str(home / "store"))
    checkout.commit("Build the dataset")
    checkout.run("git", "tag", VERSION)
    checkout.flows("push")
    checkout.run("git", "clone", "--quiet", "--bare", str(checkout.path), str(home / "origin.git"))
    return checkout


@pytest.fixture
def consumer(tmp_path: Path) -> Checkout:
    """An empty folder outside any repository, and the environment of someone who has never been here."""
    (tmp_path / "work").mkdir()
    return Checkout(tmp_path / "work", user_env(tmp_path))


def get(consumer: Checkout, repo: Path, what: str, *options: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
    return consumer.run("dvc", "get", str(repo), what, "--rev", VERSION, *options, fails=fails)


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def pictures(file: dict[str, bytes], pixels: str) -> NDArray[np.uint8]:
    with av.open(io.BytesIO(file["bytes"])) as video:
        return np.stack([frame.to_ndarray(format=pixels) for frame in video.decode(video=0)])


def raw(dataset: Dataset) -> Dataset:
    return dataset.cast_column("media", Video(decode=False)).cast_column("mask", Video(decode=False))


@pytest.mark.parametrize("place", ["checkout", "origin.git"])
def test_every_line_of_the_document(published: Checkout, consumer: Checkout, place: str) -> None:
    """From a checkout and from a bare repository; offline, in processes of their own."""
    repo = published.path.parent / place
    script, replaced = re.subn(r"^repo=\S+", f"repo={repo}", blocks("sh"), flags=re.MULTILINE)
    assert replaced == 1
    assert VERSION in script
    listed = consumer.run("bash", "-euc", script).stdout
    assert "video/control-val-0000-000.parquet" in listed
    assert tree(consumer.path / "forgeline-demo") == tree(published.path / "data/release")
    assert tree(consumer.path / "val") == tree(published.path / "data/release/val")
    if place == "checkout":  # the files are the same, and torch takes long to load
        (consumer.path / "using.py").write_text(blocks("python"))
        said = consumer.run("python", "using.py").stdout
        assert re.search(r"^real control \(16, 128, 128, 3\) 0.0% changed \[\]$", said, re.MULTILINE)
        assert "(256, 256) " in said
        assert re.search(r"^fake blend_swap .* [1-9][0-9.]*% changed \[{'start_s': 0.0,", said, re.MULTILINE)
        batches = re.findall(r"^torch.Size\(\[4, 8, 3, 224, 224\]\) tensor\(\[(.*)\]\)$", said, re.MULTILINE)
        fakes = [word.strip() for batch in batches for word in batch.split(",")]
        # Of two people a control and a swap each, and the same as c40.
        assert fakes.count("True") == fakes.count("False") == 4


def test_a_remote_at_another_address(published: Checkout, consumer: Checkout, tmp_path: Path) -> None:
    """A repository whose remote is only right from where it was built; and a download that breaks off."""
    home = published.path.parent
    bare = tmp_path / "moved.git"
    other = copied(published, tmp_path / "moved", data=())
    other.run("dvc", "remote", "modify", "store", "url", "/nowhere/store")
    other.commit("Move the store")
    other.run("git", "tag", "--force", VERSION)
    other.run("git", "clone", "--quiet", "--bare", str(other.path), str(bare))
    assert "/nowhere/store" in get(consumer, bare, "data/release/val", fails=True).stderr
    broken = tmp_path / "broken"
    consumer.run("cp", "-r", str(home / "store"), str(broken))
    shard = (published.path / "data/release/val/video/control-val-0000-000.parquet").read_bytes()
    name = hashlib.md5(shard, usedforsecurity=False).hexdigest()
    (broken / "files/md5" / name[:2] / name[2:]).unlink()
    get(consumer, bare, "data/release/val", "--remote-config", f"url={broken}", fails=True)
    left = consumer.path / "val"
    assert left.exists()  # what the document warns of
    assert (
        "already exists"
        in get(consumer, bare, "data/release/val", "--remote-config", f"url={home / 'store'}", fails=True).stderr
    )
    consumer.run("rm", "-r", "val")
    get(consumer, bare, "data/release/val", "--remote-config", f"url={home / 'store'}")
    assert tree(left) == tree(published.path / "data/release/val")


def test_the_card_and_the_plain_files_give_the_same_rows(tiny: Checkout, tmp_path: Path) -> None:
    release = tiny.path / "data/release"
    rows: Counter[str] = Counter()
    for config in ("video", "image", "null_twin_video"):
        by_card = load_dataset(str(release), config, cache_dir=str(tmp_path))
        assert set(by_card) == {"train", "val"}
        for split, part in by_card.items():
            files = {split: str(release / split / config / "*.parquet")}
            plain = load_dataset("parquet", data_files=files, split=split, cache_dir=str(tmp_path))
            assert plain.features == part.features
            assert plain["sample_id"] == part["sample_id"]
            assert set(part["split"]) == {split}
            rows.update(part["sample_id"])
    assert set(rows.values()) == {1}
    card = (release / "README.md").read_text()
    assert f"\n{len(rows)} samples" in card


def test_labels_pairs_and_masks_are_aligned(tiny: Checkout, tmp_path: Path) -> None:
    release = str(tiny.path / "data/release")
    people: dict[str, set[str]] = {}
    for split in ("train", "val"):
        both = [load_dataset(release, config, split=split, cache_dir=str(tmp_path)) for config in ("video", "null_twin_video")]
        rows = {row["sample_id"]: row for part in both for row in raw(part)}
        people[split] = {row[name] for row in rows.values() for name in ("target_id", "source_id") if row[name]}
        for row in rows.values():
            assert row["sha256"] == hashlib.sha256(row["media"]["bytes"]).hexdigest()
            control = rows[row["pair_id"]]
            assert (control["role"], control["label"], control["target_id"]) == ("control", "real", row["target_id"])
            shown, mask = pictures(row["media"], "rgb24"), pictures(row["mask"], "gray") > 0
            assert shown.shape == (row["frames"], row["height"], row["width"], 3)
            assert mask.shape == shown.shape[:3]
            assert mask.any() == (row["role"] != "control")
            assert bool(row["segments"]) == (row["label"] == "fake" or row["role"] == "null_twin")
            assert (row["label"] == "fake") == (row["method"] == "blend_swap") == (row["video_label"] == "fake")
            if row["label"] == "fake":
                gap = np.abs(shown.astype(int) - pictures(control["media"], "rgb24")).mean(axis=-1)
                assert gap[mask].mean() > (3 if row["variant"] == "master" else 2) * gap[~mask].mean()
    assert not people["train"] & people["val"]


def test_images_come_as_pictures(tiny: Checkout, tmp_path: Path) -> None:
    images = load_dataset(str(tiny.path / "data/release"), "image", split="val", cache_dir=str(tmp_path))
    assert set(images["label"]) == {"real", "fake"}
    for row in images:
        assert row["media"].size == (row["width"], row["height"]) == (256, 256)
        assert row["media"].mode == "RGB"
        assert row["pair_id"] in images["sample_id"]
