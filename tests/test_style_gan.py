"""StyleGAN2: its layers against the paper's formulas, published weights used as they are, and what is trained here."""

import hashlib
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy.signal import convolve2d, correlate2d, upfirdn

from forgeline.errors import ModelError, WeightsError
from forgeline.weights import Given
from generators import style_gan, training
from generators.adversary import MOST, Altered, follow, steepness
from generators.plugin import Trained
from generators.portrait import NATIVE, enlarge
from generators.published import convert
from generators.style_gan import StyleGAN
from generators.style_net import (
    SMALL,
    Critic,
    Size,
    StyleNet,
    binomial,
    demodulation,
    doubled,
    modulated,
    modulated_up,
)
from tests.test_dcgan import clip_of, clips, files

RNG = np.random.default_rng
TINY = Size(latent=5, style=6, depth=2, channels=(4, 3, 2))
FAST = StyleGAN(steps=2, batch=4)
Floats = NDArray[np.floating[Any]]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def at_work(net: torch.nn.Module) -> Any:
    """The net with weights, biases, noise and mean style that are all at work, as trained ones are."""
    with torch.no_grad():
        for number, weight in enumerate(net.state_dict().values()):
            if weight.shape != (4, 4):
                weight.add_(0.3 * drawn(*weight.shape, seed=number))
    return net.eval()


def shapes(net: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in net.state_dict().items()}


# ---------------------------------------------------------------------------------------------- the layers


def test_published_nets_fit_by_name_and_shape() -> None:
    size = Size(latent=512, style=512, depth=8, channels=(512, 512, 512, 512, 512, 256, 128, 64, 32))
    net = StyleNet(size)
    listed = sorted(f"{name} {shape}" for name, shape in shapes(net).items())
    assert len(listed) == 182
    assert "synthesis.b4.conv1.affine.weight (512, 512)" in listed
    # Of the authors' own code (stylegan2-ada-pytorch, 06bbc39), built for ffhq at 1024 pixels and listed likewise. With
    # equal weights, noise and latents both nets' pictures agreed to 5e-6.
    told = hashlib.sha256("\n".join(listed).encode()).hexdigest()
    assert told == "f6d98392f2c7e3358f060c8426bd7717882fba06846a6f29e796f122741242c0"
    assert Size.of(shapes(net)) == size
    assert size.side == 1024
    assert SMALL.side == NATIVE


def kernels(weight: Floats, style: Floats, demodulate: bool) -> Floats:
    """Equations 1 and 3 as they stand: one set of weights (out, in, k, k) for one picture."""
    own = weight * style[None, :, None, None]
    if demodulate:
        for out in own:
            out /= np.sqrt((out**2).sum() + 1e-8)
    return own


def plain(picture: Floats, weight: Floats, up: bool) -> Floats:
    """One picture convolved with its own weights, by a plain loop over channels."""
    blur = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
    out = []
    for row in weight:
        if up:
            total = 0
            for channel, kernel in zip(picture, row, strict=True):
                zeros = np.zeros((2 * channel.shape[0] - 1, 2 * channel.shape[1] - 1))
                zeros[::2, ::2] = channel
                total = total + convolve2d(zeros, kernel)  # (2h+1, 2w+1)
            out.append(4 * convolve2d(total, blur)[2:-2, 2:-2])
        else:
            out.append(sum(correlate2d(c, k, "same") for c, k in zip(picture, row, strict=True)))
    return np.stack(out)


@pytest.mark.parametrize("up", [False, True])
def test_modulation_is_that_of_each_pictures_own_weights(up: bool) -> None:
    x, weight, style = drawn(2, 3, 5, 5), drawn(4, 3, 3, 3, seed=1), drawn(2, 3, seed=2)
    convolved = modulated_up(x, weight, style, binomial()) if up else modulated(x, weight, style)
    made = convolved * demodulation(weight, style)[..., None, None]
    for picture, own, each in zip(x.double().numpy(), style.double().numpy(), made.numpy(), strict=True):
        wanted = plain(picture, kernels(weight.double().numpy(), own, True), up)
        assert wanted.shape == each.shape
        np.testing.assert_allclose(each, wanted, atol=1e-5)


def test_doubling_is_that_of_a_filter_bank() -> None:
    picture = drawn(2, 3, 4, 6)
    wanted = picture.double().numpy()
    for axis in (2, 3):
        wanted = 2 * upfirdn(np.array([1, 3, 3, 1]) / 8, wanted, up=2, axis=axis)
        wanted = np.take(wanted, range(1, wanted.shape[axis] - 1), axis)
    np.testing.assert_allclose(doubled(picture, binomial()).numpy(), wanted, atol=1e-6)


def bent(x: Floats) -> Floats:
    return np.asarray(np.where(x > 0, x, 0.2 * x) * np.sqrt(2))


def by_formulas(net: StyleNet, latent: Floats, noises: list[tuple[torch.Tensor, torch.Tensor]], truncation: float) -> Floats:
    """What a net paints of one latent (n,), layer by layer from its stored weights and nothing else."""
    told = {name: value.double().numpy() for name, value in net.state_dict().items()}

    def dense(name: str, x: Floats, speed: float = 1) -> Floats:
        weight = told[f"{name}.weight"]
        return np.asarray(weight @ x * speed / np.sqrt(weight.shape[1]) + told[f"{name}.bias"] * speed)

    style = latent / np.sqrt((latent**2).mean())
    for layer in range(net.size.depth):
        style = bent(dense(f"mapping.fc{layer}", style, 0.01))
    style = told["mapping.w_avg"] + truncation * (style - told["mapping.w_avg"])
    x: Floats = told["synthesis.b4.const"]
    picture: Floats = np.zeros((3, 4, 4))
    for side, noise in zip(net.synthesis.sides, noises, strict=True):
        for conv, own in zip(("conv0", "conv1"), noise, strict=True):
            name = f"synthesis.b{side}.{conv}"
            if f"{name}.weight" not in told:
                continue
            weight = kernels(told[f"{name}.weight"], dense(f"{name}.affine", style), True)
            x = plain(x, weight, conv == "conv0") + own[0].double().numpy() * told[f"{name}.noise_strength"]
            x = bent(x + told[f"{name}.bias"][:, None, None])
        if side > 4:
            picture = plain_doubled(picture)
        name = f"synthesis.b{side}.torgb"
        weight = kernels(told[f"{name}.weight"], dense(f"{name}.affine", style) / np.sqrt(len(x)), False)
        picture = picture + plain(x, weight, False) + told[f"{name}.bias"][:, None, None]
    return picture


def plain_doubled(picture: Floats) -> Floats:
    return doubled(torch.from_numpy(picture)[None], binomial().double())[0].numpy()


@pytest.mark.parametrize("truncation", [1.0, 0.6])
def test_a_whole_net_paints_what_the_formulas_say(truncation: float) -> None:
    net = at_work(StyleNet(TINY))
    latents, noises = drawn(2, 5, seed=3), net.synthesis.noises(2, torch.Generator().manual_seed(4))
    with torch.inference_mode():
        painted = net(latents, noises, truncation).numpy()
    assert painted.shape == (2, 3, 16, 16)
    for each, (latent, picture) in enumerate(zip(latents.double().numpy(), painted, strict=True)):
        wanted = by_formulas(net, latent, [(a[each], b[each]) for a, b in noises], truncation)
        np.testing.assert_allclose(picture, wanted, atol=1e-4)
    assert np.abs(painted[0] - painted[1]).max() > 0.1


# ------------------------------------------------------------------------------------------- the adversary


def test_the_penalty_is_the_squared_slope() -> None:
    weight = drawn(3, 4, 4)
    pictures = drawn(5, 3, 4, 4, seed=1)
    slope = 2 * pictures * weight
    found = steepness(lambda seen: (seen.square() * weight).sum((1, 2, 3)), pictures)
    assert found.item() == pytest.approx(slope.square().sum((1, 2, 3)).mean().item(), rel=1e-5)
    critic = Critic(4)
    steepness(critic, drawn(4, 3, 64, 64)).backward()  # type: ignore[no-untyped-call]
    first = next(critic.parameters()).grad
    assert first is not None
    assert first.abs().max() > 0


def test_what_is_altered_is_a_share() -> None:
    altered = Altered()
    pictures = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.5
    assert torch.equal(altered(pictures, RNG(0)), pictures)
    altered.share.fill_(0.3)
    again = altered(pictures, RNG(1))
    same = ((again - pictures).abs().amax((1, 2, 3)) < 1e-5).float().mean().item()
    assert 0.1 < same < 0.5  # 0.85 · 0.7 · 0.7 · 0.7 · 0.7 of them
    assert torch.equal(altered(pictures, RNG(1)), again)
    assert not torch.equal(altered(pictures, RNG(2)), again)
    asked = pictures.clone().requires_grad_()
    altered(asked, RNG(1)).sum().backward()
    assert asked.grad is not None
    assert asked.grad.abs().amax((1, 2, 3)).min() > 0


def test_alterations_keep_what_a_picture_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """With light, contrast and saturation as they are, each one is the picture or its mirror, shifted by whole pixels."""
    for name in ("BRIGHTER", "CONTRAST", "SATURATION"):
        monkeypatch.setattr(f"generators.adversary.{name}", 0.0)
    altered = Altered()
    altered.share.fill_(1.0)
    pictures = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for before, after in zip(pictures, altered(pictures, RNG(3)), strict=True):
        wide = np.pad(before.numpy(), ((0, 0), (2, 2), (2, 2)), "symmetric")
        shifted = [wide[:, y : y + 16, x : x + 16] for y in range(5) for x in range(5)]
        mirrored = np.pad(before.numpy()[..., ::-1], ((0, 0), (2, 2), (2, 2)), "symmetric")
        shifted += [mirrored[:, y : y + 16, x : x + 16] for y in range(5) for x in range(5)]
        assert min(np.abs(each - after.numpy()).max() for each in shifted) < 1e-4


def test_alterations_adapt_to_how_sure_the_critic_is() -> None:
    altered = Altered()
    for _ in range(200):
        altered.adapt(torch.ones(8, 1), 0.01)
    assert altered.share.item() == pytest.approx(MOST)
    for _ in range(400):
        altered.adapt(-torch.ones(8, 1), 0.01)
    assert altered.share.item() == 0


def test_averages_follow() -> None:
    average, net = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    net.running_mean, net.weight.data = torch.tensor([4.0, 8.0]), torch.tensor([3.0, 1.0])
    follow(average, net, 0.75)
    assert average.running_mean is not None
    assert average.running_mean.tolist() == [1, 2]
    assert average.weight.tolist() == [1.5, 1]


# --------------------------------------------------------------------------------------- what is trained here


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    FAST.train(clips(), RNG(0), folder)
    return folder


def test_it_learns_the_colours_of_its_faces(tmp_path: Path) -> None:
    FAST.train([clip_of((220, 30, 30))], RNG(0), tmp_path)
    bound = FAST.load(tmp_path)
    assert bound._painter is not None
    painted = bound._painter.paint(6, RNG(0), 1.0)
    assert np.abs(painted[:, 30:34, 30:34].mean((0, 1, 2)) - (220, 30, 30)).max() < 50


def test_a_picture_is_made_whole_and_says_what_was_drawn(model: Path) -> None:
    bound = FAST.load(model)
    made = bound((), RNG(1))
    ((picture, mask),) = made.pictures
    assert (made.media_type, made.frames, made.fps, made.width, made.height) == ("image", 1, Fraction(0), 256, 256)
    assert mask is not None
    assert mask.min() == 255
    assert np.array_equal(next(iter(bound((), RNG(1)).pictures))[0], picture)
    assert made.drawn["truncation"] == 0.8
    assert float(made.drawn["nearest_face"]) >= 1
    assert made.drawn["copies_refused"] == 0
    assert isinstance(bound, Trained)


def test_truncation_draws_styles_to_their_mean(model: Path) -> None:
    painter = FAST.load(model)._painter
    assert painter is not None
    latents = torch.from_numpy(RNG(0).standard_normal((512, SMALL.latent), np.float32))
    with torch.inference_mode():
        centre = painter.net.mapping.w_avg
        wide, narrow = (painter.net.mapping(latents, truncation) - centre for truncation in (1.0, 0.1))
    assert centre.abs().max() > 0
    assert wide.mean(0).abs().max() < 0.2 * wide.std()
    torch.testing.assert_close(narrow, 0.1 * wide, atol=1e-5, rtol=1e-4)


def test_bad_trainings_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="there are 3 faces to learn from, fewer than a batch of 4"):
        FAST.train([clip_of(seen=(True,) * 3)], RNG(0), tmp_path)
    with pytest.raises(ModelError, match="train it"):
        FAST((), RNG(0))
    with pytest.raises(ModelError, match="run the train stage of style_gan"):
        FAST.load(tmp_path)
    with pytest.raises(ValueError, match="steps"):
        StyleGAN(steps=0)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(style_gan, "BRAKE", float("nan"))
    with pytest.raises(ModelError, match=r"no longer a number .* lower style_gan's learning_rate"):
        FAST.train(clips(), RNG(0), tmp_path)
    assert not (tmp_path / training.MODEL).exists()


def test_a_model_of_other_nets_is_refused(model: Path, tmp_path: Path) -> None:
    tensors = load_file(model / training.MODEL)
    save_file({k: v for k, v in tensors.items() if k != "mean"}, tmp_path / training.MODEL)
    with pytest.raises(ModelError, match="has no mean face; run the train stage"):
        FAST.load(tmp_path)
    save_file(tensors | {"painter/synthesis.b64.conv1.bias": torch.zeros(9)}, tmp_path / training.MODEL)
    with pytest.raises(ModelError, match="is not a model of this generator"):
        FAST.load(tmp_path)


# ----------------------------------------------------------------------------------------- published weights


def given(folder: Path, tensors: dict[str, torch.Tensor], name: str = "faces.safetensors") -> StyleGAN:
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / name)
    sha256 = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    return StyleGAN(weights=Given(file=name, sha256=sha256, licence="of the tests"), truncation=0.5)


@pytest.fixture
def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FORGELINE_WEIGHTS", str(tmp_path))
    return tmp_path


def test_published_weights_paint_as_they_are_and_are_scaled_as_photographs_are(brought: Path) -> None:
    net = at_work(StyleNet(Size(8, 8, 3, (8, 8, 8, 4, 4, 2, 2))))
    settings = given(brought, net.state_dict())
    folder = brought / "models"
    settings.train(iter(()), RNG(0), folder)
    assert not folder.exists()
    bound = settings.load(folder)
    made = bound((), RNG(5))
    ((picture, mask),) = made.pictures
    rng = RNG(5)
    latents = torch.from_numpy(rng.standard_normal((1, 8), np.float32))
    noises = net.synthesis.noises(1, torch.Generator().manual_seed(int(rng.integers(2**63))))
    with torch.inference_mode():
        large = net(latents, noises, 0.5)[0].permute(1, 2, 0).numpy()
    levels = ((large + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    assert levels.shape == (256, 256, 3)
    small = np.asarray(cv2.resize(levels, (NATIVE, NATIVE), interpolation=cv2.INTER_AREA), np.uint8)
    assert np.array_equal(picture, enlarge(small, 256))
    assert mask is not None
    assert mask.min() == 255
    assert dict(made.drawn) == {"truncation": 0.5}
    assert bound.settings() == settings.settings()


def without(tensors: dict[str, torch.Tensor], part: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in tensors.items() if part not in name}


def test_weights_of_other_nets_are_refused_in_clear_words(brought: Path) -> None:
    net = StyleNet(Size(8, 8, 2, (4, 4, 4, 4, 2))).state_dict()
    cases = {
        "is a StyleGAN3": {"synthesis.input.weight": torch.zeros(1)},
        "paints classes": net | {"mapping.embed.weight": torch.zeros(1)},
        "names no layers of a StyleGAN2": {"style.1.weight": torch.zeros(1)},
        r"has layers for \[4, 16, 32, 64\] pixels": without(net, "b8."),
        "without skip connections": without(net, "b16.torgb"),
        "is no StyleGAN2": without(net, "b16.conv0.affine"),
        "paints 32 pixels, fewer than the 64": without(net, "b64"),
    }
    for words, tensors in cases.items():
        settings = given(brought, tensors)
        with pytest.raises(ModelError, match=words):
            settings.train(iter(()), RNG(0), brought)
        with pytest.raises(ModelError, match=words):
            settings.load(brought)
    (brought / "faces.safetensors").write_bytes(b"no tensors")
    sha256 = hashlib.sha256(b"no tensors").hexdigest()
    with pytest.raises(ModelError, match="is no StyleGAN2"):
        StyleGAN(weights=Given(file="faces.safetensors", sha256=sha256, licence="-")).load(brought)
    with pytest.raises(WeightsError, match="has SHA-256"):
        settings.load(brought)


class _Malice:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("executed",)


def test_published_pickles_are_converted_without_being_run(brought: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(brought)
    net = StyleNet(TINY).state_dict()
    torch.save(net, "ffhq.pt")
    convert(Path("ffhq.pt"), Path("ffhq.safetensors"))
    kept = load_file("ffhq.safetensors")
    assert kept.keys() == net.keys()
    assert all(torch.equal(kept[name], value) for name, value in net.items())
    torch.save(net | {"synthesis.input.weight": torch.zeros(1)}, "three.pt")
    with pytest.raises(ModelError, match=r"three.pt: is a StyleGAN3"):
        convert(Path("three.pt"), Path("bad.safetensors"))
    torch.save({**net, "synthesis.b4.const": _Malice()}, "bad.pt")
    Path("ffhq.pkl").write_bytes(b"\x80\x05not what torch writes")
    for bad in ("bad.pt", "ffhq.pkl", "nowhere.pt"):
        with pytest.raises(ModelError, match=rf"{bad}: is not a published model"):
            convert(Path(bad), Path("bad.safetensors"))
    assert not Path("executed").exists()
    assert not Path("bad.safetensors").exists()


def test_a_finished_model_is_left_alone(model: Path) -> None:
    before = files(model)
    times = {path.name: path.stat().st_mtime_ns for path in model.iterdir()}
    FAST.train(clips(), RNG(0), model)
    assert files(model) == before
    assert {path.name: path.stat().st_mtime_ns for path in model.iterdir()} == times
