"""Attribute edits: the same person older or younger, in another mood, with glasses, other hair, another skin tone, make-up.

Features are moved by the face's mesh; wrinkles and make-up are painted once, on a chart of the face, and laid on every
picture; skin and hair around the face are told by their colours. No network is asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Annotated, ClassVar, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from forgeline.clip import Clip, Made, Mask, MediaType, Picture, spans
from forgeline.errors import MediaError
from forgeline.sample import Role
from forgeline.section import Section
from generators.blend import colours_at, match_colours
from generators.blend_swap import SKIN
from generators.chart import Chart, EyeShadow, Floats, LipColour, aged, frontal, lay, made_up, unpainted
from generators.features import EMOTIONS, Emotion, edited
from generators.glasses import Frame, Glasses, Shape
from generators.head import Head, Look, dye, step_of
from generators.mouth import known, paint
from generators.plugin import Casting, Stream, face_of
from generators.pose import pitch, steady, workable, yaw
from generators.warp import move, trim

Share = Annotated[float, Field(gt=0, le=0.3)]
Strength = Annotated[float, Field(gt=0, le=1)]
Edit = Literal["smile", "jaw", "brow", "emotion", "age", "glasses", "hair_colour", "skin_tone", "make_up"]
Name = TypeVar("Name", bound=str)
HairColour = Literal["black", "brown", "blond", "red", "grey"]


def _each_once(edits: tuple[Edit, ...]) -> tuple[Edit, ...]:
    for edit in edits:
        if edits.count(edit) > 1:
            raise ValueError(f"names {edit} more than once; name each edit once")
    return edits


# Sections are strict, and YAML has lists but no tuples.
Edits = Annotated[tuple[Edit, ...], Field(strict=False, min_length=1), AfterValidator(_each_once)]

ALL: tuple[Edit, ...] = get_args(Edit)
MOST = 3
"""Edits of one clip."""
_ONE_FACE = frozenset({"smile", "brow", "emotion"})
"""Of these a clip gets one: an emotion moves what the others move."""
HAIR_COLOURS: Mapping[HairColour, tuple[int, int, int]] = {
    "black": (36, 31, 30),
    "brown": (98, 68, 48),
    "blond": (188, 154, 106),
    "red": (140, 72, 42),
    "grey": (150, 148, 147),
}
LIGHTER, DARKER, OTHER = 2.0, 0.45, 45.0
"""By which factors at most hair is made lighter or darker, and by how many levels at least it has to be of another colour."""
SPAN, LOOKS = 250, 7
"""From how many frames the colours of skin and hair are learnt, and how many of them are looked at."""
STRONGER, SMOOTHER = 0.45, 0.95
"""How much stronger folds and blotches get with an age of 1, and which share of them goes with one of -1."""
CALM_S = 0.06
"""Seconds over which the head's movement is averaged for glasses (a standard deviation)."""
CHARTED = 9
"""Frames, those least turned, whose mean shape is the face's chart."""


class Attributes(Section):
    """The target with one to three edits that fit together, the same all through the clip.

    Which ones is drawn once a clip, as are their amounts: between half of the strength given here and all of it. Smile, jaw,
    brow and emotion swell and ebb by a fifth over some seconds; the amounts of the first three are shares of the distance
    from the nose's tip to the chin, in either direction. Glasses are not put on those who are said to wear some, and hair
    that can't be told from what is around it keeps its colour: another edit is drawn for that clip.
    """

    edits: Edits = ALL
    """Which edits may be drawn: smile, jaw, brow, emotion (happy, sad, surprised, angry), age (older or younger), glasses,
    hair_colour, skin_tone, make_up."""
    smile: Share = 0.09
    """How far the corners of the mouth go up and out, or down and in."""
    jaw: Share = 0.1
    """How much wider, or narrower, the jaw becomes at its angles."""
    brow: Share = 0.09
    """How far the brows go up, or down."""
    emotion: Strength = 1.0
    """How strong the emotion is, 1 a plain one."""
    age: Strength = 1.0
    """How much older or younger, 1 some decades."""
    skin_tone: Strength = 0.5
    """How much darker or lighter the skin becomes: mid-tones by this power of two."""
    hair_colour: Strength = 1.0
    """How much of the other hair colour is taken on."""
    make_up: Strength = 1.0
    """How thick make-up is laid on."""
    max_yaw: Annotated[float, Field(gt=0, le=60)] = 35.0
    """Degrees that a head may be turned to the side; frames beyond it stay as they are."""

    role: ClassVar[Role] = "forgery"
    content_class: ClassVar[str] = "partially_synthetic"
    makes: ClassVar[MediaType] = "video"
    casting: ClassVar[Casting] = "own"
    changes: ClassVar[frozenset[Stream]] = frozenset({"video"})
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "target"
    control: ClassVar[str] = "control"
    source_type: ClassVar[str] = "composite"

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """The target with its edits in every frame where its face is seen and not turned too far.

        Raises MediaError, too, when it allows none of the edits.
        """
        (target,) = parents
        changed = workable(target, self.max_yaw)
        looks = _Looks(target, changed)
        plan = self._drawn(target, looks, rng)

        def pictures() -> Iterator[tuple[Picture, Mask]]:
            work = _Work(target, plan, looks)
            for frame, picture in enumerate(target.pictures()):
                mask = np.zeros(picture.shape[:2], np.uint8)
                if changed[frame]:
                    original, picture = picture, picture.copy()
                    work(picture, mask, frame)
                    if mask.any():  # hair may be out of the picture for a while
                        trim(mask, original, picture)
                yield picture, mask

        return Made.of(target, pictures(), spans(changed, target.fps, "video"), plan.drawn)

    def _drawn(self, target: Clip, looks: "_Looks", rng: np.random.Generator) -> "_Plan":
        """What a clip gets. Raises MediaError when it allows none of the edits."""
        plan, refused = _Plan(rng.uniform(2, 5), rng.uniform(0, 2 * np.pi), int(rng.integers(2**63))), []
        count = int(rng.integers(1, MOST + 1))
        for edit in [self.edits[i] for i in rng.permutation(len(self.edits))]:
            if len(plan.edits) == count or (edit in _ONE_FACE and not _ONE_FACE.isdisjoint(plan.edits)):
                continue
            if why := self._add(plan, edit, target, looks, rng):
                refused.append(why)
            else:
                plan.edits.append(edit)
        if not plan.edits:
            raise MediaError(target.name, " and ".join(refused), "leave it out as a target, or let other edits be drawn")
        return plan

    def _add(self, plan: "_Plan", edit: Edit, target: Clip, looks: "_Looks", rng: np.random.Generator) -> str:
        """Draw an edit's amounts into the plan; or say why this clip can't have it."""
        amount, sign = float(rng.uniform(0.5, 1)), float(rng.choice([-1, 1]))
        match edit:
            case "smile" | "jaw" | "brow":
                plan.moves[edit] = plan.drawn[edit] = sign * amount * float(getattr(self, edit))
            case "emotion":
                emotion = _one_of(get_args(Emotion), rng)
                amount *= self.emotion
                plan.moves |= {name: amount * by for name, by in EMOTIONS[emotion].items()}
                plan.drawn |= {"emotion": emotion, "emotion_amount": amount}
            case "age":
                plan.drawn["age"] = plan.age = sign * amount * self.age
            case "skin_tone":
                plan.drawn["skin_tone"] = plan.tone = sign * amount * self.skin_tone
            case "make_up":
                plan.make_up = amount * self.make_up, _one_of(get_args(LipColour), rng), _one_of(get_args(EyeShadow), rng)
                plan.drawn |= dict(zip(("make_up", "lip_colour", "eye_shadow"), plan.make_up, strict=True))
            case "glasses":
                worn = target.attributes.get("glasses", "none")
                if worn != "none":
                    return f"shows someone who wears glasses already ({worn})"
                plan.glasses = _one_of(get_args(Shape), rng), _one_of(get_args(Frame), rng)
                plan.drawn |= dict(zip(("glasses", "frame"), plan.glasses, strict=True))
            case "hair_colour":
                own = looks.head.hair
                others = [] if own is None else [colour for colour in get_args(HairColour) if _other(own, HAIR_COLOURS[colour])]
                if not others:
                    return "shows no hair that can be told from what is around it"
                plan.hair = _one_of(others, rng), amount * self.hair_colour
                plan.drawn |= dict(zip(("hair_colour", "hair_amount"), plan.hair, strict=True))
        return ""


def _one_of(names: Sequence[Name], rng: np.random.Generator) -> Name:
    return names[int(rng.integers(len(names)))]


def _other(own: Floats, wanted: tuple[int, int, int]) -> bool:
    """Whether hair of this colour can take on another one, and would be seen to."""
    factor = (sum(wanted) + 24) / (float(own.sum()) + 24)
    return DARKER <= factor <= LIGHTER and float(np.abs(np.array(wanted) - own).max()) >= OTHER


@dataclass
class _Plan:
    """What was drawn for a clip."""

    period: float
    """Seconds in which what moves swells and ebbs; it begins at `phase`."""
    phase: float
    seed: int
    """Where the folds of age lie."""
    edits: list[Edit] = field(default_factory=list)
    moves: dict[str, float] = field(default_factory=dict)
    """Amounts of `edited`."""
    age: float = 0.0
    tone: float = 0.0
    hair: tuple[HairColour, float] | None = None
    make_up: tuple[float, LipColour, EyeShadow] | None = None
    glasses: tuple[Shape, Frame] | None = None
    drawn: dict[str, str | float] = field(default_factory=dict)
    """For the sample's row."""


class _Looks:
    """What a few pictures of a clip show; they are looked at when the first of it is asked for."""

    def __init__(self, target: Clip, changed: NDArray[np.bool_]) -> None:
        self._target, self._frames = target, np.flatnonzero(changed)
        self.step = step_of(face_of(target).mesh[self._frames])

    @cached_property
    def head(self) -> Head:
        few = self._frames[:SPAN]
        few = few[np.unique(np.linspace(0, len(few) - 1, LOOKS).round().astype(int))]
        track, looks = face_of(self._target), []
        for frame, picture in enumerate(islice(self._target.pictures(), int(few[-1]) + 1)):
            if frame in few:
                looks.append(Look.at(picture, steady(track, frame), self.step))
        return Head(looks)

    @cached_property
    def face(self) -> Floats:
        """The face from the front (468, 3), in distances of the eyes' outer corners."""
        track = face_of(self._target)
        turned = np.abs(yaw(track.mesh[self._frames])) + np.abs(pitch(track.mesh[self._frames]))
        best = self._frames[np.argsort(turned, kind="stable")[:CHARTED]]
        return np.asarray(np.mean([frontal(steady(track, int(frame))) for frame in best], axis=0), np.float32)


class _Work:
    """Lays the edits of a plan on one picture after the other."""

    def __init__(self, target: Clip, plan: _Plan, looks: _Looks) -> None:
        self._track, self._plan, self._looks = face_of(target), plan, looks
        self._fps = float(target.fps)
        self._head = looks.head if plan.tone or plan.hair or plan.age > 0 else None
        self._chart = self._paint = self._glasses = None
        self._skin: Floats | None = None
        if plan.age or plan.make_up:
            self._chart = Chart(looks.face)
            self._paint = unpainted(self._chart)
            if plan.age:
                self._paint = aged(self._paint, self._chart, plan.age, np.random.default_rng(plan.seed))
            if plan.make_up:
                self._paint = made_up(self._paint, self._chart, *plan.make_up)
        if plan.glasses:
            self._glasses = Glasses(looks.face, *plan.glasses)

    def __call__(self, picture: Picture, mask: Mask, frame: int) -> None:
        """Change `picture`, the clip's number `frame`, and set `mask`, both in place."""
        plan, mesh = self._plan, steady(self._track, frame)
        if self._head:
            self._colour(picture, mask, mesh, self._head)
        if self._chart and self._paint is not None:
            lay(picture, mask, mesh, self._chart, self._paint, plan.age * (STRONGER if plan.age > 0 else SMOOTHER))
        if plan.moves:
            seconds = frame / self._fps if self._fps else 0.0
            swell = 1 + 0.2 * np.sin(2 * np.pi * seconds / plan.period + plan.phase)
            moved = edited(mesh, **{name: float(swell * by) for name, by in plan.moves.items()})
            now = np.median(colours_at(picture, mesh)[SKIN], axis=0).astype(np.float32) if "gape" in plan.moves else None
            move(picture, mask, mesh, moved)
            if now is not None:
                skin = self._skin = now if self._skin is None else 0.9 * self._skin + 0.1 * now
                paint(picture, mask, moved, skin, 1 - known(mesh, moved))
            mesh = moved
        if self._glasses:
            self._glasses.put_on(picture, mask, self._calm(frame))

    def _calm(self, frame: int) -> Floats:
        """The mesh as it is around a frame: what is stiff must not tremble."""
        track, total, weight = self._track, self._track.mesh[frame].copy(), 1.0
        reach = int(2.5 * CALM_S * self._fps)
        for way in (-1, 1):
            for i in range(frame + way, frame + way * (reach + 1), way):
                if not 0 <= i < len(track.seen) or not track.seen[i]:
                    break
                share = float(np.exp(-0.5 * ((i - frame) / (CALM_S * self._fps)) ** 2))
                total += np.float32(share) * track.mesh[i]
                weight += share
        return np.asarray(total / weight, np.float32)

    def _colour(self, picture: Picture, mask: Mask, mesh: Floats, head: Head) -> None:
        """Skin tone, the hair's colour, and the grey of age."""
        plan, look = self._plan, Look.at(picture, mesh, self._looks.step)
        dyes: list[tuple[Floats, NDArray[np.uint8]]] = []
        if plan.tone:
            dyes.append((head.skin_in(look), _curve(plan.tone)))
        if head.hair is not None and (plan.hair or plan.age > 0):
            wanted = _greyer(head.hair, head.light, plan.age)
            if plan.hair:
                colour, share = plan.hair
                wanted = head.hair + share * (head.light * np.array(HAIR_COLOURS[colour], np.float32) - head.hair)
            dyes.append((head.hair_in(look), _colour_curve(head.hair, wanted)))
        if plan.age > 0:
            brow = 0.5 * head.skin
            dyes.append((head.brows_in(look), _colour_curve(brow, _greyer(brow, head.light, plan.age))))
        if dyes:
            dye(picture, mask, look, dyes)


def _colour_curve(own: Floats, wanted: Floats) -> NDArray[np.uint8]:
    """Levels of red, green and blue, (1, 256, 3), that make the colour `own` (3,) the colour `wanted` (3,)."""
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    return match_colours(ramp, own, np.clip(wanted, 0, 255))


def _curve(tone: float) -> NDArray[np.uint8]:
    """Levels of red, green and blue, (1, 256, 3), for skin that is lighter by `tone`, darker where it is negative."""
    level = np.arange(256, dtype=np.float32)[:, None] / 255
    powers = 2 ** (-tone * np.array([0.96, 1.0, 1.04], np.float32))  # darker skin is redder, too
    return np.asarray((255 * level**powers).round(), np.uint8)[None]


def _greyer(hair: Floats, light: Floats, age: float) -> Floats:
    """The colour (3,) that hair has when it is older by `age` (0 … 1), in light of this colour (3,)."""
    grey = light * np.float32(np.clip(1.3 * hair.mean() + 45, 0, max(185, hair.mean())))
    return np.asarray(hair + 0.75 * age * (grey - hair), np.float32)
