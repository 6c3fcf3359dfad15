"""Portraits by diffusion: what diffusers makes of the model here, what a condition does, and what is refused."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from forgeline.clip import Clip, Picture
from forgeline.errors import MediaError, ModelError
from generators import diffusion, training
from generators.diffusion import Diffusion
from generators.pipeline import tree_sha256
from generators.portrait import NATIVE, enlarge
from generators.privacy import Seen
from tests.people import drawn

RNG = np.random.default_rng


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A net of a tenth of the cost."""
    monkeypatch.setattr(diffusion, "CHANNELS", (8, 8, 16))


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("taught")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diffusion, "CHANNELS", (8, 8, 16))
        Diffusion(steps=2, sampler_steps=3).train(people(), RNG(0), folder)
    return folder


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conditional")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diffusion, "CHANNELS", (8, 8, 16))
        Diffusion(steps=2, sampler_steps=3, condition=("glasses",)).train(people(), RNG(0), folder)
    return folder


def people() -> list[Clip]:
    return [wearing(1, {"glasses": "round", "hair": "dark"}), wearing(2, {"glasses": "none", "hair": "fair"})]


def wearing(person: int, attributes: Mapping[str, str]) -> Clip:
    return replace(drawn(person), attributes=attributes)


def picture_of(bound: Diffusion, seed: int) -> Picture:
    return next(iter(bound((), RNG(seed)).pictures))[0]


def opened(folder: Path) -> Any:
    """By diffusers' own code."""
    import diffusers

    kinds: Any = diffusers
    return kinds.DiffusionPipeline.from_pretrained(folder / diffusion.PIPELINE)


def sampled_by_diffusers(folder: Path, **told: Any) -> tuple[Any, NDArray[np.float32]]:
    """What diffusers' own code makes of the folder, (1, 64, 64, 3) in 0 … 1, with the noise that it began with."""
    import torch

    pipe = opened(folder)
    pipe.set_progress_bar_config(disable=True)
    made = pipe(generator=torch.manual_seed(5), num_inference_steps=7, output_type="np", **told).images
    return made, torch.randn(1, 3, NATIVE, NATIVE, generator=torch.manual_seed(5)).numpy()


@pytest.mark.parametrize("sampler", ["dpm", "ddim"])
def test_diffusers_opens_the_model_and_makes_the_same_pictures(sampler: Any, taught: Path, tmp_path: Path) -> None:
    settings = Diffusion(steps=2, sampler=sampler, sampler_steps=7)
    (tmp_path / training.MODEL).write_bytes((taught / training.MODEL).read_bytes())
    diffusion._publish(settings, tmp_path)
    made, noise = sampled_by_diffusers(tmp_path)
    painter = settings.load(tmp_path)._painter
    assert painter is not None
    ours = diffusion._sampled(painter.net, diffusion._scheduler(sampler), 7, noise, np.array([0]))
    assert made.shape == (1, NATIVE, NATIVE, 3)
    assert made.std() > 1e-3
    assert np.abs(made - (ours.permute(0, 2, 3, 1).numpy() / 2 + 0.5).clip(0, 1)).max() < 1e-4


def test_the_folder_holds_no_pickle_and_no_path_and_all_may_read_it(taught: Path) -> None:
    files = sorted(path for path in (taught / diffusion.PIPELINE).rglob("*") if path.is_file())
    assert [path.relative_to(taught / diffusion.PIPELINE).as_posix() for path in files] == [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ]
    assert all(path.stat().st_mode & 0o044 == (taught / training.LOSSES).stat().st_mode & 0o044 for path in files)
    assert not any(str(taught.parent.parent) in path.read_text() for path in files if path.suffix == ".json")


def test_a_conditional_model_is_told_its_class_in_diffusers_too(conditional: Path) -> None:
    import torch

    told = (conditional / diffusion.PIPELINE / diffusion.CLASSES).read_text()
    assert json.loads(told) == [{"glasses": "none"}, {"glasses": "round"}]
    net = opened(conditional).unet
    noise = torch.zeros(1, 3, NATIVE, NATIVE)
    made = [net(noise, 500, class_labels=torch.tensor([label])).sample for label in (0, 1)]
    assert not torch.equal(made[0], made[1])


def test_it_learns_what_a_condition_looks_like(tmp_path: Path) -> None:
    """Those with round glasses are all red, those with none all blue."""
    settings = Diffusion(steps=60, batch=4, learning_rate=5e-3, condition=("glasses",))
    settings.train([all_of("round", (200, 40, 40)), all_of("none", (40, 40, 200))], RNG(0), tmp_path)
    painter = settings.load(tmp_path)._painter
    assert painter is not None
    red, blue = (replace(painter, steps=3).paint(noise_of(4), np.full(4, label)).mean((0, 1, 2)) for label in (1, 0))
    assert red[0] > red[2] + 30
    assert blue[2] > blue[0] + 30


def all_of(glasses: str, colour: tuple[int, int, int]) -> Clip:
    clip = wearing(1, {"glasses": glasses})
    painted = np.full((clip.height, clip.width, 3), colour, np.uint8)
    return replace(clip, pictures=lambda: iter([painted] * clip.frames))


def noise_of(count: int) -> NDArray[np.float32]:
    return RNG(0).standard_normal((count, 3, NATIVE, NATIVE), np.float32)


def test_the_class_is_drawn_or_fixed_and_told(conditional: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Seen, "nobody", lambda _, paint, rng: (paint(rng), {"nearest_face": 2.0}))
    drawing = Diffusion(condition=("glasses",), sampler_steps=1).load(conditional)
    told = [drawing((), RNG(seed)).drawn for seed in range(8)]
    assert {row["glasses"] for row in told} == {"none", "round"}
    assert all(row["nearest_face"] == 2.0 for row in told)
    fixed = Diffusion(condition=("glasses",), sampler_steps=1, values={"glasses": "round"}).load(conditional)
    assert {fixed((), RNG(seed)).drawn["glasses"] for seed in range(8)} == {"round"}


def test_a_copy_is_painted_anew_and_counted(taught: Path) -> None:
    bound = Diffusion(sampler_steps=1).load(taught)
    first = bound((), RNG(1)).drawn
    assert first["copies_refused"] == 0
    assert bound._painter is not None
    bound._painter = replace(bound._painter, seen=replace(bound._painter.seen, limit=9.0))
    with pytest.raises(MediaError, match="is a copy"):
        bound((), RNG(1))


def test_equal_chance_equal_picture(taught: Path) -> None:
    bound = Diffusion(sampler_steps=2).load(taught)
    again = Diffusion(sampler_steps=2).load(taught)
    assert np.array_equal(picture_of(bound, 1), picture_of(again, 1))
    assert not np.array_equal(picture_of(bound, 1), picture_of(bound, 2))
    other = Diffusion(sampler_steps=2, sampler="ddim").load(taught)
    assert not np.array_equal(picture_of(bound, 1), picture_of(other, 1))


@pytest.mark.parametrize("size", [256, 300])
def test_it_is_enlarged_as_photographs_are(size: int, taught: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = RNG(0).integers(0, 256, (NATIVE, NATIVE, 3), np.uint8)
    monkeypatch.setattr(Seen, "nobody", lambda *_: (small, {}))
    assert np.array_equal(picture_of(Diffusion(size=size).load(taught), 0), enlarge(small, size))


# ---------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("settings", "clips", "message"),
    [
        ({"batch": 64}, 2, "there are 18 faces to learn from.*smaller batch"),
        ({}, 0, "there are 0 faces"),
        ({"condition": ("beard",)}, 2, "nothing is declared of beard in person 1, person 2.*condition"),
        (
            {"condition": "glasses", "values": {"glasses": "square"}},
            2,
            "has glasses square; there were glasses none; glasses round",
        ),
        (
            {"condition": ("glasses", "hair"), "values": {"glasses": "none", "hair": "dark"}},
            2,
            "has glasses none and hair dark; there were glasses none, hair fair; glasses round, hair dark",
        ),
    ],
)
def test_a_training_that_can_not_be_is_refused(settings: dict[str, Any], clips: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        Diffusion.model_validate({"steps": 2} | settings).train(people()[:clips], RNG(0), tmp_path)
    assert not list(tmp_path.iterdir())


def test_clips_without_the_attribute_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = [*people(), drawn(3), wearing(4, {"hair": "fair"})]
    faces, told = diffusion._examples(("glasses",), clips, RNG(0))
    assert set(told) == {("round",), ("none",)}
    assert len(faces) == len(told) == 18
    assert "2 clips without glasses are left out" in capsys.readouterr().err


def test_too_many_classes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffusion, "MOST_CLASSES", 1)
    with pytest.raises(ModelError, match="2 combinations of glasses"):
        Diffusion(condition=("glasses",)).train(people(), RNG(0), tmp_path)
    assert not list(tmp_path.iterdir())


def test_models_of_other_nets_are_refused(
    taught: Path, conditional: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="train it"):
        Diffusion()((), RNG(0))
    with pytest.raises(ModelError, match="run the train stage"):
        Diffusion().load(tmp_path)
    with pytest.raises(ModelError, match="is not a model of this generator"):
        Diffusion(condition=("glasses",)).load(taught)
    with pytest.raises(ModelError, match="is not a model of this generator"):
        Diffusion().load(conditional)
    with pytest.raises(ModelError, match="glasses square; there were"):
        Diffusion(condition=("glasses",), values={"glasses": "square"}).load(conditional)
    monkeypatch.setattr(diffusion, "CHANNELS", (8, 16, 16))
    with pytest.raises(ModelError, match="is not a model of this generator"):
        Diffusion().load(taught)


def test_a_training_that_diverges_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffusion, "LIMIT", float("nan"))
    with pytest.raises(ModelError, match=r"no longer a number at step 1;.*learning_rate"):
        Diffusion(steps=1).train(people(), RNG(0), tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"condition": ["glasses", "glasses"]}, "twice"),
        ({"values": {"glasses": "round"}}, "is not in condition"),
        ({"prompt": "a face"}, "needs a pipeline"),
        ({"safety_checker": None}, "safety checker stays on"),
    ],
)
def test_settings_that_contradict_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Diffusion.model_validate(settings)


# ---------------------------------------------------------------------------------------------- teams' pipelines


def given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("FORGELINE_WEIGHTS", str(folder.parent))
    return {"folder": folder.name, "sha256": tree_sha256(folder), "licence": "of the tests"}


def test_a_teams_pipeline_paints_instead(taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"pipeline": given(taught / diffusion.PIPELINE, monkeypatch), "sampler_steps": 3}
    section = Diffusion.model_validate(settings)
    section.train(iter(()), RNG(0), tmp_path)
    assert not list(tmp_path.iterdir())
    bound = section.load(tmp_path)
    made = bound((), RNG(1))
    assert made.drawn == {"pipeline": "pipeline", "copies": "not looked for"}
    shown = picture_of(bound, 1)
    assert shown.shape == (256, 256, 3)
    assert np.array_equal(shown, picture_of(bound, 1))
    assert not np.array_equal(shown, picture_of(bound, 2))
    with pytest.raises(ModelError, match="reads no prompt"):
        Diffusion.model_validate(settings | {"prompt": "a face"}).load(tmp_path)


def test_a_teams_larger_pictures_are_cut_and_scaled_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import diffusers

    kinds: Any = diffusers

    def folder(side: int) -> Path:
        blocks = {"down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"], "block_out_channels": [8]}
        net = kinds.UNet2DModel(sample_size=side, layers_per_block=1, norm_num_groups=4, add_attention=False, **blocks)
        kinds.DDPMPipeline(unet=net, scheduler=kinds.DDPMScheduler()).save_pretrained(tmp_path / f"team{side}")
        return tmp_path / f"team{side}"

    large = Diffusion.model_validate({"pipeline": given(folder(96), monkeypatch), "sampler_steps": 1}).load(tmp_path)
    asked: list[Picture] = []

    def noted(small: Picture, size: int) -> Picture:
        asked.append(small)
        return enlarge(small, size)

    monkeypatch.setattr("generators.portrait.enlarge", noted)
    assert picture_of(large, 0).shape == (256, 256, 3)
    assert large.pipeline is not None
    assert asked[0].shape == (NATIVE, NATIVE, 3)
    whole = diffusion._told(large.pipeline, large)[0](int(RNG(0).integers(2**63)), num_inference_steps=1)
    assert whole is not None
    assert whole.shape == (96, 96, 3)
    assert np.array_equal(asked[0], cv2.resize(whole, (NATIVE, NATIVE), interpolation=cv2.INTER_AREA))
    small = Diffusion.model_validate({"pipeline": given(folder(32), monkeypatch), "sampler_steps": 1}).load(tmp_path)
    with pytest.raises(ModelError, match="paints 32 x 32 pixels"):
        small((), RNG(0))
