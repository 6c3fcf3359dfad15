"""Portraits of people who don't exist, by a StyleGAN2 (Karras et al. 2020): trained here, or published and used as it is.

What is trained here is a small one for 64 pixels, with what lets it learn from few faces: alterations that adapt (see
`generators.adversary`), R1, averaged weights, and pictures made as a change of the mean face. Left out are the mixing of styles
and the penalty on paths, which pay off after millions of faces.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from forgeline.clip import Clip, Made, MediaType, Picture
from forgeline.errors import ModelError
from forgeline.sample import Role
from forgeline.section import Section
from forgeline.weights import Given, given_weights
from generators.plugin import Casting, Stream
from generators.portrait import NATIVE, made_of, pictures_of, portraits, sheet, tensor_of
from generators.privacy import Seen, remember
from generators.training import Lesson, descend, device, fast, first_weights, key_of, learn, open_model, tensors_of

if TYPE_CHECKING:  # torch takes seconds, and most of what imports this module never paints
    from torch import Tensor

    from generators.style_net import StyleNet

MOST_FACES = 8192
"""100 MB of portraits; of more, a sample drawn without regard to their order is learned from."""
CRITIC = 16
"""Channels of the critic at 32 pixels; each halving doubles them."""
FASTER, NOISE = 8.0, 0.02
"""The painter's learning rate, in critic's; and that of the strength of noise, in the painter's: else noise is all one sees."""
FIRST = 0.1
"""What is left of first weights that make colours: each picture begins as little more than the mean face."""
AVERAGING = 0.99
BRAKE, LAZY = 0.2, 16
"""Weight of R1, and the steps of which one has it (then as many times as heavy)."""
PACE = 10_000
"""Pictures that the critic must have judged before all of them may be altered."""
MEASURED = 4096
"""Latents by which the mean style is measured."""


class StyleGAN(Section):
    """A head that nobody has, painted layer by layer in a style that is drawn, and enlarged."""

    size: Annotated[int, Field(ge=256, le=1024, multiple_of=2)] = 256
    """Side of the picture in pixels; smaller ones can't carry the mark."""
    steps: Annotated[int, Field(ge=1)] = 300
    """Of training, about 17 a CPU second. 300 give soft heads, 3000 clear ones, which are copies where people are few."""
    batch: Annotated[int, Field(ge=2, le=256)] = 8
    """Faces a step."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Of the critic's Adam; the painter's is eight times it."""
    truncation: Annotated[float, Field(gt=0, le=1)] = 0.8
    """How far styles may be from their mean: less gives cleaner faces that are more alike; 1 keeps them as they are drawn."""
    weights: Given | None = None
    """A published StyleGAN2 of faces, as safetensors (see `generators.published`), used as it is: nothing is trained then, and
    steps, batch and learning_rate do nothing. None trains a small one."""

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

        With `weights` there is nothing to learn and nothing is written: they are looked at, so that a file that does not fit
        is refused now. Raises ModelError when there are not enough faces for one batch, or that file is of other nets, and
        WeightsError when it can't be had.
        """
        if self.weights is not None:
            _published(self.weights)
            return
        faces = portraits(clips, rng, MOST_FACES)
        if len(faces) < self.batch:
            what = f"there are {len(faces)} faces to learn from, fewer than a batch of {self.batch}"
            raise ModelError("style_gan", what, "give it more clips that show faces, or a smaller batch")
        seed = int(rng.integers(2**63))
        learn(
            "style_gan",
            lambda: _lesson(self, faces, seed),
            steps=self.steps,
            batch=self.batch,
            seed=seed,
            key=key_of("generators.style_gan", self.settings(), seed, faces),
            folder=folder,
            todo="lower style_gan's learning_rate, or end before that step",
        )

    def load(self, folder: Path) -> "StyleGAN":
        """The same generator, able to paint. Raises ModelError, and WeightsError when `weights` can't be had."""
        bound = self.model_copy()
        if self.weights is not None:
            bound._painter = _Painter(_published(self.weights))
            return bound
        from generators.style_net import SMALL, StyleNet

        net = StyleNet(SMALL)
        rest = open_model(folder, "style_gan", {"painter": net})
        try:
            bound._painter = _Painter(net, rest["mean"].to(device()))
        except KeyError as error:
            raise ModelError(folder, "has no mean face", "run the train stage of style_gan") from error
        bound._seen = Seen.of(rest)
        return bound

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """A picture and a mask of 255: nothing in it was photographed.

        Published nets paint more than 64 pixels: their portraits are scaled down to 64 as photographs are, and enlarged
        again with all others, so that sharpness tells nothing. Whom they learned from is not known here, and so no portrait
        of theirs is refused as a copy.
        """
        painter = self._painter
        if painter is None:
            raise ModelError("style_gan", "has no model yet", "train it, then load the model")

        def paint(chance: np.random.Generator) -> Picture:
            return np.asarray(painter.paint(1, chance, self.truncation)[0])

        portrait, told = (paint(rng), {}) if self._seen is None else self._seen.nobody(paint, rng)
        return made_of(portrait, self.size, mask=255, drawn={"truncation": self.truncation, **told})


@dataclass(frozen=True)
class _Painter:
    """A net, and the mean face (1, 3, side, side) that it paints changes of; a published net paints whole faces."""

    net: "StyleNet"
    mean: "Tensor | float" = 0.0

    def __call__(self, count: int, rng: np.random.Generator, truncation: float = 1.0) -> "Tensor":
        """Pictures (count, 3, side, side), about -1 … 1."""
        import torch

        where = self.net.mapping.w_avg.device
        latents = torch.from_numpy(rng.standard_normal((count, self.net.size.latent), np.float32)).to(where)
        chance = torch.Generator().manual_seed(int(rng.integers(2**63)))
        noises = [(first.to(where), second.to(where)) for first, second in self.net.synthesis.noises(count, chance)]
        painted: Tensor = self.net(latents, noises, truncation) + self.mean
        return painted

    def paint(self, count: int, rng: np.random.Generator, truncation: float) -> NDArray[np.uint8]:
        """Portraits (count, 64, 64, 3)."""
        import torch

        with torch.inference_mode():
            painted = pictures_of(self(count, rng, truncation))
        if painted.shape[1] == NATIVE:
            return painted
        small = [cv2.resize(picture, (NATIVE, NATIVE), interpolation=cv2.INTER_AREA) for picture in painted]
        return np.asarray(np.stack(small), np.uint8)


def _published(given: Given) -> "StyleNet":
    """The net of a file that a team brings, ready to paint. Raises WeightsError, and ModelError when it is of other nets."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from generators.style_net import Size, StyleNet

    path = given_weights(given)
    todo = "give a StyleGAN2 of faces, converted with `python -m generators.published`"
    try:
        tensors = {name: value.float() for name, value in load_file(path).items()}
        size = Size.of({name: tuple(value.shape) for name, value in tensors.items()})
        net = StyleNet(size)
        net.load_state_dict(tensors)
    except ValueError as error:
        raise ModelError(path, str(error), todo) from error
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(path, f"is no StyleGAN2 ({' '.join(str(error).split())[:300]})", todo) from error
    if size.side < NATIVE:
        raise ModelError(path, f"paints {size.side} pixels, fewer than the {NATIVE} of a portrait", todo)
    return net.to(device()).eval()


# --- Training


def _lesson(settings: StyleGAN, faces: NDArray[np.uint8], seed: int) -> Lesson:
    import torch
    from torch.nn import functional

    from generators.adversary import Altered, follow, steepness
    from generators.style_net import SMALL, Critic, StyleNet

    where = device()
    with first_weights(seed):
        net, critic, average, altered = StyleNet(SMALL), Critic(CRITIC), StyleNet(SMALL), Altered()
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if name.endswith("torgb.weight"):
                weight.mul_(FIRST)
    average.load_state_dict(net.state_dict())
    average.eval()
    nets = {"painter": net, "critic": critic, "average": average, "altered": altered}
    for each in nets.values():
        each.to(where)
    mean = tensor_of(faces.mean(0, dtype=np.float64, keepdims=True)).to(where)
    painter, averaged = _Painter(net, mean), _Painter(average, mean)
    speed = FASTER * settings.learning_rate
    weights: dict[bool, list[Tensor]] = {True: [], False: []}
    for name, weight in net.named_parameters():
        weights[name.endswith("noise_strength")].append(weight)
    adams = {
        "painter": torch.optim.Adam(
            [{"params": weights[False], "lr": speed}, {"params": weights[True], "lr": NOISE * speed}], betas=(0.5, 0.99)
        ),
        "critic": torch.optim.Adam(critic.parameters(), settings.learning_rate, betas=(0.5, 0.99)),
    }

    def step(number: int, rng: np.random.Generator, batch: int) -> "dict[str, Tensor]":
        real = faces[rng.integers(len(faces), size=batch)]
        mirrored = rng.random(batch) < 0.5
        real[mirrored] = real[mirrored, :, ::-1]
        with fast(where):
            fake = painter(batch, rng).float()
        shown, painted = altered(tensor_of(real).to(where), rng), altered(fake.detach(), rng)
        with fast(where):
            of_real, of_fake = critic(shown).float(), critic(painted).float()
        judged = functional.softplus(-of_real).mean() + functional.softplus(of_fake).mean()
        loss = judged
        if number % LAZY == 0:
            loss = loss + LAZY * BRAKE / 2 * steepness(critic, shown)
        descend(adams["critic"], loss)
        altered.adapt(of_real, batch / PACE)
        critic.requires_grad_(False)  # its gradients would cost a part of the step, and are not used here
        painted = altered(fake, rng)
        with fast(where):
            of_fake = critic(painted).float()
        fooled = functional.softplus(-of_fake).mean()
        descend(adams["painter"], fooled)
        critic.requires_grad_(True)
        follow(average, net, min(AVERAGING, (number + 1) / (number + 10)))
        return {"critic": judged.detach(), "painter": fooled.detach(), "altered": altered.share}

    def centred() -> None:
        """Measure the mean style of the averaged net, to which truncation draws."""
        latents = np.random.default_rng(seed).standard_normal((MEASURED, SMALL.latent), np.float32)
        with torch.inference_mode():
            average.mapping.w_avg.copy_(average.mapping(torch.from_numpy(latents).to(where)).mean(0))

    def samples() -> Picture:
        centred()
        return sheet(averaged.paint(32, np.random.default_rng(seed), settings.truncation))

    def model() -> "dict[str, Tensor]":
        centred()
        return tensors_of({"painter": average}) | {"mean": mean} | remember(faces)

    return Lesson(nets=nets, optimizers=adams, step=step, sheet=samples, model=model)
