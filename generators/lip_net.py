"""The networks of Wav2Lip (Prajwal et al. 2020): one paints the lower half of a face so that it says what is heard, and an
expert (`forgeline.sync_nets`) tells it whether it does.

Layers bear the names that they have in the authors' published models, so that those can be loaded. Faces are 96 x 96 pixels
in 0 … 1, their channels in the order blue, green, red; sounds are the 80 bands of 16 steps, a fifth of a second.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from forgeline import sync_nets
from forgeline.sync_nets import Expert

SIDE = 96
"""Of a face in pixels."""
FACE = ((16, 0), (32, 2), (64, 3), (128, 2), (256, 2), (512, 1))
"""Channels of each of the face's steps, each half as large as the one before, and how many residual blocks follow in it."""
SOUND = ((32, 1, 2), (64, (3, 1), 2), (128, 3, 2), (256, (3, 2), 1))
"""Channels of each of the sound's steps, its stride, and how many residual blocks follow."""
PAINT = ((512, 1), (512, 2), (384, 2), (256, 2), (128, 2), (64, 2))
"""Channels of each step on the way back, each twice as large as the one before, and how many residual blocks follow."""
TOP = 512
"""Channels of what a whole face, and a whole sound, come to."""
LAST = 32
"""Channels before the colours."""


class _Conv(nn.Module):
    """A convolution, normalised over the batch; a residual one adds what it was given."""

    def __init__(
        self,
        inside: int,
        outside: int,
        kernel: int = 3,
        stride: int | tuple[int, int] = 1,
        padding: int = 1,
        *,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(inside, outside, kernel, stride, padding), nn.BatchNorm2d(outside))
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv_block(x)
        return functional.relu(out + x if self.residual else out)


class _Grow(nn.Module):
    """A transposed convolution, normalised likewise."""

    def __init__(self, inside: int, outside: int, first: bool) -> None:
        super().__init__()
        conv = nn.ConvTranspose2d(inside, outside, 3) if first else nn.ConvTranspose2d(inside, outside, 3, 2, 1, 1)
        self.conv_block = nn.Sequential(conv, nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.conv_block(x))


def _step(first: nn.Module, channels: int, residuals: int) -> list[nn.Module]:
    return [first, *(_Conv(channels, channels, residual=True) for _ in range(residuals))]


def scaled(channels: int, width: float) -> int:
    """The channels of a net that is `width` times as wide as the published one."""
    return max(4, round(channels * width))


class LipNet(nn.Module):
    """Faces as they are to say what is heard, (n, 3, 96, 96).

    `sounds` (n, 1, 80, 16). `faces` (n, 6, 96, 96): three channels of the face whose lower half is to be painted, black
    there, and three of the same person as they look. At `width` 1 it is the published net.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        top = scaled(TOP, width)
        face = [(scaled(channels, width), residuals) for channels, residuals in FACE]
        inside, blocks = 6, []
        for number, (channels, residuals) in enumerate(face):
            first = _Conv(inside, channels, stride=2) if number else _Conv(inside, channels, 7, padding=3)
            blocks.append(nn.Sequential(*_step(first, channels, residuals)))
            inside = channels
        blocks.append(nn.Sequential(*_whole(inside, width)))
        self.face_encoder_blocks = nn.ModuleList(blocks)
        self.audio_encoder = _sound(width, SOUND)
        blocks = [nn.Sequential(_Conv(top, top, 1, padding=0))]
        beside = [top, *(channels for channels, _ in reversed(face))]
        inside = top
        for number, ((wide, residuals), skip) in enumerate(zip(PAINT, beside, strict=False)):
            channels = scaled(wide, width)
            blocks.append(nn.Sequential(*_step(_Grow(inside + skip, channels, not number), channels, residuals)))
            inside = channels
        self.face_decoder_blocks = nn.ModuleList(blocks)
        last = scaled(LAST, width)
        self.output_block = nn.Sequential(_Conv(inside + beside[-1], last), nn.Conv2d(last, 3, 1), nn.Sigmoid())

    def forward(self, sounds: Tensor, faces: Tensor) -> Tensor:
        steps = []
        for block in self.face_encoder_blocks:
            faces = block(faces)
            steps.append(faces)
        out = self.audio_encoder(sounds)
        for block in self.face_decoder_blocks:
            out = torch.cat([block(out), steps.pop()], 1)
        painted: Tensor = self.output_block(out)
        return painted


def expert_of(width: float = 1.0) -> Expert:
    """The expert; at `width` 1 it is the published net."""
    return Expert(*([scaled(channels, width) for channels in part.values()] for part in (sync_nets.FACE, sync_nets.SOUND)))


def alike(heard: Tensor, seen: Tensor) -> Tensor:
    """The cosine of what sounds and lips come to; behind rectifiers it is never negative."""
    return functional.cosine_similarity(heard, seen, dim=-1).clamp(0, 1)


def _sound(width: float, steps: Sequence[tuple[int, int | tuple[int, int], int]]) -> nn.Sequential:
    inside, layers = 1, list[nn.Module]()
    for wide, stride, residuals in steps:
        channels = scaled(wide, width)
        layers += _step(_Conv(inside, channels, stride=stride), channels, residuals)
        inside = channels
    return nn.Sequential(*layers, *_whole(inside, width))


def _whole(inside: int, width: float) -> tuple[nn.Module, nn.Module]:
    """The last 3 x 3 places made one."""
    top = scaled(TOP, width)
    return _Conv(inside, top, padding=0), _Conv(top, top, 1, padding=0)
