"""Whether an edit of an attribute shows: probes that learned attributes from rendered people, whose truth is known, look at
fakes and at what they were made from.

A probe is a ridge regression on what can be seen of a face. It is taught on pictures of people rendered as those of the demo
corpus are, each of someone else, and tested on those that it was not taught on: so it never knows whom it is shown. What it
says of filmed people is beyond what was tested.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.generators.makers import Makers
from benchmarks.generators.people import scaled
from benchmarks.watermark.figures import Goal, Rate, table
from evaluators.attribute_change import SIDE, cielab, upright
from evaluators.faces import Place, cut, faces_of
from evaluators.figure import Frames
from forgeline.clip import Clip, Made, Picture
from forgeline.errors import MediaError, ModelError
from forgeline.likeness import outlines_and_colours
from forgeline.mesh import LEFT_EYE_CORNER, RIGHT_EYE_CORNER
from generators.features import EMOTIONS
from sources import heads
from sources.heads import Expression, Person

EDITORS: Final = ("attributes", "latent_attributes")
"""What is probed when no generator is named."""
PEOPLE, SIZE, SEED = 320, 256, 20
"""Whom probes are taught on: a picture each, so many pixels a side."""
FOLDS, FRAMES, EVERY, DRAWS = 8, 13, 4, 12
"""Parts for the test; frames of a clip that is edited, of which one in so many is looked at; edits of each person."""
LEAST_R2, LEAST_AUC = 0.3, 0.8
"""Held-out skill from which on a probe's word counts."""

Floats = NDArray[np.float64]
Truth = Mapping[str, float]


@dataclass(frozen=True)
class _Probed:
    """One attribute: its truth for a person with an expression (None where there is none), and the features that may tell."""

    truth: Callable[[Person, Expression], float | None]
    features: tuple[str, ...]
    binary: bool = False


PROBES: Final[dict[str, _Probed]] = {
    "smile": _Probed(lambda _, now: now.smile, ("shape",)),
    "mouth_open": _Probed(lambda _, now: now.jaw, ("shape",)),
    "brow": _Probed(lambda _, now: now.brow, ("shape",)),
    "eyes_open": _Probed(lambda _, now: -now.blink_right - now.blink_left, ("shape", "outlines")),
    "jaw": _Probed(lambda who, _: who.jaw, ("shape",)),
    "glasses": _Probed(lambda who, _: float(who.glasses != "none"), ("outlines",), binary=True),
    "age": _Probed(lambda who, _: float(who.age), ("detail",)),
    "skin_tone": _Probed(lambda who, _: _lightness(who.skin), ("skin",)),
    "hair_colour": _Probed(lambda who, _: None if who.hair_style == "bald" else _lightness(who.hair), ("hair",)),
}
_ALSO: Final = {"open_mouth": "mouth_open", "raised_brows": "brow", "wide_eyes": "eyes_open"}
"""What attributes are called elsewhere."""
_HAIR: Final = {"black": 0, "dark brown": 1, "brown": 2, "red": 3, "grey": 4, "blond": 5}
"""From dark to light."""
_MOVES: Final = {"smile": "smile", "brow": "brow", "gape": "mouth_open", "lids": "eyes_open"}


def measure(makers: Makers, people: Sequence[Clip], named: Sequence[str] | None, shown: str) -> list[Goal]:
    """Print how well the probes know attributes, and how far each moved between originals and fakes; give the goals."""
    probes = taught(_rendered())
    clips = [
        replace(scaled(person, min(person.width, person.height), FRAMES), attributes=person.attributes) for person in people
    ]
    goals = []
    for name in makers.names:
        if name not in (named or EDITORS):
            continue
        found = {attribute: _Moved() for attribute in probes}
        refused = 0
        for number, target in enumerate(clips):
            source = clips[(number + 1) % len(clips)]
            for draw in range(DRAWS):
                try:
                    made = makers.make(name, target, source, DRAWS * number + draw)
                    frames = _looked_at(made, target)
                except (MediaError, ModelError):
                    refused += 1
                    continue
                _add(found, probes, drawn_directions(made.drawn, target.attributes), frames)
        table(f"Attributes: {name} ({shown}; {refused} refused)", _HEAD, [_row(probes[a], found[a], a) for a in probes])
        rates = {a: found[a].right for a in probes if probes[a].counts and found[a].right.trials}
        if rates:
            hits, trials = (sum(getattr(rate, which) for rate in rates.values()) for which in ("hits", "trials"))
            least = min(rates, key=lambda a: rates[a].share)
            said = f"{hits / trials:.0%}; least {least}: {rates[least].share:.0%}"
            goals.append(Goal(f"{name}, edits that a probe sees go as drawn", "≥ 80 %", said, hits / trials >= 0.8))
    return goals


# --- Probes


@dataclass(frozen=True, eq=False)
class Probe:
    """What tells an attribute from features, in the units of its truth, and how good it was at people it did not know."""

    features: tuple[str, ...]
    model: Any
    skill: float
    """AUC of one that tells yes from no (0.5: none), else R² (0: none)."""
    binary: bool
    spread: float
    """Deviation of the truth among the people it was taught on."""

    def __call__(self, seen: Mapping[str, Floats]) -> Floats:
        """Of features (n, …) by name: (n,), in deviations of the truth."""
        said: Floats = self.model.predict(_joined(seen, self.features)) / self.spread
        return said

    @property
    def counts(self) -> bool:
        """Whether its word counts for the goals."""
        return self.skill >= (LEAST_AUC if self.binary else LEAST_R2)


@dataclass
class Lesson:
    """Features (n, …) by name, of pictures of n people, and the `truth` of each."""

    seen: Mapping[str, Floats]
    truth: Sequence[Truth]


def taught(lesson: Lesson) -> dict[str, Probe]:
    """The probes for all attributes that vary in the lesson, tested on people who were left out of it."""
    from sklearn.linear_model import RidgeCV
    from sklearn.metrics import r2_score, roc_auc_score
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probes = {}
    for name, probed in PROBES.items():
        known = [at for at, truth in enumerate(lesson.truth) if name in truth]
        goal = np.array([lesson.truth[at][name] for at in known])
        if len(known) < FOLDS or not np.ptp(goal):
            continue
        rows = _joined(lesson.seen, probed.features)[known]
        model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 5, 11)))
        said = cross_val_predict(model, rows, goal, cv=KFold(FOLDS))
        skill = roc_auc_score(goal > 0.5, said) if probed.binary else r2_score(goal, said)
        model.fit(rows, goal)
        probes[name] = Probe(probed.features, model, float(skill), probed.binary, float(goal.std()))
    return probes


def features(picture: Picture, mesh: Floats, place: Place) -> dict[str, Floats]:
    """What can be seen of a face whose square of 112 pixels is cut out at a place: its shape, outlines, fine detail, and the
    colours of skin and hair."""
    wide = place * 64 / SIDE
    face, small = cut(picture, place, SIDE), cut(picture, wide, 64)
    lab = cielab(face)
    light = np.ascontiguousarray(lab[..., 0])
    bands = [light - cv2.GaussianBlur(light, (0, 0), sigma) for sigma in (1.0, 2.5)]
    cells = [cv2.resize(np.square(band), (14, 14), interpolation=cv2.INTER_AREA)[1:13, 2:12] for band in bands]
    head = cielab(cut(picture, wide / 2 + np.array([[0, 0, 16], [0, 0, 16]]), 64))  # as from further away, with the hair
    flat = mesh[:, :2] @ place[:, :2].T + place[:, 2]
    cheeks = np.concatenate([lab[_around(flat[point], lab.shape)].reshape(-1, 3) for point in (50, 280, 151)])
    above = head[4:24, 12:52].reshape(5, 4, 10, 4, 3).mean((1, 3))
    skin = np.median(cheeks, axis=0)
    return {
        "shape": upright(mesh).ravel() / np.linalg.norm(mesh[LEFT_EYE_CORNER] - mesh[RIGHT_EYE_CORNER]),
        "outlines": outlines_and_colours(small),
        "detail": np.log1p(np.stack(cells)).ravel(),
        "skin": np.concatenate([skin, np.percentile(cheeks[:, 0], [10, 90])]),
        "hair": np.concatenate([above.ravel(), skin]),
    }


def _around(point: Floats, shape: tuple[int, ...]) -> tuple[slice, slice]:
    x, y = (int(np.clip(value, 4, limit - 5)) for value, limit in zip(point, shape[1::-1], strict=True))
    return slice(y - 4, y + 5), slice(x - 4, x + 5)


def _joined(seen: Mapping[str, Floats], names: Iterable[str]) -> Floats:
    return np.concatenate([seen[name] for name in names], axis=1)


def _rendered() -> Lesson:
    """People of all ages, tones and hair styles, with any expression, in any light; those whose face was found."""
    rows, truths = [], []
    for number in range(PEOPLE):
        rng = np.random.default_rng([SEED, number])
        who, where = heads.person(rng, *rng.random(3)), heads.scene(rng)
        now = heads.Expression(
            jaw=float(rng.choice([0, rng.random()])),
            smile=rng.uniform(-0.6, 1),
            pucker=float(rng.choice([0, 0, rng.random()])),
            blink_right=(shut := float(rng.choice([0, 0, rng.random()]))),
            blink_left=shut,
            brow=rng.uniform(-1, 1),
            gaze_x=rng.uniform(-0.5, 0.5),
        )
        pose = heads.Pose(yaw=rng.uniform(-0.3, 0.3), pitch=rng.uniform(-0.12, 0.08), roll=rng.uniform(-0.06, 0.06))
        picture = heads.frame(who, now, pose, where, SIZE, rng)
        faces = faces_of(Frames(picture[None], picture[None], None, aligned=True))
        place = faces.place(0, SIDE)
        if place is not None:
            known = {name: probed.truth(who, now) for name, probed in PROBES.items()}
            truths.append({name: value for name, value in known.items() if value is not None})
            rows.append(features(picture, faces.control[0], place))
    return Lesson(_stacked(rows), truths)


def _stacked(rows: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _lightness(linear: Sequence[float]) -> float:
    """L* of a colour in linear RGB."""
    share = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return float(116 * np.cbrt(share) - 16)


# --- Edits


def drawn_directions(drawn: Mapping[str, str | float], declared: Mapping[str, str]) -> dict[str, int]:
    """Which attributes were to be raised (1) or lowered (-1), by what was drawn for someone of whom this is declared."""
    wanted = {_ALSO.get(name, name): float(amount) for name, amount in drawn.items() if isinstance(amount, float | int)}
    worn, hair = drawn.get("glasses"), drawn.get("hair_colour")
    if "attribute" in drawn:
        name, _, value = str(drawn["attribute"]).partition("=")
        wanted[_ALSO.get(name, name)] = amount = float(drawn.get("amount", 1.0))
        hair = value if name == "hair_colour" and amount > 0 else hair
    if worn is not None and not isinstance(worn, float | int):
        before, after = declared.get("glasses", "none") != "none", worn != "none"
        wanted["glasses"] = float(after) - float(before)
    if hair is not None:
        own = _HAIR.get(declared.get("hair_colour", ""))
        wanted["hair_colour"] = 0.0 if own is None else _HAIR[str(hair)] - own
    for emotion, moves in EMOTIONS.items():
        if drawn.get("emotion") == emotion:
            wanted |= {_MOVES[name]: by for name, by in moves.items() if name in _MOVES}
    return {name: 1 if amount > 0 else -1 for name, amount in wanted.items() if amount and name in PROBES}


@dataclass
class _Moved:
    """How far a probe moved between original and fake, in deviations of its truth, a fake at a time."""

    raised: list[float] = field(default_factory=list)
    lowered: list[float] = field(default_factory=list)
    left: list[float] = field(default_factory=list)

    @property
    def right(self) -> Rate:
        """How many moved as was drawn."""
        return Rate.of([change > 0 for change in self.raised] + [change < 0 for change in self.lowered])


def _looked_at(made: Made, target: Clip) -> Frames:
    fakes = np.stack([picture for picture, _ in islice(made.pictures, 0, None, EVERY)])
    return Frames(np.stack(list(islice(target.pictures(), 0, None, EVERY))), fakes, None, aligned=True)


def _add(found: dict[str, _Moved], probes: Mapping[str, Probe], directions: Mapping[str, int], frames: Frames) -> None:
    faces = faces_of(frames)
    before, after = [], []
    for at, pictures in enumerate(zip(frames.control, frames.fake, strict=True)):
        place = faces.place(at, SIDE)
        if place is not None and not np.isnan(faces.fake[at, 0, 0]):
            before.append(features(pictures[0], faces.control[at], place))
            after.append(features(pictures[1], faces.fake[at], place))
    if not before:
        return
    seen = [_stacked(rows) for rows in (before, after)]
    for name, probe in probes.items():
        change = float((probe(seen[1]) - probe(seen[0])).mean())
        moved = found[name]
        {1: moved.raised, -1: moved.lowered, 0: moved.left}[directions.get(name, 0)].append(change)


_HEAD = (
    "attribute",
    "probe's held-out skill",
    "raised: mean change (n)",
    "lowered",
    "in the drawn direction",
    "not drawn: RMS",
)


def _row(probe: Probe, moved: _Moved, name: str) -> tuple[str, ...]:
    skill = f"{'AUC' if probe.binary else 'R²'} {probe.skill:.2f}{'' if probe.counts else ' (too low)'}"
    left = f"{np.sqrt(np.mean(np.square(moved.left))):.2f}" if moved.left else "–"
    return name, skill, _mean(moved.raised), _mean(moved.lowered), str(moved.right), left


def _mean(changes: Sequence[float]) -> str:
    return f"{np.mean(changes):+.2f} sd ({len(changes)})" if changes else "–"
