"""Stage `plan`: who goes into which split, with the proof, and what every generator is to make from whom.

Nothing here lists a folder or opens a clip: the plan follows from the manifests, the params and the code alone. Each choice
hangs on the names involved (rendezvous hashing), so one clip more or less alters only what names it.
"""

import json
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from flows import workspace
from flows.params import Params, key_name
from flows.splits import (
    NOTHING_ALIKE,
    SPLITS_FILE,
    Alike,
    Component,
    assign_splits,
    look_alike,
    names_of_one,
    prove_disjoint,
    write_certificate,
)
from flows.terms import Ledger
from forgeline.code import code_digest, library_versions
from forgeline.errors import FactoryError, MediaError, PromiseError, SourceError, TermsError
from forgeline.files import sha256_of, write_text
from forgeline.lock import holding
from forgeline.manifest import read_manifest, to_record
from forgeline.recipe import Recipe, canonical, digest
from forgeline.sample import DENOISED, SPLITS, Sample, Split
from forgeline.section import Section
from forgeline.terms import Terms, each_of, no_derivatives, refusal, require_generation
from generators.chain import learner, modules
from generators.plugin import Generator
from generators.recording import MOST_STRETCHED
from sources.corpus import Source
from watermark.keys import DEMO, master
from watermark.payload import Mark
from watermark.seal import SUFFIX
from watermark.sound import SHORT_S, bits_for_sound
from watermark.tile import bits_for


@dataclass(frozen=True)
class Planned:
    """A sample to make: its row as far as it is known, and the parents' rows."""

    sample: Sample
    source_type: str
    parents: tuple[Sample, ...]


def plan(params: Params, today: date) -> dict[str, list[Planned]]:
    """Write `data/plan` from the manifests, remove from data/real, data/models and data/made what params no longer name.

    `today` decides whether terms and consent still hold; nothing that is written depends on it otherwise.
    """
    with holding(workspace.lock("plan")):
        samples = [s for name in params.sources for s in read_manifest(workspace.REAL / name / workspace.MANIFEST)]
        for line in _in_two_corpora(samples):
            print(line, flush=True)
        alike = look_alike(samples, params)
        components = assign_splits(samples, params.plan, alike)
        prove_disjoint(components, samples, alike, params.plan.official)
        _key_fits(params)
        parents, refused = _permitted(samples, components, params, today)
        planned = plan_samples(parents, params, alike)
        for line in _unpaired(planned, params):
            print(line, flush=True)
        _write(planned, parents, components, refused, params)
        write_certificate(components, samples, alike, params.plan.official)
        wanted: dict[Path, Collection[str]] = {
            workspace.REAL: params.sources,
            workspace.MODELS: params.generators,
            workspace.MADE: params.generators,
            workspace.VARIANTS: params.variants,
        }
        for folder, names in wanted.items():
            for stray in folder.glob("*") if folder.is_dir() else ():
                if stray.is_dir() and stray.name not in names:
                    shutil.rmtree(stray)
                    print(f"plan: removed {stray}, which is no longer in params", flush=True)
    return planned


def _in_two_corpora(samples: Iterable[Sample]) -> Iterator[str]:
    """What the plan tells of files that lie in more than one corpus."""
    files: dict[str, dict[str, str]] = defaultdict(dict)
    for sample in samples:
        if sample.reason is None and sample.sha256:
            files[sample.sha256].setdefault(sample.source, sample.media)
    shared = sorted(tuple(sorted(media.values())) for media in files.values() if len(media) > 1)
    if shared:
        first = "; ".join(" is ".join(some) for some in shared[:3]) + ("; …" if len(shared) > 3 else "")
        yield f"plan: {len(shared)} files lie in more than one corpus; all are kept, and share a split ({first})"


# Who may be used -----------------------------------------------------------------------------------------------------


def _key_fits(params: Params) -> None:
    rendered = all(getattr(s, "kind", "") == "demo" for s in params.sources.values())
    if params.seal.key == DEMO and not rendered:
        what = "the public demo key would mark something other than the demo"
        raise FactoryError("seal.key", what, "make a key with `python -m flows key new`, and write its id there")
    master(params.seal.key)


def _permitted(
    samples: Sequence[Sample], components: Iterable[Component], params: Params, today: date
) -> tuple[list[Sample], dict[str, str]]:
    """Real clips that forgeries may be made from, with their splits; and the others with the reason."""
    split_of = {clip: c.split for c in components for clip in c.clips}
    usable, refused = [], {}
    may: dict[str, str | None] = {}
    for name, source in params.sources.items():
        try:
            require_generation(name, _terms(source), today)
            may[name] = None
        except TermsError as error:
            may[name] = f"{error.what}; {error.todo}"
            print(f"plan: {error}", flush=True)
    for sample in samples:
        if sample.reason is not None or sample.label != "real":
            continue
        terms = _terms(params.sources[sample.source])
        person = sample.target_id.split(":", 1)[1] if sample.target_id else None
        reason = may[sample.source]
        if reason is None and sample.media_type != "audio":
            reason = refusal(terms, person, "face", today)
        if reason is None and sample.sample_rate:
            # The chain hands a clip's sound on, so without consent to the voice there is nothing to use.
            reason = refusal(terms, person, "voice", today)
        own = sorted(set(each_of(sample.licence)) - set(each_of(terms.licence)))
        if reason is None and (kept := [licence for licence in own if no_derivatives(licence)]):
            reason = f"its licence ({kept[0]}) permits nothing that is made from it"
        if reason:
            refused[sample.sample_id] = reason
        else:
            usable.append(replace(sample, split=split_of[sample.sample_id]))
    if not usable:
        todo = "record the operator's permission in params (`python -m flows terms`), or add clips"
        raise SourceError("plan", "there is no clip that forgeries may be made from", todo)
    return usable, refused


def _terms(source: Section) -> Terms:
    if not isinstance(source, Source):
        raise PromiseError("params.sources", "holds something that is no source", "report it")
    return source.terms


# What is made --------------------------------------------------------------------------------------------------------


def plan_samples(parents: Sequence[Sample], params: Params, alike: Alike = NOTHING_ALIKE) -> dict[str, list[Planned]]:
    """For each generator of the params what it is to make from `parents` (real clips with their splits), sorted by id."""
    clips = sorted(parents, key=lambda s: s.sample_id)
    lessons = [s.sample_id for s in _to_learn_from(clips)]
    learned = {name: lessons for name, section in params.generators.items() if learner(section) is not None}
    terms = Ledger(params, {s.sample_id: s for s in clips}, learned)
    controls = {name: _controls(name, section, clips, terms) for name, section in params.generators.items()}
    planned: dict[str, Drafts] = {}
    one = names_of_one(clips, alike)
    for name, section in params.generators.items():
        drafts = controls[name]
        planned[name] = _fakes(name, section, clips, controls, one, terms) if drafts is None else drafts
    return _marked(planned, params)


def _to_learn_from(clips: Sequence[Sample]) -> list[Sample]:
    """What every model learns from; sorted by id."""
    return sorted((s for s in clips if s.split == "train"), key=lambda s: s.sample_id)


Drafts = dict[str, Planned]
"""Planned samples by the id of the clip that they are the control of, or that they change."""


def _controls(name: str, section: Section, clips: Sequence[Sample], terms: Ledger) -> Drafts | None:
    if _generator(section).role != "control":
        return None
    return {clip.sample_id: _draft(name, section, (clip,), None, terms) for clip in clips if _fits(section, clip)}


def _fakes(
    name: str,
    section: Section,
    clips: Sequence[Sample],
    controls: dict[str, Drafts | None],
    one: Mapping[str, set[str]],
    terms: Ledger,
) -> Drafts:
    generator, params = _generator(section), terms.params
    partner_of = controls[generator.control] or {}
    people: dict[Split | None, dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for clip in clips:
        if clip.target_id is not None and _fits(section, clip):
            people[clip.split][clip.target_id].append(clip)
    drafts: Drafts = {}
    for clip in clips:
        control = partner_of.get(clip.sample_id)
        if control is None or not _fits(section, clip) or not _chosen(name, clip.sample_id, params):
            continue
        cast: tuple[Sample, ...] | None = (clip,)
        if generator.casting == "pair":
            suiting = {
                person: fitting
                for person, theirs in people[clip.split].items()
                if (fitting := [c for c in theirs if "audio" not in generator.changes or _as_long(c, clip)])
            }
            other = _partner(name, clip, suiting, one, params.plan.seed)
            cast = (clip, other) if other else None
        if cast:
            drafts[clip.sample_id] = _draft(name, section, cast, control, terms)
    return drafts


def _chosen(name: str, clip: str, params: Params) -> bool:
    """Whether a clip is among those that the generator works on: drawn once a clip, whatever the generator."""
    return int(digest(["share", params.plan.seed, clip])[:13], 16) / 16**13 < params.plan.shares.get(name, 1.0)


def _fits(section: Section, clip: Sample) -> bool:
    """Whether a generator's method can be asked to work on such a clip at all."""
    generator = _generator(section)
    if generator.makes == "audio":
        return clip.sample_rate > 0
    return clip.media_type == "video" and ("audio" not in generator.changes or clip.sample_rate > 0)


def _as_long(clip: Sample, other: Sample) -> bool:
    """Whether what is said in one clip can be said in the time of the other: speech is stretched so far, and no further."""
    shorter, longer = sorted((clip.duration_s, other.duration_s))
    return longer <= MOST_STRETCHED * shorter


def _partner(
    name: str, clip: Sample, people: Mapping[str, Sequence[Sample]], one: Mapping[str, set[str]], seed: int
) -> Sample | None:
    """A clip of another of the `people`: of the person, and then of the clip, whose hash with the target's name is least."""
    if clip.target_id is None:
        return None
    own = {clip.target_id} | one.get(clip.target_id, set())

    def draw(candidate: str) -> str:
        return digest([seed, name, clip.sample_id, candidate])

    other = min((person for person in people if person not in own), key=draw, default=None)
    return min(people[other], key=lambda c: draw(c.sample_id)) if other is not None else None


def _draft(name: str, section: Section, cast: tuple[Sample, ...], control: Planned | None, terms: Ledger) -> Planned:
    """The row of a sample that is to be made from `cast`, all but its mark."""
    generator, params, (target, *others) = _generator(section), terms.params, cast
    nobody = generator.casting == "nobody"
    recipe = Recipe(
        generator=name,
        parents=() if nobody else tuple(c.sample_id for c in cast),
        # A person who does not exist has no parents; the control beside it tells it from its siblings.
        seed=int(digest([params.plan.seed, target.sample_id])[:8], 16) if nobody else params.plan.seed,
        params=section.settings(),
    )
    makes, changed = generator.makes, generator.changes
    side = getattr(section, "size", None) if makes == "image" else None
    hears = makes != "image" and target.sample_rate > 0
    seen = makes != "audio"
    batch = int(digest(["batch", target.sample_id])[:8], 16) % params.plan.batches
    people = {"target": target.target_id, "source": others[0].target_id if others else None, "nobody": None}
    left = terms.left(name, recipe.parents)
    sample = Sample(
        sample_id=recipe.id,
        media=f"{workspace.MADE.as_posix()}/{name}/{recipe.id}{SUFFIX[makes]}",
        media_type=makes,
        label="fake" if changed else "real",
        role=generator.role,
        content_class=generator.content_class,
        ingredients=() if nobody else tuple(sorted({mark for c in cast for mark in c.ingredients})),
        method=name,
        source=target.source,
        recipe=recipe.canonical(),
        video_label=("fake" if "video" in changed else "real") if seen else None,
        audio_label=("fake" if "audio" in changed else "real") if hears else None,
        pair_id=control.sample.sample_id if control else recipe.id,
        target_id=None if nobody else target.target_id,
        attributes={} if nobody else target.attributes,
        source_id=people["source"],
        apparent_id=people[generator.apparent],
        parents=recipe.parents,
        split=target.split,
        shard=f"{name}-{key_name(target.split, batch)}",
        width=(side or target.width) if seen else 0,
        height=(side or target.height) if seen else 0,
        licence=left.licence,
        permitted_use=left.permitted_use,
        credit="; ".join(() if nobody else sorted({c.credit for c in cast} - {""})),
    )
    rendered = getattr(params.sources[target.source], "kind", "") == "demo"
    source_type = _OF_RENDERED.get(generator.source_type) if rendered else None
    return Planned(sample, source_type or generator.source_type, () if nobody else cast)


_OF_RENDERED = {"digitalCapture": "digitalCreation", "compositeCapture": "composite"}
"""The source types of what no camera saw, for those of what one did."""


def _unpaired(planned: dict[str, list[Planned]], params: Params) -> Iterator[str]:
    """What the plan leaves out without a row: clips for which there is no second parent."""
    for name, rows in planned.items():
        generator = _generator(params.generators[name])
        left = sum(_chosen(name, c.sample.parents[0], params) for c in planned[generator.control]) - len(rows)
        if generator.casting == "pair" and left:
            yield f"plan: {name}: {left} clips have nobody else in their split who fits, in length and in having sound"


def _marked(drafts: Mapping[str, Drafts], params: Params) -> dict[str, list[Planned]]:
    """The drafts with marks: ids drawn from the samples' ids, and no two alike under a key, whatever the generator."""
    key = master(params.seal.key)
    taken: dict[str, set[int]] = defaultdict(set)
    planned: dict[str, list[Planned]] = {name: [] for name in drafts}
    for draft in sorted((d for some in drafts.values() for d in some.values()), key=lambda d: d.sample.sample_id):
        sample = draft.sample
        try:
            bits = _mark_bits(draft)
        except MediaError as error:
            planned[sample.method].append(replace(draft, sample=replace(sample, reason=f"{error.what}; {error.todo}")))
            continue
        digits = 10 if bits == 64 else 4
        shard = key.shard(str(sample.shard).removeprefix(f"{sample.method}-"))  # not the generator's: see `key_name`
        attempt = 0
        while (mark := int(digest([sample.sample_id, attempt])[:digits], 16)) in taken[shard.id]:
            attempt += 1
        taken[shard.id].add(mark)
        marked = replace(sample, mark_id=str(Mark(mark, bits)), mark_key_id=shard.id)
        planned[sample.method].append(replace(draft, sample=marked))
    return planned


def _mark_bits(draft: Planned) -> int:
    """What the pictures can carry, and the sound as well where it is long enough to carry anything: one mark for both."""
    sample = draft.sample
    heard = bits_for_sound(draft.parents[0].duration_s) if sample.audio_label else None
    if sample.media_type == "audio":
        if heard is None:
            raise MediaError(sample.media, "is too short to carry a mark", f"give at least {SHORT_S:.0f} s of sound")
        return heard
    bits = bits_for(sample.width, sample.height)
    return min(bits, heard) if heard else bits


def _generator(section: Section) -> Generator:
    if not isinstance(section, Generator):
        raise PromiseError(type(section).__name__, "is no generator", "report it")
    return section


# Files ---------------------------------------------------------------------------------------------------------------


GENERATE_CODE = ("watermark.seal", "forgeline.denoise", "forgeline.manifest", "forgeline.faces", "flows.generate")
TRAIN_CODE = (
    "forgeline.denoise",
    "forgeline.faces",
    "forgeline.image",
    "forgeline.manifest",
    "forgeline.video",
    "flows.generate",
)
"""Beside a generator's own code, what its samples and its model are made with."""


def plan_file(generator: str) -> Path:
    """What a generator is to make: a line of all that holds for it, then one a sample."""
    return workspace.PLAN / f"{generator}.jsonl"


def _write(
    planned: dict[str, list[Planned]],
    parents: Sequence[Sample],
    components: Sequence[Component],
    refused: dict[str, str],
    params: Params,
) -> None:
    tracks: dict[str | None, str] = {s.track: sha256_of(Path(s.track)) for s in parents if s.track}
    if workspace.PLAN.is_dir():
        shutil.rmtree(workspace.PLAN)
    for name, rows in planned.items():
        section = params.generators[name]
        head = {
            "generator": name,
            "settings": section.settings(),
            "seal": params.seal.settings(),
            "release": params.release.name,
            "code": code_digest(*modules(section), *GENERATE_CODE),
            "libraries": library_versions(),
        }
        _lines(plan_file(name), [head, *(_row(p, tracks) for p in rows)])
        _lines(workspace.train_file(name), _lessons(section, parents, tracks, params))
    proof = {
        "components": [vars(c) for c in components],
        "refused": refused,
        "seed": params.plan.seed,
        "shares": dict(params.plan.splits),
    }
    write_text(workspace.PLAN / SPLITS_FILE, json.dumps(proof, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def _lessons(
    section: Section, parents: Sequence[Sample], tracks: dict[str | None, str], params: Params
) -> list[dict[str, Any]]:
    """The lines of a train file. Those of a swap, its null twin and a chain with it are the same: so is the model."""
    learns = learner(section)
    if learns is None:
        return [{"learner": None}]
    module = type(learns).train.__module__
    head = {
        "learner": module,
        "settings": learns.settings(),
        "seed": params.plan.seed,
        "code": code_digest(module, *TRAIN_CODE),
        "libraries": library_versions(),
    }
    return [head, *(_parent(s, tracks) for s in _to_learn_from(parents))]


def _row(planned: Planned, tracks: dict[str | None, str]) -> dict[str, Any]:
    return {
        "sample": to_record(planned.sample),
        "source_type": planned.source_type,
        "parents": [_parent(p, tracks) for p in planned.parents],
    }


def _parent(sample: Sample, tracks: dict[str | None, str]) -> dict[str, Any]:
    return {
        "sample_id": sample.sample_id,
        "media": sample.media,
        "media_type": sample.media_type,
        "attributes": dict(sorted(sample.attributes.items())),
        "words": [asdict(said) for said in sample.words],
        "phonemes": [asdict(said) for said in sample.phonemes],
        "sha256": sample.sha256,
        "track": sample.track,
        "track_sha256": tracks.get(sample.track),
        "denoised": sample.drawn.get(DENOISED),
    }


def _lines(path: Path, rows: Sequence[Any]) -> None:
    write_text(path, "".join(canonical(row) + "\n" for row in rows))


def show(planned: dict[str, list[Planned]]) -> str:
    """The plan as a table: samples of each generator by split, and by what they are."""
    lines = [f"{'generator':<16} {'role':<12} {'label':<6}" + "".join(f"{s:>7}" for s in SPLITS) + "  not possible"]
    for name, rows in planned.items():
        counts = [sum(p.sample.split == s and p.sample.reason is None for p in rows) for s in SPLITS]
        lost = sum(p.sample.reason is not None for p in rows)
        first = rows[0].sample if rows else None
        what = f"{first.role:<12} {first.label:<6}" if first else f"{'-':<12} {'-':<6}"
        lines.append(f"{name:<16} {what}" + "".join(f"{c:>7}" for c in counts) + f"  {lost or ''}".rstrip())
    return "\n".join(lines)
