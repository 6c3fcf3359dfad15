"""Stage `audit`: what a release promises, checked from the records and the files; `release` refuses when one check fails.

The check itself never fails the stage, so that a person can read what is wrong.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from flows import workspace
from flows.items import Finished, Item, bring_up_to_date
from flows.matched import made, matched, variant_id, varied
from flows.params import Params
from flows.plan import plan_file
from flows.shortcuts import BACKGROUNDS, FILES, PROBES, Measured, Pair, measure, pairs_of, shortcuts
from flows.splits import CERTIFICATE, SPLITS_FILE, kept_leaks, recheck
from flows.terms import Ledger
from forgeline.code import code_digest, library_versions
from forgeline.errors import FactoryError, PromiseError
from forgeline.files import prune, sha256_of, write_text
from forgeline.hearing import Traits
from forgeline.lock import holding
from forgeline.manifest import SCHEMA, broken_promises, read_manifest, to_record
from forgeline.recipe import digest
from forgeline.sample import Sample
from watermark.gate import ATTACKED, MATCHED, examine
from watermark.keys import master
from watermark.metadata import read_tag
from watermark.payload import Mark

FILE = workspace.AUDIT / "audit.json"
MARKS = workspace.AUDIT / "marks"
_SHOWN = 20

LOUDNESS_LU, SILENCE_S, DIGITAL_SILENCE_S = 1.0, 0.07, 0.01
"""What may differ between the sounds of one pair: loudness, silence before and after speech, a run of exact zeros. Of speech
that is put into the very span of other speech the end, which may be soft, is found up to 65 ms off, the beginning 20 (27 clips
of GRID)."""


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
        pairs = pairs_of(rows)
        found = measure(pairs)
        faults["sound"] = [*_sound(pairs, found)]
        asked = shortcuts(pairs, found)
        faults["shortcuts"] = [*found.faults, *asked.failed]
        record: dict[str, dict[str, Any]] = {
            name: {"passed": not found, "found": len(found), "first": found[:_SHOWN]} for name, found in faults.items()
        }
        record["shortcuts"] |= {"undecided": asked.undecided, "table": asked.table, "told": asked.told}
        if record["splits"]["passed"] and (kept := len(kept_leaks())):
            promise = f"official splits are kept: nothing but the {kept} ties that {CERTIFICATE} names is in two splits"
            record["splits"]["promise"] = promise
        passed = all(r["passed"] for r in record.values())
        lost = Counter(s.reason for s in rows if s.reason is not None)
        told = {"passed": passed, "checks": record, "samples": len(rows), "dropped": dict(sorted(lost.items()))}
        prune(workspace.AUDIT, {p for kept in (MARKS, FILES, BACKGROUNDS, PROBES) for p in kept.rglob("*")})
        write_text(FILE, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    return passed


def require_passed(params: Params) -> None:
    """Raise FactoryError, naming the first faults, unless the audit on disk passed; also where it could not decide whether
    there are shortcuts, unless all data are demo data or `release.accepted.shortcuts` says who takes that on.
    """
    try:
        told = json.loads(FILE.read_text(encoding="utf-8"))
        passed, undecided = told["passed"], told["checks"]["shortcuts"]["undecided"] if told["passed"] else []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FactoryError(FILE, f"can't be read ({error})", "run `dvc repro`, which audits first") from error
    if not passed:
        failed = [f"{name}: {fault}" for name, check in told["checks"].items() for fault in check["first"][:2]]
        raise FactoryError("release", f"the audit failed ({'; '.join(failed)})", f"mend it; all of it is in {FILE}")
    if undecided and not only_demo(params) and params.release.accepted.shortcuts is None:
        what = f"whether there are shortcuts is not decided ({'; '.join(undecided[:2])})"
        todo = "add pairs, or record who accepts that, when and why, under release.accepted.shortcuts in params.yaml"
        raise FactoryError("release", what, todo)


def only_demo(params: Params) -> bool:
    """Whether all that is released shows demo people, who don't exist."""
    return all(getattr(source, "kind", "") == "demo" for source in params.sources.values())


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
    """Against the proof: every parent of a sample, and everyone in it, is of the sample's split; and against the clips: the
    proof itself, made once more.
    """
    proof = json.loads((workspace.PLAN / SPLITS_FILE).read_text(encoding="utf-8"))
    clips = {clip: c["split"] for c in proof["components"] for clip in c["clips"]}
    people: dict[str, set[str]] = defaultdict(set)
    for component in proof["components"]:
        for person in component["people"]:
            people[person].add(component["split"])
    for sample in rows:
        for parent in sample.parents:
            if clips.get(parent) != sample.split:
                yield f"{sample.sample_id}: is in {sample.split}, its parent {parent} in {clips.get(parent)}"
        for person in (sample.target_id, sample.source_id):
            if person and sample.split not in people[person]:
                yield f"{sample.sample_id}: is in {sample.split}, {person} in {' and '.join(sorted(people[person])) or None}"
    yield from recheck(
        [s for name in params.sources for s in read_manifest(workspace.REAL / name / workspace.MANIFEST)], params
    )


def _pairs(rows: Sequence[Sample], params: Params) -> Iterator[str]:
    """A pair must not be told apart by what its streams are: size, rate, length, sound."""
    controls = {s.sample_id: s for s in rows if s.role == "control" and s.reason is None}
    for sample in rows:
        control = controls.get(str(sample.pair_id))
        if sample.reason is None and control is not None:
            for name in ("media_type", "width", "height", "fps", "frames", "duration_s", "sample_rate"):
                if getattr(sample, name) != getattr(control, name):
                    yield f"{sample.sample_id}: {name} {getattr(sample, name)}, its control's {getattr(control, name)}"


def _sound(pairs: Sequence[Pair], found: Measured) -> Iterator[str]:
    """Forged sound must be like its control's in all that a pair has in common."""
    for fake, control in pairs:
        if fake.audio_label == "fake":
            one, other = (found.traits(s.sample_id) for s in (fake, control))
            if one is not None and other is not None:
                yield from (f"{fake.sample_id}: {what}" for what in differing(one, other))


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


def _terms(rows: Sequence[Sample], params: Params) -> Iterator[str]:
    """No sample permits more than anything that it was made from, as all is recorded now, and it names every licence.

    Looked at twice: as the plan joined them, and clip by clip without the code that joins.
    """
    ledger = Ledger.here(params)
    for sample in rows:
        try:
            left = ledger.left(sample.method, sample.parents)
        except FactoryError as error:
            yield f"{sample.sample_id}: {error}"
            continue
        if not left.generate:
            yield f"{sample.sample_id}: the terms of what it was made from do not permit forgeries"
        if (sample.licence, sample.permitted_use) != (left.licence, left.permitted_use):
            yield f"{sample.sample_id}: says other terms than those of what it was made from"
    said: dict[tuple[str, str, tuple[str, ...]], set[str]] = defaultdict(set)
    for sample in rows:
        said[sample.method, sample.licence, sample.permitted_use] |= {*sample.parents}
    for (method, licence, uses), parents in said.items():
        licences = set(licence.split(" AND "))
        for clip in (ledger.clips[name] for name in sorted({*parents, *ledger.learned[method]}) if name in ledger.clips):
            if not set(uses) <= set(clip.permitted_use) or not set(clip.licence.split(" AND ")) <= licences:
                yield f"{method}: a sample says more ({licence}; {', '.join(uses)}) than {clip.media} permits"
