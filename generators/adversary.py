"""What nets that learn to paint against a critic share: a gradient penalty, the averaged net, and altered pictures.

The penalty is R1 (Mescheder et al. 2018). Altering what the critic sees, photographs and paintings alike, keeps it from knowing
few photographs by heart; how often that is done adapts to how sure it is of the photographs (Karras et al. 2020, "Training
generative adversarial networks with limited data").
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

Floats = NDArray[np.float32]

SURE = 0.6
"""The mean sign of the critic's verdicts on photographs above which it knows them too well."""
MOST = 0.8
"""Above this share of altered pictures, alterations leak into what is painted."""
SHIFT, BRIGHTER, CONTRAST, SATURATION = 0.125, 0.2, 0.5, 1.0
"""Largest shift in sides; deviations of an added light, and of the doublings of contrast and saturation."""


def follow(average: nn.Module, net: nn.Module, inertia: float) -> None:
    """Let each weight, and each running statistic, of `average` follow that of `net`."""
    now = net.state_dict()
    with torch.no_grad():
        for name, kept in average.state_dict().items():
            if kept.is_floating_point():
                kept.lerp_(now[name], 1 - inertia)


def steepness(critic: Callable[[Tensor], Tensor], pictures: Tensor) -> Tensor:
    """R1: the mean squared norm of the gradient of verdicts on pictures (n, c, h, w); it can itself be descended."""
    seen = pictures.detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(seen).sum(), seen, create_graph=True)
    return slope.square().sum((1, 2, 3)).mean()


class Altered(nn.Module):
    """Pictures (n, 3, side, side) in -1 … 1 as the critic sees them: each alteration is made to a share of them.

    A call takes its chance from `rng` and can be differentiated. `share` is a buffer, so that it is kept with the nets.
    """

    share: Tensor
    sureness: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("share", torch.zeros([]))
        self.register_buffer("sureness", torch.zeros([]))

    def forward(self, pictures: Tensor, rng: np.random.Generator) -> Tensor:
        share = float(self.share)
        if not share:
            return pictures
        where, count, side = pictures.device, len(pictures), pictures.shape[-1]
        places = torch.from_numpy(_moves(rng, count, side, share)).to(where)
        colours = torch.from_numpy(_colours(rng, count, share)).to(where)
        grid = functional.affine_grid(places, list(pictures.shape), align_corners=False)
        moved = functional.grid_sample(pictures, grid, "bilinear", "reflection", align_corners=False)
        return torch.baddbmm(colours[:, :, 3:], colours[:, :, :3], moved.flatten(2)).view_as(moved)

    def adapt(self, verdicts: Tensor, pace: float) -> None:
        """Alter more (by `pace` at most) when the critic is too sure of photographs, judged by `verdicts` (n, 1); else less."""
        with torch.no_grad():
            self.sureness.lerp_(verdicts.sign().mean().to(self.sureness.dtype), 0.05)
            self.share.add_(pace * torch.sign(self.sureness - SURE)).clamp_(0, MOST)


def _moves(rng: np.random.Generator, count: int, side: int, share: float) -> Floats:
    """(count, 2, 3): mirrored, and shifted by whole pixels, in places (-1 … 1)."""
    moves = np.zeros((count, 2, 3), np.float32)
    moves[:, 0, 0] = np.where(rng.random(count) < share / 2, -1, 1)
    moves[:, 1, 1] = 1
    most = round(SHIFT * side)
    moves[:, :, 2] = (rng.random(count) < share)[:, None] * rng.integers(-most, most + 1, (count, 2)) * 2 / side
    return moves


def _colours(rng: np.random.Generator, count: int, share: float) -> Floats:
    """(count, 3, 4): light added, contrast and saturation changed."""
    light, contrast, saturation = (
        (rng.random(count) < share) * rng.normal(0, spread, count) for spread in (BRIGHTER, CONTRAST, SATURATION)
    )
    grey = np.full((3, 3), 1 / 3)
    matrices = np.exp2(contrast)[:, None, None] * (grey + np.exp2(saturation)[:, None, None] * (np.eye(3) - grey))
    return np.concatenate([matrices, np.repeat(light[:, None, None], 3, 1)], 2).astype(np.float32)
