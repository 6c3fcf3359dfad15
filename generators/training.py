"""What nets that learn here share: what they see, the loop, its checkpoints, and their model.

A plug-in gathers its examples with `moments` and `kept`, names all that makes its model with `key_of`, and calls `learn`
with a function that begins a `Lesson`. A training that was killed goes on from its last checkpoint to the same bits: each
step has a source of chance of its own, and nets and optimisers are all there is to keep. On a CPU equal inputs give equal
bytes; a GPU adds in an order of its own.
"""

import csv
import hashlib
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Clip, Picture
from forgeline.code import code_digest, library_versions
from forgeline.errors import MediaError, ModelError
from forgeline.files import replacing, write_text
from forgeline.image import write_image
from forgeline.plot import curves
from forgeline.progress import progress
from forgeline.recipe import canonical, digest

if TYPE_CHECKING:  # torch takes seconds, and most of what imports this module never learns
    import torch
    from torch import Tensor, nn
    from torch.optim import Optimizer

Example = TypeVar("Example")

CHECKPOINT_STEPS = 100
"""How often a training is kept, shown and checked."""
FEWEST = 2
"""Examples a step, below which no GPU's memory is worth the time."""
MODEL, CHECKPOINT, LOSSES = "model.safetensors", "checkpoint.safetensors", "losses.csv"
CURVES, SAMPLES = "losses.svg", "samples.png"


# --- What is learned from


def moments(clip: Clip, most: int) -> Iterator[tuple[int, Picture]]:
    """Up to `most` of the frames in which the clip's face is seen, evenly spread, with their numbers; none without a face.

    Raises MediaError when the clip is shorter than it says.
    """
    if clip.track is None or not clip.track.seen.any():
        return
    seen = np.flatnonzero(clip.track.seen)
    wanted = set(seen[np.linspace(0, len(seen) - 1, min(most, len(seen))).round().astype(int)].tolist())
    last = max(wanted)
    for frame, picture in enumerate(clip.pictures()):
        if frame in wanted:
            yield frame, picture
        if frame == last:
            return
    raise MediaError(clip.name, f"ends before its frame {last} of {clip.frames}", "ingest it again")


def kept(examples: Iterable[Example], most: int, rng: np.random.Generator) -> list[Example]:
    """All examples, or a sample of `most` drawn without regard to their order (Vitter 1985, algorithm R)."""
    held: list[Example] = []
    for met, example in enumerate(examples):
        if met < most:
            held.append(example)
        elif (place := int(rng.integers(met + 1))) < most:
            held[place] = example
    return held


def key_of(module: str, settings: Mapping[str, Any], seed: int, *examples: NDArray[Any]) -> str:
    """All that makes a model, as one hash: the code of `module` and of what it imports, libraries, settings, seed, examples."""
    shown = [hashlib.sha256(np.ascontiguousarray(e).data).hexdigest() for e in examples]
    return digest([code_digest(module), library_versions(), dict(settings), seed, shown])


# --- Where it is computed


def device() -> "torch.device":
    """A GPU where there is one, else the CPU; fixes what would make two runs differ: the number of threads, cuDNN's choices."""
    import torch

    torch.set_num_threads(1)  # more threads add in another order
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fast(where: "torch.device") -> "torch.autocast":
    """A block whose products are computed in bfloat16, if `where` has instructions for them; else in float32."""
    import torch

    told = torch.cpu.get_capabilities() if where.type == "cpu" else {}
    able = where.type == "cuda" or bool(told.get("avx512_bf16") or told.get("amx_bf16"))
    return torch.autocast(where.type, torch.bfloat16, enabled=able)


@contextmanager
def first_weights(seed: int) -> Iterator[None]:
    """A block in which new layers draw their first weights from `seed`: torch takes them from its global state only."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


# --- The loop


@dataclass(frozen=True)
class Lesson:
    """Nets that are to learn, and how."""

    nets: Mapping[str, "nn.Module"]
    """All that a checkpoint must hold, averages included."""
    optimizers: Mapping[str, "Optimizer"]
    """All that `step` uses."""
    step: Callable[[int, np.random.Generator, int], Mapping[str, "Tensor"]]
    """Takes the step's number (from 0), its own chance and the number of examples; changes the nets; gives the losses."""
    sheet: Callable[[], Picture]
    """What the nets can do now, for a person's eyes."""
    model: Callable[[], Mapping[str, "Tensor"]]
    """What is needed of them later: see `tensors_of`."""


def learn(
    name: str, begin: Callable[[], Lesson], *, steps: int, batch: int, seed: int, key: str, folder: Path, todo: str
) -> None:
    """Write MODEL into `folder`, with LOSSES, CURVES and SAMPLES, unless the one there has this `key`.

    Goes on from the CHECKPOINT there if that has this `key` too. When a GPU's memory is too small, the batch is halved, and
    that is said. Raises ModelError when a loss or a weight is no longer a number: the last good checkpoint stays, and `todo`
    is the advice; and when not even FEWEST examples fit a GPU's memory.
    """
    if _key_in(folder / MODEL) != key:
        lesson = begin()
        losses, batch = _resume(folder / CHECKPOINT, key, lesson, batch)
        for step in progress(range(len(losses), steps), steps - len(losses), f"{name}: train"):
            now, batch = _step(name, lesson, step, seed, batch)
            broken = [loss for loss, value in now.items() if not np.isfinite(value)]
            due = (step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == steps
            if due and not broken:
                broken = _broken(lesson.nets)
            if broken:
                last = (
                    f"the checkpoint before it is kept in {folder}" if (folder / CHECKPOINT).exists() else "none was kept yet"
                )
                raise ModelError(name, f"{broken[0]} is no longer a number at step {step + 1}; {last}", todo)
            losses.append(now)
            if due:
                _keep(name, folder, key, lesson, losses, batch)
                _report(name, losses, steps, folder)
        with replacing(folder / MODEL) as part:
            _save(part, key, lesson.model())
    (folder / CHECKPOINT).unlink(missing_ok=True)


Losses = dict[str, float]


def _step(name: str, lesson: Lesson, step: int, seed: int, batch: int) -> tuple[Losses, int]:
    """The losses, by name, and the batch with which the step could be taken."""
    import torch

    while True:
        rng = np.random.default_rng([seed, step])  # a step's own chance: nothing to keep when training is interrupted
        try:
            losses = lesson.step(step, rng, batch)
            return {loss: losses[loss].item() for loss in sorted(losses)}, batch
        except torch.OutOfMemoryError as error:
            if batch // 2 < FEWEST:
                what = f"does not fit the GPU's memory with a batch of {batch}"
                raise ModelError(name, what, "use a larger GPU, or none: CUDA_VISIBLE_DEVICES=''") from error
        batch //= 2
        torch.cuda.empty_cache()
        print(f"{name}: step {step + 1}: the GPU's memory is full; on with a batch of {batch}", file=sys.stderr, flush=True)


def _broken(nets: Mapping[str, "nn.Module"]) -> list[str]:
    """The names of those nets that hold something that is not a number."""
    return [name for name, net in nets.items() if not all(bool(value.isfinite().all()) for value in net.state_dict().values())]


def descend(optimizer: "Optimizer", loss: "Tensor") -> None:
    """One step of `optimizer` down the gradient of `loss`."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _report(name: str, losses: Sequence[Losses], steps: int, folder: Path) -> None:
    recent = losses[-CHECKPOINT_STEPS:]
    means = ", ".join(f"{loss} {np.mean([row[loss] for row in recent]):.4g}" for loss in recent[0])
    print(f"{name}: step {len(losses)} of {steps}, {means}; samples in {folder / SAMPLES}", file=sys.stderr, flush=True)


# --- Files


def tensors_of(nets: Mapping[str, "nn.Module"]) -> dict[str, "Tensor"]:
    """Every weight and running statistic of some nets, named `net/part`, as safetensors wants them."""
    return {f"{name}/{part}": value for name, net in nets.items() for part, value in net.state_dict().items()}


def open_model(folder: Path, name: str, nets: Mapping[str, "nn.Module"]) -> dict[str, "Tensor"]:
    """Fill `nets` from the model of the generator `name`, make them ready for use, and give what the model holds beside them.

    Raises ModelError when there is no model, or it is of other nets.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    where, path, todo = device(), folder / MODEL, f"run the train stage of {name}"
    if not path.exists():
        raise ModelError(path, "is not there", todo)
    try:
        tensors = load_file(path)
        for start, net in nets.items():
            _fill(net, f"{start}/", tensors)
            net.to(where).eval()
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(path, f"is not a model of this generator ({' '.join(str(error).split())})", todo) from error
    return tensors


def _fill(net: "nn.Module", start: str, tensors: dict[str, "Tensor"]) -> None:
    """Load the tensors whose names begin with `start` into `net`, and take them away."""
    names = [name for name in tensors if name.startswith(start)]
    net.load_state_dict({name.removeprefix(start): tensors.pop(name) for name in names})


def _save(path: Path, key: str, tensors: Mapping[str, "Tensor"]) -> None:
    from safetensors.torch import save

    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    path.write_bytes(save(plain, {"forgeline": canonical({"key": key})}))  # `save_file` lets nobody else read it


def _key_in(path: Path) -> str | None:
    """What made a file, or None where there is no whole file of ours."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            return str(json.loads((file.metadata() or {})["forgeline"])["key"])
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, KeyError, ValueError):
        print(f"{path} is cut short or not ours, and is not used", file=sys.stderr, flush=True)
        return None


def _keep(name: str, folder: Path, key: str, lesson: Lesson, losses: Sequence[Losses], batch: int) -> None:
    import torch

    tensors = tensors_of(lesson.nets)
    for owner, optimizer in lesson.optimizers.items():
        for index, values in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer {owner}/{index}/{part}": value for part, value in values.items()}
    tensors |= {f"loss {loss}": torch.tensor([row[loss] for row in losses], dtype=torch.float64) for loss in losses[0]}
    tensors["batch"] = torch.tensor(batch)
    with replacing(folder / CHECKPOINT) as part:
        _save(part, key, tensors)
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(
        [["step", *losses[0]], *([n, *r.values()] for n, r in enumerate(losses, 1))]
    )
    write_text(folder / LOSSES, table.getvalue())
    write_text(folder / CURVES, curves({loss: [row[loss] for row in losses] for loss in losses[0]}, f"{name}: losses"))
    with replacing(folder / SAMPLES) as part:
        write_image(part, lesson.sheet())


def _resume(path: Path, key: str, lesson: Lesson, batch: int) -> tuple[list[Losses], int]:
    """Put nets and optimisers where the checkpoint left them; give the losses up to there and the batch.

    Without such a checkpoint all stays as it is, there are no losses, and the batch is the one given.
    """
    from safetensors.torch import load_file

    if _key_in(path) != key:
        return [], batch
    tensors = load_file(path)
    columns = {name.removeprefix("loss "): tensors[name].tolist() for name in sorted(tensors) if name.startswith("loss ")}
    for name, optimizer in lesson.optimizers.items():
        states: dict[int, dict[str, Tensor]] = {}
        for address in [address for address in tensors if address.startswith(f"optimizer {name}/")]:
            _, index, part = address.rsplit("/", 2)
            states.setdefault(int(index), {})[part] = tensors[address]
        optimizer.load_state_dict(optimizer.state_dict() | {"state": states})
    for name, net in lesson.nets.items():
        _fill(net, f"{name}/", tensors)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)], int(tensors["batch"])
