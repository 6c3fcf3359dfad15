"""Stage `score`: every evaluator over every matched pair, from one decode."""

import json
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluators.figure import Evaluator, Measured, Pair, Rows, Scores, measure, summarise
from flows import workspace
from flows.items import Finished, Item, bring_up_to_date
from flows.matched import made, matched
from forgeline.audio import open_sound
from forgeline.clip import Clip
from forgeline.code import code_digest, library_versions
from forgeline.errors import MediaError, PromiseError
from forgeline.files import replacing, write_text
from forgeline.image import open_image
from forgeline.lock import holding
from forgeline.plot import bars
from forgeline.recipe import digest
from forgeline.sample import Sample
from forgeline.video import open_video, read_masks

if TYPE_CHECKING:  # it imports every plug-in, for which the workers have no use
    from flows.params import Params

ROWS = workspace.SCORES / "rows"
FIGURES = workspace.SCORES / "figures.json"
PLOT = workspace.SCORES / "by_method.svg"
MEASURING = ("pesq", "pystoi", "pyworld-prebuilt")
"""Libraries that make figures and no samples."""


@dataclass(frozen=True)
class _Job(Item):
    control: Sample
    source: Sample | None
    evaluators: dict[str, Evaluator]
    frames: int


def score(params: "Params") -> Scores:
    """Bring data/scores up to date: rows a pair, figures a sample in their manifest, figures a set for `dvc metrics`."""
    evaluators = {name: e for name, e in params.evaluators.items() if isinstance(e, Evaluator)}
    with holding(workspace.lock("score")):
        rows = [s for s in matched(made(params.generators)) if s.reason is None]
        controls = {s.sample_id: s for s in rows if s.role == "control"}
        of_clip = {s.parents[0]: s for s in controls.values() if s.media_type == "video"}
        makes = [
            {name: [e.settings(), code_digest(type(e).__module__)] for name, e in evaluators.items()},
            params.score.settings(),
            [code_digest("evaluators.figure", "forgeline.video", "forgeline.image", "forgeline.audio"), library_versions()],
            {name: _version(name) for name in MEASURING},
        ]
        jobs = []
        for sample in (s for s in rows if s.role != "control"):
            control = controls[str(sample.pair_id)]
            source = _source(sample, of_clip)
            key = digest([sample.sha256, control.sha256, source and source.sha256, repr(sample), makes])
            jobs.append(_Job(sample.sample_id, key, sample, control, source, evaluators, params.score.frames))
        done = bring_up_to_date(ROWS, jobs, _measure, "score")
        for lost in (s for s in done if s.reason is not None):
            raise PromiseError(lost.sample_id, f"can't be scored ({lost.reason})", "report it: it was read back when sealed")
        scores = summarise([_measured(s) for s in done], evaluators, params.score.frames)
        _write(scores)
    return scores


def _measure(job: _Job) -> Finished:
    sample = job.sample
    try:
        found = measure(_pair(sample, job.control, job.source), job.evaluators, job.frames)
    except MediaError as error:
        return Finished(replace(sample, reason=f"{error.what}; {error.todo}"), ())
    path = _rows_file(sample)
    flat = {f"{name}/{key}": array for name, rows in found.items() for key, array in rows.items()}
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, allow_pickle=False, evaluators=np.array(sorted(found)), **flat)
    own = summarise([_measured(sample)], job.evaluators, job.frames).samples[sample.sample_id]
    figures = {name: figure.value for name, figure in own.items() if figure.value is not None}
    return Finished(replace(sample, scores={**sample.scores, **figures}), (path,))


def _source(sample: Sample, of_clip: dict[str, Sample]) -> Sample | None:
    """The control of the second parent, by its clip, where one is to see that parent's face, as in a swap."""
    shown = sample.media_type == "video" and sample.source_id is not None and sample.apparent_id == sample.source_id
    return of_clip.get(sample.parents[1]) if shown else None


def _pair(sample: Sample, control: Sample, source: Sample | None = None) -> Pair:
    return Pair(
        sample_id=sample.sample_id,
        fake=_clip(sample),
        control=_clip(control),
        method=sample.method,
        split=sample.split or "train",
        variant=sample.variant,
        aligned=sample.content_class != "fully_synthetic",
        masks=partial(_masks, sample.mask) if sample.mask else None,
        changes=_changes(sample),
        source=_clip(source) if source else None,
    )


def _changes(sample: Sample) -> frozenset[str]:
    """What is labelled fake; and, as a null twin is labelled real, what was made anew."""
    labels = {"video": sample.video_label, "audio": sample.audio_label}
    return frozenset({stream for stream, label in labels.items() if label == "fake"} | {s.modality for s in sample.segments})


def _clip(sample: Sample) -> Clip:
    opened = {"video": open_video, "image": open_image, "audio": open_sound}[sample.media_type](Path(sample.media))
    return replace(opened, words=sample.words, phonemes=sample.phonemes)


def _masks(mask: str) -> Any:
    path = Path(mask)
    return (picture[..., 0] for picture in open_image(path).pictures()) if path.suffix == ".png" else read_masks(path)


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _rows_file(sample: Sample) -> Path:
    return ROWS / f"{sample.sample_id}.npz"


def _measured(sample: Sample) -> Measured:
    group = (sample.method, sample.variant, sample.split or "train")
    return Measured(sample.sample_id, group, partial(_load, _rows_file(sample)))


def _load(path: Path) -> dict[str, Rows]:
    with np.load(path, allow_pickle=False) as parts:
        found: dict[str, dict[str, Any]] = {str(name): {} for name in parts["evaluators"]}
        for full in parts.files:
            name, _, key = full.partition("/")
            if key:
                found[name][key] = parts[full]
    return dict(found)


def _write(scores: Scores) -> None:
    """Figures for `dvc metrics show` (numbers alone), all about them, and a picture for `dvc plots show`."""
    numbers: dict[str, Any] = {}
    about: dict[str, Any] = {}
    panels: dict[str, dict[str, float]] = {}
    for (method, variant, split), figures in sorted(scores.sets.items()):
        for name, figure in sorted(figures.items()):
            about.setdefault(method, {}).setdefault(variant, {}).setdefault(split, {})[name] = figure.record()
            if figure.value is not None:
                shown = round(figure.value, 6)
                numbers.setdefault(method, {}).setdefault(variant, {}).setdefault(split, {})[name] = shown
                panels.setdefault(name, {})[f"{method}, {split}"] = shown
    write_text(FIGURES, json.dumps(numbers, indent=1, sort_keys=True) + "\n")
    write_text(workspace.SCORES / "about.json", json.dumps(about, indent=1, sort_keys=True) + "\n")
    write_text(PLOT, bars(dict(sorted(panels.items())), "Figures by method and split"))


def show(scores: Scores) -> str:
    """The sets' figures as a table."""
    lines = [f"{'method':<16} {'split':<6} {'figure':<28} {'value':>10} {'n':>6}"]
    for (method, _, split), figures in sorted(scores.sets.items()):
        for name, figure in sorted(figures.items()):
            if figure.value is not None:
                lines.append(f"{method:<16} {split:<6} {name:<28} {figure.value:>10.4f} {figure.n:>6}")
    absent = {(name, str(f.reason)) for figures in scores.sets.values() for name, f in figures.items() if f.value is None}
    lines += [f"no {name}: {reason}" for name, reason in sorted(absent)]
    return "\n".join(lines)
