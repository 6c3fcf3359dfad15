"""Stage `report`: one page by which a person accepts or refuses a version. It is written when the audit failed, too.

    data/report/index.html      the page: no script, nothing from elsewhere, at most 5 MB
    data/report/summary.json    its numbers for `dvc metrics`
    data/report/coverage.svg    its pictures for `dvc plots`, figures.svg beside it
    data/report/seen/           what was measured of each control, and small pictures, kept while their files stay

The same data give the same bytes: nothing on the page tells when, where or how fast it was made.
"""

import base64
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from evaluators.figure import unlike
from flows import workspace
from flows.compare import About, Key, about, lines_of
from flows.coverage import FEWEST, FEWEST_PEOPLE, Cell, Coverage, Seen, coverage
from flows.items import Finished, Item, bring_up_to_date
from flows.look import Strip, strips_of, tiles_of
from flows.matched import made, matched, varied
from flows.report_plots import Dot, intervals, matrix
from flows.score import ABOUT
from forgeline.clip import Picture
from forgeline.code import code_digest, library_versions
from forgeline.errors import FactoryError
from forgeline.faces import load_track
from forgeline.files import sha256_of, write_text
from forgeline.image import open_image
from forgeline.lock import holding
from forgeline.manifest import read_manifest
from forgeline.recipe import digest
from forgeline.sample import SPLITS, Sample
from forgeline.video import open_video
from generators.pose import yaw
from sources.corpus import Source

if TYPE_CHECKING:  # it imports every plug-in, for which the workers have no use
    from flows.params import Params

PAGE = workspace.REPORT / "index.html"
SUMMARY = workspace.REPORT / "summary.json"
COVERAGE, FIGURES = workspace.REPORT / "coverage.svg", workspace.REPORT / "figures.svg"
SEEN = workspace.REPORT / "seen"
AUDIT = workspace.AUDIT / "audit.json"

SHOWN, PICTURE_BYTES = 2, 2_000_000
"""Samples of a method that are pictured, and the bytes of all pictures on the page together (a third more in base64)."""
MOST_LINES, MOST_CELLS, MOST_PANELS = 300, 8_000, 60
"""Lines of a long table, cells of the tables of figures, and panels of their picture: the rest is named, and in the files."""

PROMISES = {
    "plan": "all that was planned was made, and nothing else",
    "manifest": "rows are complete and agree with each other",
    "files": "each file is the one that was sealed",
    "marks": "each mark and tag was read back, also after an attack",
    "splits": "no person, recording or file is in two splits",
    "pairs": "each fake has its control, made by the same chain",
    "terms": "terms cover all that is in it",
    "sound": "real and fake sound differ in nothing but the forgery",
    "shortcuts": "nothing but the forgery tells fakes from controls",
}
"""What each check of the audit is about."""

OPINIONS = ("naturalness", "realism", "realism_score", "called_fake", "deceived", "d_prime", "two_afc", "rated_auc")
"""Figures of `evaluators.judgement` that are shown."""

_TEMPLATE = Path(__file__).with_name("report_page.html")
_SIDE, _QUALITY = 128, 80
_ORDER = {"fails": 0, "undecided": 1, "passes": 2}


@dataclass(frozen=True)
class Told:
    """What the page says, in short: for the console, and for Prefect's UI."""

    markdown: str
    table: list[dict[str, Any]] = field(default_factory=list)


def report(params: "Params") -> Told:
    """Bring data/report up to date, whatever the audit said.

    What is missing (scores, ratings, an audit) is named on the page. FactoryError where `report.baseline` can't be
    had: a page without it would hang on what happens to be at hand.
    """
    with holding(workspace.lock("report")):
        rows = matched([*made(params.generators), *varied(params.variants)])
        seen, pictures = _seen(rows, params)
        cover = coverage(rows, seen)
        audit, figures, opinion = _audit(), _figures(), _judged(rows, params.release.name)
        rev = params.report.baseline
        before = about(rev) if rev is not None else {}
        panels = _panels(figures.all)
        write_text(COVERAGE, matrix(cover))
        write_text(FIGURES, intervals(dict(list(panels.items())[:MOST_PANELS])))
        told = {
            "title": params.release.title,
            "name": params.release.name,
            "audit": audit,
            "content": _content(rows),
            "dropped": _dropped(rows),
            "cover": _covered(cover),
            "terms": _terms(params, rows),
            "figures": figures,
            "more_panels": max(len(panels) - MOST_PANELS, 0),
            "shortcuts": _shortcuts(audit),
            "opinion": opinion,
            "drift": _drift(rev, before, {_key(f): f for f in figures.all}),
            "sheets": _sheets(pictures),
            "coverage_svg": _uri("image/svg+xml", COVERAGE.read_bytes()),
            "figures_svg": _uri("image/svg+xml", FIGURES.read_bytes()) if panels else "",
        }
        write_text(PAGE, page(told))
        write_text(SUMMARY, json.dumps(_summary(told), indent=1, sort_keys=True) + "\n")
    return _told(told)


def page(told: Mapping[str, Any]) -> str:
    """The page, from what was gathered. Every string of it is text: nothing in the data can become markup."""
    from jinja2 import Environment, StrictUndefined

    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"number": number, "share": _share}
    made.globals |= {"fewest": FEWEST, "fewest_people": FEWEST_PEOPLE, "splits": SPLITS}
    return made.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(told)


def number(value: float | None) -> str:
    """Four digits, or a dash where there is none."""
    return "–" if value is None else f"{value:.4g}".replace("-", "−")


# ---------------------------------------------------------------------------------------------- what the samples show


@dataclass(frozen=True)
class _Job(Item):
    """`measured`: whether pose and light are, `track`: by which faces, of a clip of which size; `strips`: what is pictured."""

    measured: bool
    track: Path | None
    size: tuple[int, int]
    strips: tuple[Strip, ...]


@dataclass(frozen=True)
class _Pictured:
    """A sample with its strips side by side in one JPEG, or why there is none."""

    sample: Sample
    strips: tuple[Strip, ...]
    path: Path


def _seen(rows: Sequence[Sample], params: "Params") -> tuple[dict[str, Seen], list[_Pictured]]:
    """Pose and light of every control's master, and pictures of `SHOWN` samples a method, in the order of their ids."""
    masters = [s for s in rows if s.reason is None and s.variant == "master"]
    by_id = {s.sample_id: s for s in masters}
    tracked = {s.sample_id: s for name in params.sources for s in _ingested(name) if s.track}
    own: dict[str, list[Sample]] = defaultdict(list)
    for sample in masters:
        own[sample.method].append(sample)
    shown = {s.sample_id: _strips(s, by_id) for some in own.values() for s in some[:SHOWN]}
    code = [code_digest("flows.report", "flows.look", "generators.pose"), library_versions()]
    jobs = []
    for sample in masters:
        measured = sample.role == "control" and sample.media_type != "audio"
        strips = shown.get(sample.sample_id, ())
        if measured or strips:
            parent = tracked.get(sample.parents[0]) if sample.parents and sample.media_type == "video" else None
            track = Path(str(parent.track)) if measured and parent else None
            files = [path for path in (track, *(strip.path for strip in strips)) if path and path.is_file()]
            size = (parent.width, parent.height) if parent else (0, 0)
            key = digest([repr(sample), measured, size, sorted(map(sha256_of, files)), [s.name for s in strips], code])
            jobs.append(_Job(sample.sample_id, key, sample, measured, track, size, strips))
    done = {s.sample_id: s for s in bring_up_to_date(SEEN, jobs, _look, "report")}
    seen = {
        name: Seen(s.scores.get("yaw"), s.scores.get("luma"))
        for name, s in sorted(done.items())
        if {"yaw", "luma"} & {*s.scores}
    }
    return seen, [_Pictured(done[name], strips, _picture_file(name)) for name, strips in sorted(shown.items())]


def _ingested(source: str) -> list[Sample]:
    path = workspace.REAL / source / workspace.MANIFEST
    return read_manifest(path) if path.is_file() else []


def _strips(sample: Sample, rows: Mapping[str, Sample]) -> tuple[Strip, ...]:
    """As `flows.look` has them, at one moment each."""
    return tuple(
        replace(strip, moments=1) for strip in strips_of(sample, rows) if sample.media_type != "image" or strip.name != "mask"
    )


def _picture_file(name: str) -> Path:
    return SEEN / f"{name}.jpg"


def _look(job: _Job) -> Finished:
    """What can't be opened is a row with a reason: the audit says what is wrong with it."""
    files: tuple[Path, ...] = ()
    try:
        scores = _measure(job) if job.measured else {}
        if job.strips:
            files = (_picture_file(job.name),)
            tiles = [tile for strip in job.strips for tile in tiles_of(strip)]
            write_jpeg(files[0], np.hstack([cv2.resize(tile, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for tile in tiles]))
    except (FactoryError, OSError) as error:
        return Finished(replace(job.sample, scores={}, reason=str(error)), ())
    return Finished(replace(job.sample, scores=scores), files)


def _measure(job: _Job) -> dict[str, float]:
    """The median of the degrees that the face is turned to the side, and the mean luma of its box in the first picture in
    which it is seen; of a picture of a face, which has no track, the luma of all of it."""
    path = Path(job.sample.media)
    if job.track is None:
        clip = (open_image if job.sample.media_type == "image" else open_video)(path)
        return {"luma": _luma(next(clip.pictures()))}
    track = load_track(job.track)
    frames = np.flatnonzero(track.seen)
    if not len(frames):
        return {}
    picture = next(shown for at, shown in enumerate(open_video(path).pictures()) if at == frames[0])
    scale = np.tile(np.array(picture.shape[1::-1]) / job.size, 2)
    left, top, right, bottom = np.rint(track.box[frames[0]] * scale).astype(int).clip(0)
    face = picture[top:bottom, left:right]
    turned = float(np.median(np.abs(yaw(track.mesh[frames]))))
    return {"yaw": turned} | ({"luma": _luma(face)} if face.size else {})


def _luma(picture: Picture) -> float:
    """ITU-R BT.601, 0 to 255."""
    return float(cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY).mean())


def write_jpeg(path: Path, picture: Picture) -> None:
    """Same picture, same bytes."""
    from forgeline.files import replacing

    done, data = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise OSError(f"{path}: could not be encoded")
    with replacing(path) as part:
        part.write_bytes(data.tobytes())


def _sheets(pictures: Sequence[_Pictured]) -> dict[str, Any]:
    """The first sample of every method, then the second …, until `PICTURE_BYTES` are spent; what had no room is counted."""
    ranks: Counter[str] = Counter()
    queue = []
    for each in pictures:
        queue.append((ranks[each.sample.method], each))
        ranks[each.sample.method] += 1
    spent, left = 0, 0
    shown = []
    for _, each in sorted(queue, key=lambda item: (item[0], item[1].sample.method)):
        sample = each.sample
        data = each.path.read_bytes() if sample.reason is None else b""
        if spent + len(data) > PICTURE_BYTES:
            left += 1
            continue
        spent += len(data)
        shown.append(
            {
                "method": sample.method,
                "id": sample.sample_id,
                "uri": _uri("image/jpeg", data) if data else "",
                "width": _SIDE * len(each.strips),
                "height": _SIDE,
                "reason": sample.reason,
                "names": ", ".join(f"{strip.name} {strip.who}".strip() for strip in each.strips),
                "drawn": ", ".join(f"{name} {value}" for name, value in sorted(sample.drawn.items())),
                "split": sample.split,
            }
        )
    return {"shown": sorted(shown, key=lambda one: (one["method"], one["id"])), "left": left, "most": SHOWN}


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


# ------------------------------------------------------------------------------------------------- what was counted


def _content(rows: Sequence[Sample]) -> dict[str, Any]:
    standing = [s for s in rows if s.reason is None]
    variants = sorted({s.variant for s in standing} - {"master"})
    lines: dict[tuple[str, ...], list[Sample]] = defaultdict(list)
    for s in standing:
        lines[s.role, s.method, s.media_type, s.label].append(s)
    first = ("control", "null_twin", "augmentation", "forgery")
    told = []
    for (role, method, media, label), some in sorted(lines.items(), key=lambda item: (first.index(item[0][0]), item[0])):
        masters = [s for s in some if s.variant == "master"]
        told.append(
            {
                "role": role,
                "method": method,
                "media": media,
                "label": label,
                "splits": [sum(s.split == split for s in masters) for split in SPLITS],
                "masters": len(masters),
                "variants": [sum(s.variant == variant for s in some) for variant in variants],
            }
        )
    return {
        "samples": len(standing),
        "lines": told,
        "variants": variants,
        "media": dict(sorted(Counter(s.media_type for s in standing).items())),
        "labels": dict(sorted(Counter(s.label for s in standing).items())),
        "minutes": sum(s.duration_s for s in standing) / 60,
        "megabytes": sum(s.bytes for s in standing) / 1e6,
        "people": {split: len(_people(s for s in standing if s.split == split)) for split in SPLITS},
        "masters": sum(s.variant == "master" for s in standing),
    }


def _people(rows: Iterable[Sample]) -> set[str]:
    return {person for s in rows for person in (s.target_id, s.source_id) if person}


def _dropped(rows: Sequence[Sample]) -> list[tuple[str, int, str, str]]:
    """Reason, how many, of which methods, and one of them; the most frequent first."""
    lost: dict[str, list[Sample]] = defaultdict(list)
    for sample in rows:
        if sample.reason is not None:
            lost[sample.reason].append(sample)
    found = [(why, len(some), ", ".join(sorted({s.method for s in some})), some[0].sample_id) for why, some in lost.items()]
    return sorted(found, key=lambda line: (-line[1], line[0]))[:MOST_LINES]


def _terms(params: "Params", rows: Sequence[Sample]) -> dict[str, Any]:
    from flows.terms import Ledger, joined

    standing = [s for s in rows if s.reason is None]
    try:
        left = Ledger.here(params).table(standing).left if standing else None
    except FactoryError:  # where not all is here that it was made from: what all sources leave, which is never more
        left = joined(params)
    sources = {name: source.terms for name, source in params.sources.items() if isinstance(source, Source)}
    return {"sources": dict(sorted(sources.items())), "joined": left}


def _covered(cover: Coverage) -> dict[str, Any]:
    masters = [key for key in cover.cells if key[1] == "master"]
    factors = list(dict.fromkeys(level.factor for level in cover.levels))
    total = sum(level.real for level in cover.levels), sum(level.fake for level in cover.levels)
    return {
        "cover": cover,
        "factors": {factor: [level for level in cover.levels if level.factor == factor] for factor in factors},
        "cells": len(masters),
        "empty": cover.of_state("empty", "master"),
        "thin": cover.of_state("thin", "master"),
        "unlike": cover.unlike_masters(),
        "states": cover.states(),
        "variants": sorted({variant for _, variant in cover.lines}, key=lambda name: (name != "master", name)),
        "crossed": {state: sum(len(cross.of_state(state)) for cross in cover.crosses) for state in ("empty", "thin")},
        "missing": {
            split: cover.missing_in(split) for split in SPLITS if any(level.splits[split].samples for level in cover.levels)
        },
        "share": total[1] / sum(total) if sum(total) else None,
        "nothing": Cell(),
    }


def _share(level: Any) -> str:
    """The share of fakes in a level."""
    return f"{level.fake / level.all.samples:.0%}" if level.all.samples else "–"


# ------------------------------------------------------------------------------------------- what others found out


def _audit() -> dict[str, Any]:
    """The audit's record with its checks as a list, or why there is none; what it left undecided as lines."""
    told, why = _read_json(AUDIT)
    checks = told.get("checks", {})
    return {
        "why": why,
        "passed": told.get("passed"),
        "checks": [
            {"name": name, "promise": PROMISES.get(name, ""), **check}
            for name, check in sorted(checks.items(), key=lambda item: (item[1]["passed"], item[0]))
        ],
        "failed": [name for name, check in checks.items() if not check["passed"]],
        "undecided": [
            f"{name}: {line}" for name, check in sorted(checks.items()) for line in _lines(check.get("undecided", ()))
        ],
    }


def _lines(undecided: Any) -> list[str]:
    """What a check was of two minds about, a line each: it is told as a list, or as pairs by what was looked at."""
    if isinstance(undecided, Mapping):
        return [f"{what}: {pairs} pairs are too few" for what, pairs in sorted(undecided.items())]
    return [", ".join(map(str, one.values())) if isinstance(one, Mapping) else str(one) for one in undecided]


def _read_json(path: Path) -> tuple[dict[str, Any], str]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, f"{path} is not there"
    except (OSError, ValueError) as error:
        return {}, f"{path} can't be read ({error})"
    return (told, "") if isinstance(told, dict) else ({}, f"{path} is of another format")


def _shortcuts(audit: Mapping[str, Any]) -> dict[str, Any]:
    """The lines of the checks that look for shortcuts, worst first: those that fail, then by how far from a guess."""
    lines = []
    for check in audit["checks"]:
        for line in check.get("table", ()):
            probe, factor = line.get("probe", check["name"]), line.get("factor", line.get("trait", ""))
            differs = f"differs in {line['differ']}: {line.get('example', '')}" if "differ" in line else ""
            note = differs or (f"larger in {line['larger']}" if line.get("larger") else "")
            method = f"{line['media_type']}, {line['method']}" if "media_type" in line else line["method"]
            own = {"probe": probe, "factor": factor, "method": method, "note": note}
            lines.append({"auc": None, "low": None, "high": None} | line | own)
    lines.sort(key=_badness)
    return {
        "lines": lines[:MOST_LINES],
        "left": max(len(lines) - MOST_LINES, 0),
        "verdicts": Counter(li["verdict"] for li in lines),
    }


def _badness(line: Mapping[str, Any]) -> tuple[Any, ...]:
    far = abs(line["auc"] - 0.5) if line["auc"] is not None else 0.0
    return (
        _ORDER.get(line["verdict"], 1),
        -far,
        -line["pairs"],
        *(line[name] for name in ("method", "variant", "probe", "factor")),
    )


@dataclass(frozen=True)
class _Figures:
    """The figures of sets. `tables`: by figure's name, (method, variant) → split → its record; `apart`: those of groups whose
    interval lies beside that of their whole set, of `groups` that can be compared with it (`small` can't); `absent`: name and
    reason → methods; `prints`: name → the fingerprints behind it; `left`: how many cells had no room."""

    why: str
    all: list[dict[str, Any]]
    tables: dict[str, dict[tuple[str, str], dict[str, dict[str, Any]]]] = field(default_factory=dict)
    apart: list[dict[str, Any]] = field(default_factory=list)
    groups: int = 0
    small: int = 0
    absent: list[tuple[str, str, str]] = field(default_factory=list)
    prints: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    left: int = 0


def _figures() -> _Figures:
    told, why = _read_json(ABOUT)
    figures = told.get("figures")
    if not isinstance(figures, list):
        return _Figures(why or f"{ABOUT} is of another format", [])
    return _arranged(figures)


def _arranged(figures: list[dict[str, Any]]) -> _Figures:
    tables: dict[str, dict[tuple[str, str], dict[str, dict[str, Any]]]] = {}
    absent: dict[tuple[str, str], set[str]] = defaultdict(set)
    prints: dict[str, list[dict[str, str]]] = defaultdict(list)
    whole = [f for f in figures if not f["group"]]
    ordered = sorted(whole, key=lambda f: (f["name"], f["variant"] != "master", f["method"], f["variant"], f["split"]))
    cells = 0
    for figure in ordered:
        if figure["value"] is None:
            absent[figure["name"], str(figure["reason"])].add(figure["method"])
        else:
            cells += 1
            if cells <= MOST_CELLS:
                line = tables.setdefault(figure["name"], {}).setdefault((figure["method"], figure["variant"]), {})
                line[figure["split"]] = figure
            if figure["fingerprint"] not in prints[figure["name"]]:
                prints[figure["name"]].append(figure["fingerprint"])
    of_all = {_key(f): f for f in whole}
    of_groups = [f for f in figures if f["group"] and f["value"] is not None]
    groups, apart = 0, []
    for figure in of_groups:
        every = of_all.get(_key(figure | {"group": ""}), {"low": None, "high": None})
        bounds = figure["low"], figure["high"], every["low"], every["high"]
        # An interval over two clips tells nothing; nor can what the number of frames biases be held against another number.
        if None in bounds or figure["n"] < FEWEST or unlike(figure["fingerprint"], every["fingerprint"]):
            continue
        groups += 1
        if _beside(figure, every):
            apart.append(figure | {"all": every, "distance": _distance(figure, every)})
    apart.sort(key=lambda f: (-f["distance"], _key(f)))
    return _Figures(
        why="",
        all=figures,
        tables=tables,
        apart=apart,
        groups=groups,
        small=len(of_groups) - groups,
        absent=[(name, why, ", ".join(sorted(methods))) for (name, why), methods in sorted(absent.items())],
        prints=dict(sorted(prints.items())),
        left=max(cells - MOST_CELLS, 0),
    )


def _key(figure: Mapping[str, Any]) -> Key:
    return figure["method"], figure["variant"], figure["split"], figure["group"], figure["name"]


def _beside(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two intervals have nothing in common."""
    return bool(one["low"] > other["high"] or one["high"] < other["low"])


def _distance(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """How far apart two values are, in widths of their two intervals."""
    width = one["high"] - one["low"] + other["high"] - other["low"]
    return float(abs(one["value"] - other["value"]) / (width or 1e-12))


def _panels(figures: Iterable[Mapping[str, Any]]) -> dict[str, list[Dot]]:
    """Every figure's dots, by its name: masters alone, as variants have as many again."""
    panels: dict[str, list[Dot]] = defaultdict(list)
    for f in sorted(figures, key=_key):
        if not f["group"] and f["variant"] == "master" and f["value"] is not None:
            panels[f["name"]].append(Dot(f["method"], f["split"], f["value"], f["low"], f["high"]))
    return dict(sorted(panels.items()))


def _drift(rev: str | None, before: About, after: About) -> dict[str, Any]:
    """What changed since `rev` by more than the intervals of 95 % allow; what could not be compared, and why."""
    told: dict[str, Any] = {"rev": rev, "beyond": [], "within": 0, "open": [], "refused": []}
    if rev is None:
        return told
    refused: dict[str, list[str]] = defaultdict(list)
    for line in lines_of(before, after):
        method, variant, split, group, name = line.key
        if line.why is not None or line.before is None or line.after is None:
            refused[str(line.why)].append(" ".join(part for part in line.key if part))
            continue
        old, new, change = before[line.key], after[line.key], line.after - line.before
        place = {"method": method, "variant": variant, "split": split, "group": group, "name": name}
        shown = place | {"old": old, "new": new, "change": change}
        if None in (old["low"], old["high"], new["low"], new["high"]):
            told["open"] += [shown | {"far": abs(change) / (abs(line.before) or 1)}] if change else []
        elif _beside(old, new):
            told["beyond"].append(shown | {"far": _distance(old, new)})
        else:
            told["within"] += 1
    for lines in (told["beyond"], told["open"]):
        lines.sort(key=lambda line: (-line["far"], _key(line)))
    for version, keys in ((rev, before.keys() - after.keys()), ("this version", after.keys() - before.keys())):
        refused[f"in {version} alone"] += [" ".join(part for part in key if part) for key in keys]
    told["refused"] = [(why, len(some), min(some)) for why, some in sorted(refused.items()) if some]
    return told


def _judged(rows: Sequence[Sample], name: str) -> dict[str, Any]:
    """What raters said of the samples that stand, as lines of `OPINIONS`, or that nobody said anything."""
    told: dict[str, Any] = {"answers": 0, "why": "", "other": 0, "columns": OPINIONS, "lines": [], "kept": 0, "aside": []}
    path = workspace.RATINGS / f"{name}.csv"
    if not path.is_file():
        return told
    from evaluators.judgement import judged, read_ratings

    standing = {s.sample_id for s in rows if s.reason is None}
    try:
        answers = read_ratings(path)
        # Catch trials tell who can be believed, whatever became of the samples that they were made from.
        own = [row for row in answers if row["catch"] == "1" or {row["sample_id"], row["pair_id"]} <= standing]
        judgement = judged(own)
    except (OSError, KeyError, TypeError, ValueError) as error:
        return told | {"why": f"{path} is no table of ratings ({error!r})"}
    lines = [("all forgeries", judgement.overall), *judgement.methods.items()]
    return told | {
        "answers": sum(row["catch"] != "1" for row in own),
        "other": len(answers) - len(own),
        "lines": [(method, [getattr(figures, column) for column in OPINIONS]) for method, figures in lines],
        "kept": len(judgement.kept),
        "aside": [(rater.name, "; ".join(rater.reasons)) for rater in judgement.raters if rater.reasons],
    }


# ---------------------------------------------------------------------------------------------------- what is short


def _summary(told: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers for `dvc metrics`."""
    cover, shortcuts = told["cover"], told["shortcuts"]["verdicts"]
    return {
        "audit_passed": told["audit"]["passed"],
        "cells": cover["cells"],
        "cells_empty": len(cover["empty"]),
        "cells_thin": len(cover["thin"]),
        "crosses_empty": cover["crossed"]["empty"],
        "crosses_thin": cover["crossed"]["thin"],
        "checks_failed": len(told["audit"]["failed"]),
        "dropped": sum(line[1] for line in told["dropped"]),
        "figures_beyond_intervals": len(told["drift"]["beyond"]),
        "samples": told["content"]["samples"],
        "shortcuts_fail": shortcuts["fails"],
        "shortcuts_undecided": shortcuts["undecided"],
    }


def _told(told: Mapping[str, Any]) -> Told:
    audit, short = told["audit"], _summary(told)
    passed = {True: "audit passed", False: f"audit FAILED: {', '.join(audit['failed'])}", None: f"no audit: {audit['why']}"}
    lines = [f"**{passed[audit['passed']]}**", ""]
    lines += [f"- {name.replace('_', ' ')}: {value}" for name, value in short.items() if name != "audit_passed"]
    lines += [f"- dropped {count} of {methods}: {why}" for why, count, methods, _ in told["dropped"][:20]]
    table = [{"check": c["name"], "passed": c["passed"], "found": c["found"]} for c in audit["checks"]]
    # Markdown is shown as HTML: what comes from data may not become markup there either.
    return Told("\n".join(line.replace("&", "&amp;").replace("<", "&lt;") for line in lines), table)
