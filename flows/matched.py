"""What was made, and what of it can stand: a fake goes with its control, and neither is kept without the other."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from flows import workspace
from forgeline.manifest import read_manifest
from forgeline.sample import Sample


def made(generators: Iterable[str]) -> list[Sample]:
    """Every row that the generators wrote, sorted by id."""
    rows = [s for name in generators for s in read_manifest(workspace.MADE / name / workspace.MANIFEST)]
    return sorted(rows, key=lambda s: s.sample_id)


def varied(variants: Iterable[str]) -> list[Sample]:
    """Every row of the variants of what was made, sorted by id."""
    rows = [s for name in variants for s in read_manifest(workspace.VARIANTS / name / workspace.MANIFEST)]
    return sorted(rows, key=lambda s: s.sample_id)


def variant_id(sample_id: str, variant: str) -> str:
    """The id of a sample's variant, or of its pair's."""
    return f"{sample_id}-{variant}"


def matched(samples: Sequence[Sample]) -> list[Sample]:
    """All rows again, sorted by id; a fake or twin that lost its control, or a control that lost all others, with a reason."""
    usable = {s.sample_id for s in samples if s.reason is None}
    with_others = {s.pair_id for s in samples if s.role != "control"}
    still_with_others = {s.pair_id for s in samples if s.role != "control" and s.reason is None}
    rows = []
    for sample in samples:
        reason = sample.reason
        if reason is None and sample.pair_id not in usable:
            reason = f"its control {sample.pair_id} was dropped"
        elif reason is None and sample.role == "control" and sample.sample_id in with_others - still_with_others:
            reason = "all that was to be made from it was dropped"
        rows.append(replace(sample, reason=reason))
    return sorted(rows, key=lambda s: s.sample_id)
