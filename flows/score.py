"""Stage `score`: every evaluator over every matched pair, from one decode; variants of them by what looks at single frames.

    data/scores/figures.json    numbers for `dvc metrics`: method, variant, split, figure
    data/scores/about.json      all about each of them, and those of each group: what `python -m flows compare` reads
    data/scores/rows            what was measured of each pair; kept while the pair stays the same

Figures of sets are kept, too, in .forgeline, under a hash of what they were made from.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluators.figure import (
    Evaluator,
    Figure,
    Measured,
    OfFrames,
    Pair,
    Rows,
    SetKey,
    figures_of_sets,
    kept_as,
    measure,
    summarise,
)
from flows import workspace
from flows.items import Finished, Item, bring_up_to_date
from flows.matched import made, matched, varied
from forgeline.audio import open_sound
from forgeline.clip import Clip
from forgeline.code import code_digest, library_versions
from forgeline.errors import MediaError, PromiseError
from forgeline.files import replacing, sha256_of, write_text
from forgeline.image import open_image
from forgeline.lock import holding
from forgeline.plot import bars
from forgeline.recipe import canonical, digest
from forgeline.sample import Sample
from forgeline.video import open_video, read_masks

if TYPE_CHECKING:  # it imports every plug-in, for which the workers have no use
    from flows.params import Params

ROWS = workspace.SCORES / "rows"
FIGURES = workspace.SCORES / "figures.json"
ABOUT = workspace.SCORES / "about.json"
PLOT = workspace.SCORES / "by_method.svg"
KNOWN = workspace.LOCAL / "figures.json"
MEASURING = ("pesq", "pystoi", "pyworld-prebuilt")
"""Libraries that make figures and no samples."""

Sets = Mapping[SetKey, Mapping[str, Figure]]


@dataclass(frozen=True)
class _Job(Item):
    control: Sample
    source: Sample | None
    evaluators: dict[str, Evaluator]
    frames: int


def score(params: "Params") -> Sets:
    """Bring data/scores up to date: rows a pair, figures a sample in their manifest, figures a set for `dvc metrics`."""
    with holding(workspace.lock("score")):
        jobs = list(_jobs(params))
        done = bring_up_to_date(ROWS, jobs, _measure, "score")
        for lost in (s for s in done if s.reason is not None):
            raise PromiseError(lost.sample_id, f"can't be scored ({lost.reason})", "report it: it was read back when sealed")
        measured = [_measured(job.sample, job.key, params.score.groups, frozenset(job.evaluators)) for job in jobs]
        known = _known()
        sets = figures_of_sets(measured, _evaluators(params), params.score.frames, known)
        write_text(KNOWN, json.dumps({key: {n: f.record() for n, f in own.items()} for key, own in known.items()}))
        films = {job.sample.method for job in jobs if job.sample.media_type == "video"}
        sets = {key: _encoded(figures, params, key[1]) if key[0] in films else figures for key, figures in sets.items()}
        _write(sets)
    return sets


def _jobs(params: "Params") -> Iterator[_Job]:
    """A job for each fake or twin that stands in its pair, and for those of its variants that params name."""
    evaluators = _evaluators(params)
    of_frames: dict[str, Evaluator] = {name: e for name, e in evaluators.items() if isinstance(e, OfFrames)}
    for variant in ("master", *params.score.variants):
        found = made(params.generators) if variant == "master" else varied([variant])
        rows = [s for s in matched(found) if s.reason is None and (variant == "master" or s.media_type != "audio")]
        controls = {s.sample_id: s for s in rows if s.role == "control"}
        of_clip = {s.parents[0]: s for s in controls.values() if s.media_type == "video"}
        asked = evaluators if variant == "master" else of_frames
        makes = [
            {name: [e.settings(), code_digest(type(e).__module__)] for name, e in asked.items()},
            {"frames": params.score.frames},
            [code_digest("flows.score", "evaluators.figure", "forgeline.video", "forgeline.image", "forgeline.audio")],
            library_versions(),
            {name: _version(name) for name in MEASURING},
        ]
        for sample in (s for s in rows if s.role != "control"):
            control = controls[str(sample.pair_id)]
            source = _source(sample, of_clip)
            mask = sample.mask and sha256_of(Path(sample.mask))
            key = digest([repr(sample), mask, repr(control), repr(source), makes])
            yield _Job(sample.sample_id, key, sample, control, source, asked, params.score.frames)


def _evaluators(params: "Params") -> dict[str, Evaluator]:
    return {name: e for name, e in params.evaluators.items() if isinstance(e, Evaluator)}


def _measure(job: _Job) -> Finished:
    sample = job.sample
    try:
        found = measure(_pair(sample, job.control, job.source), job.evaluators, job.frames)
    except MediaError as error:
        return Finished(replace(sample, reason=f"{error.what}; {error.todo}"), ())
    path = _rows_file(sample)
    kept = {name: kept_as(name, evaluator) for name, evaluator in job.evaluators.items()}
    flat = {f"{kept[name]}/{key}": array for name, rows in found.items() for key, array in rows.items()}
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, allow_pickle=False, evaluators=np.array(sorted(kept.items())), **flat)
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


def _measured(sample: Sample, key: str = "", groups: tuple[str, ...] = (), by: frozenset[str] | None = None) -> Measured:
    group = (sample.method, sample.variant, sample.split or "train")
    values = tuple(f"{name}={sample.attributes[name]}" for name in groups if name in sample.attributes)
    return Measured(sample.sample_id, group, partial(_Stored, _rows_file(sample)), key, values, by)


class _Stored(Mapping[str, Rows]):
    """The rows in a file, of which those are read that are asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getitem__(self, name: str) -> Rows:
        with np.load(self._path, allow_pickle=False) as parts:
            kept = _kept_names(parts)[name]
            return {full.rpartition("/")[2]: parts[full] for full in parts.files if full.rpartition("/")[0] == kept}

    def __iter__(self) -> Iterator[str]:
        with np.load(self._path, allow_pickle=False) as parts:
            return iter(_kept_names(parts))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _kept_names(parts: Any) -> dict[str, str]:
    """By an evaluator's name, that under which its rows are kept."""
    return dict(parts["evaluators"].tolist())


def _known() -> dict[str, Mapping[str, Figure]]:
    """The figures of sets that the last run left; none where their file is missing or broken."""
    try:
        kept = json.loads(KNOWN.read_text(encoding="utf-8"))
        return {key: {name: Figure(**figure) for name, figure in own.items()} for key, own in kept.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _encoded(figures: dict[str, Figure], params: "Params", variant: str) -> dict[str, Figure]:
    """Figures of films, with how those were encoded in the fingerprints."""
    settings = (params.seal.encoding if variant == "master" else params.variants[variant]).settings()
    more = {"encoding": canonical(settings)}
    return {name: replace(figure, fingerprint=dict(figure.fingerprint) | more) for name, figure in figures.items()}


def _write(sets: Sets) -> None:
    """Figures for `dvc metrics show` (numbers alone), all about them, and a picture for `dvc plots show`."""
    numbers: dict[str, Any] = {}
    about: list[dict[str, Any]] = []
    panels: dict[str, dict[str, float]] = {}
    for (method, variant, split, group), figures in sorted(sets.items()):
        whole = sets[method, variant, split, ""]
        for name, figure in sorted(figures.items()):
            if group and figure.value is None and whole[name].value is None:
                continue  # one reason is enough
            place = {"method": method, "variant": variant, "split": split, "group": group, "name": name}
            about.append(place | figure.record())
            if figure.value is not None and not group:
                shown = round(figure.value, 6)
                numbers.setdefault(method, {}).setdefault(variant, {}).setdefault(split, {})[name] = shown
                if variant == "master":
                    panels.setdefault(name, {})[f"{method}, {split}"] = shown
    write_text(FIGURES, json.dumps(numbers, indent=1, sort_keys=True) + "\n")
    lines = ",\n".join(canonical(one) for one in about)
    write_text(ABOUT, f'{{"figures": [\n{lines}\n]}}\n')
    write_text(PLOT, bars(dict(sorted(panels.items())), "Figures by method and split"))


def show(sets: Sets) -> str:
    """The sets' figures as a table; those of groups are in `ABOUT` alone."""
    lines = [f"{'method':<16} {'variant':<7} {'split':<6} {'figure':<28} {'value':>10} {'95 %':>22} {'n':>6}"]
    whole = {key: figures for key, figures in sorted(sets.items()) if not key[3]}
    for (method, variant, split, _), figures in whole.items():
        for name, figure in sorted(figures.items()):
            if figure.value is not None:
                between = "" if figure.low is None else f"{figure.low:.4f} to {figure.high:.4f}"
                lines.append(
                    f"{method:<16} {variant:<7} {split:<6} {name:<28} {figure.value:>10.4f} {between:>22} {figure.n:>6}"
                )
    absent = {(name, str(f.reason)) for figures in whole.values() for name, f in figures.items() if f.value is None}
    lines += [f"no {name}: {reason}" for name, reason in sorted(absent)]
    return "\n".join(lines)
