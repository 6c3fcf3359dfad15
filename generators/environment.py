"""The same real clip under other conditions, as detectors meet them: light, background, weather, shake, a worse camera.

Label real. What was done, and how much of it, is in the sample's `drawn`. The parts: `light`, `scenery` and `person`,
`weather`, `camera`.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import tee
from typing import Annotated, ClassVar, Literal, Self, get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from forgeline.clip import Clip, Made, Mask, MediaType, Picture, spans
from forgeline.errors import MediaError
from forgeline.mesh import OVAL
from forgeline.sample import Role
from forgeline.section import Section
from generators import camera, light, weather
from generators.camera import Drawn, Effect
from generators.person import SIDE, Person
from generators.plugin import Casting, Stream
from generators.scenery import PLACES, scene

Floats = NDArray[np.float32]
Share = Annotated[float, Field(gt=0, le=1)]
Word = Literal[
    "light", "colour", "night", "background", "rain", "snow", "fog", "shake", "defocus", "motion", "resolution", "noise",
]  # fmt: skip
WORDS: tuple[Word, ...] = get_args(Word)
KINDS: tuple[tuple[Word, ...], ...] = (
    ("background",),
    ("rain", "snow", "fog"),
    ("light", "colour", "night"),
    ("shake",),
    ("defocus", "motion"),
    ("resolution",),
    ("noise",),
)
"""In the order in which light meets them on its way into a file. A clip gets at most one of each."""
FEWEST, MOST = 0.05, 0.9
"""Shares of a picture that a person may fill so that there is a background to replace, and somebody before it."""
BAND = 0.03
"""Share of person or background below which a pixel is wholly the other."""


class Environment(Section):
    """The target under one or more other conditions, drawn for each clip; the whole picture may change.

    The mask is 255 all over where an effect works on whole pictures, though some pixels come out as they were (an exact one
    would be noise, larger than the clip itself); with a new background alone it is exact.

    Each strength is the most that is drawn: a clip gets between about half of it and all of it. Sizes are shares of the
    picture's shorter side.
    """

    effects: Annotated[tuple[Word, ...], Field(min_length=1, strict=False)] = WORDS
    """Which may be drawn. At most one of a kind at once: a light, a background, a weather, a blur, and so on."""
    at_once: Annotated[int, Field(ge=1, le=3)] = 2
    """How many at once, at most."""
    light: Annotated[float, Field(gt=0, le=0.95)] = 0.85
    """How much light a lamp from one side leaves out on the other."""
    coldest: Annotated[float, Field(ge=7000, le=25000)] = 12000.0
    """Kelvin of the coldest light; 6504 changes nothing."""
    warmest: Annotated[float, Field(ge=1700, le=6000)] = 2700.0
    """Kelvin of the warmest light."""
    night: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    """Share of the light that is left in the darkest night."""
    weather: Share = 0.8
    """How dense rain, snow and fog are."""
    shake: Annotated[float, Field(gt=0, le=0.1)] = 0.02
    """How far a shaking camera moves to each side."""
    defocus: Annotated[float, Field(gt=0, le=0.05)] = 0.008
    """Radius of the disc that a point becomes out of focus."""
    motion: Annotated[float, Field(gt=0, le=0.2)] = 0.03
    """Length of the line that a point becomes when the camera moves."""
    resolution: Annotated[float, Field(ge=0.05, lt=1)] = 0.3
    """Share of the pixels a side that the worst camera has."""
    noise: Annotated[float, Field(ge=2, le=60)] = 14.0
    """Deviation of a sensor's noise, in levels of 255."""

    role: ClassVar[Role] = "augmentation"
    content_class: ClassVar[str] = "augmented_real"
    makes: ClassVar[MediaType] = "video"
    casting: ClassVar[Casting] = "own"
    changes: ClassVar[frozenset[Stream]] = frozenset()
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "target"
    control: ClassVar[str] = "control"
    source_type: ClassVar[str] = "algorithmicallyEnhanced"

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if len(set(self.effects)) < len(self.effects):
            raise ValueError("names an effect twice")
        return self

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """All pictures, whether a face is seen or not. Raises MediaError when nothing of what is allowed can be done here."""
        (target,) = parents
        words = self._draw(rng)
        person = Person() if "background" in words else None
        if person is not None and (fault := _unfit(target, person)):
            # Drawn anew without it: such a clip can have all else.
            others = [word for word in self.effects if word != "background"]
            if not others:
                raise MediaError(target.name, fault, "leave this clip out, or allow other effects")
            words, person = self.model_copy(update={"effects": tuple(others)})._draw(rng), None
        drawn: Drawn = {"effects": " ".join(words)}
        replace_background = _background(target, person, rng, drawn) if person is not None else None
        effects = [self._effect(word, target, rng, drawn) for word in words if word != "background"]

        whole = np.full((target.height, target.width), 255, np.uint8) if effects else None

        def pictures() -> Iterator[tuple[Picture, Mask]]:
            originals, now = tee(target.pictures())
            replaced = replace_background(now) if replace_background else now
            for frame, (original, picture) in enumerate(zip(originals, replaced, strict=True)):
                for effect in effects:
                    picture = effect(picture, frame)
                yield picture, _changed(original, picture) if whole is None else whole

        return Made.of(target, pictures(), spans(np.ones(target.frames, np.bool_), target.fps, "video"), drawn)

    def _draw(self, rng: np.random.Generator) -> list[Word]:
        """What a clip gets, in the order of KINDS: equally often one, two … at once, the first of them any equally often."""
        count = int(rng.integers(1, self.at_once + 1))
        order = [self.effects[i] for i in rng.permutation(len(self.effects))]
        firsts = [min(of_kind, key=order.index) for kind in KINDS if (of_kind := [word for word in kind if word in order])]
        chosen = sorted(firsts, key=order.index)[:count]
        return [word for word in firsts if word in chosen]

    def _effect(self, word: Word, target: Clip, rng: np.random.Generator, drawn: Drawn) -> Effect:
        unit = min(target.width, target.height)
        make: dict[str, Callable[[], Effect]] = {
            "light": lambda: light.light(target, self.light, rng, drawn),
            "colour": lambda: light.colour(target, self.coldest, self.warmest, rng, drawn),
            "night": lambda: light.night(target, self.night, rng, drawn),
            "rain": lambda: weather.rain(target, self.weather, rng, drawn),
            "snow": lambda: weather.snow(target, self.weather, rng, drawn),
            "fog": lambda: weather.fog(target, self.weather, rng, drawn),
            "shake": lambda: camera.shake(target, self.shake * unit, rng, drawn),
            "defocus": lambda: camera.defocus(target, max(self.defocus * unit, 1), rng, drawn),
            "motion": lambda: camera.motion(target, max(self.motion * unit, 4), rng, drawn),
            "resolution": lambda: camera.fewer_pixels(target, self.resolution, rng, drawn),
            "noise": lambda: camera.noise(target, self.noise, rng, drawn),
        }
        return make[word]()


def _changed(original: Picture, picture: Picture) -> Mask:
    """255 where any channel differs."""
    red, green, blue = cv2.split(np.asarray(cv2.compare(original, picture, cv2.CMP_NE), np.uint8))
    return np.asarray(cv2.bitwise_or(cv2.bitwise_or(red, green), blue), np.uint8)


# --- The background


def _unfit(target: Clip, person: Person) -> str | None:
    """Why no person can be told from the background in the clip's first picture, by the net and by the face in it."""
    picture = next(iter(target.pictures()), None)
    if picture is None:
        return "has no pictures"
    matte = person.find(picture)
    share = float((matte > 0.5).mean())
    if not FEWEST <= share <= MOST:
        return f"shows a person in {share:.0%} of its first picture, so there is no background to replace"
    if target.track is not None and target.track.seen[0]:
        outline = (target.track.mesh[0, OVAL, :2] * SIDE / (target.width, target.height)).round().astype(np.int32)
        face = cv2.fillPoly(np.zeros((SIDE, SIDE), np.uint8), [outline], 1) > 0
        if face.any() and (inside := float(matte[face].mean())) < 0.9:
            return f"shows a face of which only {inside:.0%} can be told from the background"
    return None


def _background(
    target: Clip, person: Person, rng: np.random.Generator, drawn: Drawn
) -> Callable[[Iterator[Picture]], Iterator[Picture]]:
    """From a pass over the target's pictures to one over the same person elsewhere; it holds a few pictures at a time."""
    place = PLACES[int(rng.integers(len(PLACES)))]
    drawn["background"] = place
    new = scene(place, target.width, target.height, rng)

    def replaced(pictures: Iterator[Picture]) -> Iterator[Picture]:
        for picture, matte in person.mattes(pictures):
            yield elsewhere(picture, person.sharpened(picture, matte), new)

    return replaced


def elsewhere(picture: Picture, share: Floats, new: Picture) -> Picture:
    """The person, of whom each pixel shows `share` (h, w), before another background.

    Where a pixel shows both, the old background's colour, as it is around there, is exchanged for the new one's:
    hair would have a halo of it.
    """
    small, weight = picture[::8, ::8].astype(np.float32), (share[::8, ::8] < BAND).astype(np.float32)
    old = cv2.blur(small * weight[..., None], (9, 9)) / (cv2.blur(weight, (9, 9)) + 1e-3)[..., None]
    laid = np.asarray(cv2.copyTo(picture, (share > 0.5).astype(np.uint8), new.copy()))
    places = cv2.findNonZero(cv2.inRange(share, BAND, 1 - BAND))
    if places is None:
        return laid
    x, y = places[:, 0].T
    some = share[y, x, None]
    before = old[np.minimum(y // 8, old.shape[0] - 1), np.minimum(x // 8, old.shape[1] - 1)]
    mixed = picture[y, x] + (1 - some) * (new[y, x].astype(np.float32) - before)
    # A pixel that is hardly the person keeps nothing of the old background's own detail.
    sure = np.clip((some - BAND) / 0.3, 0, 1)
    laid[y, x] = np.clip(sure * mixed + (1 - sure) * (new[y, x] * (1 - some) + some * picture[y, x]) + 0.5, 0, 255)
    return np.asarray(laid, np.uint8)
