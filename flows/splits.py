"""Who goes into which split, and the proof that no two splits have anything in common.

A split is a component's: the closure of everything that clips share. The proof knows nothing of how they were assigned.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from flows.params import Plan
from forgeline.errors import FactoryError, PromiseError
from forgeline.recipe import digest
from forgeline.sample import SPLITS, Sample, Split

SPLITS_FILE = "splits.json"


@dataclass(frozen=True)
class Component:
    """People and clips that must share a split: they have a person, a recording or a file in common."""

    split: Split
    because: str
    people: tuple[str, ...]
    clips: tuple[str, ...]


def _ties(sample: Sample) -> Iterator[str]:
    """What a clip must not share with a clip of another split."""
    yield f"clip {sample.sample_id}"
    yield from (f"clip {parent}" for parent in sample.parents)
    yield from (f"person {person}" for person in (sample.target_id, sample.source_id) if person)
    yield from recordings(sample)


def recordings(sample: Sample) -> Iterator[str]:
    """The video it was cut from and the file itself: they may show one person under several names."""
    if sample.origin:
        yield f"recording {sample.source}:{sample.origin}"
    if sample.sha256:
        yield f"file {sample.sha256}"


def assign_splits(samples: Iterable[Sample], settings: Plan) -> list[Component]:
    """The closure of everything clips have in common, and a split for each component; sorted.

    A component's split is the one that `plan.assign` gives one of its people, else its corpus's official one (test before
    val before train where a corpus's own splits are tied together, so that nothing official leaks into training), else
    drawn from a hash of its first person, so that it does not depend on who else there is.
    """
    everyone = list(samples)
    nobody = sorted(set(settings.assign) - {p for s in everyone for p in (s.target_id, s.source_id) if p})
    if nobody:
        raise FactoryError(f"plan.assign.{nobody[0]}", "is nobody in the corpora", "correct the name, or remove it")
    usable = sorted((s for s in everyone if s.reason is None), key=lambda s: s.sample_id)
    root: dict[str, str] = {}

    def find(tie: str) -> str:
        while root.setdefault(tie, tie) != tie:
            root[tie] = root[root[tie]]
            tie = root[tie]
        return tie

    for sample in usable:
        first, *others = _ties(sample)
        for other in others:
            a, b = sorted((find(first), find(other)))
            root[b] = a
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in usable:
        groups[find(f"clip {sample.sample_id}")].append(sample)
    return sorted((_component(group, settings) for group in groups.values()), key=lambda c: (c.split, c.people, c.clips))


def _component(group: Sequence[Sample], settings: Plan) -> Component:
    people = tuple(sorted({p for s in group for p in (s.target_id, s.source_id) if p}))
    clips = tuple(s.sample_id for s in group)
    split, because = _split_of(group, people, clips, settings)
    return Component(split, because, people, clips)


def _split_of(group: Sequence[Sample], people: Sequence[str], clips: Sequence[str], settings: Plan) -> tuple[Split, str]:
    by_hand = sorted({settings.assign[p] for p in people if p in settings.assign})
    if len(by_hand) > 1:
        what = f"put people into {' and '.join(by_hand)} who have clips in common"
        raise FactoryError("plan.assign", f"{what} ({', '.join(people[:4])})", "give them one split")
    if by_hand:
        return by_hand[0], "plan.assign"
    official = {s.split for s in group if s.split}
    for split in reversed(SPLITS):
        if split in official:
            tied = f"; official splits {' and '.join(sorted(official))} are tied together" if len(official) > 1 else ""
            return split, f"official{tied}"
    name = people[0] if people else clips[0]
    drawn = int(digest(["split", settings.seed, name])[:13], 16) / 16**13
    for split in SPLITS:
        drawn -= settings.splits[split]
        if drawn < 0:
            return split, "drawn"
    return SPLITS[-1], "drawn"


def prove_disjoint(components: Iterable[Component], samples: Iterable[Sample]) -> None:
    """Raise PromiseError unless nothing that `_ties` names is found in two splits. Knows nothing of how they were made."""
    split_of = {clip: c.split for c in components for clip in c.clips}
    where: dict[str, str] = {}
    for sample in samples:
        if sample.reason is not None:
            continue
        if sample.sample_id not in split_of:
            raise PromiseError(sample.sample_id, "is in no split", "report it")
        split = split_of[sample.sample_id]
        for tie in _ties(sample):
            if where.setdefault(tie, split) != split:
                raise PromiseError(tie, f"is in {where[tie]} and in {split}", "report it: splits must be disjoint")
