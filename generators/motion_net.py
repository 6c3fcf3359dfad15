"""The networks of first-order motion (Siarohin et al. 2019): one picture takes on the movement between two others.

Layers bear the names that they have in the authors' published models, so that those can be loaded. Pictures are float32
(n, 3, height, width) in 0 … 1; places are x, y from -1 to 1, from the middle of the first pixel to that of the last one.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

VARIANCE = 0.01
"""Of the blobs that show the keypoints to a net, in squared places."""
SHARPNESS = 10.0
"""By how much a keypoint's map is multiplied before its softmax; the paper's temperature of 0.1."""


class Size(NamedTuple):
    """How large the nets are. Blocks halve the picture and double the channels, `channels` to `most`."""

    side: int
    """Of the pictures in pixels."""
    keypoints: int
    shrunk: int
    """By how much the pictures are made smaller before keypoints and motion are looked for."""
    detector: tuple[int, int, int]
    """Channels, most channels and blocks of the keypoints' detector."""
    motion: tuple[int, int, int]
    """The same of the dense motion."""
    painter: tuple[int, int, int, int]
    """Channels, most channels, blocks down (and up), and residual blocks of the painter."""


SMALL = Size(64, 10, 2, (12, 48, 3), (12, 48, 3), (12, 48, 2, 2))
PUBLISHED = Size(256, 10, 4, (32, 1024, 5), (64, 1024, 5), (64, 512, 2, 6))
"""Of the authors' model for talking heads, `vox-256`."""


class Keypoints(NamedTuple):
    """Where the parts of a face are, (n, keypoints, 2), and how they are turned and stretched, (n, keypoints, 2, 2)."""

    places: Tensor
    jacobians: Tensor


def grid(height: int, width: int, like: Tensor) -> Tensor:
    """The place of every pixel, (height, width, 2)."""
    y, x = (torch.linspace(-1, 1, n, dtype=like.dtype, device=like.device) for n in (height, width))
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1)


def sample(picture: Tensor, at: Tensor) -> Tensor:
    """The picture's values at places (n, height, width, 2); 0 outside."""
    return functional.grid_sample(picture, at, align_corners=True)


def inverse(matrices: Tensor) -> Tensor:
    """Of (…, 2, 2)."""
    a, b, c, d = matrices[..., 0, 0], matrices[..., 0, 1], matrices[..., 1, 0], matrices[..., 1, 1]
    adjugate = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
    return adjugate / (a * d - b * c)[..., None, None]


# --- Blocks


class _Same(nn.Module):
    def __init__(self, inside: int, outside: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(outside)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.conv(x)))


class _Down(_Same):
    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(super().forward(x), 2)


class _Up(_Same):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.interpolate(x, scale_factor=2))


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.norm1, self.norm2 = (nn.BatchNorm2d(channels) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.conv2(functional.relu(self.norm2(self.conv1(functional.relu(self.norm1(x))))))
        return x + change


class _Encoder(nn.Module):
    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.down_blocks = nn.ModuleList(_Down(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        steps = [x]
        for block in self.down_blocks:
            steps.append(block(steps[-1]))
        return steps


class _Decoder(nn.Module):
    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        inside = [widths[0], *(2 * width for width in widths[1:])]
        self.up_blocks = nn.ModuleList(_Up(a, b) for a, b in zip(inside, widths[1:], strict=False))

    def forward(self, steps: list[Tensor]) -> Tensor:
        *skips, x = steps
        for block in self.up_blocks:
            x = torch.cat([block(x), skips.pop()], 1)
        return x


class _Hourglass(nn.Module):
    def __init__(self, inside: int, channels: int, most: int, blocks: int) -> None:
        super().__init__()
        widths = [min(most, channels * 2**i) for i in range(blocks + 1)]
        self.encoder = _Encoder([inside, *widths[1:]])
        self.decoder = _Decoder(widths[::-1])
        self.width = channels + inside

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.decoder(self.encoder(x))
        return out


class _Shrink(nn.Module):
    """Every n-th pixel of a picture that was blurred first."""

    weight: Tensor

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor
        deviation = (factor - 1) / 2
        self.reach = round(4 * deviation)
        bell = torch.exp(-torch.arange(-self.reach, self.reach + 1).square() / (2 * deviation**2))
        kernel = torch.outer(bell, bell) / bell.sum() ** 2
        self.register_buffer("weight", kernel.expand(3, 1, -1, -1).clone())

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(functional.pad(x, [self.reach] * 4), self.weight, groups=3)[
            ..., :: self.factor, :: self.factor
        ]


# --- Nets


class Detector(nn.Module):
    """Keypoints of pictures; what they stand for is found in training, not told."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.down = _Shrink(size.shrunk)
        self.predictor = _Hourglass(3, *size.detector)
        self.kp = nn.Conv2d(self.predictor.width, size.keypoints, 7)
        self.jacobian = nn.Conv2d(self.predictor.width, 4 * size.keypoints, 7)
        nn.init.zeros_(self.jacobian.weight)
        with torch.no_grad():
            self.jacobian.bias.copy_(torch.eye(2).flatten().repeat(size.keypoints))  # type: ignore[union-attr]

    def forward(self, picture: Tensor) -> Keypoints:
        features = self.predictor(self.down(picture))
        shares = self.kp(features)
        n, k, height, width = shares.shape
        shares = (SHARPNESS * shares.flatten(2)).softmax(2)
        places = shares @ grid(height, width, shares).reshape(-1, 2)
        jacobians = (self.jacobian(features).reshape(n, k, 4, -1) * shares[:, :, None]).sum(3)
        return Keypoints(places, jacobians.reshape(n, k, 2, 2))


class _DenseMotion(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.down = _Shrink(size.shrunk)
        self.hourglass = _Hourglass(4 * (size.keypoints + 1), *size.motion)
        self.mask = nn.Conv2d(self.hourglass.width, size.keypoints + 1, 7, padding=3)
        self.occlusion = nn.Conv2d(self.hourglass.width, 1, 7, padding=3)

    def forward(self, picture: Tensor, of: Keypoints, to: Keypoints) -> tuple[Tensor, Tensor]:
        small = self.down(picture)
        n, _, height, width = small.shape
        k = of.places.shape[1]
        still = grid(height, width, small)
        # Around each keypoint the movement is linear (equation 4); the first candidate is a background that stays.
        turn = of.jacobians @ inverse(to.jacobians)
        away = still - to.places[:, :, None, None]
        moved = (turn[:, :, None, None] @ away[..., None])[..., 0] + of.places[:, :, None, None]
        candidates = torch.cat([still.expand(n, 1, -1, -1, -1), moved], 1)
        blobs = [torch.exp(-(still - at.places[:, :, None, None]).square().sum(-1) / (2 * VARIANCE)) for at in (to, of)]
        shift = torch.cat([torch.zeros_like(small[:, :1]), blobs[0] - blobs[1]], 1)
        repeated = small[:, None].expand(-1, k + 1, -1, -1, -1).flatten(0, 1)
        laid = sample(repeated, candidates.flatten(0, 1)).reshape(n, k + 1, 3, height, width)
        seen = self.hourglass(torch.cat([shift[:, :, None], laid], 2).flatten(1, 2))
        weights = self.mask(seen).softmax(1)
        return (candidates * weights[..., None]).sum(1), torch.sigmoid(self.occlusion(seen))


class Painted(NamedTuple):
    """What the painter gives: the picture; where each of its pixels comes from, (n, h, w, 2) places; and how much of what is
    there can be used, (n, 1, h, w) in 0 … 1. The latter two are smaller than the picture."""

    picture: Tensor
    origin: Tensor
    visible: Tensor


class Painter(nn.Module):
    """A picture with its keypoints `of`, painted as if they were those `to` which they are to move."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        channels, most, blocks, residuals = size.painter
        widths = [min(most, channels * 2**i) for i in range(blocks + 1)]
        self.side = size.side
        self.dense_motion_network = _DenseMotion(size)
        self.first = _Same(3, channels, 7)
        self.down_blocks = nn.ModuleList(_Down(a, b) for a, b in pairwise(widths))
        self.bottleneck = nn.Sequential()
        for i in range(residuals):
            self.bottleneck.add_module(f"r{i}", _Residual(widths[-1]))
        self.up_blocks = nn.ModuleList(_Up(b, a) for a, b in reversed(list(pairwise(widths))))
        self.final = nn.Conv2d(channels, 3, 7, padding=3)

    def forward(self, picture: Tensor, of: Keypoints, to: Keypoints) -> Painted:
        origin, visible = self.dense_motion_network(picture, of, to)
        features = self.first(picture)
        for block in self.down_blocks:
            features = block(features)
        features = sample(features, larger(origin.permute(0, 3, 1, 2), features).permute(0, 2, 3, 1))
        features = self.bottleneck(features * larger(visible, features))
        for block in self.up_blocks:
            features = block(features)
        return Painted(torch.sigmoid(self.final(features)), origin, visible)


def larger(planes: Tensor, like: Tensor) -> Tensor:
    """Planes (n, c, h, w) at the height and width of `like`."""
    if planes.shape[2:] == like.shape[2:]:
        return planes
    return functional.interpolate(planes, size=like.shape[2:], mode="bilinear")


def composed(painted: Painted, picture: Tensor, free: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What was painted, at the fineness of `picture` (n, 3, h, w), the picture that it was painted from.

    Pixels are the picture's own, from where they come, and painted as far as they can't be seen there. All of it as far as
    `free` (h, w) says, 0 … 1. Also gives where pixels come from, (n, h, w, 2), and how much is painted, (n, 1, h, w).
    """
    height, width = picture.shape[2:]
    still = grid(painted.origin.shape[1], painted.origin.shape[2], picture)
    shift = (painted.origin - still).permute(0, 3, 1, 2)
    shift, hidden = (
        functional.interpolate(planes, size=(height, width), mode="bilinear", align_corners=True) * free
        for planes in (shift, 1 - painted.visible)
    )
    origin = grid(height, width, picture) + shift.permute(0, 2, 3, 1)
    laid = functional.grid_sample(picture, origin, mode="bicubic", padding_mode="border", align_corners=True)
    return laid + hidden * (larger(painted.picture, picture) - laid), origin, hidden


# --- What training measures


def pyramid(found: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """How much two pictures differ at four scales, each pixel counted by `weight` (n, 1, h, w)."""
    total = found.new_zeros(())
    for scale in range(4):
        if scale:
            found, wanted, weight = (functional.avg_pool2d(planes, 2) for planes in (found, wanted, weight))
        total = total + ((found - wanted).abs() * weight).mean()
    return total


def tearing(origin: Tensor) -> Tensor:
    """How much neighbouring pixels come from places apart: the mean second difference of `origin` (n, h, w, 2)."""
    across, down = origin.diff(n=2, dim=2), origin.diff(n=2, dim=1)
    return across.abs().mean() + down.abs().mean()


class Bend(NamedTuple):
    """A smooth change of places: turned and stretched as a whole, and bent at 25 points by thin plates (Bookstein 1989)."""

    matrix: Tensor
    shift: Tensor
    knots: Tensor
    strengths: Tensor

    @classmethod
    def drawn(cls, rng: np.random.Generator, count: int, affine: float, bumps: float) -> "Bend":
        """`count` of them, whose numbers deviate by `affine` and `bumps` from those that change nothing."""
        y, x = np.mgrid[-1:1:5j, -1:1:5j]
        numbers = (
            np.eye(2) + affine * rng.standard_normal((count, 2, 2)),
            affine * rng.standard_normal((count, 1, 2)),
            np.stack([x, y], -1).reshape(25, 2),
            bumps * rng.standard_normal((count, 25, 1)),
        )
        return cls(*(torch.from_numpy(value.astype(np.float32)) for value in numbers))

    def to(self, device: torch.device) -> "Bend":
        return Bend(*(value.to(device) for value in self))

    def __call__(self, places: Tensor) -> Tensor:
        """Where places (count, m, 2) come to lie."""
        squares = (places[:, :, None] - self.knots).square().sum(-1)
        return places @ self.matrix.transpose(1, 2) + self.shift + (squares * torch.log(squares + 1e-6)) @ self.strengths

    def jacobians(self, places: Tensor) -> Tensor:
        """The derivative there, (count, m, 2, 2)."""
        away = places[:, :, None] - self.knots
        squares = away.square().sum(-1, keepdim=True)
        slope = 2 * away * (torch.log(squares + 1e-6) + squares / (squares + 1e-6)) * self.strengths[:, None]
        return self.matrix[:, None] + slope.sum(2)[..., None, :]
