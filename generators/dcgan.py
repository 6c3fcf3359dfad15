"""Portraits of people who don't exist, by a generative adversarial network trained on the train split's faces.

The networks of DCGAN (Radford et al. 2016) with what since keeps short trainings on few faces stable: a critic with spectral
normalisation and hinge loss (Miyato et al. 2018), averaged weights (Karras et al. 2018), and pictures made as a change of
the mean face. The last step up is bilinear: a transposed convolution leaves a grid (Odena et al. 2016).
"""

import csv
import hashlib
import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from forgeline.clip import Clip, Made, Picture
from forgeline.code import code_digest, library_versions
from forgeline.errors import MediaError, ModelError
from forgeline.files import replacing, write_text
from forgeline.image import write_image
from forgeline.progress import progress
from forgeline.recipe import canonical, digest
from forgeline.sample import Role
from forgeline.section import Section
from generators.plugin import Casting, Stream
from generators.portrait import NATIVE, enlarge, portrait

if TYPE_CHECKING:  # torch takes seconds, and most of what imports this module never paints
    from torch import Tensor, nn
    from torch.optim import Optimizer

    Nets = dict[str, nn.Sequential]
    Adams = dict[str, Optimizer]

FACES_A_CLIP = 32
MOST_FACES = 8192
"""100 MB of portraits; of more, a sample drawn without regard to their order is learned from."""
LATENTS = 64
CHANNELS = 16
AVERAGING = 0.99
CHECKPOINT_STEPS = 100
MODEL, CHECKPOINT, LOSSES, SAMPLES = "model.safetensors", "checkpoint.safetensors", "losses.csv", "samples.png"


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
        makers = {"code": code_digest("generators.dcgan"), "libraries": library_versions(), "settings": self.settings()}
        key = digest([makers, seed, _sha256(faces)])
        if _key_in(folder / MODEL) != key:
            _train(self, faces, seed, key, folder)
        (folder / CHECKPOINT).unlink(missing_ok=True)

    def load(self, folder: Path) -> "DCGAN":
        """The same generator, able to paint. Raises ModelError."""
        bound = self.model_copy()
        bound._painter = _open_painter(folder / MODEL)
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


# --- What it learns from


def _faces(clips: Iterable[Clip], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Portraits (n, 64, 64, 3) from clips that show a face; n is at most MOST_FACES."""
    kept: list[Picture] = []
    for met, face in enumerate(face for clip in clips for face in _portraits(clip)):
        if met < MOST_FACES:
            kept.append(face)
        elif (place := int(rng.integers(met + 1))) < MOST_FACES:
            kept[place] = face
    return np.stack(kept) if kept else np.empty((0, NATIVE, NATIVE, 3), np.uint8)


def _portraits(clip: Clip) -> Iterator[Picture]:
    """Evenly spread over the frames in which the face is seen."""
    if clip.track is None or not clip.track.seen.any():
        return
    seen = np.flatnonzero(clip.track.seen)
    wanted = set(seen[np.linspace(0, len(seen) - 1, min(FACES_A_CLIP, len(seen))).round().astype(int)].tolist())
    last = max(wanted)
    for frame, picture in enumerate(clip.pictures()):
        if frame in wanted:
            yield portrait(picture, clip.track.points[frame])
        if frame == last:
            return
    raise MediaError(clip.name, f"ends before its frame {last} of {clip.frames}", "ingest it again")


def _sha256(faces: NDArray[np.uint8]) -> str:
    return hashlib.sha256(faces.tobytes()).hexdigest()


# --- The networks


def _painting_net() -> "nn.Sequential":
    """From (n, 64, 1, 1) to (n, 3, 64, 64)."""
    from torch import nn

    wide = 8 * CHANNELS
    layers: list[nn.Module] = [nn.ConvTranspose2d(LATENTS, wide, 4, 1, 0, bias=False), nn.BatchNorm2d(wide), nn.ReLU(True)]
    for _ in range(3):
        layers += [nn.ConvTranspose2d(wide, wide // 2, 4, 2, 1, bias=False), nn.BatchNorm2d(wide // 2), nn.ReLU(True)]
        wide //= 2
    return nn.Sequential(*layers, nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(wide, 3, 3, 1, 1))


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
    """A net, and the `mean` face (1, 3, 64, 64) that it changes: the inverse of tanh of the colours in -1 … 1."""

    net: "nn.Sequential"
    mean: "Tensor"

    def __call__(self, latents: NDArray[np.float64]) -> "Tensor":
        """Pictures (n, 3, 64, 64) in -1 … 1 for latents (n, 64)."""
        import torch

        return torch.tanh(self.net(torch.from_numpy(latents.astype(np.float32))[..., None, None]) + self.mean)

    def paint(self, latents: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Pictures (n, 64, 64, 3) for latents (n, 64)."""
        import torch

        with torch.inference_mode():
            painted = self(latents).permute(0, 2, 3, 1).numpy()
        return np.asarray(((painted + 1) * 127.5).round().clip(0, 255).astype(np.uint8))


def _open_painter(path: Path) -> _Painter:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    torch.set_num_threads(1)  # more threads add in another order
    if not path.exists():
        raise ModelError(path, "is not there", "run the train stage of dcgan")
    try:
        tensors = load_file(path)
        painter = _Painter(_painting_net(), tensors.pop("mean"))
        painter.net.load_state_dict(tensors)
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise ModelError(path, f"is not a model of this generator ({error})", "run the train stage of dcgan") from error
    painter.net.eval()
    return painter


# --- Training


def _train(settings: DCGAN, faces: NDArray[np.uint8], seed: int, key: str, folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    torch.set_num_threads(1)
    mean = _tensor(faces.mean(0, dtype=np.float64, keepdims=True)).clamp(-0.95, 0.95).atanh()
    with torch.random.fork_rng(devices=[]):  # torch's layers draw their first weights from its global state only
        torch.manual_seed(seed)
        nets = {"painter": _painting_net(), "critic": _critic_net(), "average": _painting_net()}
    nets["average"].load_state_dict(nets["painter"].state_dict())
    nets["average"].eval()
    painter, average, critic = _Painter(nets["painter"], mean), _Painter(nets["average"], mean), nets["critic"]
    adams: dict[str, Optimizer] = {
        name: torch.optim.Adam(nets[name].parameters(), settings.learning_rate, betas=(0.5, 0.999))
        for name in ("painter", "critic")
    }
    losses = _resume(folder / CHECKPOINT, key, nets, adams)
    shown = np.random.default_rng([seed, 0]).standard_normal((32, LATENTS))
    for step in progress(range(len(losses), settings.steps), settings.steps - len(losses), "dcgan: train"):
        rng = np.random.default_rng([seed, 1, step])  # a step's own chance: nothing to keep when training is interrupted
        real = faces[rng.integers(len(faces), size=settings.batch)]
        mirrored = rng.random(settings.batch) < 0.5
        real[mirrored] = real[mirrored, :, ::-1]
        fake = painter(rng.standard_normal((settings.batch, LATENTS)))
        judged = torch.relu(1 - critic(_tensor(real))).mean() + torch.relu(1 + critic(fake.detach())).mean()
        _descend(adams["critic"], judged)
        critic.requires_grad_(False)  # its gradients would cost a fifth of the step, and are not used here
        fooled = -critic(fake).mean()
        _descend(adams["painter"], fooled)
        critic.requires_grad_(True)
        _follow(average.net, painter.net, min(AVERAGING, (step + 1) / (step + 10)))
        losses.append((judged.item(), fooled.item()))
        if len(losses) % CHECKPOINT_STEPS == 0 or len(losses) == settings.steps:
            _checkpoint(folder / CHECKPOINT, key, nets, adams, losses)
            write_image(folder / SAMPLES, _sheet(average.paint(shown)))
            _report(losses, settings.steps, folder / SAMPLES)
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([("critic", "painter"), *losses])
    write_text(folder / LOSSES, table.getvalue())
    with replacing(folder / MODEL) as part:
        save_file({"mean": mean, **average.net.state_dict()}, part, _named(key))


def _tensor(pictures: NDArray[Any]) -> "Tensor":
    """Pictures (n, 64, 64, 3) in 0 … 255 as (n, 3, 64, 64) in -1 … 1."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), np.float32) / 127.5 - 1)


def _descend(adam: "Optimizer", loss: "Tensor") -> None:
    adam.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    adam.step()


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


def _report(losses: Sequence[tuple[float, float]], steps: int, samples: Path) -> None:
    judged, fooled = np.mean(losses[-CHECKPOINT_STEPS:], axis=0)
    said = f"dcgan: step {len(losses)} of {steps}, loss of the critic {judged:.2f}, of the painter {fooled:.2f}"
    print(f"{said}, samples in {samples}", file=sys.stderr, flush=True)


# --- Checkpoints


def _named(key: str) -> dict[str, str]:
    return {"forgeline": canonical({"key": key})}


def _key_in(path: Path) -> str | None:
    """What made a file, or None where there is no whole file of ours."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            return str(json.loads((file.metadata() or {})["forgeline"])["key"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def _checkpoint(
    path: Path,
    key: str,
    nets: "Nets",
    adams: "Adams",
    losses: Sequence[tuple[float, float]],
) -> None:
    import torch
    from safetensors.torch import save_file

    tensors = {f"{name}/{part}": value for name, net in nets.items() for part, value in net.state_dict().items()}
    for name, adam in adams.items():
        for index, values in adam.state_dict()["state"].items():
            tensors |= {f"adam/{name}/{index}/{part}": value for part, value in values.items()}
    tensors["losses"] = torch.tensor(losses, dtype=torch.float64)
    with replacing(path) as part:
        save_file(tensors, part, _named(key))


def _resume(path: Path, key: str, nets: "Nets", adams: "Adams") -> list[tuple[float, float]]:
    """Put nets and optimisers where the checkpoint left them; give the losses up to there, none without such a checkpoint."""
    from safetensors.torch import load_file

    if _key_in(path) != key:
        return []
    tensors = load_file(path)
    losses = [(judged, fooled) for judged, fooled in tensors.pop("losses").tolist()]
    states: dict[str, dict[int, dict[str, Tensor]]] = {name: {} for name in adams}
    for address in [address for address in tensors if address.startswith("adam/")]:
        _, name, index, part = address.split("/")
        states[name].setdefault(int(index), {})[part] = tensors.pop(address)
    for name, adam in adams.items():
        adam.load_state_dict(adam.state_dict() | {"state": states[name]})
    for name, net in nets.items():
        start = f"{name}/"
        net.load_state_dict({key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)})
    return losses
