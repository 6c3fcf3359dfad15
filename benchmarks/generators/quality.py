"""How good made faces are: whom they look like, whether they move as the target does, what flickers, what was changed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isinf
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.generators.makers import Makers
from benchmarks.generators.measures import Changes, expression_error, kernel_distance, turned
from benchmarks.generators.people import in_memory
from benchmarks.watermark.figures import Goal, table
from evaluators.fid import Moments, frechet_distance
from evaluators.inception import open_network
from forgeline.clip import Clip, Picture, Track
from forgeline.errors import MediaError
from forgeline.faces import FaceFinder, track_faces
from generators.align import arcface, cut, place

EVERY = 5  # of the pictures, one in so many goes into the sets of features

Features = NDArray[np.float32]
Identify = Callable[[Clip], Features]


@dataclass
class _Found:
    """What was measured of one generator, clip by clip."""

    refused: list[str] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)
    seen: list[float] = field(default_factory=list)
    pose: list[float] = field(default_factory=list)
    expression: list[float] = field(default_factory=list)
    expression_of_source: list[float] = field(default_factory=list)
    to_source: list[float] = field(default_factory=list)
    to_target: list[float] = field(default_factory=list)
    features: list[Features] = field(default_factory=list)
    features_of_controls: list[Features] = field(default_factory=list)

    @property
    def nearer(self) -> float:
        """The share of frames that look more like the source than like the target."""
        return float(np.mean(np.array(self.to_source) > np.array(self.to_target)))


def measure(makers: Makers, people: Sequence[Clip], embedding: Path | None, shown: str) -> list[Goal]:
    """Print a table with a row a generator, and what the figures are for people as they were filmed; give the goals."""
    identify = _identifier(embedding) if embedding else None
    finder, network = FaceFinder(), open_network("random")
    who = {person.name: identify(person) for person in people} if identify else {}
    measured: dict[str, _Found] = {}
    for name in makers.names:
        found = measured[name] = _Found()
        for number, target in enumerate(people):
            source = people[(number + 1) % len(people)]
            try:
                made = makers.make(name, target, source, number)
                pictures = found.changes.add(made.pictures, target.pictures())
            except MediaError as error:
                found.refused.append(error.what)
                continue
            result = in_memory(target.name, target.fps, pictures, made.sound)
            tracks = track_faces(result, finder)
            found.features.append(network(np.stack(pictures[::EVERY])))
            found.features_of_controls.append(network(np.stack(list(target.pictures())[::EVERY])))
            if not tracks or target.track is None or source.track is None:
                found.seen.append(0)
                continue
            result = replace(result, track=tracks[0])
            found.seen.append(float((tracks[0].seen & target.track.seen).sum() / max(target.track.seen.sum(), 1)))
            found.pose += turned(target.track, tracks[0]).tolist()
            found.expression.append(expression_error(tracks[0], target.track)[0])
            if makers.casting(name) == "pair":
                found.expression_of_source.append(expression_error(*_as_long(tracks[0], source.track))[0])
            if identify:
                seen = identify(result)
                found.to_target += (seen @ _mean(who[target.name])).tolist()
                found.to_source += (seen @ _mean(who[source.name])).tolist()
    rows = [_row(name, found, makers.casting(name) == "pair", len(people)) for name, found in measured.items()]
    table(f"Quality ({shown})", _HEAD, rows)
    _yardsticks(people, who)
    return list(_goals({name: found for name, found in measured.items() if found.seen}))


_HEAD = (
    "generator",
    "clips",
    "face found",
    "identity: to target",
    "to source",
    "nearer to source",
    "pose °",
    "expression % (of source)",
    "flicker",
    "PSNR outside",
    "mask IoU",
    "frechet_random",
    "kid_random · 10³",
)


def _row(name: str, found: _Found, pair: bool, clips: int) -> tuple[str, ...]:
    if not found.seen:
        return (name, f"0 of {clips}: {found.refused[0]}", *("" for _ in _HEAD[2:]))
    changes = found.changes
    fakes, controls = np.concatenate(found.features), np.concatenate(found.features_of_controls)
    of_source = f" ({100 * np.mean(found.expression_of_source):.1f})" if found.expression_of_source else ""
    return (
        name,
        f"{len(found.seen)} of {clips}",
        f"{np.mean(found.seen):.0%}",
        _mean_of(found.to_target, ".2f"),
        _mean_of(found.to_source, ".2f") if pair else "–",
        f"{found.nearer:.0%}" if pair and found.to_target else "–",
        _mean_of(found.pose, ".1f"),
        _mean_of([100 * error for error in found.expression], ".1f") + of_source,
        f"{changes.flicker:.2f}",
        _decibel(changes.psnr_outside),
        f"{changes.iou:.3f}",
        f"{_frechet(fakes, controls):.4f}",
        f"{1000 * kernel_distance(fakes, controls):.2f}",
    )


def _goals(found: Mapping[str, _Found]) -> Iterator[Goal]:
    psnr = {name: each.changes.psnr_outside for name, each in found.items()}
    least = min(psnr, key=lambda name: psnr[name])
    yield Goal("PSNR outside the mask", "≥ 50 dB", f"{least}: {_decibel(psnr[least])}", psnr[least] >= 50)
    # An environment's mask is the whole picture, though some pixels come out as they were.
    iou = {name: each.changes.iou for name, each in found.items() if name != "environment"} or {"none": float("nan")}
    least = min(iou, key=lambda name: iou[name])
    below = ", ".join(f"{name}: {value:.3f}" for name, value in iou.items() if value <= 0.9 or name == least)
    yield Goal("mask IoU", "> 0.9", below, iou[least] > 0.9)
    learned, blended = found.get("autoencoder_swap"), found.get("blend_swap")
    if learned and learned.to_source:
        what = "autoencoder_swap, frames nearer to the source"
        yield Goal(what, "≥ 90 %", f"{learned.nearer:.0%}", learned.nearer >= 0.9)
    if learned and blended:
        for kind, mine, other in (
            ("pose", learned.pose, blended.pose),
            ("expression", learned.expression, blended.expression),
        ):
            ratio = float(np.mean(mine) / np.mean(other))
            yield Goal(f"autoencoder_swap, error of {kind}", "≤ 1.5 × blend_swap's", f"{ratio:.2f} ×", ratio <= 1.5)


def _yardsticks(people: Sequence[Clip], who: dict[str, Features]) -> None:
    """What the figures are where nothing was made: between halves of a clip, and between different people."""
    pairs = [(person, people[(number + 1) % len(people)]) for number, person in enumerate(people)]
    tracks = [_as_long(a.track, b.track) for a, b in pairs if a.track is not None and b.track is not None]
    others = [expression_error(*each) for each in tracks]
    lines = [
        ("expression %, a face that never moves", 100 * float(np.mean([still for _, still in others]))),
        ("expression %, another person's", 100 * float(np.mean([error for error, _ in others]))),
    ]
    if who:
        halves = [_mean(e[: len(e) // 2]) @ _mean(e[len(e) // 2 :]) for e in who.values()]
        lines.append(("identity, frames to their own clip", float(np.mean([(e @ _mean(e)).mean() for e in who.values()]))))
        lines.append(("identity, first half to second", float(np.mean(halves))))
        lines.append(
            ("identity, to the next person", float(np.mean([(who[a.name] @ _mean(who[b.name])).mean() for a, b in pairs])))
        )
    table("As filmed", ("what", "mean"), [(what, f"{value:.2f}") for what, value in lines])


def _identifier(path: Path) -> Identify:
    """What gives the unit embeddings (frames in which the face is seen, n) of a clip's faces."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    net = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (entry,) = net.get_inputs()

    def embedded(picture: Picture, points: NDArray[np.float32]) -> Features:
        face = cut(picture, place(points, arcface(112)), 112)
        levels = (face.transpose(2, 0, 1)[None].astype(np.float32) - 127.5) / 127.5
        row = np.asarray(net.run(None, {entry.name: levels})[0][0], np.float32)
        return row / np.linalg.norm(row)

    def identify(clip: Clip) -> Features:
        track: Any = clip.track
        frames = zip(clip.pictures(), track.points, track.seen, strict=True)
        return np.stack([embedded(picture, points) for picture, points, seen in frames if seen])

    return identify


def _as_long(one: Track, other: Track) -> tuple[Track, Track]:
    """Both tracks cut to the frames that the shorter has."""
    count = min(len(one.seen), len(other.seen))
    first, second = (
        Track(t.box[:count], t.points[:count], t.mesh[:count], t.score[:count], t.seen[:count]) for t in (one, other)
    )
    return first, second


def _frechet(one: Features, other: Features) -> float:
    moments = [Moments(rows.shape[1]) for rows in (one, other)]
    for each, rows in zip(moments, (one, other), strict=True):
        each.add(rows)
    return frechet_distance(moments[0].gaussian(), moments[1].gaussian())


def _mean(rows: Features) -> Features:
    mean = rows.mean(0)
    return np.asarray(mean / np.linalg.norm(mean), np.float32)


def _decibel(psnr: float) -> str:
    return "equal" if isinf(psnr) else f"{psnr:.1f} dB"


def _mean_of(values: Sequence[float], form: str) -> str:
    return f"{np.mean(values):{form}}" if values else "–"
