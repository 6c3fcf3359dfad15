"""What training buys: portraits of nobody by each net that learns here, against image controls, by CPU seconds of training."""

import re
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.generators.measures import kernel_distance, precision_recall
from benchmarks.watermark.figures import Goal, table
from evaluators.fid import Moments, frechet_distance
from evaluators.inception import open_network
from forgeline.clip import Clip, Picture
from forgeline.errors import MediaError
from generators.image_control import ImageControl
from generators.plugin import Trained
from generators.table import GENERATORS

COUNT = 128
"""Portraits a figure, and as many controls."""
_STEPS = 20
"""Of the training that tells what a step costs."""


def painters(only: Sequence[str] | None) -> list[str]:
    """The generators that learn to paint people who don't exist."""
    return [
        name
        for name, section in GENERATORS.items()
        if getattr(section, "casting", "") == "nobody" and hasattr(section, "train") and (name in only if only else True)
    ]


def measure(
    people: Sequence[Clip], budgets: Sequence[float], only: Sequence[str] | None, scratch: Path, shown: str
) -> list[Goal]:
    """Print a row a generator and budget (CPU seconds of training); there are no goals.

    The distances are to controls of the very people who were learned from. `frechet` and `kid` are of a small random network,
    not Inception; precision and recall of the same features. Beside them what controls are to other controls of those people.
    """
    network = open_network("random")
    controls = _controls(people, COUNT, 1), _controls(people, COUNT, 2)
    real = network(controls[0])
    rows = [("controls", "–", "–", "–", *_figures(network(controls[1]), real), "–", "–")]
    for name in painters(only):
        cost = _step_cost(name, people, scratch)
        for budget in budgets:
            steps = max(int(budget / cost), 2)
            folder = scratch / f"{name}-{steps}"
            folder.mkdir()
            section = GENERATORS[name].model_validate({"steps": steps})
            if not isinstance(section, Trained):
                raise TypeError(f"{name} does not learn")
            start = time.process_time()
            section.train(iter(people), np.random.default_rng(7), folder)
            spent = time.process_time() - start
            generator = section.load(folder)
            start = time.process_time()
            made = [_painted(generator, seed) for seed in range(COUNT)]
            each = (time.process_time() - start) / COUNT
            pictures = [picture for picture, _, _ in made if picture is not None]
            if len(pictures) < 2:
                rows.append((name, f"{spent:.0f}", str(steps), f"{1000 * each:.0f}", "–", "–", "–", "–", "–", str(COUNT)))
                continue
            nearest = min((near for picture, near, _ in made if picture is not None), default=float("nan"))
            copies = sum(refused for _, _, refused in made)
            figures = _figures(network(np.stack(pictures)), real)
            rows.append((name, f"{spent:.0f}", str(steps), f"{1000 * each:.0f}", *figures, f"{nearest:.2f}", str(copies)))
    heads = ("generator", "training, CPU s", "steps", "CPU ms a portrait", "frechet_random", "kid_random · 10³")
    table(f"Portraits ({shown}, {COUNT} each)", (*heads, "precision", "recall", "nearest face", "copies refused"), rows)
    return []


def _figures(made: NDArray[np.float32], real: NDArray[np.float32]) -> tuple[str, str, str, str]:
    moments = [Moments(rows.shape[1]) for rows in (made, real)]
    for each, features in zip(moments, (made, real), strict=True):
        each.add(features)
    frechet = frechet_distance(moments[0].gaussian(), moments[1].gaussian())
    few = min(len(made), len(real))
    kid = 1000 * kernel_distance(made[:few], real[:few])
    precision, recall = precision_recall(made, real)
    return f"{frechet:.3f}", f"{kid:.2f}", f"{precision:.2f}", f"{recall:.2f}"


def _painted(generator: object, seed: int) -> tuple[Picture | None, float, int]:
    """A portrait, how near it is to a face that was learned from (in limits), and how many copies were refused before it."""
    try:
        made = generator((), np.random.default_rng([5, seed]))  # type: ignore[operator]
    except MediaError as error:  # all of its tries were copies
        return None, 0.0, int(re.findall(r"\d+", error.what)[0])
    ((picture, _),) = made.pictures
    return picture, float(made.drawn.get("nearest_face", "nan")), int(made.drawn.get("copies_refused", 0))


def _controls(people: Sequence[Clip], count: int, seed: int) -> NDArray[np.uint8]:
    """Real portraits as the chain makes them."""

    def each() -> Iterator[Picture]:
        for number in range(count):
            made = ImageControl()((people[number % len(people)],), np.random.default_rng([seed, number]))
            yield from (picture for picture, _ in made.pictures)

    return np.stack(list(islice(each(), count)))


def _step_cost(name: str, people: Sequence[Clip], scratch: Path) -> float:
    """CPU seconds of a training step: what the second half of a short training costs, so that its beginning doesn't count."""
    times = []
    for number, steps in enumerate((2, 2, _STEPS)):  # the first one imports torch
        folder = scratch / f"{name}-cost-{number}"
        folder.mkdir()
        start = time.process_time()
        GENERATORS[name].model_validate({"steps": steps}).train(iter(people), np.random.default_rng(7), folder)  # type: ignore[attr-defined]
        times.append(time.process_time() - start)
    return (times[2] - times[1]) / (_STEPS - 2)
