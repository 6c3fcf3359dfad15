"""Generators that work one after the other: each is given what the one before it made as its target.

In params a chain is a name of its own with `steps`, such as `restored_swap: {steps: [blend_swap, restore]}`. Its recipe holds
every step with its settings.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import SerializeAsAny, model_validator

from forgeline.clip import Clip, Made, Mask, MediaType, Picture, Segment
from forgeline.errors import PromiseError
from forgeline.sample import Role
from forgeline.section import Section
from generators.plugin import Apparent, Casting, Generator, Stream, Trained

# What a chain is, is the furthest of what its steps are.
_ROLES: tuple[Role, ...] = ("augmentation", "null_twin", "forgery")
_CLASSES = ("augmented_real", "partially_synthetic", "fully_synthetic")
_APPARENT: tuple[Apparent, ...] = ("target", "source", "nobody")
_SOURCE_TYPES = (
    "algorithmicallyEnhanced",
    "compositeCapture",
    "composite",
    "compositeWithTrainedAlgorithmicMedia",
    "trainedAlgorithmicMedia",
)


class Step(Section):
    """One generator of a chain: its name in the table, and its settings."""

    name: str
    section: SerializeAsAny[Section]

    @property
    def generator(self) -> Generator:
        """The section as what it is."""
        if not isinstance(self.section, Generator):
            raise PromiseError(self.name, "is no generator", "report it")
        return self.section


class Chain(Section):
    """The first step works on the parents, each other one on what the step before it made; masks and segments are joined."""

    steps: tuple[Step, ...]

    @model_validator(mode="after")
    def _fit(self) -> Self:
        generators = [step.generator for step in self.steps]
        if len(generators) < 2:
            raise ValueError("has fewer than two steps")
        for step, generator in zip(self.steps, generators, strict=True):
            if generator.role == "control":
                raise ValueError(f"has {step.name} as a step, which changes nothing")
            if generator.casting == "nobody" and generator is not generators[0]:
                raise ValueError(f"has {step.name} after its first step, which would paint over what there is")
        if sum(isinstance(generator, Trained) for generator in generators) > 1:
            raise ValueError("has more than one step that learns")
        if self.casting == "pair" and generators[0].casting == "nobody":
            raise ValueError("has a step that needs two people, after one that paints nobody")
        return self

    def settings(self) -> dict[str, Any]:
        """As they stand in params: each step's name and all of its settings."""
        return {"steps": [{step.name: step.section.settings()} for step in self.steps]}

    @property
    def role(self) -> Role:
        """Forgery where any step forges."""
        return max((step.generator.role for step in self.steps), key=_ROLES.index)

    @property
    def content_class(self) -> str:
        """Of the most synthetic step."""
        return max((step.generator.content_class for step in self.steps), key=_CLASSES.index)

    @property
    def makes(self) -> MediaType:
        """What the first step makes."""
        return self.steps[0].generator.makes

    @property
    def casting(self) -> Casting:
        """A second parent is there for every step that needs one."""
        return "pair" if any(s.generator.casting == "pair" for s in self.steps) else self.steps[0].generator.casting

    @property
    def changes(self) -> frozenset[Stream]:
        """What any step changes."""
        return frozenset[Stream]().union(*(step.generator.changes for step in self.steps))

    @property
    def apparent(self) -> Apparent:
        """The last person who was put on: no step brings the target back."""
        return max((step.generator.apparent for step in self.steps), key=_APPARENT.index)

    @property
    def control(self) -> str:
        """The first step's, which decides the form of what is made."""
        return self.steps[0].generator.control

    @property
    def size(self) -> int | None:
        """Side of the picture where the first step makes images."""
        side: int | None = getattr(self.steps[0].section, "size", None)
        return side

    @property
    def source_type(self) -> str:
        """Of the process furthest from a capture."""
        return max((step.generator.source_type for step in self.steps), key=_SOURCE_TYPES.index)

    def load(self, folder: Path) -> "Chain":
        """The same chain, its step that learns bound to the model in `folder`. Raises ModelError."""

        def loaded(section: Section) -> Section:
            bound = section.load(folder) if isinstance(section, Trained) else section
            return bound if isinstance(bound, Section) else section

        return self.model_copy(
            update={"steps": tuple(step.model_copy(update={"section": loaded(step.section)}) for step in self.steps)}
        )

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """What the last step makes; a mask is the largest of all steps' masks, the segments are those of any step."""
        target, others = (parents[0] if parents else None), parents[1:]
        seeds = np.random.SeedSequence(int(rng.integers(2**63))).spawn(len(self.steps))

        def make(last: int) -> Made:
            """What the steps up to `last` make of the parents, from the start."""
            generator, chance = self.steps[last].generator, np.random.default_rng(seeds[last])
            partners = others if generator.casting == "pair" else ()
            if last == 0:
                made = generator((target, *partners) if target else (), chance)
                return replace(made, drawn=_named(self.steps[0], made))
            so_far = _SoFar(lambda: make(last - 1), target)
            made = so_far.joined(generator((so_far.clip, *partners), chance))
            return replace(made, drawn={**so_far.drawn, **_named(self.steps[last], made)})

        return make(len(self.steps) - 1)


class _SoFar:
    """What the steps up to one have made, as the target of the next; and their masks, kept until they are joined to its own."""

    def __init__(self, make: Callable[[], Made], target: Clip | None) -> None:
        self._make, self._first = make, make()
        self._unread: Made | None = self._first
        self._masks: deque[Mask | None] = deque()
        made = self._first
        self.drawn = made.drawn
        self.clip = Clip(
            media_type=made.media_type,
            width=made.width,
            height=made.height,
            fps=made.fps,
            frames=made.frames,
            pictures=self._pictures,
            sound=lambda: made.sound,
            track=target.track if target else None,
            name=target.name if target else "a painted picture",
            attributes=target.attributes if target else {},
            words=made.words,
            phonemes=made.phonemes,
        )

    def _pictures(self) -> Iterator[Picture]:
        made, self._unread = self._unread or self._make(), None
        masks = self._masks = deque()  # those of an earlier pass, in which the next step only looked, are not needed
        for picture, mask in made.pictures:
            masks.append(mask)
            yield picture

    def joined(self, made: Made) -> Made:
        """What the next step made of the clip, with masks and segments of all steps so far."""
        return replace(made, pictures=self._pairs(made), segments=_union((*self._first.segments, *made.segments)))

    def _pairs(self, made: Made) -> Iterator[tuple[Picture, Mask | None]]:
        for picture, mask in made.pictures:
            if not self._masks:
                what = "gave a picture before it took the target's"
                raise PromiseError(self.clip.name, what, "report it: a step must follow its last pass over its target")
            before = self._masks.popleft()
            yield picture, mask if before is None else before if mask is None else np.maximum(before, mask)


def _named(step: Step, made: Made) -> dict[str, str | float]:
    """What chance decided in one step, under the step's name: two steps may draw things of the same name."""
    return {f"{step.name}.{what}": value for what, value in made.drawn.items()}


def _union(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Segments that overlap or touch become one, for each modality; sorted."""
    union: list[Segment] = []
    for segment in sorted(segments, key=lambda s: (s.modality, s.start_s)):
        last = union[-1] if union else None
        if last and last.modality == segment.modality and segment.start_s <= last.end_s:
            union[-1] = replace(last, end_s=max(last.end_s, segment.end_s))
        else:
            union.append(segment)
    return tuple(sorted(union, key=lambda s: (s.start_s, s.modality)))


def learner(section: Section) -> Trained | None:
    """Who learns before a generator can be used: it itself, or the step of a chain; None where there is nothing to learn."""
    if isinstance(section, Chain):
        return next((step.section for step in section.steps if isinstance(step.section, Trained)), None)
    return section if isinstance(section, Trained) else None


def modules(section: Section) -> tuple[str, ...]:
    """The modules whose code makes what a generator makes."""
    steps = [step.section for step in section.steps] if isinstance(section, Chain) else []
    return tuple(type(part).__module__ for part in (section, *steps))
