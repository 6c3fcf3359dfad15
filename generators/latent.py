"""A variational autoencoder of faces: pictures of 64 pixels become codes of few numbers, near a normal distribution, and back.

Encoder and decoder of Kingma and Welling (2014). Both begin where linear codes are best: with the faces' principal components
(Turk and Pentland 1991), which a linear autoencoder of this kind would find, too (Lucas et al. 2019). Convolutions learn what
these can't say, and begin with saying nothing. So a second of training gives faces, and a minute sharper ones. How much a
pixel's error counts beside the codes' distance from the normal distribution is known from the errors themselves (Rybkin et
al. 2021), so that there is nothing to balance.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Picture
from generators.portrait import NATIVE, tensor_of
from generators.training import Lesson, descend, device, fast, first_weights, tensors_of

if TYPE_CHECKING:  # torch takes seconds, and most of what imports this module never learns or paints
    from torch import Tensor, nn
    from torch import device as Device  # noqa: N812

    Nets = Mapping[str, nn.Module]

Floats = NDArray[np.float32]

CODES = 64
CHANNELS = 16
ANALYSED = 1024
"""Faces of which the principal components are taken; of more, so many that are evenly spread."""
VALUES = 3 * NATIVE * NATIVE
LEAST_ERROR = 0.01
"""Root mean square error of a pixel (of -1 … 1) below which nothing is won: cameras' noise."""
AT_ONCE = 64
"""Faces that are encoded or decoded in one go."""


def new_nets() -> "dict[str, nn.Module]":
    """`encoder`: from (n, 3, 64, 64) to (n, 128), the codes' middles and the logarithms of their variances.

    `decoder`: from codes (n, 64) to (n, 3, 64, 64). `linear`: the principal components, which both add to; see `_analyse`.
    """
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    narrow, wide = 3, CHANNELS
    for _ in range(4):
        layers += [nn.Conv2d(narrow, wide, 4, 2, 1), nn.LeakyReLU(0.1)]
        narrow, wide = wide, 2 * wide
    told = nn.Linear(narrow * 16, 2 * CODES)
    encoder = nn.Sequential(*layers, nn.Flatten(), told)
    layers = [nn.Linear(CODES, narrow * 16), nn.LeakyReLU(0.1), nn.Unflatten(1, (narrow, 4, 4))]
    for _ in range(4):
        layers += [nn.Conv2d(narrow, 2 * narrow, 3, 1, 1), nn.PixelShuffle(2), nn.LeakyReLU(0.1)]
        narrow //= 2
    last = nn.Conv2d(narrow, 3, 3, 1, 1)
    decoder = nn.Sequential(*layers, last)
    for layer in [layer for net in (encoder, decoder) for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]:
        nn.init.kaiming_normal_(layer.weight, 0.1)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    for end in (told, last):
        nn.init.zeros_(end.weight)
    nn.init.constant_(told.bias[CODES:], -3.0)
    linear = nn.Module()
    linear.register_buffer("mean", torch.zeros(1, VALUES))
    linear.register_buffer("parts", torch.zeros(CODES, VALUES))
    linear.register_buffer("scales", torch.ones(CODES))
    return {"encoder": encoder, "decoder": decoder, "linear": linear}


def _analyse(nets: "Nets", faces: NDArray[np.uint8]) -> None:
    """Put the faces' mean and principal components into `linear`, and what is known of the codes' variances into `encoder`.

    Probabilistic principal components (Tipping and Bishop 1999): codes of unit variance, and as uncertain as the faces' rest.
    """
    import torch

    some = faces[np.linspace(0, len(faces) - 1, min(len(faces), ANALYSED)).round().astype(int)]
    rows = tensor_of(some).flatten(1)
    mean = rows.mean(0, keepdim=True)
    rows -= mean
    sizes, turns = torch.linalg.eigh((rows @ rows.T).double() / len(rows))
    sizes, turns = sizes.flip(0).clamp(min=0), turns.flip(1)
    rest = max(float(sizes[CODES:].sum()) / VALUES, LEAST_ERROR**2)
    count = min(CODES, int((sizes > 2 * rest).sum()))
    parts = turns[:, :count].T.float() @ rows
    linear, told = nets["linear"], nets["encoder"].get_submodule("9")
    linear.get_buffer("mean").copy_(mean)
    linear.get_buffer("parts")[:count] = parts / parts.norm(dim=1, keepdim=True)
    linear.get_buffer("scales")[:count] = (sizes[:count] - rest).sqrt()
    with torch.no_grad():
        told.get_parameter("bias")[CODES:] = 0
        told.get_parameter("bias")[CODES : CODES + count] = (rest / sizes[:count]).log()


def _told(nets: "Nets", pictures: "Tensor") -> "tuple[Tensor, Tensor]":
    """Middles and logarithms of variances, (n, 64) each, of the codes of pictures (n, 3, 64, 64)."""
    linear = nets["linear"]
    straight = (pictures.flatten(1) - linear.get_buffer("mean")) @ linear.get_buffer("parts").T / linear.get_buffer("scales")
    with fast(pictures.device):
        middle, variance = nets["encoder"](pictures).float().chunk(2, 1)
    return straight + middle, variance


def _shown(nets: "Nets", codes: "Tensor") -> "Tensor":
    """Pictures (n, 3, 64, 64), about -1 … 1, of codes (n, 64)."""
    linear = nets["linear"]
    straight = linear.get_buffer("mean") + (codes * linear.get_buffer("scales")) @ linear.get_buffer("parts")
    with fast(codes.device):
        change = nets["decoder"](codes).float()
    shown: Tensor = straight.view_as(change) + change
    return shown


# --- Use


def encode(nets: "Nets", faces: NDArray[np.uint8]) -> Floats:
    """Codes (n, 64) of faces (n, 64, 64, 3)."""
    import torch

    where = device()
    with torch.inference_mode():
        some = [_told(nets, tensor_of(faces[i : i + AT_ONCE]).to(where))[0].cpu() for i in range(0, len(faces), AT_ONCE)]
    return np.concatenate([codes.numpy() for codes in some]) if some else np.empty((0, CODES), np.float32)


def decode(nets: "Nets", codes: NDArray[np.floating]) -> Floats:
    """Faces (n, 64, 64, 3) of codes (n, 64): levels, about 0 … 255."""
    import torch

    where = device()
    with torch.inference_mode():
        shown = _shown(nets, torch.from_numpy(np.asarray(codes, np.float32)).to(where)).permute(0, 2, 3, 1).cpu().numpy()
    return np.ascontiguousarray((shown + 1) * np.float32(127.5))


# --- Learning


def lesson(faces: NDArray[np.uint8], rate: float, seed: int, model: "Callable[[Nets], Mapping[str, Tensor]]") -> Lesson:
    """How the nets learn to give back faces (n, 64, 64, 3); `model` gives what else is needed of them later."""
    import torch

    where = device()
    with first_weights(seed):
        nets = new_nets()
    _analyse(nets, faces)
    for net in nets.values():
        net.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    adam = torch.optim.Adam([p for net in nets.values() for p in net.parameters()], rate)

    def step(_: int, rng: np.random.Generator, batch: int) -> "dict[str, Tensor]":
        losses = _losses(nets, _drawn(faces, rng, batch), rng, where)
        descend(adam, torch.stack([*losses.values()]).sum())
        return losses

    return Lesson(nets, {"adam": adam}, step, lambda: _sheet(nets, faces), lambda: tensors_of(nets) | dict(model(nets)))


def _drawn(faces: NDArray[np.uint8], rng: np.random.Generator, batch: int) -> NDArray[np.uint8]:
    """A batch of the faces, half of them mirrored."""
    chosen = faces[rng.integers(len(faces), size=batch)]
    mirrored = rng.random(batch) < 0.5
    chosen[mirrored] = chosen[mirrored, :, ::-1]
    return chosen


def _losses(nets: "Nets", faces: NDArray[np.uint8], rng: np.random.Generator, where: "Device") -> "dict[str, Tensor]":
    """What a pixel of faces costs on average, by its error and by its share of the codes, in natural units of information."""
    import torch

    given = tensor_of(faces).to(where, memory_format=torch.channels_last)
    middle, variance = _told(nets, given)
    noise = torch.from_numpy(rng.standard_normal(middle.shape, np.float32)).to(where)
    error = (_shown(nets, middle + (variance / 2).exp() * noise) - given).square().mean()
    return {
        "error": (error + LEAST_ERROR**2).log() / 2,
        "codes": (middle.square() + variance.exp() - 1 - variance).sum(1).mean() / (2 * VALUES),
    }


def _sheet(nets: "Nets", faces: NDArray[np.uint8]) -> Picture:
    """Eight faces in four rows: as they are, given back, halfway to the next, and of codes that are drawn."""
    some = faces[np.linspace(0, len(faces) - 1, 8).astype(int)]
    codes = encode(nets, some)
    nobody = np.random.default_rng(0).standard_normal(codes.shape)
    rows = [decode(nets, each) for each in (codes, (codes + np.roll(codes, -1, 0)) / 2, nobody)]
    return np.vstack([np.hstack(list(row)) for row in (some, *(r.round().clip(0, 255).astype(np.uint8) for r in rows))])
