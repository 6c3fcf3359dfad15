"""Pipelines that a team brings: what is opened, what is refused in which words, and that nothing asks the network."""

import json
import os
import runpy
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from forgeline.errors import ModelError, WeightsError
from generators.inpaint import Inpaint
from generators.pipeline import GivenPipeline, Pipeline, open_pipeline, tree_sha256
from tests import tiny_pipeline
from tests.tiny_pipeline import CLASSES, SIDE, Checker, Kind, params_of, put

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole pipeline, to be spoilt."""
    monkeypatch.setenv("FORGELINE_WEIGHTS", str(tmp_path))
    put(tmp_path / "tiny")
    return tmp_path / "tiny"


def opened(folder: Path) -> Pipeline:
    return open_pipeline(GivenPipeline.model_validate(params_of(folder)))


def told(pipeline: Pipeline) -> dict[str, Any]:
    from PIL import Image

    given = {"image": Image.new("RGB", (SIDE, SIDE), (200, 120, 90)), "mask_image": Image.new("L", (SIDE, SIDE), 255)}
    return {"prompt": "a beard", "num_inference_steps": 2} | {n: v for n, v in given.items() if n in pipeline.takes}


@pytest.mark.parametrize("kind", list(CLASSES))
def test_every_kind_paints_the_same_from_the_same_seed(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGELINE_WEIGHTS", str(tmp_path))
    put(tmp_path / kind, kind)
    pipeline = opened(tmp_path / kind)
    assert (pipeline.kind, pipeline.side) == (CLASSES[kind], SIDE)
    assert ("mask_image" in pipeline.takes) == (kind == "inpaint")
    pictures = [pipeline(seed, **told(pipeline)) for seed in (1, 1, 2)]
    assert all(picture is not None and picture.shape == (SIDE, SIDE, 3) and picture.dtype == np.uint8 for picture in pictures)
    assert np.array_equal(pictures[0], pictures[1])  # type: ignore[arg-type]
    assert not np.array_equal(pictures[0], pictures[2])  # type: ignore[arg-type]


def test_an_opened_pipeline_stays_open(folder: Path) -> None:
    assert opened(folder) is opened(folder)


def test_what_the_safety_checker_flags_is_no_picture(folder: Path) -> None:
    put(folder, checker="flags")
    pipeline = opened(folder)
    assert pipeline(1, **told(pipeline)) is None


def test_what_cannot_be_painted_is_said_in_words(folder: Path) -> None:
    pipeline = opened(folder)
    with pytest.raises(ModelError, match=r"tiny: can't paint .*change the settings"):
        pipeline(1, **(told(pipeline) | {"strength": 7.0}))


# ------------------------------------------------------------------------------------------------ never online


def test_nothing_asks_the_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("the network was asked")

    (folder / "README.md").write_text("---\nbase_model: somebody/something\n---\n")
    monkeypatch.setattr(socket.socket, "connect", asked)
    monkeypatch.setattr(socket, "getaddrinfo", asked)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert opened(folder).kind == CLASSES["inpaint"]
    assert os.environ["HF_HUB_OFFLINE"] == "1", "whatever is started from here has to stay offline, too"


def test_an_import_loads_no_library() -> None:
    code = "import sys, generators.inpaint; print(*{'torch', 'diffusers', 'transformers'} & set(sys.modules))"
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout == "\n"


# ---------------------------------------------------------------------------------------------------- the hash


def test_the_hash_is_that_of_sha256sum_over_the_sorted_files(folder: Path) -> None:
    (folder / ".cache").mkdir()
    (folder / ".cache" / "notes").write_text("when it was downloaded")
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs")
    (folder / "unet" / "a note.txt").write_text("with a space in its name")
    command = r"find . -type f -not -path '*/.*' -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    said = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert tree_sha256(folder) == said.split()[0]


@pytest.mark.parametrize("change", ["another byte", "another name", "another file"])
def test_a_folder_with_anything_else_in_it_is_another_one(folder: Path, change: str) -> None:
    given = GivenPipeline.model_validate(params_of(folder))
    path = folder / "scheduler" / "scheduler_config.json"
    if change == "another byte":
        path.write_text(path.read_text() + "\n")
    elif change == "another name":
        path.rename(path.with_name("config.json"))
    else:
        path.with_name("more.txt").write_text("")
    with pytest.raises(WeightsError, match=r"tiny: has SHA-256 .*…, not .*…; copy it again"):
        open_pipeline(given)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
def test_the_command_tells_what_params_say(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pipeline", str(folder)])
    runpy.run_module("generators.pipeline", run_name="__main__")
    said = yaml.safe_load(capsys.readouterr().out)["pipeline"]
    assert GivenPipeline.model_validate(said).sha256 == tree_sha256(folder)
    assert said["folder"] == "tiny"
    (folder / "unet" / "more.ckpt").touch()
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("generators.pipeline", run_name="__main__")
    assert ended.value.code == 2
    assert "is a pickle" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------- what is refused


def _index(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "model_index.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def _with(name: str, text: str = "") -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def _linked(folder: Path) -> None:
    shutil.move(folder / "vae", folder.parent / "blobs")
    (folder / "vae").symlink_to("../blobs")


def _emptier(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / WEIGHTS)
    del tensors["conv_in.weight"]
    save_file(tensors, folder / WEIGHTS)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pickle": (_with("unet/diffusion_pytorch_model.bin"), r"model\.bin: is a pickle, which can run code"),
    "another pickle": (_with("v1-5.ckpt"), r"v1-5\.ckpt: is a pickle"),
    "code": (_with("pipeline.py"), r"pipeline\.py: is code, which is never run"),
    "code by name": (
        _with("text_encoder/config.json", '{"auto_map": {"AutoModel": "mine.Mine"}}'), "asks for code of its own",
    ),
    "a link": (_linked, r"vae: is a link, .*cp -rL"),
    "no index": (_without("model_index.json"), r"is no pipeline of diffusers: it has no model_index\.json"),
    "a broken index": (_with("model_index.json", "{"), r"model_index\.json: is no JSON"),
    "a class of its own": (_index(_class_name=["pipeline", "Mine"]), r"names \['pipeline', 'Mine'\], which is no pipeline of"),
    "no pipeline": (_index(_class_name="UNet2DConditionModel"), "which is no pipeline of diffusers"),
    "a part of another library": (_index(unet=["os", "system"]), r"takes its unet from \['os', 'system'\]"),
    "a part that is no class": (_index(unet=["diffusers", "logging"]), "takes its unet from"),
    "no part": (_without("vae"), r"tiny: has no vae/, which its model_index\.json names"),
    "no weights": (_without(WEIGHTS), r"unet: has no diffusion_pytorch_model\.safetensors; copy"),
    "weights of another name": (
        lambda folder: (folder / WEIGHTS).rename(folder / "unet/diffusion_pytorch_model.fp16.safetensors"),
        r"has no diffusion_pytorch_model\.safetensors \(there is diffusion_pytorch_model\.fp16\.safetensors\)",
    ),
    "too few weights": (_emptier, r"unet: holds \d+ of the \d+ tensors of its net"),
    "no safety checker": (_index(safety_checker=[None, None]), "is without the safety checker that it was published with"),
    "a blind safety checker": (_index(feature_extractor=[None, None]), "its safety checker sees nothing"),
}  # fmt: skip


@pytest.mark.parametrize("fault", list(REFUSED))
def test_a_folder_is_refused_with_a_reason(folder: Path, fault: str) -> None:
    spoil, words = REFUSED[fault]
    spoil(folder)
    with pytest.raises(WeightsError, match=words):
        opened(folder)


def test_what_the_libraries_cannot_open_is_said_in_words(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"\xff" * 100)
    with pytest.raises(ModelError, match="tiny: can't be opened"):
        opened(folder)


def test_one_published_without_a_safety_checker_is_taken(folder: Path) -> None:
    put(folder.with_name("free"), checker="none")
    pipeline = opened(folder.with_name("free"))
    assert pipeline(1, **told(pipeline)) is not None


@pytest.mark.parametrize("place", ["", "elsewhere"])
def test_a_folder_that_is_not_there_is_missed(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGELINE_WEIGHTS", place and str(tmp_path))
    given = GivenPipeline(folder="mine", sha256="0" * 64, licence="any")
    with pytest.raises(WeightsError, match="mine: is not on this machine; set FORGELINE_WEIGHTS"):
        open_pipeline(given)


@pytest.mark.parametrize(
    ("switch", "words"),
    [
        ({"safety_checker": False}, "safety_checker is no setting: a pipeline's safety checker stays on"),
        ({"safety_checker": None}, "stays on"),
        ({"requires_safety_checker": False}, "stays on"),
        ({"trust_remote_code": True}, "code that comes with a pipeline is never run"),
    ],
)
@pytest.mark.parametrize("where", ["generator", "pipeline"])
def test_safeguards_have_no_switch(switch: dict[str, Any], words: str, where: str) -> None:
    pipeline = {"folder": "mine", "sha256": "0" * 64, "licence": "any"}
    edits = [{"name": "old", "prompt": "old", "region": "face"}]
    section = {"pipeline": pipeline | switch, "edits": edits} if where == "pipeline" else {
        "pipeline": pipeline, "edits": edits, **switch,
    }  # fmt: skip
    with pytest.raises(ValidationError, match=words):
        Inpaint.model_validate(section)


def test_tiny_pipelines_are_the_same_in_every_run(tmp_path: Path) -> None:
    """Or their hash, which goes into settings, would differ from process to process."""
    kind: Kind = "inpaint"
    checker: Checker = "passes"
    first = put(tmp_path / "one", kind, checker)
    tiny_pipeline._files.cache_clear()
    assert put(tmp_path / "one", kind, checker) == first
