"""Portraits of people who don't exist, by a generative adversarial network trained on the train split's faces.

The networks of DCGAN (Radford et al. 2016) with what since keeps short trainings on few faces stable: a critic with spectral
normalisation and hinge loss (Miyato et al. 2018), averaged weights (Karras et al. 2018), and pictures made as a change of
the mean face. The last step up is bilinear: a transposed convolution leaves a grid (Odena et al. 2016).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from forgeline.clip import Clip, Made, Picture
from forgeline.errors import ModelError
from forgeline.sample import Role
from forgeline.section import Section
from generators.plugin import Casting, Stream
from generators.portrait import NATIVE, enlarge, portrait
from generators.training import Lesson, descend, device, first_weights, kept, key_of, learn, moments, open_model, tensors_of

if TYPE_CHECKING:  # torch takes seconds, and most of what imports this module never paints
    from torch import Tensor, nn

FACES_A_CLIP = 32
MOST_FACES = 8192
"""100 MB of portraits; of more, a sample drawn without regard to their order is learned from."""
LATENTS = 64
CHANNELS = 16
AVERAGING = 0.99


class DCGAN(Section):
    """A head that nobody has, painted at 64 pixels and enlarged."""

    size: Annotated[int, Field(ge=256, le=1024, multiple_of=2)] = 256
    """Side of the picture in pixels; smaller ones can't carry the mark."""
    steps: Annotated[int, Field(ge=1)] = 400
    """Of training, about 40 a CPU second. 400 give noisy faces with hair; many people and thousands of steps give good ones."""
    batch: Annotated[int, Field(ge=2, le=256)] = 8
    """Faces a step."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Of both networks' Adam."""

    role: ClassVar[Role] = "forgery"
    content_class: ClassVar[str] = "fully_synthetic"
    casting: ClassVar[Casting] = "nobody"
    changes: ClassVar[frozenset[Stream]] = frozenset({"video"})
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "nobody"
    control: ClassVar[str] = "image_control"
    source_type: ClassVar[str] = "trainedAlgorithmicMedia"

    _painter: "_Painter | None" = PrivateAttr(default=None)

    def train(self, clips: Iterable[Clip], rng: np.random.Generator, folder: Path) -> None:
        """Write the model into `folder`, with its losses and a sheet of samples.

        Goes on from the checkpoint there if it is of the same faces, settings and code, with the same result as if it had
        never been interrupted. Raises ModelError when there are not enough faces for one batch.
        """
        faces = _faces(clips, rng)
        if len(faces) < self.batch:
            what = f"there are {len(faces)} faces to learn from, fewer than a batch of {self.batch}"
            raise ModelError("dcgan", what, "give it more clips that show faces, or a smaller batch")
        seed = int(rng.integers(2**63))
        learn(
            "dcgan",
            lambda: _lesson(self, faces, seed),
            steps=self.steps,
            batch=self.batch,
            seed=seed,
            key=key_of("generators.dcgan", self.settings(), seed, faces),
            folder=folder,
            todo="lower dcgan's learning_rate, or end before that step",
        )

    def load(self, folder: Path) -> "DCGAN":
        """The same generator, able to paint. Raises ModelError."""
        painter = _Painter(_painting_net())
        open_model(folder, "dcgan", {"painter": painter.net})
        bound = self.model_copy()
        bound._painter = painter
        return bound

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """A picture and a mask of 255: nothing in it was photographed."""
        if self._painter is None:
            raise ModelError("dcgan", "has no model yet", "train it, then load the model")
        shown = enlarge(self._painter.paint(rng.standard_normal((1, LATENTS)))[0], self.size)
        return Made(
            media_type="image",
            width=self.size,
            height=self.size,
            fps=Fraction(0),
            frames=1,
            pictures=iter([(shown, np.full(shown.shape[:2], 255, np.uint8))]),
            sound=None,
        )


def _faces(clips: Iterable[Clip], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Portraits (n, 64, 64, 3) from clips that show a face; n is at most MOST_FACES."""
    met = (
        portrait(picture, clip.track.points[frame])
        for clip in clips
        if clip.track is not None
        for frame, picture in moments(clip, FACES_A_CLIP)
    )
    faces = kept(met, MOST_FACES, rng)
    return np.stack(faces) if faces else np.empty((0, NATIVE, NATIVE, 3), np.uint8)


# --- The networks


def _painting_net() -> "nn.Sequential":
    """From (n, 64, 1, 1) to (n, 3, 64, 64), of which each is a change of its `mean` (1, 3, 64, 64)."""
    import torch
    from torch import nn

    wide = 8 * CHANNELS
    layers: list[nn.Module] = [nn.ConvTranspose2d(LATENTS, wide, 4, 1, 0, bias=False), nn.BatchNorm2d(wide), nn.ReLU(True)]
    for _ in range(3):
        layers += [nn.ConvTranspose2d(wide, wide // 2, 4, 2, 1, bias=False), nn.BatchNorm2d(wide // 2), nn.ReLU(True)]
        wide //= 2
    net = nn.Sequential(*layers, nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(wide, 3, 3, 1, 1))
    net.register_buffer("mean", torch.zeros(1, 3, NATIVE, NATIVE))
    return net


def _critic_net() -> "nn.Sequential":
    """From (n, 3, 64, 64) to (n, 1): high for photographs."""
    from torch import nn
    from torch.nn.utils.parametrizations import spectral_norm

    wide = CHANNELS
    layers: list[nn.Module] = [spectral_norm(nn.Conv2d(3, wide, 4, 2, 1)), nn.LeakyReLU(0.2, True)]
    for _ in range(3):
        layers += [spectral_norm(nn.Conv2d(wide, 2 * wide, 4, 2, 1)), nn.LeakyReLU(0.2, True)]
        wide *= 2
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(wide, 1, 4, 1, 0)), nn.Flatten())


@dataclass(frozen=True)
class _Painter:
    """A painting net; its mean face is kept as the inverse of tanh of the colours in -1 … 1."""

    net: "nn.Sequential"

    def __call__(self, latents: NDArray[np.float64]) -> "Tensor":
        """Pictures (n, 3, 64, 64) in -1 … 1 for latents (n, 64)."""
        import torch

        mean = self.net.get_buffer("mean")
        drawn = torch.from_numpy(latents.astype(np.float32))[..., None, None].to(mean.device)
        return torch.tanh(self.net(drawn) + mean)

    def paint(self, latents: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Pictures (n, 64, 64, 3) for latents (n, 64)."""
        import torch

        with torch.inference_mode():
            painted = self(latents).permute(0, 2, 3, 1).cpu().numpy()
        return np.asarray(((painted + 1) * 127.5).round().clip(0, 255).astype(np.uint8))


# --- Training


def _lesson(settings: DCGAN, faces: NDArray[np.uint8], seed: int) -> Lesson:
    import torch

    where = device()
    with first_weights(seed):
        nets = {"painter": _painting_net(), "critic": _critic_net(), "average": _painting_net()}
    mean = _tensor(faces.mean(0, dtype=np.float64, keepdims=True)).clamp(-0.95, 0.95).atanh()
    nets["painter"].get_buffer("mean").copy_(mean)
    nets["average"].load_state_dict(nets["painter"].state_dict())
    nets["average"].eval()
    for net in nets.values():
        net.to(where)
    painter, average, critic = _Painter(nets["painter"]), _Painter(nets["average"]), nets["critic"]
    adams = {
        name: torch.optim.Adam(nets[name].parameters(), settings.learning_rate, betas=(0.5, 0.999))
        for name in ("painter", "critic")
    }
    shown = np.random.default_rng(seed).standard_normal((32, LATENTS))

    def step(number: int, rng: np.random.Generator, batch: int) -> "dict[str, Tensor]":
        real = faces[rng.integers(len(faces), size=batch)]
        mirrored = rng.random(batch) < 0.5
        real[mirrored] = real[mirrored, :, ::-1]
        fake = painter(rng.standard_normal((batch, LATENTS)))
        judged = torch.relu(1 - critic(_tensor(real).to(where))).mean() + torch.relu(1 + critic(fake.detach())).mean()
        descend(adams["critic"], judged)
        critic.requires_grad_(False)  # its gradients would cost a fifth of the step, and are not used here
        fooled = -critic(fake).mean()
        descend(adams["painter"], fooled)
        critic.requires_grad_(True)
        _follow(average.net, painter.net, min(AVERAGING, (number + 1) / (number + 10)))
        return {"critic": judged, "painter": fooled}

    return Lesson(
        nets=nets,
        optimizers=adams,
        step=step,
        sheet=lambda: _sheet(average.paint(shown)),
        model=lambda: tensors_of({"painter": average.net}),
    )


def _tensor(pictures: NDArray[Any]) -> "Tensor":
    """Pictures (n, 64, 64, 3) in 0 … 255 as (n, 3, 64, 64) in -1 … 1."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), np.float32) / 127.5 - 1)


def _follow(average: "nn.Module", net: "nn.Module", inertia: float) -> None:
    """Let each weight, and each running statistic, of `average` follow that of `net`."""
    import torch

    now = net.state_dict()
    with torch.no_grad():
        for name, kept in average.state_dict().items():
            if kept.is_floating_point():
                kept.lerp_(now[name], 1 - inertia)


def _sheet(pictures: NDArray[np.uint8]) -> Picture:
    """32 portraits, eight in a row."""
    return np.ascontiguousarray(pictures.reshape(4, 8, NATIVE, NATIVE, 3).transpose(0, 2, 1, 3, 4).reshape(4 * NATIVE, -1, 3))
