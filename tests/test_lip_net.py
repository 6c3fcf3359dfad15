"""The nets of Wav2Lip: that they are the published ones by name, shape and number, and that published files become theirs."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from forgeline.errors import ModelError
from generators.lip_net import LipNet, alike, expert_of
from generators.published import convert

# Of the authors' own code at their last commit: each block of layers, and the shape of the first one's weights. A block is a
# convolution and a normalisation; only the last one is a convolution alone.
PAINTER = """
face_encoder_blocks 0.0 16x6x7x7, 1.0 32x16x3x3, 1.1 32x32x3x3, 1.2 32x32x3x3, 2.0 64x32x3x3, 2.1 64x64x3x3, 2.2 64x64x3x3,
 2.3 64x64x3x3, 3.0 128x64x3x3, 3.1 128x128x3x3, 3.2 128x128x3x3, 4.0 256x128x3x3, 4.1 256x256x3x3, 4.2 256x256x3x3,
 5.0 512x256x3x3, 5.1 512x512x3x3, 6.0 512x512x3x3, 6.1 512x512x1x1
audio_encoder 0 32x1x3x3, 1 32x32x3x3, 2 32x32x3x3, 3 64x32x3x3, 4 64x64x3x3, 5 64x64x3x3, 6 128x64x3x3, 7 128x128x3x3,
 8 128x128x3x3, 9 256x128x3x3, 10 256x256x3x3, 11 512x256x3x3, 12 512x512x1x1
face_decoder_blocks 0.0 512x512x1x1, 1.0 1024x512x3x3, 1.1 512x512x3x3, 2.0 1024x512x3x3, 2.1 512x512x3x3, 2.2 512x512x3x3,
 3.0 768x384x3x3, 3.1 384x384x3x3, 3.2 384x384x3x3, 4.0 512x256x3x3, 4.1 256x256x3x3, 4.2 256x256x3x3, 5.0 320x128x3x3,
 5.1 128x128x3x3, 5.2 128x128x3x3, 6.0 160x64x3x3, 6.1 64x64x3x3, 6.2 64x64x3x3
output_block 0 32x80x3x3, 1 3x32x1x1
"""
EXPERT = """
face_encoder 0 32x15x7x7, 1 64x32x5x5, 2 64x64x3x3, 3 64x64x3x3, 4 128x64x3x3, 5 128x128x3x3, 6 128x128x3x3, 7 128x128x3x3,
 8 256x128x3x3, 9 256x256x3x3, 10 256x256x3x3, 11 512x256x3x3, 12 512x512x3x3, 13 512x512x3x3, 14 512x512x3x3,
 15 512x512x3x3, 16 512x512x1x1
audio_encoder 0 32x1x3x3, 1 32x32x3x3, 2 32x32x3x3, 3 64x32x3x3, 4 64x64x3x3, 5 64x64x3x3, 6 128x64x3x3, 7 128x128x3x3,
 8 128x128x3x3, 9 256x128x3x3, 10 256x256x3x3, 11 256x256x3x3, 12 512x256x3x3, 13 512x512x1x1
"""


def published_shapes(listed: str) -> dict[str, tuple[int, ...]]:
    """Every tensor of a published file, with its shape."""
    shapes: dict[str, tuple[int, ...]] = {}
    for part in listed.strip().replace(",\n", ",").splitlines():
        name, blocks = part.split(" ", 1)
        for number, shape in (block.split() for block in blocks.split(",")):
            weight = tuple(int(side) for side in shape.split("x"))
            if (name, number) == ("output_block", "1"):
                shapes |= {"output_block.1.weight": weight, "output_block.1.bias": weight[:1]}
                continue
            grows = name == "face_decoder_blocks" and number[0] != "0" and number.endswith(".0")
            block = f"{name}.{number}.conv_block"
            shapes |= {f"{block}.0.weight": weight, f"{block}.1.num_batches_tracked": ()}
            for values in ("0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"):
                shapes[f"{block}.{values}"] = (weight[1] if grows else weight[0],)
    return shapes


def randomised(net: torch.nn.Module) -> Any:
    """A net with weights that are all at work, as trained ones are."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, values in net.state_dict().items():
            if name.endswith("running_var"):
                values.copy_(0.5 + torch.rand(values.shape, generator=generator))
            elif name.endswith("1.weight") and values.dim() == 1:
                values.copy_(1 + 0.2 * torch.randn(values.shape, generator=generator))
            elif values.is_floating_point():
                scale = 0.1 if values.dim() == 1 else values[0].numel() ** -0.5
                values.copy_(torch.randn(values.shape, generator=generator) * scale)
    return net.eval()


@pytest.mark.parametrize(("net", "listed", "count"), [(LipNet, PAINTER, 352), (expert_of, EXPERT, 217)])
def test_published_models_fit_by_name_and_shape(net: Callable[[], torch.nn.Module], listed: str, count: int) -> None:
    shapes = published_shapes(listed)
    assert len(shapes) == count
    assert {name: tuple(values.shape) for name, values in net().state_dict().items()} == shapes


def test_the_nets_give_what_the_authors_nets_give() -> None:
    at = torch.linspace(0, 1, 96)
    mix = ((1, 2), (2, 1), (3, 1), (1, 1), (2, 3), (3, 3))
    face = torch.stack([torch.sin(6 * a * at[:, None] + 9 * b * at).square() for a, b in mix])[None]
    sound = 4 * torch.sin(torch.arange(80)[:, None] * 0.2 + torch.arange(16) * 0.7)[None, None]
    lips = face.repeat(1, 3, 1, 1)[:, :15, 48:]
    with torch.inference_mode():
        painted = randomised(LipNet())(sound, face)
        likeness = [alike(*randomised(expert_of())(*pair)).item() for pair in ((sound, lips), (sound.flip(3), lips.flip(3)))]
    # From the authors' own code with these weights, pictures and sounds.
    wanted = [[0.49285, 0.59361, 0.36236], [0.55329, 0.48161, 0.64408], [0.33366, 0.37316, 0.29158]]
    np.testing.assert_allclose(painted[0, :, [10, 50, 90], [20, 48, 70]], wanted, atol=1e-4)
    np.testing.assert_allclose(likeness, [0.25630, 0.26364], atol=1e-4)


@pytest.mark.parametrize("width", [0.05, 0.25, 0.3])
def test_narrow_nets_have_the_same_layers(width: float) -> None:
    painter, expert = LipNet(width), expert_of(width)
    assert set(painter.state_dict()) == set(published_shapes(PAINTER))
    assert set(expert.state_dict()) == set(published_shapes(EXPERT))
    with torch.inference_mode():
        painted = painter(torch.randn(2, 1, 80, 16), torch.rand(2, 6, 96, 96))
        likeness = alike(*expert(torch.randn(2, 1, 80, 16), torch.rand(2, 15, 48, 96)))
    assert painted.shape == (2, 3, 96, 96)
    assert likeness.shape == (2,)
    for values in (painted, likeness):
        assert values.min() >= 0
        assert values.max() <= 1


def test_what_is_painted_hangs_on_the_sound_and_on_both_faces() -> None:
    net = randomised(LipNet(0.1))
    generator = torch.Generator().manual_seed(1)
    sound, face = (torch.rand(shape, generator=generator) for shape in ((1, 1, 80, 16), (1, 6, 96, 96)))
    with torch.inference_mode():
        painted = net(sound, face)
        for changed in ((4 * sound, face), (sound, face.flip(1)), (sound, torch.cat([face[:, :3], face[:, 3:] / 2], 1))):
            assert (net(*changed) - painted).abs().max() > 5e-4


class _Malice:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("executed",)


@pytest.mark.parametrize(
    ("listed", "net", "before"), [(PAINTER, LipNet, ""), (PAINTER, LipNet, "module."), (EXPERT, expert_of, "")]
)
def test_published_files_are_converted_and_loaded(
    tmp_path: Path, listed: str, net: Callable[[], torch.nn.Module], before: str
) -> None:
    generator = torch.Generator().manual_seed(2)
    state = {
        f"{before}{name}": torch.randn(shape, generator=generator) if shape else torch.tensor(7)
        for name, shape in published_shapes(listed).items()
    }
    found = {"state_dict": state, "optimizer": {"lr": 1e-4}, "global_step": 3, "global_epoch": 1}
    torch.save(found, tmp_path / "published.pth")
    convert(tmp_path / "published.pth", tmp_path / "safe.safetensors")
    loaded = net()
    loaded.load_state_dict(load_file(tmp_path / "safe.safetensors"))
    for name, values in loaded.state_dict().items():
        assert torch.equal(values, state[f"{before}{name}"])


def test_other_files_are_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(
        {"state_dict": {"binary_pred.0.weight": torch.ones(1), "face_encoder_blocks.0.0.bias": torch.ones(1)}}, "disc.pth"
    )
    with pytest.raises(ModelError, match=r"disc.pth: holds neither the painter nor the expert of Wav2Lip; give it"):
        convert(Path("disc.pth"), Path("safe.safetensors"))
    torch.save({"state_dict": _Malice()}, "bad.pth")
    with pytest.raises(ModelError, match=r"bad.pth: is not a published model"):
        convert(Path("bad.pth"), Path("safe.safetensors"))
    torch.save({"state_dict": {"face_encoder.0.bias": "no tensor"}}, "odd.pth")
    with pytest.raises(ModelError, match=r"odd.pth: is not a published model"):
        convert(Path("odd.pth"), Path("safe.safetensors"))
    assert not Path("executed").exists()
    assert not Path("safe.safetensors").exists()
