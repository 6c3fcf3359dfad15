"""The networks of StyleGAN2 (Karras et al. 2020): a latent becomes a style, and styles decide what each layer paints.

Names and shapes are those that the authors' PyTorch code has (stylegan2-ada-pytorch, `G_ema`, skip connections, no classes),
so that their published weights load as they are. Left out is what only training at 16 bits needs. No layer's picture is
finished: each resolution adds to the picture of the one before it, scaled up.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

ROOT2 = sqrt(2)
SLOWER = 0.01
"""How much slower than the rest the layers that make styles learn; their stored weights are as much larger."""
TINY = 1e-8


@dataclass(frozen=True)
class Size:
    """Of a net: numbers of a latent and of a style, layers between them, and `channels` of 4, 8, 16 … pixels."""

    latent: int
    style: int
    depth: int
    channels: tuple[int, ...]

    @property
    def side(self) -> int:
        """Of the picture in pixels."""
        return int(2 ** (len(self.channels) + 1))

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]]) -> Self:
        """What a published net with tensors of these shapes has. Raises ValueError with what it is when it is another one."""
        if any(name.startswith(("synthesis.input.", "synthesis.L")) for name in shapes):
            raise ValueError("is a StyleGAN3, whose layers are others")
        if any(name.startswith("mapping.embed.") for name in shapes):
            raise ValueError("paints classes, of which faces have none")
        if "mapping.fc0.weight" not in shapes or "synthesis.b4.const" not in shapes:
            raise ValueError("names no layers of a StyleGAN2")
        found = [int(m[1]) for name in shapes if (m := re.fullmatch(r"synthesis\.b(\d+)\.conv1\.weight", name))]
        sides = [2 ** (2 + i) for i in range(len(found))]
        if sorted(found) != sides:
            raise ValueError(f"has layers for {sorted(found)} pixels, not for each of {sides}")
        if any(f"synthesis.b{side}.torgb.weight" not in shapes or f"synthesis.b{side}.skip.weight" in shapes for side in sides):
            raise ValueError("is a StyleGAN2 without skip connections to the picture")
        depth = sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", name)) for name in shapes)
        latent = shapes["mapping.fc0.weight"][-1]
        style = shapes[f"mapping.fc{depth - 1}.weight"][0]
        return cls(latent, style, depth, tuple(shapes[f"synthesis.b{side}.conv1.weight"][0] for side in sides))


SMALL = Size(latent=64, style=64, depth=2, channels=(64, 64, 32, 16, 8))


def modulated(x: Tensor, weight: Tensor, style: Tensor) -> Tensor:
    """`x` (n, in, h, w) convolved with `weight` (out, in, 3, 3), which each picture's `style` (n, in) scales: equation 1.

    Pictures are scaled instead of weights, which is the same and lets a batch share one convolution.
    """
    return functional.conv2d(x * style[..., None, None], weight, padding=1)


def modulated_up(x: Tensor, weight: Tensor, style: Tensor, blur: Tensor) -> Tensor:
    """As `modulated`, into twice the pixels: zeros between pixels, the kernel (as a convolution in the strict sense), `blur`.

    `blur` (4, 4) sums to one. Kernel and blur are made one kernel first, six pixels wide.
    """
    places = torch.eye(9, device=weight.device, dtype=weight.dtype).view(9, 1, 3, 3)
    blurred = functional.conv2d(places, 4 * blur[None, None], padding=3).flatten(
        1
    )  # a product with it costs less than so many blurs
    both = (weight.flatten(2) @ blurred).view(*weight.shape[:2], 6, 6)
    return functional.conv_transpose2d(x * style[..., None, None], both.transpose(0, 1), stride=2, padding=2)


def demodulation(weight: Tensor, style: Tensor) -> Tensor:
    """What gives each channel that comes out a norm of one where those that come in have one, (n, out): equation 3."""
    return (style.square() @ weight.square().sum((2, 3)).T + TINY).rsqrt()


def doubled(picture: Tensor, blur: Tensor) -> Tensor:
    """A picture (n, c, h, w) with twice the pixels each way: zeros between them, then `blur` (4, 4)."""
    count, channels, height, width = picture.shape
    planes = picture.reshape(-1, 1, height, width)  # one by one they take half of the time that a grouped convolution takes
    up = functional.conv_transpose2d(planes, 4 * blur[None, None], stride=2, padding=1)
    return up.view(count, channels, 2 * height, 2 * width)


def binomial() -> Tensor:
    """The blur (4, 4) that follows every doubling; it is symmetrical and sums to one."""
    row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return torch.outer(row, row)


class Dense(nn.Module):
    """A layer whose stored weights have the same spread, whatever its size: they are scaled when used."""

    def __init__(self, takes: int, gives: int, bias: float = 0.0, speed: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(gives, takes) / speed)
        self.bias = nn.Parameter(torch.full((gives,), bias))
        self.speed = speed

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight * (self.speed / sqrt(self.weight.shape[1])), self.bias * self.speed)


class Mapper(nn.Module):
    """From latents (n, latent) of unit variance to styles (n, style), drawn to their mean by `truncation` (1: not at all)."""

    w_avg: Tensor

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.depth = size.depth
        for layer in range(size.depth):
            self.add_module(f"fc{layer}", Dense(size.style if layer else size.latent, size.style, speed=SLOWER))
        self.register_buffer("w_avg", torch.zeros(size.style))

    def forward(self, latents: Tensor, truncation: float = 1.0) -> Tensor:
        x = latents * (latents.square().mean(1, keepdim=True) + TINY).rsqrt()
        for layer in range(self.depth):
            x = ROOT2 * functional.leaky_relu(self.get_submodule(f"fc{layer}")(x), 0.2)
        return x if truncation == 1 else torch.lerp(self.w_avg, x, truncation)


class Layer(nn.Module):
    """One convolution with its style, noise and bias, into as many pixels or (`up`) twice as many each way."""

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(self, takes: int, gives: int, style: int, side: int, up: bool) -> None:
        super().__init__()
        self.affine = Dense(style, takes, bias=1.0)
        self.weight = nn.Parameter(torch.randn(gives, takes, 3, 3))
        self.bias = nn.Parameter(torch.zeros(gives))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(side, side))
        self.register_buffer("resample_filter", binomial())
        self.up = up

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        own = self.affine(style)
        x = modulated_up(x, self.weight, own, self.resample_filter) if self.up else modulated(x, self.weight, own)
        # Its gain, the root of two, can as well come before the bend: that is done where there are fewer numbers.
        scale = ROOT2 * demodulation(self.weight, own)[..., None, None]
        shift = noise * (ROOT2 * self.noise_strength) + (ROOT2 * self.bias)[:, None, None]
        return functional.leaky_relu(torch.addcmul(shift, x, scale), 0.2, inplace=True)


class ToColours(nn.Module):
    """What a layer adds to the picture: (n, 3, side, side)."""

    def __init__(self, takes: int, style: int) -> None:
        super().__init__()
        self.affine = Dense(style, takes, bias=1.0)
        self.weight = nn.Parameter(torch.randn(3, takes, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        own = self.affine(style) / sqrt(self.weight.shape[1])
        mixed = self.weight.flatten(1) * own[:, None]
        return torch.baddbmm(self.bias[:, None], mixed, x.flatten(2)).view(len(x), 3, *x.shape[2:])


class Block(nn.Module):
    """The layers of one resolution; the first one begins with a constant."""

    resample_filter: Tensor

    def __init__(self, takes: int, gives: int, style: int, side: int) -> None:
        super().__init__()
        if takes:
            self.conv0 = Layer(takes, gives, style, side, up=True)
        else:
            self.const = nn.Parameter(torch.randn(gives, side, side))
        self.conv1 = Layer(gives, gives, style, side, up=False)
        self.torgb = ToColours(gives, style)
        self.register_buffer("resample_filter", binomial())

    def forward(self, x: Tensor | None, picture: Tensor, style: Tensor, noise: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """What the block before gave (none before the first one), and a picture of half the side, in the same way."""
        x = self.const.expand(len(style), -1, -1, -1) if x is None else self.conv0(x, style, noise[0])
        x = self.conv1(x, style, noise[1])
        return x, doubled(picture, self.resample_filter) + self.torgb(x, style)


class Synthesis(nn.Module):
    """From styles (n, style) to pictures (n, 3, side, side), photographs being in -1 … 1."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.sides = tuple(2 ** (2 + i) for i in range(len(size.channels)))
        for side, takes, gives in zip(self.sides, (0, *size.channels), size.channels, strict=False):
            self.add_module(f"b{side}", Block(takes, gives, size.style, side))

    def noises(self, count: int, chance: torch.Generator) -> list[tuple[Tensor, Tensor]]:
        """What layers add to `count` pictures, two for each resolution: (count, 1, side, side), drawn on the CPU."""
        return [
            (torch.randn(count, 1, s, s, generator=chance), torch.randn(count, 1, s, s, generator=chance)) for s in self.sides
        ]

    def forward(self, style: Tensor, noises: list[tuple[Tensor, Tensor]]) -> Tensor:
        x, picture = None, style.new_zeros(len(style), 3, 2, 2)
        for side, noise in zip(self.sides, noises, strict=True):
            x, picture = self.get_submodule(f"b{side}")(x, picture, style, noise)
        return picture


class StyleNet(nn.Module):
    """A whole net: `mapping` and `synthesis`, as it is published."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.mapping = Mapper(size)
        self.synthesis = Synthesis(size)
        self.size = size

    def forward(self, latents: Tensor, noises: list[tuple[Tensor, Tensor]], truncation: float = 1.0) -> Tensor:
        painted: Tensor = self.synthesis(self.mapping(latents, truncation), noises)
        return painted


class Critic(nn.Module):
    """From pictures (n, 3, 64, 64) to (n, 1): high for photographs. It also sees how much the pictures of a batch differ."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        takes = 3
        for _ in range(4):
            layers += [nn.Conv2d(takes, wide, 4, 2, 1), nn.LeakyReLU(0.2)]
            takes, wide = wide, 2 * wide
        self.features = nn.Sequential(*layers)
        self.verdict = nn.Sequential(
            nn.Conv2d(takes + 1, takes, 3, 1, 1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(16 * takes, takes),
            nn.LeakyReLU(0.2), nn.Linear(takes, 1),
        )  # fmt: skip

    def forward(self, pictures: Tensor) -> Tensor:
        x = self.features(pictures)
        spread = (x.var(0, correction=0) + TINY).sqrt().mean()
        verdicts: Tensor = self.verdict(torch.cat([x, spread.expand(len(x), 1, *x.shape[2:])], 1))
        return verdicts
