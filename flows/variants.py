"""Stage `variants@<variant>`: what others make of sealed clips, forgeries and controls alike, with their marks still there."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from flows import workspace
from flows.items import Finished, Item, bring_up_to_date, dropped
from flows.matched import made, matched, variant_id
from flows.params import Params
from forgeline.audio import open_sound
from forgeline.code import code_digest, library_versions
from forgeline.degrade import Variant
from forgeline.errors import FactoryError, MediaError, PromiseError
from forgeline.files import sha256_of
from forgeline.lock import holding
from forgeline.recipe import digest
from forgeline.sample import Sample
from forgeline.video import open_video, read_masks
from watermark.keys import master
from watermark.metadata import read_tag
from watermark.payload import Mark
from watermark.seal import SUFFIX, seal_variant


@dataclass(frozen=True)
class _Job(Item):
    parent: Sample
    variant: Variant
    folder: Path


def variants(name: str, params: Params) -> list[Sample]:
    """Bring `data/variants/<name>` up to date: a row and a file for every clip that it alters, was made and stands in its pair.

    What can't be made (it would be enlarged, or can't carry its mark) is a row with a reason, and drops with its pair.
    """
    if name not in params.variants:
        raise FactoryError(name, "is not in params", f"there are {', '.join(params.variants)} under variants")
    variant, folder = params.variants[name], workspace.VARIANTS / name
    makes = [variant.settings(), code_digest("flows.variants", "watermark.seal", "forgeline.degrade"), library_versions()]
    jobs = []
    with holding(workspace.lock(f"variants@{name}")):
        for parent in matched(made(params.generators)):
            if parent.reason is None and variant.alters(parent.media_type):
                mask = sha256_of(Path(parent.mask)) if parent.mask else None
                sample = _planned(parent, name, folder)
                jobs.append(_Job(sample.sample_id, digest([repr(parent), mask, makes]), sample, parent, variant, folder))
        samples = bring_up_to_date(folder, jobs, _make, f"variants {name}")
    for line in dropped(samples):
        print(line, flush=True)
    return samples


def _planned(parent: Sample, name: str, folder: Path) -> Sample:
    own = variant_id(parent.sample_id, name)
    return replace(
        parent,
        sample_id=own,
        variant=name,
        pair_id=variant_id(str(parent.pair_id), name),
        media=f"{folder.as_posix()}/{own}{SUFFIX[parent.media_type]}",
        scores={},
    )


def _make(job: _Job) -> Finished:
    sample, parent = job.sample, job.parent
    tag = read_tag(Path(parent.media))
    if tag is None:
        raise PromiseError(parent.media, "has lost its tag", "run `dvc repro`")
    key_id, shard = str(sample.mark_key_id).split("/", 1)
    clip = (open_video if parent.media_type == "video" else open_sound)(Path(parent.media))
    masks = partial(read_masks, Path(parent.mask)) if parent.mask else None
    try:
        sealed = seal_variant(
            lambda: job.variant(clip, masks, sample.segments, _chance(sample)),
            Path(sample.media),
            Mark.of(str(sample.mark_id)),
            master(key_id).shard(shard),
            replace(tag, sample_id=sample.sample_id),
            job.variant.encoding,
            sample.sound_mark_read is not None,
        )
    except MediaError as error:
        return Finished(replace(sample, reason=f"{error.what}; {error.todo}"), ())
    return Finished(sealed.noted(sample), (sealed.path, *([sealed.mask] if sealed.mask else [])))


def _chance(sample: Sample) -> np.random.Generator:
    """The same for all of a pair in a variant: noise and losses that differed would tell them apart."""
    return np.random.default_rng(int(digest(sample.pair_id), 16))
