"""How fakes are scored: pairs in, figures out, with one decode for every evaluator.

`measure` decodes a pair once and lets each evaluator turn the frames into a few numbers a frame, or the whole pair (its
sound, or how its frames follow each other) into a few numbers: rows. Rows are small and depend on nothing but the pair, so
they are what a process hands back and what a cache keeps. `summarise`
turns the rows of all pairs into figures, a sample's and a set's. Rows are joined in the order of the samples' ids:
how the pairs were spread over processes, and how many frames went into a batch, leave no trace. A set is what one method made
of one split in one variant, or those of its clips that share an attribute; its figures are kept while its pairs stay the same.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property
from itertools import islice
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from evaluators import interval
from forgeline.clip import Clip, Mask, Sound
from forgeline.code import ROOT, closure
from forgeline.errors import FactoryError, MediaError
from forgeline.recipe import digest
from forgeline.sample import Split
from forgeline.section import Section

BATCH = 8
"""Frames decoded at a time: 100 MB of 1080p, control and fake together."""

OF_SOURCE = 4
"""Frames of a source that are looked at, evenly spread."""

Rows = Mapping[str, NDArray[Any]]
"""What an evaluator measured on one pair: named arrays with one row a frame, or a window of the clip, or one in all."""

REASON = "reason"
"""The key of rows that hold no numbers, but one text: why there are none."""

SOUND_ALONE = "is sound alone"

Pictures = NDArray[np.uint8]
"""(n, height, width, 3) RGB."""


T = TypeVar("T")


class FigureError(FactoryError):
    """Two figures that don't measure the same thing."""


@dataclass(frozen=True)
class Figure:
    """A number with all that made it, or the `reason` why there is none (then `value` is None).

    `n` counts what was measured: frames, or clips in the mean over a set. `fingerprint` names everything that another
    choice of would give another number: network and hash of its weights, resizing, colour, region, frames, code. `low` and
    `high` are the ends of a set's 95 % interval (`evaluators.interval`), None where none is given.
    """

    value: float | None
    n: int
    fingerprint: Mapping[str, str]
    reason: str | None = None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.reason is None):
            raise ValueError(f"a figure has a value or a reason, not both: {self.value!r}, {self.reason!r}")
        if not all(math.isfinite(number) for number in (self.value, self.low, self.high) if number is not None):
            raise ValueError(f"a figure is finite, not {self.value!r} ({self.low!r} to {self.high!r})")
        if (self.low is None) != (self.high is None) or (self.value is None and self.low is not None):
            raise ValueError(f"a figure's interval has two ends, and a value within: {self.low!r} to {self.high!r}")

    def record(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"fingerprint": dict(self.fingerprint)}


def change(before: Figure, after: Figure) -> float:
    """`after - before`. Raises FigureError where the fingerprints differ, or one of the two is not there."""
    if before.value is None or after.value is None:
        raise FigureError("figure", before.reason or after.reason or "", "compare figures that are both there")
    differs = unlike(before.fingerprint, after.fingerprint)
    if differs:
        raise FigureError("figure", f"not made alike ({', '.join(differs)})", "score both sets with the same settings")
    return after.value - before.value


def unlike(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The keys in which two fingerprints differ, sorted: none where the figures can be compared."""
    return [key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)]


@dataclass(frozen=True)
class Pair:
    """A fake and its matched control.

    `aligned` tells that the fake was made from that control frame by frame; else (a person who does not exist) only
    sets can be compared. `changes` names the streams of the fake that may differ from the control's, `video` and `audio`.
    `masks` starts a new pass over the masks of the fake's frames.
    """

    sample_id: str
    fake: Clip
    control: Clip
    method: str
    split: Split
    variant: str = "master"
    aligned: bool = True
    masks: Callable[[], Iterator[Mask]] | None = None
    changes: frozenset[str] = frozenset({"video", "audio"})
    source: Clip | None = None
    """A clip of the one whose face the fake is to show, where that is not its target."""

    @cached_property
    def sounds(self) -> tuple[Sound | None, Sound | None]:
        """The control's and the fake's sound, None where there is none: decoded once, however many evaluators ask."""
        return self.control.sound(), self.fake.sound()

    @property
    def group(self) -> tuple[str, str, str]:
        """Method, variant, split: what a set's figures are given for."""
        return self.method, self.variant, self.split


@dataclass(frozen=True, eq=False)
class Frames:
    """n frames of a pair: `control` and `fake` are (n, height, width, 3) RGB `uint8`, `masks` (n, height, width).

    Sizes may differ where the pair is not aligned.
    """

    control: Pictures
    fake: Pictures
    masks: NDArray[np.uint8] | None
    aligned: bool
    source: Pictures | None = None
    """Some frames (m, height, width, 3) of the pair's source, the same in every batch."""
    _seen: dict[object, tuple[NDArray[np.float32], NDArray[np.float32]]] = field(default_factory=dict, repr=False)

    def through(self, network: Callable[[Pictures], NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What the network says of the control's and of the fake's frames; evaluators that share a network run it
        once."""
        if network not in self._seen:
            self._seen[network] = network(self.control), network(self.fake)
        return self._seen[network]


class Evaluator(Section, ABC):
    """One way to score: of frames (`OfFrames`), or of whole clips (`OfClips`). Its fields are its section of `params.yaml`."""

    clipwise: ClassVar[bool] = True
    """Whether a set's figures may be the means of what its clips give alone: those that are get their intervals from that."""

    @property
    def shared(self) -> str | None:
        """A name for its rows where others have the same: they are then computed and kept once."""
        return None

    @abstractmethod
    def of_sample(self, rows: Rows) -> dict[str, Figure]:
        """Figures of one pair; empty where the method only speaks of sets.

        `rows` are empty where there was nothing to measure: all figures are then without a value.
        """

    @abstractmethod
    def of_set(self, rows: Iterable[Rows]) -> dict[str, Figure]:
        """Figures of a set, from one pass over its pairs' rows in the order of their ids."""


class OfFrames(Evaluator):
    """Scores some frames of a pair, each for itself. What is sound alone has none."""

    @abstractmethod
    def rows(self, frames: Frames) -> Rows:
        """What these frames contribute, frame by frame: a batch's rows must not depend on the rest of the batch.

        Nothing where the pair can't be measured so; `of_sample` and `of_set` then say why.
        """


class OfClips(Evaluator):
    """Scores a whole pair at once: its sound, or how its frames follow each other."""

    @abstractmethod
    def rows(self, pair: Pair) -> Rows:
        """What this pair contributes, or `unmeasured`. Sound is in `pair.sounds`; pictures may be passed through again."""


def unmeasured(reason: str) -> Rows:
    """The rows of a pair that can't be measured: its figures then have this reason."""
    return {REASON: np.array([reason])}


def measure(pair: Pair, evaluators: Mapping[str, Evaluator], frames: int) -> dict[str, Rows]:
    """Each evaluator's rows for one pair: from one decode of at most `frames` frames, evenly spread, or of the whole pair.

    Raises MediaError where an aligned pair differs in size or length.
    """
    fake, control = pair.fake, pair.control
    if pair.aligned and _shape(fake) != _shape(control):
        what = f"is {_shape(fake)} and its control {_shape(control)} (width, height, frames)"
        raise MediaError(pair.sample_id, what, "pair it with the control it was made from")
    found = {name: evaluator.rows(pair) for name, evaluator in evaluators.items() if isinstance(evaluator, OfClips)}
    of_frames = {name: evaluator for name, evaluator in evaluators.items() if isinstance(evaluator, OfFrames)}
    if fake.media_type == "audio":
        return found | {name: unmeasured(SOUND_ALONE) for name in of_frames}
    once = {kept_as(name, evaluator): evaluator for name, evaluator in of_frames.items()}
    seen = _of_frames(pair, once, min(frames, fake.frames, control.frames))
    return found | {name: seen[kept_as(name, evaluator)] for name, evaluator in of_frames.items()}


def kept_as(name: str, evaluator: Evaluator) -> str:
    """The name of an evaluator's rows, which some share."""
    return evaluator.shared or name


def _of_frames(pair: Pair, evaluators: Mapping[str, OfFrames], n: int) -> dict[str, Rows]:
    fake, control = pair.fake, pair.control
    controls = _picked(control.pictures, control.frames, n, control.name)
    fakes = _picked(fake.pictures, fake.frames, n, fake.name)
    masks = _picked(pair.masks, fake.frames, n, f"mask of {pair.sample_id}") if pair.masks else None
    shown = pair.source and _picked(
        pair.source.pictures, pair.source.frames, min(OF_SOURCE, pair.source.frames), pair.source.name
    )
    source = np.stack(list(shown)) if shown else None
    batches: dict[str, list[Rows]] = {name: [] for name in evaluators}
    for start in range(0, n, BATCH):
        size = min(BATCH, n - start)
        batch = Frames(
            control=np.stack(list(islice(controls, size))),
            fake=np.stack(list(islice(fakes, size))),
            masks=np.stack(list(islice(masks, size))) if masks else None,
            aligned=pair.aligned,
            source=source,
        )
        for name, evaluator in evaluators.items():
            batches[name].append(evaluator.rows(batch))
    return {name: _joined(parts) for name, parts in batches.items()}


SetKey = tuple[str, str, str, str]
"""Method, variant, split, and `attribute=value` of those that are in it, or nothing where all are."""


@dataclass(frozen=True)
class Measured:
    """The rows of one pair, wherever they are kept: `rows` loads what `measure` gave.

    `key` names everything that made the rows. `values` are the declared attributes, as `attribute=value`, that figures are
    given for. `by` names the evaluators that measured it, where that isn't all.
    """

    sample_id: str
    group: tuple[str, str, str]
    rows: Callable[[], Mapping[str, Rows]]
    key: str = ""
    values: tuple[str, ...] = ()
    by: frozenset[str] | None = None


@dataclass(frozen=True)
class Scores:
    """Figures by sample id and name, and by (method, variant, split) and name; both sorted. `groups` has those of the clips
    that share an attribute."""

    samples: Mapping[str, Mapping[str, Figure]]
    sets: Mapping[tuple[str, str, str], Mapping[str, Figure]]
    groups: Mapping[SetKey, Mapping[str, Figure]] = field(default_factory=dict)


def summarise(measured: Iterable[Measured], evaluators: Mapping[str, Evaluator], frames: int) -> Scores:
    """All figures, from rows that `measure` made with the same evaluators and `frames`.

    Rows are loaded a pair at a time, once for each evaluator, so that they need not fit in memory together.
    """
    ordered = sorted(measured, key=lambda one: (one.sample_id, one.group))
    samples: dict[str, dict[str, Figure]] = {}
    for one in ordered:
        rows = one.rows()
        samples[one.sample_id] = {}
        for name, evaluator in _applied(one, evaluators).items():
            reason = _reason(rows[name])
            figures = evaluator.of_sample({} if reason else rows[name])
            samples[one.sample_id] |= _named(evaluator, figures, frames, one.group[1], reason)
    sets = figures_of_sets(ordered, evaluators, frames, {})
    return Scores(
        samples, {key[:3]: figures for key, figures in sets.items() if not key[3]}, {k: f for k, f in sets.items() if k[3]}
    )


Known = MutableMapping[str, Mapping[str, Figure]]
"""Figures of sets by the hash of all that makes them."""


def figures_of_sets(
    measured: Iterable[Measured], evaluators: Mapping[str, Evaluator], frames: int, known: Known
) -> dict[SetKey, dict[str, Figure]]:
    """The figures of all sets, sorted. Those that are `known` are taken from there without a look at rows, and `known` holds
    what was found afterwards, and no more, where all that was measured has a key."""
    ordered = sorted(measured, key=lambda one: (one.sample_id, one.group))
    members: dict[SetKey, list[Measured]] = {}
    for one in ordered:
        for value in ("", *one.values):
            members.setdefault((*one.group, value), []).append(one)
    found: dict[SetKey, dict[str, Figure]] = {}
    used: dict[str, Mapping[str, Figure]] = {}
    alone: dict[tuple[str, str], Mapping[str, Figure]] = {}
    for key, own in sorted(members.items()):
        found[key] = {}
        for name, evaluator in _applied(own[0], evaluators).items():
            makes = digest([name, evaluator.settings(), _code(evaluator), frames, key[1], [(m.sample_id, m.key) for m in own]])
            if makes not in used:
                figures = known[makes] if makes in known and all(m.key for m in own) else None
                used[makes] = _of_set(name, evaluator, own, frames, alone) if figures is None else figures
            found[key] |= used[makes]
    known.clear()
    known.update(used)
    return found


def _of_set(
    name: str,
    evaluator: Evaluator,
    members: Sequence[Measured],
    frames: int,
    alone: MutableMapping[tuple[str, str], Mapping[str, Figure]],
) -> dict[str, Figure]:
    """One evaluator's figures of a set; what its clips give by themselves is kept in `alone`, for the groups they are in."""
    reasons: list[str | None] = []
    clips: list[Mapping[str, Figure]] = []

    def rows() -> Iterator[Rows]:
        for one in members:
            found = one.rows()[name]
            reasons.append(_reason(found))
            kept: Rows = {} if reasons[-1] else found
            if evaluator.clipwise and len(members) > 1:
                if (one.sample_id, name) not in alone:
                    alone[one.sample_id, name] = evaluator.of_set([kept])
                clips.append(alone[one.sample_id, name])
            yield kept

    figures = evaluator.of_set(rows())
    figures = {figure: _between(figure, whole, clips) for figure, whole in figures.items()}
    return _named(evaluator, figures, frames, members[0].group[1], reasons[0] if reasons and all(reasons) else None)


def _between(name: str, whole: Figure, clips: Sequence[Mapping[str, Figure]]) -> Figure:
    """The figure with its interval, where it is the mean of its clips'."""
    values = np.array([clip[name].value for clip in clips if name in clip and clip[name].value is not None], np.float64)
    if whole.value is None or len(values) < 2 or not math.isclose(values.mean(), whole.value, rel_tol=1e-9, abs_tol=1e-12):
        return whole
    low, high = interval.of_mean(values) or (None, None)
    return replace(whole, fingerprint=dict(whole.fingerprint) | {"interval": interval.ABOUT}, low=low, high=high)


def _applied(one: Measured, evaluators: Mapping[str, Evaluator]) -> Mapping[str, Evaluator]:
    return {name: evaluator for name, evaluator in evaluators.items() if one.by is None or name in one.by}


@cache
def _code_of(module: str) -> str:
    """Hash of the evaluators' code that a module rests on."""
    files = sorted(
        ROOT.joinpath(*one.split(".")).with_suffix(".py") for one in closure(module) if one.startswith("evaluators.")
    )
    return digest({file.stem: file.read_text(encoding="utf-8") for file in files})[:16]


def _code(evaluator: Evaluator) -> str:
    module = type(evaluator).__module__
    return _code_of(module) if module.startswith("evaluators.") else "not known"


def score(pairs: Iterable[Pair], evaluators: Mapping[str, Evaluator], frames: int) -> Scores:
    """`measure` and `summarise` in one process, for sets of a few hundred pairs."""
    measured = []
    for pair in pairs:
        rows = measure(pair, evaluators, frames)
        measured.append(Measured(pair.sample_id, pair.group, lambda rows=rows: rows))  # type: ignore[misc]
    return summarise(measured, evaluators, frames)


def _shape(clip: Clip) -> tuple[int, int, int]:
    return clip.width, clip.height, clip.frames


def _picked(start: Callable[[], Iterator[T]], length: int, n: int, name: str) -> Iterator[T]:
    """The middles of `n` equal parts of a stream of `length`; what follows the last of them is not decoded."""
    stream = start()
    done = 0
    for part in range(n):
        at = (2 * part + 1) * length // (2 * n)
        picture = next(islice(stream, at - done, None), None)
        if picture is None:
            raise MediaError(name, f"ends before its frame {at} of {length}", "make it again")
        done = at + 1
        yield picture


def _joined(parts: Sequence[Rows]) -> Rows:
    return {key: np.concatenate([part[key] for part in parts]) for key in (parts[0] if parts else ())}


def _reason(rows: Rows) -> str | None:
    return str(rows[REASON][0]) if REASON in rows else None


def _named(
    evaluator: Evaluator, figures: Mapping[str, Figure], frames: int, variant: str, reason: str | None
) -> dict[str, Figure]:
    """An evaluator's figures with what is not its own in the fingerprint: the choice of frames, the variant, the code; with the
    `reason`, if there is one, where there is no value."""
    more = {"variant": variant, "code": _code(evaluator)}
    if isinstance(evaluator, OfFrames):
        more["frames"] = f"at most {frames} a clip, the middles of equal parts"
    return {
        name: replace(
            figure,
            fingerprint=dict(figure.fingerprint) | more,
            reason=reason if reason and figure.value is None else figure.reason,
        )
        for name, figure in figures.items()
    }
