"""Stage `audit`: what a release promises, checked from the records and the files; `release` refuses when one check fails.

The check itself never fails the stage, so that a person can read what is wrong.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from flows import workspace
from flows.items import Finished, Item, bring_up_to_date
from flows.matched import made, matched, variant_id, varied
from flows.params import Params
from flows.plan import SPLITS_FILE, plan_file
from forgeline.audio import open_sound
from forgeline.code import code_digest, library_versions
from forgeline.errors import FactoryError, PromiseError
from forgeline.files import prune, sha256_of, write_text
from forgeline.hearing import Traits, traits
from forgeline.lock import holding
from forgeline.manifest import SCHEMA, broken_promises, read_manifest, to_record
from forgeline.recipe import digest
from forgeline.sample import Sample
from forgeline.terms import join
from forgeline.video import open_video
from generators.chain import learner
from sources.corpus import Source
from watermark.gate import ATTACKED, MATCHED, examine
from watermark.keys import master
from watermark.metadata import read_tag
from watermark.payload import Mark

FILE = workspace.AUDIT / "audit.json"
MARKS = workspace.AUDIT / "marks"
SOUNDS = workspace.AUDIT / "sounds"
_SHOWN = 20

LOUDNESS_LU, SILENCE_S, DIGITAL_SILENCE_S = 1.0, 0.07, 0.01
"""What may differ between the sounds of one pair: loudness, silence before and after speech, a run of exact zeros. Of speech
that is put into the very span of other speech the end, which may be soft, is found up to 65 ms off, the beginning 20 (27 clips
of GRID)."""

FEWEST = 24
"""Pairs of a method and variant from which its traits are judged: among fewer, one that is larger in every fake is not yet
shown to be so in three of four, with all traits asked at once."""

_PAIRED, _UNPAIRED, _ERROR = 0.75, 0.65, 0.05


def audit(params: Params) -> bool:
    """Write data/audit/audit.json: each check with what it found; give whether all passed."""
    with holding(workspace.lock("audit")):
        rows = matched([*made(params.generators), *varied(params.variants)])
        checks: dict[str, Callable[[Sequence[Sample], Params], Iterator[str]]] = {
            "plan": _as_planned,
            "manifest": _promises,
            "files": _files,
            "marks": _marks,
            "splits": _splits,
            "pairs": _pairs,
            "terms": _terms,
        }
        faults = {name: list(check(rows, params)) for name, check in checks.items()}
        faults["sound"], table = _sound(rows)
        record: dict[str, dict[str, Any]] = {
            name: {"passed": not found, "found": len(found), "first": found[:_SHOWN]} for name, found in faults.items()
        }
        few = {f"{line['method']} {line['variant']}": line["pairs"] for line in table if line["verdict"] == "undecided"}
        record["sound"] |= {"undecided": few, "table": table}
        passed = all(r["passed"] for r in record.values())
        lost = Counter(s.reason for s in rows if s.reason is not None)
        told = {"passed": passed, "checks": record, "samples": len(rows), "dropped": dict(sorted(lost.items()))}
        prune(workspace.AUDIT, {*MARKS.rglob("*"), *SOUNDS.rglob("*")})
        write_text(FILE, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    return passed


def require_passed() -> None:
    """Raise FactoryError, naming the first faults, unless the audit on disk passed."""
    try:
        told = json.loads(FILE.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FactoryError(FILE, f"can't be read ({error})", "run `dvc repro`, which audits first") from error
    if told["passed"]:
        return
    failed = [f"{name}: {fault}" for name, check in told["checks"].items() for fault in check["first"][:2]]
    raise FactoryError("release", f"the audit failed ({'; '.join(failed)})", f"mend it; all of it is in {FILE}")


def _as_planned(rows: Sequence[Sample], params: Params) -> Iterator[str]:
    there = {s.sample_id for s in rows if s.variant == "master"}
    for name in params.generators:
        lines = plan_file(name).read_text(encoding="utf-8").splitlines()[1:]
        planned = {json.loads(line)["sample"]["sample_id"] for line in lines}
        yield from (f"{name} {missing}: planned, not made" for missing in sorted(planned - there))
        there -= planned
    yield from (f"{extra}: made, not planned" for extra in sorted(there))
    passed_on = {s.sample_id for s in rows if s.variant != "master"}
    stands = [s for s in matched(made(params.generators)) if s.reason is None]
    due = {variant_id(s.sample_id, name) for name, v in params.variants.items() for s in stands if v.alters(s.media_type)}
    yield from (f"{missing}: was to be made, and is not there" for missing in sorted(due - passed_on))
    yield from (f"{extra}: is the variant of nothing that stands" for extra in sorted(passed_on - due))


def _promises(rows: Sequence[Sample], params: Params) -> Iterator[str]:
    yield from broken_promises(pa.Table.from_pylist([to_record(s) for s in rows], schema=SCHEMA))


def _files(rows: Sequence[Sample], params: Params) -> Iterator[str]:
    for sample in rows:
        if sample.reason is None and (not Path(sample.media).is_file() or sha256_of(Path(sample.media)) != sample.sha256):
            yield f"{sample.media}: is not the file that was sealed"


@dataclass(frozen=True)
class _Job(Item):
    release: str


def _marks(rows: Sequence[Sample], params: Params) -> Iterator[str]:
    """The final files, read from disk: mark, mark after an attack, and tag. A file that was read before is not read again."""
    code = code_digest("watermark.gate", "flows.audit")
    jobs = []
    for sample in rows:
        if sample.reason is None:
            told = [sample.sha256, sample.mark_id, sample.mark_key_id, sample.sound_mark_read, params.release.name]
            tagged = [sample.licence, sample.permitted_use]
            jobs.append(_Job(sample.sample_id, digest([told, tagged, code, library_versions()]), sample, params.release.name))
    for sample in bring_up_to_date(MARKS, jobs, _gate, "audit"):
        if sample.reason is not None:
            yield f"{sample.media}: {sample.reason}"


def _gate(job: _Job) -> Finished:
    sample, path = job.sample, Path(job.sample.media)
    key_id, shard = str(sample.mark_key_id).split("/", 1)
    try:
        tag = read_tag(path)
        said = tag and (tag.sample_id, tag.licence, tag.permitted_use, tag.release)
        if tag is None or said != (sample.sample_id, sample.licence, sample.permitted_use, job.release):
            raise PromiseError(path, "says other things of itself than its row", "make it again")
        least = MATCHED if sample.variant == "master" else ATTACKED
        examine(path, master(key_id).shard(shard), Mark.of(str(sample.mark_id)), tag, sample.sound_mark_read is not None, least)
    except (FactoryError, OSError) as error:
        return Finished(replace(sample, reason=str(error)), ())
    return Finished(sample, ())


def _splits(rows: Sequence[Sample], params: Params) -> Iterator[str]:
    """Against the proof: every parent of a sample, and everyone in it, is of the sample's split."""
    proof = json.loads((workspace.PLAN / SPLITS_FILE).read_text(encoding="utf-8"))
    clips = {clip: c["split"] for c in proof["components"] for clip in c["clips"]}
    people = {person: c["split"] for c in proof["components"] for person in c["people"]}
    for sample in rows:
        for parent in sample.parents:
            if clips.get(parent) != sample.split:
                yield f"{sample.sample_id}: is in {sample.split}, its parent {parent} in {clips.get(parent)}"
        for person in (sample.target_id, sample.source_id):
            if person and people.get(person) != sample.split:
                yield f"{sample.sample_id}: is in {sample.split}, {person} in {people.get(person)}"


def _pairs(rows: Sequence[Sample], params: Params) -> Iterator[str]:
    """A pair must not be told apart by what its streams are: size, rate, length, sound."""
    controls = {s.sample_id: s for s in rows if s.role == "control" and s.reason is None}
    for sample in rows:
        control = controls.get(str(sample.pair_id))
        if sample.reason is None and control is not None:
            for name in ("media_type", "width", "height", "fps", "frames", "duration_s", "sample_rate"):
                if getattr(sample, name) != getattr(control, name):
                    yield f"{sample.sample_id}: {name} {getattr(sample, name)}, its control's {getattr(control, name)}"


def _sound(rows: Sequence[Sample]) -> tuple[list[str], list[dict[str, Any]]]:
    """Forged sound against its control's, from the finished files: what is wrong, and what was found of each trait.

    A file that was measured before is not measured again.
    """
    standing = {s.sample_id: s for s in rows if s.reason is None and s.media_type != "image"}
    forged = [s for s in standing.values() if s.audio_label == "fake" and str(s.pair_id) in standing]
    code = code_digest("forgeline.hearing", "flows.audit")
    jobs = []
    for sample in {s.sample_id: s for f in forged for s in (f, standing[str(f.pair_id)])}.values():
        jobs.append(Item(sample.sample_id, digest([sample.sha256, code, library_versions()]), sample))
    faults, heard = [], {}
    for sample in bring_up_to_date(SOUNDS, jobs, _listen, "audit, sound"):
        if sample.reason is not None:
            faults.append(str(sample.reason))
            # Once it is mended, it must be measured.
            (SOUNDS / f"{sample.sample_id}.json").unlink(missing_ok=True)
        else:
            heard[sample.sample_id] = Traits(**sample.scores)
    pairs = defaultdict(list)
    for sample in forged:
        if sample.sample_id in heard and str(sample.pair_id) in heard:
            pair = heard[sample.sample_id], heard[str(sample.pair_id)]
            faults += [f"{sample.sample_id}: {what}" for what in differing(*pair)]
            pairs[sample.method, sample.variant].append(pair)
    table = []
    for (method, variant), found in sorted(pairs.items()):
        for trait, told in told_apart(found).items():
            table.append({"method": method, "variant": variant, "trait": trait, **asdict(told)})
            if told.verdict == "fails":
                faults.append(
                    f"{method} {variant}: {trait} tells forged sound from its control without its content (larger in"
                    f" {told.auc:.0%} of {told.pairs} pairs; unpaired AUC {told.unpaired:.2f})"
                )
    return faults, table


def _listen(job: Item) -> Finished:
    path = Path(job.sample.media)
    try:
        if sha256_of(path) != job.sample.sha256:
            raise PromiseError(path, "is not the file that was sealed", "make it again")
        sound = (open_sound if job.sample.media_type == "audio" else open_video)(path).sound()
        if sound is None:
            raise PromiseError(path, "has lost its sound", "make it again")
    except (FactoryError, OSError) as error:
        return Finished(replace(job.sample, reason=str(error)), ())
    return Finished(replace(job.sample, scores=asdict(traits(sound))), ())


def differing(fake: Traits, control: Traits) -> Iterator[str]:
    """What is promised of the two sounds of every single pair, and not held."""
    for name in ("rate", "samples"):
        if getattr(fake, name) != getattr(control, name):
            yield f"{name} {getattr(fake, name):g}, its control's {getattr(control, name):g}"
    for name, most, unit in (
        ("loudness", LOUDNESS_LU, "LUFS"),
        ("leading_silence", SILENCE_S, "s"),
        ("trailing_silence", SILENCE_S, "s"),
    ):
        found, wanted = getattr(fake, name), getattr(control, name)
        if abs(found - wanted) > most:
            yield f"{name} {found:.3f} {unit}, its control's {wanted:.3f}"
    one, other = sorted((fake.zero_run, control.zero_run))
    if one <= DIGITAL_SILENCE_S < other:
        yield f"{DIGITAL_SILENCE_S:g} s or more of exact zeros in one of the pair alone ({other:.3f} s)"
    if bool(fake.clipped) != bool(control.clipped):
        yield f"clipped in one of the pair alone ({fake.clipped:.2g} and {control.clipped:.2g} of the samples)"


@dataclass(frozen=True)
class Told:
    """How well one trait tells the forged sounds of a method from their controls.

    `difference` is the median of fake less control, in the trait's unit; `auc` the share of pairs in which the fake's is
    larger, ties half, `low` and `high` its interval (Clopper and Pearson 1934); `unpaired` the chance that it is larger in any
    fake than in any control, `unpaired_low` and `unpaired_high` its interval (Hanley and McNeil 1982). Both are of 95 % for all
    traits at once. `verdict` is "passes", "fails" or, for fewer than `FEWEST` pairs, "undecided".
    """

    pairs: int
    difference: float
    auc: float
    low: float
    high: float
    unpaired: float
    unpaired_low: float
    unpaired_high: float
    verdict: str


def told_apart(pairs: Sequence[tuple[Traits, Traits]]) -> dict[str, Told]:
    """Each trait of the forged sounds against those of their controls; `pairs` are (fake, control), at least one.

    A trait fails only when two things are shown. Within pairs it is larger, or smaller, in more than three of four: a pair
    shares room, length and span of speech, so this finds what the making did, however much the clips differ. And between any
    fake and any control it is so with an AUC above 0.65: a level that is always 0.001 dB off is consistent in pairs, but
    nobody could learn it from sounds that differ by decibels among themselves.

    Errors are held to 5 % over all traits by Holm's (1979) steps: the k-th clearest of m traits (k from 0) is asked at
    5 % / (m - k), and has its intervals there; after the first that does not fail none does. `rate` and `samples` are left
    out: they are compared pair by pair.
    """
    asked = []
    for name in (f.name for f in fields(Traits) if f.name not in ("rate", "samples")):
        fakes, controls = np.array([[getattr(sound, name) for sound in pair] for pair in pairs]).T
        auc = float((np.sign(fakes - controls).mean() + 1) / 2)
        unpaired, spread = _unpaired(fakes, controls)
        difference = float(np.median(fakes - controls))
        asked.append((_chance(auc, unpaired, spread, len(pairs)), name, difference, auc, unpaired, spread))
    told, failing = {}, True
    for step, (chance, name, difference, auc, unpaired, spread) in enumerate(sorted(asked)):
        error = _ERROR / (len(asked) - step)
        failing = failing and chance <= error
        low, high = _share_interval(auc, len(pairs), error)
        reach = NormalDist().inv_cdf(1 - error / 2) * spread
        told[name] = Told(
            pairs=len(pairs),
            difference=round(difference, 6),
            auc=round(auc, 4),
            low=round(low, 4),
            high=round(high, 4),
            unpaired=round(unpaired, 4),
            unpaired_low=round(max(unpaired - reach, 0.0), 4),
            unpaired_high=round(min(unpaired + reach, 1.0), 4),
            verdict="undecided" if len(pairs) < FEWEST else "fails" if failing else "passes",
        )
    return told


def _chance(auc: float, unpaired: float, spread: float, count: int) -> float:
    """How likely both shares are so far out, either way, when one of the true ones is within its bound."""
    from scipy.special import betainc

    if auc < 0.5:
        auc, unpaired = 1 - auc, 1 - unpaired
    within = float(betainc(auc * count, (1 - auc) * count + 1, _PAIRED))
    between = NormalDist().cdf((_UNPAIRED - unpaired) / max(spread, 1e-9))
    return min(2 * max(within, between), 1.0)


def _share_interval(share: float, count: int, error: float) -> tuple[float, float]:
    """Clopper and Pearson's exact interval for `share * count` wins, which may be halves, of `count`."""
    from scipy.special import betaincinv

    wins, losses = share * count, (1 - share) * count
    low = float(betaincinv(wins, losses + 1, error / 2)) if wins else 0.0
    high = float(betaincinv(wins + 1, losses, 1 - error / 2)) if losses else 1.0
    return low, high


def _unpaired(fakes: NDArray[np.float64], controls: NDArray[np.float64]) -> tuple[float, float]:
    """Mann and Whitney's share, ties half, and its standard error by Hanley and McNeil's equation 1.

    It is theirs for independent groups: that a fake is like its control only makes the true error smaller.
    """
    count = len(fakes)
    ordered = np.sort(controls)
    below = np.searchsorted(ordered, fakes, "left") + np.searchsorted(ordered, fakes, "right")
    auc = float(below.sum() / (2 * count * count))
    larger = max(auc, 1 - auc)  # the formula is for shares above a half
    twice, pair = larger / (2 - larger), 2 * larger * larger / (1 + larger)
    variance = larger * (1 - larger) + (count - 1) * (twice + pair - 2 * larger * larger)
    return auc, float(np.sqrt(max(variance, 0.0)) / count)


def _terms(rows: Sequence[Sample], params: Params) -> Iterator[str]:
    """No sample permits more than the sources of its parents, as they are recorded now."""
    source_of = {
        s.sample_id: s.source for name in params.sources for s in read_manifest(workspace.REAL / name / workspace.MANIFEST)
    }
    terms = {name: s.terms for name, s in params.sources.items() if isinstance(s, Source)}
    for sample in rows:
        # As the plan has it: what was learned comes from all of them.
        learned = learner(params.generators[sample.method]) is not None
        known = {source_of[p] for p in sample.parents if p in source_of}
        names = sorted(terms if learned or not known else known)
        first, *others = (terms[n] for n in names)
        left = join(first, *others)
        if not left.generate:
            yield f"{sample.sample_id}: its sources' terms do not permit forgeries"
        if not set(sample.permitted_use) <= set(left.permitted_use) or sample.licence != left.licence:
            yield f"{sample.sample_id}: says other terms than its sources'"
