"""The shortcut audit: every finished file of a release is measured, and probes are asked whether that tells its class.

Only what is no part of the forgery is measured: see `evaluators.nuisances` for what that is, `evaluators.shortcuts` for when a
probe fails. Forgeries are compared with their controls by media type and variant: all methods together, and each method that
has pairs enough by itself. Augmentations and null twins, which are real, are compared with nothing. A fully synthetic picture
shows another scene than its control, so of these only what no scene decides is asked. What a forgery may rightly change, such
as how sure a detector is of the face, is told beside the table and fails nothing.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evaluators import nuisances
from evaluators.shortcuts import (
    FEWEST_PAIRS,
    Judged,
    Names,
    Numbers,
    Told,
    ask,
    ask_names,
    ask_net,
    ask_together,
    judge,
    worth_training,
)
from flows import workspace
from flows.items import Finished, Item, bring_up_to_date
from forgeline.code import code_digest, library_versions
from forgeline.errors import FactoryError, PromiseError
from forgeline.faces import FaceFinder
from forgeline.files import sha256_of, write_text
from forgeline.hearing import Traits
from forgeline.recipe import digest
from forgeline.sample import Sample

FILES = workspace.AUDIT / "files"
BACKGROUNDS = workspace.AUDIT / "backgrounds"
PROBES = workspace.AUDIT / "probes"

ALL = "all"
"""Stands for every method, where pairs of several are asked about together."""

MARKS = {"mark_score": 0.0, "mark_score_attacked": 0.0, "sound_mark_score": 0.0, "mark_psnr": 99.0}
"""What `watermark.seal` says of the mark in a file, and what stands for no word: nothing read, and nothing changed."""

MOST_LEARNED_FROM = 2000
"""Pairs that a trained probe is given: those that come first by their id, which is a hash. Their pictures then take 200 MB."""

_SHOWN = 6


class Pair(NamedTuple):
    """A forgery and its control, of one variant."""

    fake: Sample
    control: Sample


@dataclass(frozen=True)
class Measured:
    """What was found: facts and numbers by sample, backgrounds by forgery, and what could not be measured."""

    forms: Mapping[str, Mapping[str, str]]
    numbers: Mapping[str, Mapping[str, float]]
    backgrounds: Mapping[str, Mapping[str, float]]
    faults: Sequence[str]

    def traits(self, sample_id: str) -> Traits | None:
        """Of a sample's sound; None where it has none, or could not be measured."""
        told = {name[7:]: value for name, value in self.numbers.get(sample_id, {}).items() if name.startswith("sound: ")}
        return Traits(**told) if told else None


@dataclass(frozen=True)
class _Comparison(Item):
    control: Sample


@dataclass(frozen=True)
class _Question(Item):
    """What trained probes are asked: numbers (pairs, 2, factors), and the backgrounds' files, in the pairs' order."""

    numbers: Numbers
    clips: Names
    people: Names
    pictures: tuple[Path, ...]


def pairs_of(rows: Sequence[Sample]) -> list[Pair]:
    """Every forgery that stands, with its control, sorted by the forgery's id."""
    standing = {s.sample_id: s for s in rows if s.reason is None}
    return [Pair(s, standing[str(s.pair_id)]) for s in standing.values() if s.role == "forgery" and str(s.pair_id) in standing]


def measure(pairs: Sequence[Pair]) -> Measured:
    """Measure all files of the pairs. What was measured before, and has not changed, is not measured again."""
    code, versions = code_digest("evaluators.nuisances", "flows.shortcuts"), library_versions()
    every = {s.sample_id: s for pair in pairs for s in pair}
    jobs = [Item(s.sample_id, digest([s.sha256, code, versions]), s) for s in every.values()]
    forms, numbers, faults = {}, {}, []
    for sample in bring_up_to_date(FILES, jobs, _measure, "audit, files"):
        if sample.reason is not None:
            faults.append(str(sample.reason))
            # Once it is mended, it must be measured.
            (FILES / f"{sample.sample_id}.json").unlink(missing_ok=True)
        else:
            numbers[sample.sample_id] = dict(sample.scores)
            forms[sample.sample_id] = json.loads((FILES / f"{sample.sample_id}.form.json").read_text(encoding="utf-8"))
    seen = []
    for fake, control in pairs:
        if _same_scene(fake) and fake.sample_id in forms and control.sample_id in forms:
            masks = [sha256_of(Path(s.mask)) for s in (fake, control) if s.mask]
            seen.append(
                _Comparison(fake.sample_id, digest([fake.sha256, control.sha256, masks, code, versions]), fake, control)
            )
    backgrounds = {}
    for sample in bring_up_to_date(BACKGROUNDS, seen, _compare, "audit, backgrounds"):
        if sample.reason is not None:
            faults.append(str(sample.reason))
            (BACKGROUNDS / f"{sample.sample_id}.json").unlink(missing_ok=True)
        else:
            backgrounds[sample.sample_id] = dict(sample.scores)
    return Measured(forms, numbers, backgrounds, faults)


class Asked(NamedTuple):
    """What tells the classes apart, worst first; what is not decided; the table of all that was asked, worst first; and one
    alike of what belongs to the forgeries, whose verdict is "told"."""

    failed: list[str]
    undecided: list[str]
    table: list[dict[str, Any]]
    told: list[dict[str, Any]]


def shortcuts(pairs: Sequence[Pair], found: Measured) -> Asked:
    """Ask all probes of a release.

    A fact that nothing of the content decides fails as soon as one pair differs in it: these are all the release's pairs, and
    no sample of them.
    """
    measured = [p for p in pairs if p.fake.sample_id in found.forms and p.control.sample_id in found.forms]
    groups: dict[tuple[str, str, str], list[Pair]] = defaultdict(list)
    for pair in measured:
        for method in (ALL, pair.fake.method):
            groups[pair.fake.media_type, pair.fake.variant, method].append(pair)
    asked: list[tuple[tuple[str, str, str], Told]] = []
    traits: list[tuple[tuple[str, str, str], Told]] = []
    table: list[dict[str, Any]] = []
    questions = []
    for group, some in sorted(groups.items()):
        if group[2] == ALL:
            table += _forms(group, some, found)
        elif len(some) < FEWEST_PAIRS or len({p.fake.method for p in groups[group[0], group[1], ALL]}) == 1:
            continue  # too few, or all that was asked about already
        told, question = _ask(group, some, found)
        for one in told:
            (traits if one.factor.startswith(nuisances.TRAIT) else asked).append((group, one))
        questions += [question] if question is not None else []
    learned = bring_up_to_date(PROBES, questions, _train, "audit, probes")
    asked += [(_group(s.sample_id), one) for s in learned if s.reason is None for one in _told(s.scores)]
    faults = [f"{' '.join(_group(s.sample_id))}: {s.reason}" for s in learned if s.reason is not None]
    judged = judge([one for _, one in asked])
    table += [_line(group, one) for (group, _), one in zip(asked, judged, strict=True)]
    table.sort(key=_badness)
    failed = [_said(line) for line in table if line["verdict"] == "fails"]
    # By itself: what is only told must not make the others' levels stricter.
    aside = zip(traits, judge([one for _, one in traits]), strict=True)
    told_of = sorted((_line(group, one) | {"verdict": "told"} for (group, _), one in aside), key=_badness)
    return Asked([*faults, *failed], list(_undecided(table)), table, told_of)


def _measure(job: Item) -> Finished:
    sample, path = job.sample, Path(job.sample.media)
    told = FILES / f"{sample.sample_id}.form.json"
    try:
        if sha256_of(path) != sample.sha256:
            raise PromiseError(path, "is not the file that was sealed", "make it again")
        facts = nuisances.form(path, sample.media_type)
        numbers = {f"picture: {name}": value for name, value in nuisances.coding(path, sample.media_type).items()}
        numbers |= {f"sound: {name}": value for name, value in nuisances.heard(path, sample.media_type).items()}
        if sample.media_type != "audio" and sample.variant == "master":  # its variants' faces lie where its own do
            numbers |= _named("crop", nuisances.crop(path, sample.media_type, _finder()))
        if sample.media_type == "image":
            numbers |= _named("whole", nuisances.whole(path))
    except (FactoryError, OSError) as error:
        return Finished(replace(sample, reason=str(error)), ())
    if bool(sample.audio_label) and "sound: samples" not in numbers:
        return Finished(replace(sample, reason=f"{path}: has lost its sound; make it again"), ())
    write_text(told, json.dumps(facts, indent=1, sort_keys=True) + "\n")
    return Finished(replace(sample, scores=_finite(numbers)), (told,))


def _compare(job: _Comparison) -> Finished:
    fake, control = job.sample, job.control
    masks = [Path(s.mask) for s in (fake, control) if s.mask]
    try:
        seen = nuisances.background(Path(fake.media), Path(control.media), masks, fake.media_type)
    except (FactoryError, OSError) as error:
        return Finished(replace(fake, reason=str(error)), ())
    scores = {
        f"{who}: {name}": value
        for who, numbers in zip(("fake", "control"), seen.numbers, strict=True)
        for name, value in numbers.items()
    }
    files = []
    if seen.view is not None:
        files.append(BACKGROUNDS / f"{fake.sample_id}.npz")
        grain = np.zeros((2, 0), np.int8) if seen.grain is None else seen.grain
        np.savez_compressed(files[0], view=seen.view, grain=grain)
    return Finished(replace(fake, scores=_finite(scores)), tuple(files))


@cache
def _finder() -> FaceFinder:
    return FaceFinder()


def _named(group: str, numbers: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Numbers with the name of their group before their own; what is a trait says so first."""
    for name, value in numbers.items():
        trait = nuisances.TRAIT if name.startswith(nuisances.TRAIT) else ""
        yield f"{trait}{group}: {name.removeprefix(trait)}", value


def _same_scene(fake: Sample) -> bool:
    return fake.media_type != "audio" and fake.content_class != "fully_synthetic"


def _finite(numbers: Mapping[str, float]) -> dict[str, float]:
    """What is not a number is left out, as records hold none."""
    return {name: float(value) for name, value in numbers.items() if np.isfinite(value)}


# ---------------------------------------------------------------------------------------------------------- the questions


def _forms(group: tuple[str, str, str], pairs: Sequence[Pair], found: Measured) -> Iterator[dict[str, Any]]:
    both = [(found.forms[p.fake.sample_id], found.forms[p.control.sample_id]) for p in pairs]
    for fact in sorted({name for each in both for one in each for name in one}):
        unlike = [(p, a.get(fact), b.get(fact)) for p, (a, b) in zip(pairs, both, strict=True) if a.get(fact) != b.get(fact)]
        share = 0.5 + len(unlike) / len(pairs) / 2
        line = _head(group, "form", fact, len(pairs)) | {
            "auc": round(share, 4),
            "low": round(share, 4),
            "high": round(share, 4),
        }
        line["verdict"] = "fails" if unlike else "passes"
        if unlike:
            pair, one, other = unlike[0]
            line["example"] = f"{pair.fake.sample_id}: {_short(one)}, its control's {_short(other)}"
            line["differ"] = len(unlike)
        yield line


def _ask(group: tuple[str, str, str], pairs: Sequence[Pair], found: Measured) -> tuple[list[Told], _Question | None]:
    """What all single factors say; and what trained probes shall be asked, or None for too few pairs."""
    clips = np.array([str(p.control.sample_id) for p in pairs])
    people = np.array([p.control.target_id or p.control.sample_id for p in pairs])
    rows = [_row(pair, found) for pair in pairs]
    factors = sorted({name for row in rows for name in row})
    numbers = np.array([[row.get(name, (np.nan, np.nan)) for name in factors] for row in rows], np.float64)
    numbers = numbers.reshape(len(rows), len(factors), 2).transpose(0, 2, 1)
    told = [ask(name, numbers[:, :, at], clips, people) for at, name in enumerate(factors)]
    numbers = numbers[:, :, [not name.startswith(nuisances.TRAIT) for name in factors]]
    if all(_same_scene(p.fake) or p.fake.media_type == "audio" for p in pairs):
        for name in ("source", "target_id", "mark_key_id"):
            told.append(
                ask_names(name, [(str(getattr(p.fake, name)), str(getattr(p.control, name))) for p in pairs], clips, people)
            )
    if not worth_training(len(pairs), people):
        return told, None
    some = slice(MOST_LEARNED_FROM)
    pictures = tuple(BACKGROUNDS / f"{p.fake.sample_id}.npz" for p in pairs[some])
    numbers, clips, people = numbers[some], clips[some], people[some]
    shas = [sha256_of(path) if path.is_file() else "" for path in pictures]
    code = code_digest("evaluators.shortcuts", "flows.shortcuts")
    versions = [library_versions(), version("scikit-learn")]
    key = digest([hashlib.sha256(numbers.tobytes()).hexdigest(), clips.tolist(), people.tolist(), shas, code, versions])
    return told, _Question(
        "-".join(group), key, replace(pairs[0].fake, sample_id="-".join(group)), numbers, clips, people, pictures
    )


def _row(pair: Pair, found: Measured) -> dict[str, tuple[float, float]]:
    """Every number of a pair: (fake, control)."""
    row = {}
    alike = _same_scene(pair.fake) or pair.fake.media_type == "audio"
    fake, control = (found.numbers[s.sample_id] for s in pair)
    for name in fake.keys() | control.keys():
        if not (alike and name.removeprefix(nuisances.TRAIT).startswith("whole: ")):
            row[name] = fake.get(name, np.nan), control.get(name, np.nan)
    if alike:
        seen = found.backgrounds.get(pair.fake.sample_id, {})
        for name in {name.partition(": ")[2] for name in seen}:
            row[f"background: {name}"] = seen.get(f"fake: {name}", np.nan), seen.get(f"control: {name}", np.nan)
    for name, missing in MARKS.items():
        if name in pair.fake.scores or name in pair.control.scores:
            # How well a mark is read depends on what it is laid on; how strong it was made must not.
            mine = "mark: " if alike or name == "mark_psnr" else f"{nuisances.TRAIT}mark: "
            row[f"{mine}{name}"] = pair.fake.scores.get(name, missing), pair.control.scores.get(name, missing)
    # Rows are sorted by id, so its digits say where in a release a sample stands.
    row["order"] = int(pair.fake.sample_id[:8], 16), int(pair.control.sample_id[:8], 16)
    return row


def _train(job: _Question) -> Finished:
    told = [ask_together(job.numbers, job.clips, job.people)]
    rng = np.random.default_rng(list(job.name.encode()))  # another name, other first weights; and the same ones next time
    for factor, name in (("background picture", "view"), ("background grain", "grain")):
        there, pictures = [], []
        for at, path in enumerate(job.pictures):
            if path.is_file():
                with np.load(path) as held:
                    if held[name].size:
                        there.append(at)
                        pictures.append(held[name])
        if there:
            told.append(ask_net(factor, np.array(pictures, np.float32), job.clips[there], job.people[there], rng))
    fields = ("pairs", "auc", "spread", "people", "clips", "unlike")
    scores = {f"{one.factor}: {field}": float(getattr(one, field)) for one in told for field in fields}
    return Finished(replace(job.sample, scores=_finite(scores)), ())


def _told(scores: Mapping[str, float]) -> Iterator[Told]:
    for factor in dict.fromkeys(name.partition(": ")[0] for name in scores):
        auc, spread = (scores.get(f"{factor}: {name}", float("nan")) for name in ("auc", "spread"))
        pairs, people, clips, unlike = (int(scores[f"{factor}: {name}"]) for name in ("pairs", "people", "clips", "unlike"))
        yield Told(factor, pairs, auc, spread, people, clips, unlike, learned=True)


def _group(name: str) -> tuple[str, str, str]:
    media_type, variant, method = name.split("-", 2)
    return media_type, variant, method


# ------------------------------------------------------------------------------------------------------------ the answers


def _head(group: tuple[str, str, str], probe: str, factor: str, pairs: int) -> dict[str, Any]:
    media_type, variant, method = group
    return {"probe": probe, "factor": factor, "media_type": media_type, "method": method, "variant": variant, "pairs": pairs}


def _line(group: tuple[str, str, str], one: Judged) -> dict[str, Any]:
    told = one.told
    line = _head(group, "learned" if told.learned else "factor", told.factor, told.pairs) | {"people": told.people}
    numbers = {"auc": one.auc, "low": one.low, "high": one.high}
    line |= {name: None if np.isnan(value) else round(value, 4) for name, value in numbers.items()}
    return line | {"larger": one.larger, "verdict": one.verdict}


def _badness(line: Mapping[str, Any]) -> tuple[Any, ...]:
    order = ("fails", "undecided", "passes", "told").index(line["verdict"])
    return order, -(line["low"] or 0), -(line["auc"] or 0), line["media_type"], line["variant"], line["method"], line["factor"]


def _said(line: Mapping[str, Any]) -> str:
    which = f"{line['media_type']} {line['variant']}, {line['method']}"
    which = which if line["method"] != ALL else f"{which} methods"
    if line["probe"] == "form":
        return f"{which}: {line['factor']} differs in {line['differ']} of {line['pairs']} pairs ({line['example']})"
    return (
        f"{which}: {line['factor']} tells fakes from controls (AUC {line['auc']:.2f} of {line['pairs']} pairs,"
        f" proven above {line['low']:.2f}{', larger in ' + line['larger'] if line['larger'] else ''})"
    )


def _undecided(table: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A sentence for each media type, variant and method of which something is not proven either way."""
    groups: dict[tuple[str, str, str, int], list[str]] = defaultdict(list)
    asked: dict[tuple[str, str, str], int] = defaultdict(int)
    pairs: dict[tuple[str, str, str], int] = defaultdict(int)
    for line in table:
        group = line["media_type"], line["variant"], line["method"]
        asked[group] += 1
        pairs[group] = max(pairs[group], line["pairs"])
        if line["verdict"] == "undecided":
            groups[*group, 0].append(line["factor"])
    for (media_type, variant, method, _), factors in sorted(groups.items()):
        group = media_type, variant, method
        more = f" and {len(factors) - _SHOWN} more" if len(factors) > _SHOWN else ""
        yield (
            f"{' '.join(group)}: {len(factors)} of {asked[group]} factors, for {pairs[group]} pairs are too few:"
            f" {', '.join(factors[:_SHOWN])}{more}"
        )


def _short(text: str | None) -> str:
    if text is None:
        return "not there"
    return text if len(text) <= 60 else f"{text[:30]} … {text[-28:]}"
