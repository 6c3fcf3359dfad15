"""Stages `train@<generator>` and `generate@<generator>`: learn from the train split, then make what the plan says."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from flows import workspace
from flows.items import Finished, Item, bring_up_to_date, dropped
from flows.params import Params
from flows.plan import plan_file
from forgeline.clip import Clip, Said, Sound
from forgeline.compute import one_thread
from forgeline.errors import FactoryError, MediaError, ModelError, PromiseError, SourceError
from forgeline.files import PART, prune, replacing, sha256_of, write_text
from forgeline.lock import holding
from forgeline.manifest import from_record
from forgeline.recipe import Recipe, canonical, digest
from forgeline.sample import DENOISED, Sample
from forgeline.section import Section
from generators.chain import Chain, learner
from generators.plugin import Generator, Trained
from watermark.keys import master
from watermark.metadata import Tag
from watermark.payload import Mark
from watermark.seal import Seal, seal


@dataclass(frozen=True)
class _Job(Item):
    parents: tuple[dict[str, Any], ...]
    source_type: str
    release: str
    section: Section
    seal: Seal
    folder: Path
    model: Path | None


def train(name: str, params: Params) -> None:
    """Bring `data/models/<name>` up to date, of a generator that learns: see `flows.untaught` for the others.

    A training that was killed goes on from its last checkpoint when all that makes the model is still the same.
    """
    section = _section(name, params)
    folder = workspace.MODELS / name
    with holding(workspace.lock(f"train@{name}")):
        head, *clips = _read(workspace.train_file(name))
        key = digest([head, *clips])
        folder.mkdir(parents=True, exist_ok=True)
        begun = folder / ".begun"
        if not begun.is_file() or begun.read_text() != key:
            if _whole(folder / workspace.MODEL, key):
                print(f"train {name}: up to date", flush=True)
                return
            prune(folder, set())
            write_text(begun, key)
        for unfinished in folder.rglob(f"{PART}*"):  # of a training that was killed while it wrote
            unfinished.unlink()
        learns = learner(section)
        if learns is None:
            raise FactoryError(workspace.train_file(name), "is older than params", "run `dvc repro`, which plans first")
        if not _taken_over(folder, key):
            if not clips:
                raise ModelError(f"train {name}", "the train split has no clip to learn from", "add people, or change plan")
            one_thread()
            recipe = Recipe(head["learner"], tuple(c["sample_id"] for c in clips), head["seed"], head["settings"])
            learns.train((_opened(c) for c in clips), recipe.rng(), folder)
        written = sorted(p for p in folder.rglob("*") if p.is_file() and p != begun)
        files = {p.relative_to(folder).as_posix(): sha256_of(p) for p in written}
        write_text(folder / workspace.MODEL, canonical({"key": key, "files": files}) + "\n")
        begun.unlink()


def _whole(done: Path, key: str) -> dict[Path, str]:
    """The files of a finished model and their hashes, where it is of this key and all of them are as they were learned."""
    told = json.loads(done.read_text()) if done.is_file() else {}
    if told.get("key") != key:
        return {}
    files = {done.parent / name: sha256 for name, sha256 in told["files"].items()}
    return files if all(path.is_file() and sha256_of(path) == sha256 for path, sha256 in files.items()) else {}


def _taken_over(folder: Path, key: str) -> bool:
    """Copy the model that another generator has learned in the same way into `folder`; whether there is one.

    A swap, its null twin and a chain with it share a model so: whoever comes first learns it.
    """
    for done in sorted(workspace.MODELS.glob(f"*/{workspace.MODEL}")):
        if files := _whole(done, key):
            for path in files:
                with replacing(folder / path.relative_to(done.parent)) as part:
                    shutil.copyfile(path, part)
            print(f"train {folder.name}: has the model of {done.parent.name}", flush=True)
            return True
    return False


def generate(name: str, params: Params) -> list[Sample]:
    """Bring `data/made/<name>` up to date: sealed clips, their masks, and a manifest.

    What can't be made is a row with a reason; more of them than `generate.max_dropped` fail the stage.
    """
    section = _section(name, params)
    folder = workspace.MADE / name
    model = workspace.MODELS / name if learner(section) else None
    with holding(workspace.lock(f"generate@{name}")):
        head, *rows = _read(plan_file(name))
        if head["settings"] != section.settings() or head["seal"] != params.seal.settings():
            raise FactoryError(plan_file(name), "is older than params", "run `dvc repro`, which plans first")
        makes = [head, _model(model)]
        jobs = [_job(row, makes, section, params.seal, folder, model) for row in rows]
        samples = bring_up_to_date(folder, jobs, _make, f"generate {name}")
    lost = list(dropped(samples))
    for line in lost:
        print(line, flush=True)
    if len(lost) > params.generate.max_dropped * len(samples):
        what = f"{len(lost)} of {len(samples)} samples could not be made, more than max_dropped"
        raise FactoryError(f"generate {name}", what, "mend what the lines above say, or raise generate.max_dropped")
    return samples


def _job(row: dict[str, Any], makes: list[Any], section: Section, settings: Seal, folder: Path, model: Path | None) -> _Job:
    sample = from_record(row["sample"])
    return _Job(
        name=sample.sample_id,
        key=digest([row, makes]),
        sample=sample,
        parents=tuple(row["parents"]),
        source_type=row["source_type"],
        release=makes[0]["release"],
        section=section,
        seal=settings,
        folder=folder,
        model=model,
    )


def _make(job: _Job) -> Finished:
    sample = job.sample
    if sample.reason is not None:
        return Finished(sample, ())
    told = json.loads(sample.recipe)
    recipe = Recipe(told["generator"], tuple(told["parents"]), told["seed"], told["params"])
    key_id = str(sample.mark_key_id)
    try:
        made = _ready(job.section, job.model)(tuple(_opened(p) for p in job.parents), recipe.rng())
        sealed = seal(
            made,
            Path(sample.media),
            Mark.of(str(sample.mark_id)),
            master(job.seal.key).shard(key_id.split("/", 1)[1]),
            Tag(sample.sample_id, job.source_type, sample.licence, sample.permitted_use, job.release),
            job.seal,
        )
    except MediaError as error:
        return Finished(replace(sample, reason=f"{error.what}; {error.todo}"), ())
    if (sealed.width, sealed.height) != (sample.width, sample.height):
        what = f"is {sealed.width}x{sealed.height}, planned as {sample.width}x{sample.height}"
        raise PromiseError(sample.media, what, "report it")
    noted = sealed.noted(sample)
    if quiet := [parent["sample_id"] for parent in job.parents if parent["denoised"]]:
        noted = replace(noted, drawn={**noted.drawn, DENOISED: " ".join(quiet)})
    return Finished(noted, (sealed.path, *([sealed.mask] if sealed.mask else [])))


@cache
def _ready(section: Section, model: Path | None) -> Generator:
    """The generator, bound to its model; a worker loads it once."""
    if model is not None and isinstance(section, Trained | Chain):
        return section.load(model)
    if not isinstance(section, Generator):
        raise PromiseError(type(section).__name__, "is no generator", "report it")
    return section


def _opened(parent: dict[str, Any]) -> Clip:
    """A parent's clip with its face, after a look whether it is the file that was planned with."""
    from forgeline.audio import open_sound
    from forgeline.faces import load_track
    from forgeline.image import open_image
    from forgeline.video import open_video

    path = Path(parent["media"])
    if not path.is_file() or sha256_of(path) != parent["sha256"]:
        raise SourceError(path, "is not the file that was scanned", "run `python -m flows scan`, then `dvc repro`")
    track = load_track(Path(parent["track"])) if parent["track"] else None
    clip = {"video": open_video, "image": open_image, "audio": open_sound}[parent["media_type"]](path)
    if parent["denoised"]:
        clip = replace(clip, sound=partial(_quiet, clip))
    return replace(
        clip,
        track=track,
        attributes=parent["attributes"],
        words=tuple(Said(**said) for said in parent["words"]),
        phonemes=tuple(Said(**said) for said in parent["phonemes"]),
    )


def _quiet(clip: Clip) -> Sound | None:
    """Its sound without the noise that ingest found in it."""
    from forgeline.denoise import denoised

    sound = clip.sound()
    return denoised(sound) or sound if sound is not None else None


def _section(name: str, params: Params) -> Section:
    if name not in params.generators:
        raise FactoryError(name, "is not in params", f"there are {', '.join(params.generators)} under generators")
    return params.generators[name]


def _model(folder: Path | None) -> Any:
    """What a model is made of, or None for a generator that has none."""
    if folder is None:
        return None
    try:
        return json.loads((folder / workspace.MODEL).read_text())["files"]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(folder, "holds no trained model", "run `dvc repro`, which trains first") from error


def _read(path: Path) -> Sequence[Any]:
    def rows() -> Iterator[Any]:
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)

    try:
        return list(rows())
    except (OSError, ValueError) as error:
        raise FactoryError(path, f"can't be read ({error})", "run `dvc repro`, which plans first") from error
