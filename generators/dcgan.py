"""Portraits of people who don't exist, by a generative adversarial network trained on the train split's faces.

The networks of DCGAN (Radford et al. 2016) with what since keeps short trainings on few faces stable: a critic with spectral
normalisation and hinge loss (Miyato et al. 2018), averaged weights (Karras et al. 2018), and pictures made as a change of
the mean face. The last step up is bilinear: a transposed convolution leaves a grid (Odena et al. 2016).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from forgeline.clip import Clip, Made, MediaType, Picture
from forgeline.errors import ModelError
from forgeline.sample import Role
from forgeline.section import Section
from generators.plugin import Casting, Stream
from generators.portrait import NATIVE, made_of, pictures_of, portraits, sheet, tensor_of
from generators.privacy import Seen, remember
from generators.training import Lesson, descend, device, fast, first_weights, key_of, learn, open_model, tensors_of

if TYPE_CHECKING:  # torch takes seconds, and most of what imports this module never paints
    from torch import Tensor, nn

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
    truncation: Annotated[float, Field(gt=0, le=1)] = 0.8
    """What latents are scaled by, towards their mean: less gives cleaner faces that are more alike; 1 keeps them as drawn."""

    role: ClassVar[Role] = "forgery"
    content_class: ClassVar[str] = "fully_synthetic"
    makes: ClassVar[MediaType] = "image"
    casting: ClassVar[Casting] = "nobody"
    changes: ClassVar[frozenset[Stream]] = frozenset({"video"})
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "nobody"
    control: ClassVar[str] = "image_control"
    source_type: ClassVar[str] = "trainedAlgorithmicMedia"

    _painter: "_Painter | None" = PrivateAttr(default=None)
    _seen: Seen | None = PrivateAttr(default=None)

    def train(self, clips: Iterable[Clip], rng: np.random.Generator, folder: Path) -> None:
        """Write the model into `folder`, with its losses and a sheet of samples.

        Goes on from the checkpoint there if it is of the same faces, settings and code, with the same result as if it had
        never been interrupted. Raises ModelError when there are not enough faces for one batch.
        """
        faces = portraits(clips, rng, MOST_FACES)
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
        rest = open_model(folder, "dcgan", {"painter": painter.net})
        bound = self.model_copy()
        bound._painter, bound._seen = painter, Seen.of(rest)
        return bound

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """A picture and a mask of 255: nothing in it was photographed. Raises MediaError when all it paints are copies."""
        painter, seen = self._painter, self._seen
        if painter is None or seen is None:
            raise ModelError("dcgan", "has no model yet", "train it, then load the model")

        def paint(chance: np.random.Generator) -> Picture:
            return np.asarray(painter.paint(self.truncation * chance.standard_normal((1, LATENTS)))[0])

        face, told = seen.nobody(paint, rng)
        return made_of(face, self.size, mask=255, drawn={"truncation": self.truncation, **told})


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
        return torch.tanh(self.net(drawn).float() + mean)

    def paint(self, latents: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Pictures (n, 64, 64, 3) for latents (n, 64)."""
        import torch

        with torch.inference_mode():
            return pictures_of(self(latents))


# --- Training


def _lesson(settings: DCGAN, faces: NDArray[np.uint8], seed: int) -> Lesson:
    import torch

    from generators.adversary import follow

    where = device()
    with first_weights(seed):
        nets = {"painter": _painting_net(), "critic": _critic_net(), "average": _painting_net()}
    mean = tensor_of(faces.mean(0, dtype=np.float64, keepdims=True)).clamp(-0.95, 0.95).atanh()
    nets["painter"].get_buffer("mean").copy_(mean)
    nets["average"].load_state_dict(nets["painter"].state_dict())
    nets["average"].eval()
    for net in nets.values():
        net.to(where).to(memory_format=torch.channels_last)  # a quarter faster
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
        with fast(where):
            fake = painter(rng.standard_normal((batch, LATENTS)))
            of_real, of_fake = critic(torch.cat([tensor_of(real).to(where), fake.detach()])).float().chunk(2)
        judged = torch.relu(1 - of_real).mean() + torch.relu(1 + of_fake).mean()
        descend(adams["critic"], judged)
        critic.requires_grad_(False)  # its gradients would cost a fifth of the step, and are not used here
        with fast(where):
            fooled = -critic(fake).float().mean()
        descend(adams["painter"], fooled)
        critic.requires_grad_(True)
        follow(average.net, painter.net, min(AVERAGING, (number + 1) / (number + 10)))
        return {"critic": judged.detach(), "painter": fooled.detach()}

    return Lesson(
        nets=nets,
        optimizers=adams,
        step=step,
        sheet=lambda: sheet(average.paint(settings.truncation * shown)),
        model=lambda: tensors_of({"painter": average.net}) | remember(faces),
    )
