"""Portraits of people who don't exist, by a diffusion model trained on the train split's faces, or by a team's pipeline.

A U-Net of diffusers learns to find the picture under noise (Ho et al. 2020) at 64 pixels: what is learned at 32 and scaled up
would lack the finest detail of the photographs beside it, and so give itself away. What keeps short trainings short: it tells
the picture, not the noise (Li and He 2025), so that what it does not know yet is smooth; the weights of noise levels are
limited (Hang et al. 2023) on a cosine schedule (Nichol and Dhariwal 2021); weights are averaged; and it goes down to one pixel,
by which it knows where in the picture it is.
Portraits are drawn by DPM-Solver++ (Lu et al. 2022) or DDIM (Song et al. 2021).
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from forgeline.clip import Clip, Made, MediaType, Picture
from forgeline.errors import MediaError, ModelError
from forgeline.files import replacing, write_text
from forgeline.sample import Role
from generators.pipeline import GivenPipeline, Guarded, Pipeline, open_pipeline
from generators.plugin import Casting, Stream
from generators.portrait import FACES_A_CLIP, NATIVE, made_of, pictures_of, portrait, sheet, tensor_of
from generators.privacy import Seen, remember
from generators.training import (
    Lesson,
    descend,
    device,
    fast,
    first_weights,
    kept,
    key_of,
    learn,
    moments,
    open_model,
    tensors_of,
)

if TYPE_CHECKING:  # torch takes seconds, and most of what imports this module never paints
    import torch
    from torch import Tensor, nn

Floats = NDArray[np.float32]
Values = tuple[str, ...]
"""What a corpus declares of a person, in the order of `condition`."""

PIPELINE, CLASSES = "pipeline", "classes.json"
MOST_FACES = 8192
"""100 MB of portraits; of more, a sample drawn without regard to their order is learned from."""
MOST_CLASSES = 64
"""Combinations of values that a conditional net has room for, so that its shape does not hang on the corpus."""
CHANNELS = (16, 16, 32, 64, 128, 128, 128)
"""Of the net at 64, 32 … 1 pixels."""
LEVELS = 1000
"""Of noise."""
LIMIT = 5.0
"""Of the weight of levels with little noise."""
AVERAGING = 0.99
QUICK = 5
"""Sampler's steps of what is shown while it learns: a checkpoint's sheet of twenty would cost half as much as its training."""
LAST = 0.3
"""Share of the steps, the last ones, in which the learning rate falls to nothing."""


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class Diffusion(Guarded):
    """A head that nobody has, found in noise at 64 pixels and enlarged."""

    size: Annotated[int, Field(ge=256, le=1024, multiple_of=2)] = 256
    """Side of the picture in pixels; smaller ones can't carry the mark."""
    steps: Annotated[int, Field(ge=1)] = 3000
    """Of training, eight to ten a CPU second. 200 give blots of skin and hair, 1500 faces; more people want more."""
    batch: Annotated[int, Field(ge=2, le=256)] = 4
    """Faces a step."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Of Adam."""
    sampler: Literal["dpm", "ddim"] = "dpm"
    """How noise becomes a portrait: by DPM-Solver++ or DDIM. A team's pipeline has a sampler of its own."""
    sampler_steps: Annotated[int, Field(ge=1, le=LEVELS)] = 20
    """Of that; more than 20 are of use to DDIM and to teams' pipelines."""
    condition: Annotated[tuple[str, ...], Field(strict=False), BeforeValidator(_several)] = ()
    """Attributes, as the corpus declares them (`glasses`), that the net is told and portraits are drawn by; or none."""
    values: Mapping[str, str] = {}
    """Values that attributes in `condition` must have (`glasses: round`); the others are drawn."""
    pipeline: GivenPipeline | None = None
    """A team's pipeline of diffusers that paints portraits (DDPM, DDIM, text to image): nothing is trained then."""
    prompt: Annotated[str, Field(pattern=r"\S")] | None = None
    """What a text-to-image pipeline is told."""

    role: ClassVar[Role] = "forgery"
    content_class: ClassVar[str] = "fully_synthetic"
    makes: ClassVar[MediaType] = "image"
    casting: ClassVar[Casting] = "nobody"
    changes: ClassVar[frozenset[Stream]] = frozenset({"video"})
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "nobody"
    control: ClassVar[str] = "image_control"
    source_type: ClassVar[str] = "trainedAlgorithmicMedia"

    _painter: "_Painter | None" = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _fit(self) -> "Diffusion":
        if len(set(self.condition)) < len(self.condition):
            raise ValueError("condition: names an attribute twice")
        if more := sorted(set(self.values) - set(self.condition)):
            raise ValueError(f"values: {more[0]} is not in condition")
        if self.condition and self.pipeline:
            raise ValueError("condition: a given pipeline can't be told attributes; leave it out, or say it in the prompt")
        if self.prompt and not self.pipeline:
            raise ValueError("prompt: needs a pipeline; a net that is trained here reads none")
        return self

    def train(self, clips: Iterable[Clip], rng: np.random.Generator, folder: Path) -> None:
        """Write the model into `folder`, with its losses and a sheet of samples (see `training.learn`), and PIPELINE.

        PIPELINE is a folder that diffusers' `DiffusionPipeline.from_pretrained` opens. That of a conditional net wants
        `class_labels`; they are numbers of the rows in its CLASSES.

        With a given pipeline nothing is learned or written: it is opened, so that one that does not fit is refused now.
        Raises ModelError when there are not enough faces for one batch, or no clip has the attributes of `condition`, or no
        person the `values`; and WeightsError when a given pipeline can't be had.
        """
        if self.pipeline is not None:
            _told(self.pipeline, self)
            return
        faces, told = _examples(self.condition, clips, rng)
        if len(faces) < self.batch:
            what = f"there are {len(faces)} faces to learn from, fewer than a batch of {self.batch}"
            raise ModelError("diffusion", what, "give it more clips that show faces, or a smaller batch")
        classes = sorted(set(told))
        if len(classes) > MOST_CLASSES:
            what = f"there are {len(classes)} combinations of {', '.join(self.condition)}, more than {MOST_CLASSES}"
            raise ModelError("diffusion", what, "condition it on fewer attributes")
        _wanted(self, classes)
        labels = np.array([classes.index(values) for values in told])
        seed = int(rng.integers(2**63))
        learn(
            "diffusion",
            lambda: _lesson(self, faces, labels, classes, seed),
            steps=self.steps,
            batch=self.batch,
            seed=seed,
            key=key_of("generators.diffusion", self.settings(), seed, faces, np.frombuffer(_bytes(classes), np.uint8), labels),
            folder=folder,
            todo="lower diffusion's learning_rate, or end before that step",
        )
        _publish(self, folder)

    def load(self, folder: Path) -> "Diffusion":
        """The same generator, able to paint. Raises ModelError, and WeightsError when a given pipeline can't be had."""
        bound = self.model_copy()
        if self.pipeline is not None:
            _told(self.pipeline, self)
            return bound
        net = _net(bool(self.condition))
        rest = open_model(folder, "diffusion", {"net": net})
        try:
            classes = [tuple(values) for values in json.loads(bytes(rest["classes"].tolist()))]
        except (KeyError, ValueError) as error:
            raise ModelError(folder, "does not say what the net was told", "run the train stage of diffusion") from error
        _wanted(self, classes)
        bound._painter = _Painter(net, self.sampler, self.sampler_steps, classes, Seen.of(rest))
        return bound

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """A picture and a mask of 255: nothing in it was photographed.

        A given pipeline's pictures are cut square and scaled down to 64 pixels as photographs are, and enlarged again with
        all others, so that sharpness tells nothing. Whom it learned from is not known here, and so no portrait of its is
        refused as a copy; `drawn` says that. Raises MediaError when its safety checker flags the picture.
        """
        if self.pipeline is not None:
            small, told = self._given(self.pipeline, rng)
        else:
            small, told = self._painted(rng)
        return made_of(small, self.size, mask=255, drawn=told)

    def _painted(self, rng: np.random.Generator) -> tuple[Picture, dict[str, str | float]]:
        painter = self._painter
        if painter is None:
            raise ModelError("diffusion", "has no model yet", "train it, then load the model")
        able = _wanted(self, painter.classes)
        label = able[int(rng.integers(len(able)))]

        def paint(chance: np.random.Generator) -> Picture:
            return np.asarray(painter.paint(_noise(chance, 1), np.array([label]))[0])

        small, told = painter.seen.nobody(paint, rng)
        return small, dict(zip(self.condition, painter.classes[label], strict=True)) | told

    def _given(self, given: GivenPipeline, rng: np.random.Generator) -> tuple[Picture, dict[str, str | float]]:
        pipeline, told = _told(given, self)
        large = pipeline(int(rng.integers(2**63)), **told)
        if large is None:
            todo = "leave it out, or word the prompt otherwise"
            raise MediaError("portrait", "is what the pipeline's safety checker flags", todo)
        height, width = large.shape[:2]
        side = min(height, width)
        if side < NATIVE:
            todo = f"give one that paints {NATIVE} pixels or more"
            raise ModelError(pipeline.name, f"paints {width} x {height} pixels, which would be blurred", todo)
        top, left = (height - side) // 2, (width - side) // 2
        square = large[top : top + side, left : left + side]
        small = np.asarray(cv2.resize(square, (NATIVE, NATIVE), interpolation=cv2.INTER_AREA), np.uint8)
        return small, {"pipeline": pipeline.name, "copies": "not looked for"}


def _told(given: GivenPipeline, settings: Diffusion) -> tuple[Pipeline, dict[str, Any]]:
    """The given pipeline, and all that it is told beside its seed. Raises ModelError when it paints no portraits."""
    pipeline = open_pipeline(given)
    told: dict[str, Any] = {"num_inference_steps": settings.sampler_steps}
    if "image" in pipeline.takes or "num_inference_steps" not in pipeline.takes:
        what = f"is a {pipeline.kind}, which paints no picture from nothing"
        raise ModelError(pipeline.name, what, "give one of DDPM, DDIM or text to image")
    if "prompt" in pipeline.takes:
        if settings.prompt is None:
            raise ModelError(pipeline.name, "paints what it is told", "set prompt, such as: a portrait photo of a person")
        told["prompt"] = settings.prompt
    elif settings.prompt is not None:
        raise ModelError(pipeline.name, f"is a {pipeline.kind}, which reads no prompt", "take the prompt out")
    return pipeline, told


# --- What is learned from


def _examples(condition: Values, clips: Iterable[Clip], rng: np.random.Generator) -> tuple[NDArray[np.uint8], list[Values]]:
    """Portraits (n, 64, 64, 3), at most MOST_FACES, and what is declared of each; `()` where nothing is asked.

    Clips of which not everything is declared are left out, and counted. Raises ModelError when all are.
    """
    without: list[str] = []

    def met() -> Iterator[tuple[Picture, Values]]:
        for clip in clips:
            if clip.track is None or not clip.track.seen.any():
                continue
            if any(name not in clip.attributes for name in condition):
                without.append(clip.name)
                continue
            values = tuple(clip.attributes[name] for name in condition)
            for frame, picture in moments(clip, FACES_A_CLIP):
                yield portrait(picture, clip.track.points[frame]), values

    examples = kept(met(), MOST_FACES, rng)
    asked = " and ".join(condition)
    if without and not examples:
        named = ", ".join(sorted(without)[:3]) + (f" and {len(without) - 3} more" if len(without) > 3 else "")
        todo = "take it out of condition, or declare it in the corpus's people"
        raise ModelError("diffusion", f"nothing is declared of {asked} in {named}", todo)
    if without:
        print(f"diffusion: {len(without)} clips without {asked} are left out", file=sys.stderr, flush=True)
    faces = [face for face, _ in examples]
    shown = np.stack(faces) if faces else np.empty((0, NATIVE, NATIVE, 3), np.uint8)
    return shown, [values for _, values in examples]


def _wanted(settings: Diffusion, classes: Sequence[Values]) -> list[int]:
    """The numbers of those classes that have the `values`. Raises ModelError when none has."""
    told = [dict(zip(settings.condition, values, strict=False)) for values in classes]
    able = [label for label, one in enumerate(told) if settings.values.items() <= one.items()]
    if not able:
        asked = " and ".join(f"{name} {value}" for name, value in sorted(settings.values.items()))
        there = "; ".join(", ".join(f"{name} {value}" for name, value in one.items()) for one in told)
        raise ModelError("diffusion", f"nobody that was learned from has {asked}", f"there were {there}")
    return able


def _bytes(classes: Sequence[Values]) -> bytes:
    return json.dumps(classes).encode()


# --- The network


def _net(conditional: bool) -> "nn.Module":
    """From noisy pictures (n, 3, 64, 64), their levels (n,) and, where it is `conditional`, labels (n,) to the pictures."""
    from diffusers import UNet2DModel

    net: Any = UNet2DModel(  # type: ignore[no-untyped-call]
        sample_size=NATIVE,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        down_block_types=["DownBlock2D"] * len(CHANNELS),
        up_block_types=["UpBlock2D"] * len(CHANNELS),
        norm_num_groups=4,
        add_attention=False,  # in one pixel there is nothing to attend to
        num_class_embeds=MOST_CLASSES if conditional else None,
    )
    return cast("nn.Module", net)


def _scheduler(sampler: str) -> Any:
    """How a portrait comes out of noise, as diffusers has it."""
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

    kinds: dict[str, Any] = {"dpm": DPMSolverMultistepScheduler, "ddim": DDIMScheduler}
    return kinds[sampler](
        num_train_timesteps=LEVELS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        timestep_spacing="trailing",
    )


def _noise(rng: np.random.Generator, count: int) -> Floats:
    return rng.standard_normal((count, 3, NATIVE, NATIVE), np.float32)


@dataclass(frozen=True)
class _Painter:
    """A net, with its sampler and that one's steps; the classes that it can be told; and the faces that it has seen."""

    net: "nn.Module"
    sampler: str
    steps: int
    classes: list[Values]
    seen: Seen

    def paint(self, noise: Floats, labels: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Portraits (n, 64, 64, 3) out of noise (n, 3, 64, 64); labels (n,) are of no matter to a net without conditions."""
        return pictures_of(_sampled(self.net, _scheduler(self.sampler), self.steps, noise, labels))


def _sampled(net: "nn.Module", scheduler: Any, steps: int, noise: Floats, labels: NDArray[np.int64]) -> "Tensor":
    """Pictures (n, 3, 64, 64), about -1 … 1."""
    import torch

    where = next(net.parameters()).device
    pictures = torch.from_numpy(noise).to(where)
    told = _labels(net, labels, where)
    scheduler.set_timesteps(steps)
    with torch.inference_mode():
        for level in scheduler.timesteps:
            pictures = scheduler.step(net(pictures, level, told).sample, level, pictures).prev_sample
    return pictures


def _labels(net: "nn.Module", labels: NDArray[np.int64], where: "torch.device") -> "Tensor | None":
    import torch

    return torch.from_numpy(labels).to(where) if net.class_embedding is not None else None


# --- Training


def _lesson(
    settings: Diffusion, faces: NDArray[np.uint8], labels: NDArray[np.int64], classes: Sequence[Values], seed: int
) -> Lesson:
    import torch

    where = device()
    with first_weights(seed):
        nets = {"net": _net(bool(settings.condition)), "average": _net(bool(settings.condition))}
    net, average = nets["net"].to(where), nets["average"].to(where).eval()
    average.load_state_dict(net.state_dict())
    adam = torch.optim.AdamW(net.parameters(), settings.learning_rate, betas=(0.9, 0.99), fused=True)
    shares = _scheduler("ddim").alphas_cumprod.to(where)
    shown = np.random.default_rng(seed)
    noise, told = _noise(shown, 32), np.arange(32) % len(classes)

    def step(number: int, rng: np.random.Generator, batch: int) -> "dict[str, Tensor]":
        chosen = rng.integers(len(faces), size=batch)
        real = faces[chosen]
        mirrored = rng.random(batch) < 0.5
        real[mirrored] = real[mirrored, :, ::-1]
        spread = (rng.random() + np.arange(batch)) / batch  # all over the levels in each step
        levels = torch.from_numpy((LEVELS * spread).astype(np.int64)).to(where)
        pictures = tensor_of(real).to(where)
        share = shares[levels][:, None, None, None]
        noisy = share.sqrt() * pictures + (1 - share).sqrt() * torch.from_numpy(_noise(rng, batch)).to(where)
        with fast(where):
            found = net(noisy, levels, _labels(net, labels[chosen], where)).sample
        weights = (1 / (1 - share)).clamp(max=LIMIT)  # that of v-prediction (Salimans and Ho 2022), up to the limit
        loss = (weights * (found.float() - pictures).square()).mean()
        adam.param_groups[0]["lr"] = settings.learning_rate * min(1.0, (number + 1) / 10, (1 - number / settings.steps) / LAST)
        descend(adam, loss)
        _follow(average, net, min(AVERAGING, (number + 1) / (number + 10)))
        return {"found": loss}

    def model() -> "dict[str, Tensor]":
        names = torch.tensor(list(_bytes(classes)), dtype=torch.uint8)
        return tensors_of({"net": average}) | remember(faces) | {"classes": names}

    return Lesson(
        nets=nets,
        optimizers={"net": adam},
        step=step,
        sheet=lambda: sheet(pictures_of(_sampled(average, _scheduler("dpm"), QUICK, noise, told))),
        model=model,
    )


def _follow(average: "nn.Module", net: "nn.Module", inertia: float) -> None:
    """Let each weight of `average` follow that of `net`."""
    import torch

    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), 1 - inertia)


# --- For diffusers


def _publish(settings: Diffusion, folder: Path) -> None:
    """Write the model in `folder` as diffusers saves pipelines, each file whole or not at all."""
    from tempfile import TemporaryDirectory

    import diffusers

    bound = settings.load(folder)
    painter = bound._painter
    if painter is None:
        return
    scheduler = _scheduler(settings.sampler)
    kinds: dict[str, Any] = {"dpm": diffusers.DDPMPipeline, "ddim": diffusers.DDIMPipeline}
    with TemporaryDirectory() as scratch:
        kinds[settings.sampler](unet=painter.net.cpu(), scheduler=scheduler).save_pretrained(scratch)
        for path in sorted(Path(scratch).rglob("*")):
            if path.is_file():
                with replacing(folder / PIPELINE / path.relative_to(scratch)) as part:
                    part.write_bytes(path.read_bytes())  # moved, it would be for its owner only
    if settings.condition:
        table = [dict(zip(settings.condition, values, strict=True)) for values in painter.classes]
        write_text(folder / PIPELINE / CLASSES, json.dumps(table, indent=1) + "\n")
