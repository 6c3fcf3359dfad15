"""Portraits of people who don't exist, by a variational autoencoder (Kingma and Welling 2014) of the train split's faces.

A portrait is decoded from a code that is drawn as those of the faces are spread: a normal distribution that has their mean and
covariance, which is nearer to them than the standard one (Ghosh et al. 2020). The nets are those of `generators.latent`.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from forgeline.clip import Clip, Made, MediaType, Picture
from forgeline.errors import ModelError
from forgeline.sample import Role
from forgeline.section import Section
from generators import latent
from generators.plugin import Casting, Stream
from generators.portrait import made_of, portraits
from generators.privacy import Seen, remember
from generators.training import key_of, learn, open_model

if TYPE_CHECKING:  # torch takes seconds, and most of what imports this module never learns or paints
    from torch import Tensor, nn

    Nets = Mapping[str, nn.Module]

MOST_FACES = 8192
"""100 MB of portraits; of more, a sample drawn without regard to their order is learned from."""
WIDER = 0.3
"""By how much more codes are spread each time that a portrait was refused as a copy."""
MIDDLE, SPREAD = "codes/middle", "codes/spread"


class VAE(Section):
    """A head that nobody has, decoded from a code drawn among those of the faces learned from, and enlarged."""

    size: Annotated[int, Field(ge=256, le=1024, multiple_of=2)] = 256
    """Side of the picture in pixels; smaller ones can't carry the mark."""
    steps: Annotated[int, Field(ge=1)] = 400
    """Of training, about 35 a CPU second. It begins with principal components, so even few make faces."""
    batch: Annotated[int, Field(ge=2, le=256)] = 16
    """Faces a step."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Of Adam."""
    truncation: Annotated[float, Field(gt=0, le=1)] = 0.8
    """What codes are scaled by, towards their mean: less gives cleaner faces that are more alike; 1 keeps them as drawn."""

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
        """Write the model into `folder`, with its losses and a sheet of samples: see `training.learn`.

        Raises ModelError when there are not enough faces for one batch.
        """
        faces = portraits(clips, rng, MOST_FACES)
        if len(faces) < self.batch:
            what = f"there are {len(faces)} faces to learn from, fewer than a batch of {self.batch}"
            raise ModelError("vae", what, "give it more clips that show faces, or a smaller batch")
        seed = int(rng.integers(2**63))
        learn(
            "vae",
            lambda: latent.lesson(faces, self.learning_rate, seed, lambda nets: _spread(nets, faces) | remember(faces)),
            steps=self.steps,
            batch=self.batch,
            seed=seed,
            key=key_of("generators.vae", self.settings(), seed, faces),
            folder=folder,
            todo="lower vae's learning_rate, or end before that step",
        )

    def load(self, folder: Path) -> "VAE":
        """The same generator, able to paint. Raises ModelError."""
        nets = latent.new_nets()
        rest = open_model(folder, "vae", nets)
        if not {MIDDLE, SPREAD} <= rest.keys():
            raise ModelError(folder, "does not say how its codes are spread", "run the train stage of vae")
        bound = self.model_copy()
        bound._painter = _Painter(nets, rest[MIDDLE].numpy(), rest[SPREAD].numpy())
        bound._seen = Seen.of(rest)
        return bound

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """A picture and a mask of 255: nothing in it was photographed. Raises MediaError when all it paints are copies."""
        painter, seen = self._painter, self._seen
        if painter is None or seen is None:
            raise ModelError("vae", "has no model yet", "train it, then load the model")
        wider = count(1, WIDER)  # few people have few faces between them: what is no copy is further out
        face, told = seen.nobody(lambda chance: painter(chance, self.truncation * next(wider)), rng)
        return made_of(face, self.size, mask=255, drawn=told)


class _Painter:
    """Decodes codes that are drawn around `middle` (64,) by a covariance whose root is `spread` (64, 64)."""

    def __init__(self, nets: "Nets", middle: NDArray[np.float32], spread: NDArray[np.float32]) -> None:
        self._nets, self._middle, self._spread = nets, middle, spread

    def __call__(self, rng: np.random.Generator, truncation: float) -> Picture:
        """A portrait (64, 64, 3)."""
        code = self._middle + truncation * self._spread @ rng.standard_normal(len(self._middle))
        (levels,) = latent.decode(self._nets, code[None])
        return np.asarray(levels.round().clip(0, 255), np.uint8)


def _spread(nets: "Nets", faces: NDArray[np.uint8]) -> "dict[str, Tensor]":
    """The mean (64,) of the faces' codes, and a root (64, 64) of their covariance."""
    import torch

    codes = torch.from_numpy(latent.encode(nets, faces)).double()
    middle = codes.mean(0)
    sizes, turns = torch.linalg.eigh((codes - middle).T @ (codes - middle) / len(codes))
    return {MIDDLE: middle.float(), SPREAD: (turns * sizes.clamp(min=0).sqrt()).float()}
