"""Stage `ingest@<source>`: check, probe and track every clip of a corpus. No media are copied."""

import shutil
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import workspace
from flows.items import Finished, Item, bring_up_to_date, dropped
from flows.params import Denoise, Ingest, Params, key_names
from flows.rejected import FILE as REJECTED
from flows.rejected import by_stage, write_rejected
from flows.unchanged import forget, is_unchanged, remember
from forgeline.code import code_digest, library_versions
from forgeline.compute import DIED
from forgeline.detectors import FILES, DetectorName
from forgeline.errors import FactoryError, MediaError, SourceError
from forgeline.files import replacing, sha256_of
from forgeline.inventory import load
from forgeline.lock import holding
from forgeline.manifest import read_manifest, write_manifest
from forgeline.recipe import digest
from forgeline.sample import DENOISED, Sample
from forgeline.terms import require_acceptance
from forgeline.weights import Given, weights_sha256
from sources.corpus import Corpus, Names, Source
from watermark.keys import ShardKey, masters
from watermark.read import Found, read

if TYPE_CHECKING:
    from forgeline.clip import Sound, Track
    from forgeline.faces import FaceFinder


TRACKED_BY = ("forgeline.faces", "forgeline.image", "forgeline.manifest", "forgeline.quality", "forgeline.video")
PRINTED_BY = ("flows.ingest", "forgeline.prints", "forgeline.denoise", "forgeline.image", "forgeline.video")
EMBEDDED_BY = (
    "flows.ingest",
    "evaluators.faces",
    "evaluators.identity",
    "forgeline.image",
    "forgeline.prints",
    "forgeline.video",
)
INGESTED_BY = ("flows.items", "flows.rejected", "watermark.read", *TRACKED_BY, *PRINTED_BY, *EMBEDDED_BY)
"""What a corpus's rows hang on, and what each of their parts does."""


@dataclass(frozen=True)
class _Job(Item):
    folder: Path
    min_seen: float
    first: DetectorName = "mediapipe"
    second: DetectorName | None = None
    mask_sha256: str | None = None


@dataclass(frozen=True)
class _MarkJob(Item):
    batches: int


@dataclass(frozen=True)
class _PrintJob(Item):
    folder: Path
    denoise: Denoise | None


@dataclass(frozen=True)
class _FaceJob(Item):
    folder: Path
    net: Given


def ingest(name: str, params: Params) -> list[Sample]:
    """Bring `data/real/<name>` up to date: a manifest, which says what sound is like, the tracks of every face in every clip,
    marks that it carries, prints.

    A clip that can't be used is a row with a reason, and a row of `rejected.parquet`; more of them than `ingest.max_dropped`
    fail the stage. TermsError, before anything of the corpus is opened, where nobody has accepted its terms.
    """
    source = params.sources.get(name)
    if not isinstance(source, Source):
        raise SourceError(name, "is not in params", f"there are {', '.join(params.sources) or 'none'} under sources")
    require_acceptance(name, source.terms)
    folder, inventory, stage = workspace.REAL / name, workspace.inventory(name), f"ingest@{name}"
    with holding(workspace.lock(stage)):
        made_by = {
            "code": code_digest(*INGESTED_BY, type(source).__module__),
            "libraries": library_versions(),
            "weights": _weights(params.ingest),
            "keys": [key.id for key in masters()],
            "params": [source.settings(), params.ingest.settings(), params.plan.batches],
            "inventory": sha256_of(inventory) if inventory.is_file() else "",
        }
        if is_unchanged(stage, made_by, folder):
            samples = read_manifest(folder / workspace.MANIFEST)
            print(f"ingest {name}: all {len(samples)} are up to date", flush=True)
        else:
            forget(stage)
            (folder / workspace.MANIFEST).unlink(missing_ok=True)  # its rows are of items that may go now
            samples, whole = _brought_up_to_date(name, source(name, workspace.RAW / name, load(inventory)), folder, params)
            if sha256_of(inventory) != made_by["inventory"]:  # DVC would take the new one for what was ingested
                (folder / workspace.MANIFEST).unlink()
                raise SourceError(inventory, "was written anew while it was ingested", "run the same again")
            if whole:
                remember(stage, made_by, folder)
    _tell_sound(samples)
    _limit(f"ingest {name}", samples, params.ingest)
    return samples


def _brought_up_to_date(name: str, corpus: Corpus, folder: Path, params: Params) -> tuple[list[Sample], bool]:
    """The rows of a corpus: what is missing or made otherwise is made anew, the rest kept. And whether no process died."""
    _report(corpus)
    how = folder / "tracks", params.ingest.min_seen, params.ingest.detector, params.ingest.second
    code = code_digest("flows.ingest", *TRACKED_BY)
    made = digest([code, library_versions(), _weights(params.ingest), *how[1:]])
    found = list(corpus)
    masks = {s.sample_id: _scanned(s.mask, name, corpus) for s in found if s.mask}
    jobs = [
        _Job(s.sample_id, digest([s.recipe, repr(s), masks.get(s.sample_id), made]), s, *how, masks.get(s.sample_id))
        for s in found
    ]
    tracked = bring_up_to_date(folder / "tracks", jobs, _look, f"ingest {name}")
    marked = _with_marks(folder / "marks", tracked, params)
    samples = _with_prints(folder / workspace.PRINTS, marked, params.ingest.denoise)
    write_manifest(folder / workspace.MANIFEST, samples)
    write_rejected(folder / REJECTED, by_stage({"corpus": found, "tracks": tracked, "marks": marked, "prints": samples}))
    embedded = _embed_all(folder / workspace.FACES, samples, params)
    known = {"tracks", "marks", workspace.PRINTS, workspace.MANIFEST, REJECTED}
    known |= {workspace.FACES} if params.ingest.faces else set()
    for stray in sorted(p for p in folder.iterdir() if p.name not in known):
        if stray.is_dir() and not stray.is_symlink():
            shutil.rmtree(stray)
        else:
            stray.unlink()
    return samples, not any((s.reason or "").startswith(DIED) for s in (*samples, *embedded))


def _weights(settings: Ingest) -> list[str]:
    """The hashes of the nets that find and follow faces."""
    second = FILES[settings.second] if settings.second else ()
    return [weights_sha256(row) for row in (*FILES[settings.detector], *second, "face_mesh")]


def _with_marks(folder: Path, samples: list[Sample], params: Params) -> list[Sample]:
    """The samples with the marks of ours that they carry already, so that none is marked over in silence.

    They have items of their own, because tracking faces, which takes much longer, does not hang on how marks are read.
    """
    code = code_digest("flows.ingest", "watermark.read")
    read_by = digest([code, library_versions(), [key.id for key in masters()], params.plan.batches])
    jobs = [_MarkJob(s.sample_id, digest([s.sha256, read_by]), s, params.plan.batches) for s in samples if s.reason is None]
    looked = {s.sample_id: s for s in bring_up_to_date(folder, jobs, _read_marks, "ingest: marks")}
    found = sum(bool(s.ingredients) for s in looked.values())
    if found:
        print(f"ingest: {found} clips carry a mark of ours already; what is made from them names it", flush=True)
    return [
        replace(s, reason=now.reason, ingredients=now.ingredients) if (now := looked.get(s.sample_id)) else s for s in samples
    ]


def _read_marks(job: _MarkJob) -> Finished:
    try:
        found = read(Path(job.sample.media), _keys(job.batches)).found
    except MediaError as error:
        return Finished(replace(job.sample, reason=_brief(error)), ())
    return Finished(replace(job.sample, ingredients=tuple(sorted({_named(each) for each in found}))), ())


def _with_prints(folder: Path, samples: list[Sample], denoise: Denoise | None) -> list[Sample]:
    """The samples with what was measured of their sound as scores, and a print of each in `folder` by which the plan finds
    copies; one that breaks meanwhile has a reason.

    Items of their own, as marks are. Both come from one decode of the sound.
    """
    made_by = [code_digest(*PRINTED_BY), library_versions(), denoise and denoise.settings()]
    jobs = []
    for sample in samples:
        if sample.reason is None:
            key = digest([sample.sha256, sample.track and sha256_of(Path(sample.track)), made_by])
            jobs.append(_PrintJob(sample.sample_id, key, sample, folder, denoise))
    printed = {s.sample_id: s for s in bring_up_to_date(folder, jobs, _print, "ingest: prints")}
    return [
        replace(s, reason=now.reason, scores=now.scores, drawn=now.drawn) if (now := printed.get(s.sample_id)) else s
        for s in samples
    ]


def _print(job: _PrintJob) -> Finished:
    from forgeline.audio import open_sound
    from forgeline.faces import load_track
    from forgeline.image import open_image
    from forgeline.prints import looked_at, print_of, save_print
    from forgeline.video import open_video, pictures_at

    sample, path = job.sample, Path(job.sample.media)
    track = load_track(Path(sample.track)) if sample.track else None
    try:
        if sample.media_type == "audio":
            clip = open_sound(path)
        else:
            clip = open_video(path, track) if sample.media_type == "video" else open_image(path, track)
        sound = clip.sound()
        looks = pictures_at(path, looked_at(track)) if track and sample.media_type == "video" else None
        found = print_of(replace(clip, sound=lambda: sound), looks)
    except MediaError as error:
        return Finished(replace(sample, reason=_brief(error)), ())
    file = job.folder / f"{sample.sample_id}.npz"
    save_print(file, found)
    return Finished(replace(sample, **_listened(sound, job.denoise)) if sound is not None else sample, (file,))


def _listened(sound: "Sound", denoise: Denoise | None) -> dict[str, Any]:
    """What a row says of its sound, and whether noise is to be taken out of it: where there is much, and less of it after."""
    from forgeline.activity import activity, heard
    from forgeline.denoise import REDUCTION_DB, denoised

    scores = heard(sound)
    if denoise and scores["speech_s"] and scores["snr_db"] < denoise.below_db:
        quiet = denoised(sound)
        after = activity(quiet).snr_db if quiet else scores["snr_db"]
        if after > scores["snr_db"]:
            return {"scores": scores | {"snr_db_denoised": round(after, 3)}, "drawn": {DENOISED: f"{REDUCTION_DB} dB"}}
    return {"scores": scores}


def _embed_all(folder: Path, samples: list[Sample], params: Params) -> list[Sample]:
    """The mean embedding of the main face of each real clip, where params name a net for it."""
    faces = params.ingest.faces
    made_by = [code_digest(*EMBEDDED_BY), library_versions()]
    jobs = []
    for sample in samples if faces else ():
        if faces and sample.reason is None and sample.track and sample.label == "real":
            key = digest([sample.sha256, sha256_of(Path(sample.track)), faces.net.sha256, made_by])
            jobs.append(_FaceJob(sample.sample_id, key, sample, folder, faces.net))
    return bring_up_to_date(folder, jobs, _embed, "ingest: faces") if faces else []


def _embed(job: _FaceJob) -> Finished:
    import numpy as np

    from evaluators.faces import Faces, cut
    from evaluators.identity import NET_SIDE, by_net
    from forgeline.faces import load_track
    from forgeline.image import open_image
    from forgeline.prints import looked_at
    from forgeline.video import pictures_at

    sample = job.sample
    track = load_track(Path(str(sample.track)))
    path, mesh = Path(sample.media), track.mesh.astype(np.float64)
    faces, embedded = Faces(mesh, mesh), by_net(job.net)
    places = {at: place for at in looked_at(track) if (place := faces.place(at, NET_SIDE)) is not None}
    shown = pictures_at(path, places) if sample.media_type == "video" else open_image(path).pictures()
    rows = [embedded(cut(picture, place, NET_SIDE)) for place, picture in zip(places.values(), shown, strict=True)]
    whole = np.mean(rows, axis=0)
    file = job.folder / f"{sample.sample_id}.npy"
    with replacing(file) as part, part.open("wb") as out:
        np.save(out, (whole / max(float(np.linalg.norm(whole)), 1e-12)).astype(np.float32))
    return Finished(sample, (file,))


def _look(job: _Job) -> Finished:
    sample = job.sample
    if sample.reason is not None:
        return Finished(sample, ())
    path = Path(sample.media)
    if not path.is_file() or sha256_of(path) != sample.sha256:
        raise SourceError(path, "is not the file that was scanned", "run `python -m flows scan`, then again")
    before = path.stat()
    try:
        done = _track(job, path)
    except MediaError as error:
        done = Finished(replace(sample, reason=_brief(error)), ())
    try:
        after = path.stat()
        same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    except OSError:
        same = False
    if not same:
        raise SourceError(path, "changed while it was read", "leave the corpus alone, run `python -m flows scan`, then again")
    return done


def _brief(error: MediaError) -> str:
    """The reason without the path, which the row has."""
    return f"{error.what}; {error.todo}"


def _track(job: _Job, path: Path) -> Finished:
    from forgeline.audio import open_sound
    from forgeline.faces import face_share, save_tracks, tracks_measured
    from forgeline.image import open_image
    from forgeline.quality import beside, measure, qualities, save_qualities
    from forgeline.video import open_video

    sample = job.sample
    if sample.media_type == "audio":
        heard = open_sound(path).sound()
        if heard is None or not heard.samples.any():
            raise MediaError(path, "is silent", "leave it out")
        return Finished(replace(sample, duration_s=len(heard.samples) / heard.rate, sample_rate=heard.rate), ())
    clip = open_video(path) if sample.media_type == "video" else open_image(path)
    followed = tracks_measured(clip, _finder(job.first, job.second), measure)
    tracks = [track for track, _ in followed]
    sound = clip.sound()
    sample = replace(
        sample,
        width=clip.width,
        height=clip.height,
        fps=clip.fps,
        frames=clip.frames,
        duration_s=float(clip.duration),
        sample_rate=sound.rate if sound else 0,
        audio_label=sample.audio_label if sound else None,
    )
    if tracks and sample.mask and sample.media_type == "video":
        tracks = _under_mask(tracks, Path(sample.mask), job.mask_sha256, (clip.width, clip.height))
        if not tracks:
            raise MediaError(path, "shows faces beside its mask alone, and none under it", "leave it out")
    if not tracks:
        raise MediaError(path, "shows no face", "leave it out, or give a clip with a face of at least 4 % of its side")
    if face_share(tracks[0]) < job.min_seen:
        share = f"{face_share(tracks[0]):.0%} of its frames"
        raise MediaError(path, f"shows its main face in only {share}", "leave it out, or lower ingest.min_seen")
    file = job.folder / f"{sample.sample_id}.npz"
    save_tracks(file, tracks)
    followed.sort(key=lambda each: each[0] is not tracks[0])  # as the mask has put them
    save_qualities(beside(file), tracks, [qualities(shown) for _, shown in followed])
    return Finished(replace(sample, track=file.as_posix()), (file, beside(file)))


def _under_mask(tracks: "list[Track]", mask: Path, sha256: str | None, size: tuple[int, int]) -> "list[Track]":
    """The tracks, the manipulated person's first; none where nobody is under the mask.

    Without a mask that can be read nobody could tell which of several people that is.
    """
    from forgeline.faces import under_mask
    from forgeline.video import read_masks

    if not mask.is_file() or sha256_of(mask) != sha256:
        raise SourceError(mask, "is not the file that was scanned", "run `python -m flows scan`, then again")
    try:
        return under_mask(tracks, read_masks(mask), size)
    except MediaError as error:
        if len(tracks) == 1:
            return tracks
        raise MediaError(mask, f"shows {len(tracks)} people, and its mask {error.what}", error.todo) from error


def _scanned(path: str, name: str, corpus: Corpus) -> str:
    """The hash that the inventory has of a file of the corpus."""
    return corpus.inventory.files[path.removeprefix(f"{(workspace.RAW / name).as_posix()}/")].sha256


def _named(found: Found) -> str:
    return f"{found.key.id}/{found.mark}"


@cache
def _keys(batches: int) -> list[ShardKey]:
    """Of every master key at hand, the keys that a clip may have been marked with here."""
    return [key.shard(name) for key in masters() for name in key_names(batches)]


@cache
def _finder(first: DetectorName, second: DetectorName | None) -> "FaceFinder":
    from forgeline.faces import FaceFinder

    return FaceFinder(first, second)


def _report(corpus: Corpus) -> None:
    """Say what is here against what is published."""
    report = corpus.report()
    have = [f"{n} of {report.published[g]} {g}" if g in report.published else f"{n} {g}" for g, n in report.have.items()]
    none = [f"{count} {group}" for group, count in report.published.items() if group not in report.have]
    told = [", ".join(have) or "nothing yet", *(["none of " + ", ".join(none)] if none else [])]
    print(f"{corpus.name}: {'; '.join(told)}", flush=True)
    for title, names in (
        ("missing", report.missing),
        ("unexpected", report.unexpected),
        ("mismatching", report.mismatching),
    ):
        if names.count:
            print(f"  {title}: {names.count} ({_examples(names)})", flush=True)
    for note in report.notes:
        print(f"  note: {note}", flush=True)


def _tell_sound(samples: list[Sample]) -> None:
    """What most of a corpus's sound is like: the tenth, the middle and the ninth of ten clips."""
    from statistics import quantiles

    heard = [s.scores for s in samples if s.reason is None and s.scores]
    if len(heard) > 1:
        names = [n for n in heard[0] if all(n in scores for scores in heard)]
        ranges = {n: quantiles([scores[n] for scores in heard], n=10, method="inclusive") for n in names}
        told = (f"{n} {found[4]:.4g} ({found[0]:.4g} to {found[8]:.4g})" for n, found in ranges.items())
        print(f"  sound of {len(heard)} clips: {', '.join(told)}", flush=True)


def _examples(names: Names) -> str:
    return "; ".join(names.examples[:3]) + ("; …" if names.count > 3 else "")


def _limit(stage: str, samples: list[Sample], settings: Ingest) -> None:
    lost = list(dropped(samples))
    for line in lost:
        print(line, flush=True)
    if len(lost) > settings.max_dropped * len(samples):
        what = f"{len(lost)} of {len(samples)} clips can't be used, more than max_dropped ({settings.max_dropped:.0%})"
        raise FactoryError(stage, what, "mend or remove the clips above, or raise ingest.max_dropped")
