"""The report: what it counts and tells, that its bytes are the same again, and what a browser shows."""

import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from evaluators.judgement import COLUMNS, judged, read_ratings
from flows import report as module
from flows import workspace
from flows.coverage import LANGUAGE, LIGHT, METHOD, POSE, Cell, Seen, coverage
from flows.params import load_params
from flows.report import AUDIT, COVERAGE, FIGURES, PAGE, SEEN, SUMMARY, report
from flows.report_plots import Dot, intervals
from forgeline.audio import write_sound
from forgeline.clip import Sound, Track
from forgeline.errors import FactoryError
from forgeline.faces import save_tracks
from forgeline.image import write_image
from forgeline.manifest import read_manifest, write_manifest
from forgeline.sample import SPLITS, Sample
from forgeline.video import Encoding, MaskWriter, VideoWriter
from tests.browser import Browser, chromium, tab
from tests.conftest import ROOT, Checkout, user_env

EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)>&amp;\"' $\\frac$ {{ 7 * 7 }}"
"""A name as nobody should have: markup, a formula, a template."""
FRAMES, WIDTH, HEIGHT = 8, 96, 64
PEOPLE = 4


def row(number: int, method: str, person: int, **other: Any) -> Sample:
    """A sample of `method` that shows `person`; a control's id ends in 0, of what is paired with it in another digit."""
    role = "control" if method.endswith("control") else "forgery"
    kind = "audio" if method.startswith(("sound", "speech")) else "image" if method in ("image_control", "dcgan") else "video"
    control = f"{number:03d}0-{kind}"
    label = "real" if role == "control" else "fake"
    own: dict[str, Any] = {
        "sample_id": control if role == "control" else f"{number:03d}{1 + len(method) % 7}-{kind}",
        "media": "",
        "media_type": kind,
        "label": label,
        "video_label": None if kind == "audio" else label,
        "audio_label": None if kind == "image" else label,
        "role": role,
        "method": method,
        "source": "demo",
        "recipe": "{}",
        "pair_id": control,
        "target_id": f"demo:p{person}",
        "apparent_id": f"demo:p{person}",
        "parents": (f"clip-{number}",),
        "split": SPLITS[person % 3],
        "duration_s": 2.0,
        "bytes": 1000,
        "attributes": {
            "age": str(20 + person),
            "glasses": ("none", "round")[person % 2],
            "language": ("de", "en")[person // 2],
        },
    }
    return Sample(**(own | other))


def turned(degrees: float) -> Track:
    """A face in the left half of every picture, its head turned to the side."""
    points = np.zeros((468, 3), np.float32)
    points[[33, 263, 10, 152]] = [(-10, 0, 0), (10, 0, 0), (0, -10, 0), (0, 10, 0)]
    angle = np.radians(degrees)
    about = np.array([(np.cos(angle), 0, np.sin(angle)), (0, 1, 0), (-np.sin(angle), 0, np.cos(angle))], np.float32)
    mesh = np.tile(points @ about + np.array((24, 32, 0)), (FRAMES, 1, 1))
    seen = np.arange(FRAMES) > 1
    box = np.tile(np.array((8, 16, 40, 48), np.float32), (FRAMES, 1))
    track = Track(box, np.zeros((FRAMES, 5, 2), np.float32), mesh.astype(np.float32), np.ones(FRAMES, np.float32), seen)
    return track


def shade(person: int) -> int:
    """Of a person's face; the rest of the picture is of another."""
    return (40, 110, 200, 110)[person]


def written(folder: Path) -> None:
    """A dataset of four hostile people with every kind of media, below the current folder."""
    rows: dict[str, list[Sample]] = {}
    real = []

    def media(sample: Sample, person: int) -> Sample:
        path = workspace.MADE / sample.method / sample.sample_id
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = np.full((HEIGHT, WIDTH, 3), 255 - shade(person), np.uint8)
        picture[16:48, 8:40] = shade(person)
        if sample.media_type == "image":
            path = path.with_suffix(".png")
            write_image(path, picture)
            return replace(sample, media=path.as_posix(), width=WIDTH, height=HEIGHT)
        sound = Sound(np.sin(np.arange(8000) / 9).astype(np.float32) / 3, 16000)
        if sample.media_type == "audio":
            path = path.with_suffix(".flac")
            write_sound(path, sound)
            return replace(sample, media=path.as_posix())
        with VideoWriter(path.with_suffix(".mp4"), WIDTH, HEIGHT, Fraction(25), Encoding(), sound) as out:
            for _ in range(FRAMES):
                out.write(picture)
        mask = path.with_suffix(".mask.mp4") if sample.role == "forgery" else None
        if mask:
            with MaskWriter(mask, WIDTH, HEIGHT, Fraction(25)) as masks:
                for _ in range(FRAMES):
                    masks.write(np.full((HEIGHT, WIDTH), 200, np.uint8))
        size = {"width": WIDTH, "height": HEIGHT, "frames": FRAMES, "fps": Fraction(25)}
        return replace(sample, media=path.with_suffix(".mp4").as_posix(), mask=mask and mask.as_posix(), **size)

    for person in range(PEOPLE):
        for clip in range(2):
            number = 10 * person + clip
            track = Path("data/real/demo/tracks") / f"{number}.npz"
            save_tracks(track, [turned((0, 25, 60, 5)[person])])
            ingested = row(
                number, "ingest", person, sample_id=f"clip-{number}", role="ingested", pair_id=None, track=track.as_posix()
            )
            real.append(replace(ingested, media="x.mp4", width=WIDTH, height=HEIGHT))
            for method in ("control", "blend_swap", "sound_control", "speech", "image_control", "dcgan"):
                if method == "speech" and person == 0:
                    continue
                nobody = {"target_id": None, "apparent_id": None, "attributes": {}, "parents": ()} if method == "dcgan" else {}
                drawn = {"language": "vi", "text": EVIL} if method == "speech" else {}
                declared = {"attributes": {**row(0, method, person).attributes, "hat": EVIL if clip else "none"}}
                sample = row(number, method, person, drawn=drawn, **(declared | nobody))
                rows.setdefault(method, []).append(media(sample, person))
    lost = row(99, "blend_swap", 1, reason=f"no face: {EVIL}", media="lost.mp4", split="train")
    rows["blend_swap"].append(lost)
    rows["control"].append(media(row(99, "control", 1, split="train", target_id=f"demo:{EVIL}"), 1))
    rows["blend_swap"].append(
        media(row(99, "blend_swap", 1, sample_id="0999-video", split="train", target_id=f"demo:{EVIL}"), 1)
    )
    for name, some in rows.items():
        write_manifest(workspace.MADE / name / workspace.MANIFEST, some)
    write_manifest(workspace.REAL / "demo" / workspace.MANIFEST, real)
    variants = [
        replace(s, sample_id=f"{s.sample_id}-c40", variant="c40", pair_id=f"{s.pair_id}-c40")
        for s in (*rows["control"], *rows["blend_swap"])
        if s.reason is None
    ]
    write_manifest(workspace.VARIANTS / "c40" / workspace.MANIFEST, variants)
    write(workspace.SCORES / "about.json", {"figures": figures()})
    write(AUDIT, AUDITED)
    settings = yaml.safe_load((ROOT / "params.tiny.yaml").read_text())
    names = ("control", "blend_swap", "sound_control", "image_control", "dcgan")
    settings["generators"] = {name: settings["generators"].get(name) or {} for name in names} | {"speech": {}}
    settings["release"]["title"] = f"Tests {EVIL}"
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))


def write(path: Path, told: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told))


def figure(
    name: str, method: str, split: str, value: float | None, wide: float | None = None, group: str = "", **other: Any
) -> dict[str, Any]:
    bounds = (None, None) if value is None or wide is None else (value - wide, value + wide)
    told = {"method": method, "variant": "master", "split": split, "group": group, "name": name, "value": value}
    told |= {
        "low": bounds[0],
        "high": bounds[1],
        "n": 4,
        "fingerprint": {"net": EVIL},
        "reason": None if value is not None else EVIL,
    }
    return told | other


def figures() -> list[dict[str, Any]]:
    found = [figure("ssim", "blend_swap", split, 0.9 + at / 50, 0.01) for at, split in enumerate(SPLITS)]
    found += [figure("frechet", "blend_swap", split, 0.25) for split in SPLITS]
    found += [figure("pitch", "speech", "train", -7.25, 0.5), figure("pitch", "blend_swap", "val", None)]
    for split, value, group in (("train", 0.8, "glasses=round"), ("val", 0.925, "glasses=none"), ("test", 0.5, f"hat={EVIL}")):
        found.append(figure("ssim", "blend_swap", split, value, 0.01, group, n=5))
    # Of too few clips, made otherwise than the whole, and without an interval.
    found.append(figure("ssim", "blend_swap", "train", 0.3, 0.01, "hat=none", n=4))
    found.append(figure("ssim", "blend_swap", "val", 0.3, 0.01, "hat=none", n=5, fingerprint={"net": EVIL, "n": "5"}))
    found.append(figure("frechet", "blend_swap", "val", 0.9, 0.01, "hat=none", n=5))
    return found


def shortcut(verdict: str, auc: float | None, **other: Any) -> dict[str, Any]:
    base = {
        "probe": "number",
        "factor": f"f{auc}",
        "method": "blend_swap",
        "variant": "master",
        "pairs": 24,
        "low": None,
        "high": None,
    }
    return base | {"auc": auc, "verdict": verdict} | other


AUDITED: dict[str, Any] = {
    "passed": True,
    "checks": {
        "marks": {"passed": True, "found": 0, "first": []},
        "shortcuts": {
            "passed": True,
            "found": 0,
            "first": [],
            "undecided": [f"video master: 3 of 4 factors {EVIL}"],
            "table": [
                shortcut("passes", 0.51, low=0.45, high=0.57),
                shortcut("undecided", 0.7, low=0.3, high=0.9, media_type="video", larger="fakes"),
                shortcut("undecided", None),
                shortcut("passes", 0.4, factor=EVIL),
                shortcut("fails", 0.81, low=0.7, high=0.9),
            ],
        },
        "sound": {
            "passed": True,
            "found": 0,
            "first": [],
            "undecided": {"speech master": 4},
            "table": [
                {
                    "method": "speech",
                    "variant": "master",
                    "trait": "odd",
                    "pairs": 4,
                    "auc": 0.0,
                    "low": 0.0,
                    "high": 0.6,
                    "verdict": "undecided",
                }
            ],
        },
    },
    "samples": 50,
    "dropped": {},
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the dataset and its report, made in it by the command with one worker."""
    folder = tmp_path_factory.mktemp("report") / "built"
    folder.mkdir()
    before = Path.cwd()
    os.chdir(folder)
    try:
        written(folder)
    finally:
        os.chdir(before)
    command(folder, PYTHONHASHSEED="1", FORGELINE_WORKERS="1")
    return folder


def command(folder: Path, **env: str) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT", "DVC"))} | {"PYTHONPATH": str(ROOT)}
    done = [sys.executable, "-m", "flows", "report"]
    subprocess.run(done, cwd=folder, env=environment | env, check=True, capture_output=True, text=True)


@pytest.fixture
def place(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to change; it is the current folder."""
    shutil.copytree(built, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


class Text(HTMLParser):
    """A page's text by section, and the tags and attributes in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.sections: dict[str, str] = {}
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self._in: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}
        found = dict(attrs)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag == "section":
            self._in = found["id"]

    def handle_endtag(self, tag: str) -> None:
        if self._in and tag in ("td", "th", "li", "p"):
            self.handle_data(" ")
        self._in = None if tag == "section" else self._in

    def handle_data(self, data: str) -> None:
        if self._in:
            self.sections[self._in] = re.sub(r"\s+", " ", self.sections.get(self._in, "") + data)


def page() -> Text:
    return Text(PAGE.read_text())


SECTIONS = {"verdict", "content", "terms", "samples", "coverage", "figures", "shortcuts", "people", "drift"}


# ------------------------------------------------------------------------------------------------------------- counting


def random_rows(seed: int) -> tuple[list[Sample], dict[str, Seen]]:
    chance = random.Random(seed)
    rows, seen = [], {}
    for number in range(60):
        person = chance.randrange(PEOPLE)
        control = row(number, "control", person)
        seen[control.sample_id] = Seen(chance.choice([None, 3.0, 15.0, 80.0]), chance.choice([None, 10.0, 100.0, 255.0]))
        for sample in (control, *(row(number, m, person) for m in ("blend_swap", "lip_sync") if chance.random() < 0.4)):
            reason = "lost" if chance.random() < 0.1 else None
            drawn = {"speech.language": "vi"} if chance.random() < 0.2 else {}
            rows.append(replace(sample, reason=reason, drawn=drawn))
            if chance.random() < 0.5:
                rows.append(
                    replace(
                        sample, sample_id=f"{sample.sample_id}-c40", variant="c40", pair_id=f"{sample.pair_id}-c40", drawn=drawn
                    )
                )
    return rows, seen


@pytest.mark.parametrize("seed", range(3))
def test_cells_are_what_a_recount_gives(seed: int) -> None:
    rows, seen = random_rows(seed)
    found = coverage(rows, seen)
    samples: Counter[tuple[str, str, str, str]] = Counter()
    people: dict[tuple[str, str, str, str], set[str | None]] = {}
    for s in rows:
        if s.reason is not None:
            continue
        shown = seen[str(s.pair_id).split("-c40")[0]]
        levels = {"glasses": s.attributes["glasses"], LANGUAGE: "vi" if s.drawn else s.attributes["language"]}
        if shown.yaw is not None:
            levels[POSE] = {3.0: "0 to 15°", 15.0: "15 to 40°", 80.0: "over 40°"}[shown.yaw]
        if shown.luma is not None:
            levels[LIGHT] = {10.0: "dark", 100.0: "medium", 255.0: "bright"}[shown.luma]
        for level in levels.items():
            samples[s.method, s.variant, *level] += 1
            people.setdefault((s.method, s.variant, *level), set()).add(s.target_id)
    assert {key: cell.samples for key, cell in found.cells.items() if cell.samples} == dict(samples)
    assert {key: cell.people for key, cell in found.cells.items() if cell.samples} == {k: len(v) for k, v in people.items()}
    assert found.left_out == ("age: a number, which has no groups",)
    for level in found.levels:
        own = [samples[m, "master", level.factor, level.name] for m in ("control", "blend_swap", "lip_sync")]
        assert (level.real, level.fake) == (own[0], sum(own[1:]))
        assert sum(cell.samples for cell in level.splits.values()) == level.all.samples == sum(own)
    crossed: dict[tuple[str, str], Counter[tuple[str, str]]] = {}
    for s in rows:
        if s.reason is None and s.variant == "master":
            shown, of = seen[str(s.pair_id)], {METHOD: s.method, "glasses": s.attributes["glasses"]}
            of[LANGUAGE] = "vi" if s.drawn else s.attributes["language"]
            of |= {POSE: {3.0: "0 to 15°", 15.0: "15 to 40°", 80.0: "over 40°"}[shown.yaw]} if shown.yaw is not None else {}
            of |= {LIGHT: {10.0: "dark", 100.0: "medium", 255.0: "bright"}[shown.luma]} if shown.luma is not None else {}
            for one, other in itertools.permutations(of, 2):
                crossed.setdefault((one, other), Counter())[of[one], of[other]] += 1
    assert [(c.one, c.other) for c in found.crosses[:2]] == [(METHOD, LANGUAGE), (POSE, LIGHT)]
    factors = ("glasses", POSE, LIGHT, LANGUAGE)
    assert {frozenset((c.one, c.other)) for c in found.crosses[1:]} == set(map(frozenset, itertools.combinations(factors, 2)))
    for cross in found.crosses:
        assert {key: cell.samples for key, cell in cross.cells.items() if cell.samples} == crossed[cross.one, cross.other]
        assert set(cross.cells) == set(itertools.product(cross.rows, cross.columns))


def test_states_of_cells_and_what_is_missing() -> None:
    rows = [row(n, m, n % 2, split="train") for n in range(8) for m in ("control", "blend_swap")]
    rows += [row(20 + n, "control", 2, split="val", attributes={"glasses": "square"}) for n in range(9)]
    found = coverage(rows, {})

    def state(method: str, level: str) -> str:
        return found.cells[method, "master", "glasses", level].state

    assert (state("control", "none"), state("control", "square"), state("blend_swap", "square")) == ("thin", "thin", "empty")
    # Of one person alone any number is thin, and fewer than five are of two people; five of two are enough.
    for count, expected in ((4, "thin"), (5, "enough")):
        other = row(40, "control", 3, split="val", attributes={"glasses": "square"})
        found = coverage([*rows[:16], other, *rows[16 : 15 + count]], {})
        assert state("control", "square") == expected
    found = coverage(rows, {})
    assert ("blend_swap", "master", "glasses", "square") in found.of_state("empty", "master")
    assert [level.name for level in found.missing_in("train")] == ["square"]
    assert [level.name for level in found.missing_in("test")] == [level.name for level in found.levels]
    assert set(found.left_out[1:]) == {f"{POSE}: known of no sample", f"{LIGHT}: known of no sample"}


def test_groups_that_never_come_together_are_told() -> None:
    """Each group is there often enough, alone; and each is of the one language."""
    attributes = [{"glasses": "none", "language": "de"}, {"glasses": "round", "language": "en"}]
    rows = [row(n, "control", n % 4, attributes=attributes[n % 2]) for n in range(20)]
    rows += [row(n, "blend_swap", n % 4, attributes=attributes[0]) for n in range(0, 6, 2)]
    found = coverage(rows, {})
    assert found.of_state("empty") == [("blend_swap", "master", "glasses", "round"), ("blend_swap", "master", LANGUAGE, "en")]
    assert [(cross.one, cross.other) for cross in found.crosses] == [(METHOD, LANGUAGE), ("glasses", LANGUAGE)]
    by_method, together = found.crosses
    assert (by_method.of_state("empty"), by_method.of_state("thin")) == ([("blend_swap", "en")], [("blend_swap", "de")])
    assert together.of_state("empty") == [("none", "en"), ("round", "de")]
    assert together.cells["none", "de"] == Cell(13, 2)
    assert found.states() == {
        ("control", "master"): {"empty": 0, "thin": 0, "enough": 4},
        ("blend_swap", "master"): {"empty": 2, "thin": 2, "enough": 0},
    }


def test_variants_are_held_against_their_masters() -> None:
    rows = [row(n, "control", n % 2) for n in range(4)]
    copies = [replace(s, sample_id=f"{s.sample_id}-c40", variant="c40") for s in rows]
    assert coverage([*rows, *copies], {}).unlike_masters() == []
    (first, *others) = copies
    unlike = coverage([*rows, replace(first, reason="lost"), *others], {}).unlike_masters()
    assert ("control", "c40", "glasses", "none") in unlike
    assert ("control", "c40", "glasses", "round") not in unlike


def test_attributes_without_groups_are_named() -> None:
    rows = [row(n, "control", 0, attributes={"name": f"n{n}", "size": str(n / 2)}) for n in range(20)]
    rows.append(row(50, "dcgan", 0, attributes={}, target_id=None))
    found = coverage(rows, {})
    assert [level.factor for level in found.levels] == []
    assert found.left_out[:2] == ("name: 20 different values, more than 16", "size: a number, which has no groups")
    assert "dcgan" in found.left_out[-1]


# -------------------------------------------------------------------------------------------------------------- the page


def test_the_page_tells_what_is_there(place: Path) -> None:
    told = page().sections
    assert set(told) == SECTIONS
    assert "Audit passed" in told["verdict"]
    assert "1 of" not in told["verdict"]
    assert "no face: <script>" in told["verdict"]
    standing = PEOPLE * 2 * 6 - 2 + 2
    assert f"{standing + 18} samples ({standing} masters" in told["content"]
    assert "blend_swap forgery video fake" in told["content"]
    assert "commercial, detection" in told["terms"]
    assert "0.9 [0.89, 0.91]" in told["figures"]
    assert "−7.25" in told["figures"]
    assert "Nobody has rated this version yet" in told["people"]
    assert "No earlier version is named" in told["drift"]
    assert len(PAGE.read_bytes()) < 5_000_000
    summary = json.loads(SUMMARY.read_text())
    assert (summary["samples"], summary["dropped"], summary["audit_passed"]) == (standing + 18, 1, True)
    assert (summary["shortcuts_fail"], summary["shortcuts_undecided"]) == (1, 3)


def test_pose_and_light_are_measured_on_the_controls(place: Path) -> None:
    told = page().sections["coverage"]
    # real, fake, share of fakes, people, and what train, val and test have. Pose is known of films alone; the light is that of
    # the face in a film, and of the whole of a picture, whose middle is not the face's.
    for line in (
        "0 to 15° 4 4 50% 2 8 0 0",
        "15 to 40° 2 2 50% 1 0 4 0",
        "over 40° 2 2 50% 1 0 0 4",
        "dark 2 2 50% 1 4 0 0",
        "bright 4 4 50% 4 4 0 4",
    ):
        assert line in told, line


def test_the_same_data_give_the_same_bytes(built: Path, tmp_path: Path) -> None:
    """In another folder, by other processes with another hash seed, from nothing."""
    again = tmp_path / "elsewhere"
    shutil.copytree(built, again)
    shutil.rmtree(again / workspace.REPORT)
    command(again, PYTHONHASHSEED="2", FORGELINE_WORKERS="2")
    one, other = (
        {p.relative_to(root): p.read_bytes() for p in sorted((root / workspace.REPORT).rglob("*")) if p.is_file()}
        for root in (built, again)
    )
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []
    text = (again / PAGE).read_text()
    assert str(again) not in text
    assert os.uname().nodename not in text or len(os.uname().nodename) < 4
    assert not re.search(r"20\d\d-\d\d-\d\d", re.sub(r"base64,[A-Za-z0-9+/=]*", "", text))


def test_what_is_in_the_data_is_text(place: Path) -> None:
    """Names with markup, formulas and templates: shown as they are."""
    found = page()
    allowed = {
        "html",
        "meta",
        "link",
        "title",
        "style",
        "header",
        "h1",
        "h2",
        "h3",
        "p",
        "nav",
        "a",
        "main",
        "section",
        "ul",
        "li",
    }
    allowed |= {
        "b",
        "i",
        "small",
        "code",
        "div",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "br",
        "details",
        "summary",
    }
    allowed |= {"dl", "dt", "dd", "span", "figure", "figcaption", "img", "svg", "line", "rect", "circle"}
    assert set(found.tags) <= allowed
    assert not {name for name in found.attributes if name.startswith("on")}
    assert "49" not in found.sections["figures"].split("net")[1][:200]
    plain = re.sub(r"\s+", " ", EVIL)
    for section in ("verdict", "samples", "coverage", "figures", "shortcuts"):
        assert plain in found.sections[section], section
    for path in (COVERAGE, FIGURES):
        tree = ElementTree.fromstring(path.read_text())
        assert not [tag for tag in tree.iter() if tag.tag.endswith("script")]
    assert plain in "".join(ElementTree.fromstring(COVERAGE.read_text()).itertext())
    names = intervals({EVIL: [Dot(EVIL, "val", 1.0, 0.5, 1.5)]})
    assert "".join(ElementTree.fromstring(names).itertext()).count("<script>") >= 2


def test_ids_are_unique_and_links_lead_somewhere(place: Path) -> None:
    found = page()
    assert len(found.ids) == len(set(found.ids))
    assert set(re.findall(r'href="#([^"]*)"', PAGE.read_text())) <= set(found.ids)
    assert set(re.findall(r'(?:src|href)="(?!data:|#)([^"]*)"', PAGE.read_text())) == set()


def drop_all() -> None:
    for name in ("control", "blend_swap", "sound_control", "speech", "image_control", "dcgan"):
        path = workspace.MADE / name / workspace.MANIFEST
        write_manifest(path, [replace(s, reason="nothing stands") for s in read_manifest(path)])
    write_manifest(workspace.VARIANTS / "c40" / workspace.MANIFEST, [])


def fail() -> None:
    told = json.loads(AUDIT.read_text())
    told["passed"] = told["checks"]["marks"]["passed"] = False
    told["checks"]["marks"] |= {"found": 5, "first": [f"fault {n} {EVIL}" for n in range(5)]}
    write(AUDIT, told)


MISSING: dict[str, tuple[Callable[[], object], str, str]] = {
    "no scores": (lambda: shutil.rmtree(workspace.SCORES), "figures", "data/scores/about.json is not there"),
    "older scores": (lambda: write(workspace.SCORES / "about.json", {"blend_swap": {}}), "figures", "is of another format"),
    "a list": (lambda: write(workspace.SCORES / "about.json", []), "figures", "is of another format"),
    "broken scores": (lambda: (workspace.SCORES / "about.json").write_text("{"), "figures", "can't be read"),
    "no figures": (lambda: write(workspace.SCORES / "about.json", {"figures": []}), "figures", "Nothing was measured"),
    "no audit": (lambda: shutil.rmtree(workspace.AUDIT), "verdict", "No audit"),
    "failed audit": (fail, "verdict", "Audit failed: marks"),
    "nothing stands": (drop_all, "verdict", "no sample stands"),
    "no tracks": (lambda: shutil.rmtree(workspace.REAL), "coverage", f"{POSE}: known of no sample"),
    "broken ratings": (
        lambda: [workspace.RATINGS.mkdir(), (workspace.RATINGS / "forgeline-tiny.csv").write_text("a,b\n1,2\n")],
        "people",
        "is no table of ratings",
    ),
    "a broken film": (
        lambda: (workspace.MADE / "control/0000-video.mp4").write_bytes(b"no film"),
        "samples",
        "no picture: ",
    ),
}


@pytest.mark.parametrize("what", MISSING)
def test_what_is_missing_is_named(place: Path, what: str) -> None:
    change, section, said = MISSING[what]
    change()
    report(load_params())
    told = page().sections
    assert set(told) == SECTIONS
    assert said in told[section]


def test_a_failed_audit_is_told_with_its_faults(place: Path) -> None:
    fail()
    told = report(load_params())
    assert "Audit passed" not in page().sections["verdict"]
    assert all(f"fault {n} <script>" in page().sections["verdict"] for n in range(5))
    assert (
        "marks (each mark and tag was read back, also after an attack): 5 faults, the first: fault 0"
        in page().sections["verdict"]
    )
    assert "audit FAILED: marks" in told.markdown
    assert "<" not in told.markdown
    assert {"check": "marks", "passed": False, "found": 5} in told.table
    assert json.loads(SUMMARY.read_text())["audit_passed"] is False


def test_shortcuts_come_worst_first(place: Path) -> None:
    told = module._shortcuts(module._audit())
    assert [(line["verdict"], line["auc"]) for line in told["lines"]] == [
        ("fails", 0.81),
        ("undecided", 0.0),
        ("undecided", 0.7),
        ("undecided", None),
        ("passes", 0.4),
        ("passes", 0.51),
    ]
    assert [line["factor"] for line in told["lines"] if line["probe"] == "sound"] == ["odd"]
    assert "speech master: 4 pairs are too few" in page().sections["verdict"]


def test_groups_that_stand_apart_come_farthest_first(place: Path) -> None:
    told = module._figures()
    assert (told.groups, told.small) == (3, 3)
    assert [(f["group"].split("=")[0], f["split"]) for f in told.apart] == [("hat", "test"), ("glasses", "train")]


def test_ratings_of_this_version_are_told(place: Path) -> None:
    lines = []
    controls = [f"{n:03d}0-video" for n in (0, 1, 10, 11, 20, 21)]
    for rater in ("r1", "r2"):
        trials: list[tuple[str, str, str, str]] = [(c, c, "control", "control") for c in controls]
        trials += [(row(int(c[:3]), "blend_swap", 0).sample_id, c, "blend_swap", "forgery") for c in controls]
        trials += [("gone", "gone", "blend_swap", "forgery")]
        for order, (sample, control, method, role) in enumerate(trials, 1):
            for question, answer in (("naturalness", "4"), ("realism", "3"), ("fake", "yes" if role == "forgery" else "no")):
                lines.append((rater, order, question, sample, control, method, "video", role, answer, "0", "1", "5.00"))
        for order in range(20, 28):
            lines.append(
                (rater, order, "pair", "s", "s", "blend_swap", "video", "", ("left", "right")[order % 2], "1", "1", "5.00")
            )
    workspace.RATINGS.mkdir()
    path = workspace.RATINGS / "forgeline-tiny.csv"
    path.write_text("\n".join(",".join(map(str, line)) for line in [COLUMNS, *lines]) + "\n")
    report(load_params())
    told = page().sections["people"]
    expected = judged([r for r in read_ratings(path) if r["sample_id"] != "gone"])
    assert len(expected.kept) == 2
    assert "72 answers of 2 raters" in told
    assert "6 answers are of samples that this version does not have" in told
    value = expected.methods["blend_swap"].naturalness
    assert f"blend_swap {module.number(value.value)} [{module.number(value.low)}, {module.number(value.high)}]" in told


def test_changes_are_told_beyond_intervals_alone() -> None:
    before = [
        figure("a", "m", "val", 1.0, 0.1),
        figure("b", "m", "val", 1.0, 0.1),
        figure("c", "m", "val", 1.0, 0.1),
        figure("d", "m", "val", 1.0),
        figure("e", "m", "val", 1.0),
        figure("f", "m", "val", 1.0, 0.1),
    ]
    after = [
        figure("a", "m", "val", 1.15, 0.1),
        figure("b", "m", "val", 1.25, 0.1),
        figure("c", "m", "val", 9.0, 0.1, fingerprint={"net": "another"}),
        figure("d", "m", "val", 2.0),
        figure("e", "m", "val", 1.0),
        figure("g", "m", "val", 1.0, 0.1),
    ]
    told = module._drift("v1", *({module._key(f): f for f in figures} for figures in (before, after)))
    assert [line["name"] for line in told["beyond"]] == ["b"]
    assert [line["name"] for line in told["open"]] == ["d"]
    assert told["within"] == 1
    refused = {why: one for why, _, one in told["refused"]}
    assert refused.pop("in v1 alone") == "m master val f"
    assert refused.pop("in this version alone") == "m master val g"
    ((why, one),) = refused.items()
    assert ("net" in why, one) == (True, "m master val c")


def test_the_page_stays_small(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = sorted(SEEN.glob("*.jpg"))
    sizes = [path.stat().st_size for path in pictures]
    assert len(sizes) == 12  # two of each method
    monkeypatch.setattr(module, "PICTURE_BYTES", sum(sizes) - 1)
    monkeypatch.setattr(module, "MOST_CELLS", 2)
    monkeypatch.setattr(module, "MOST_PANELS", 1)
    monkeypatch.setattr(module, "MOST_LINES", 4)
    report(load_params())
    told = page().sections
    assert "1 more had no room" in told["samples"]
    assert page().tags["img"] == 2 + 11
    assert "5 more numbers are in" in told["figures"]
    assert "2 more figures have no panel" in told["figures"]
    assert "2 more are in" in told["shortcuts"]


def test_what_did_not_change_is_not_measured_again(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = sorted((workspace.MADE / "control").glob("*.mp4"))[0]
    path.write_bytes(sorted((workspace.MADE / "control").glob("*.mp4"))[-1].read_bytes())
    report(load_params())
    said = capfd.readouterr().out
    kept, of = map(int, re.findall(r"report: (\d+) of (\d+) are up to date", said)[0])
    assert 0 < of - kept < 6  # those on whose picture it is


# ------------------------------------------------------------------------------------------------------- in the graph


def test_the_page_comes_before_the_gate(tiny: Checkout) -> None:
    """A version that is refused has its page, too: of the stages that DVC would run, `release` comes after it."""
    said = tiny.run("dvc", "repro", "--dry", "--force").stdout
    order = re.findall(r"flows (\w+)", said)
    assert order.index("audit") < order.index("report") < order.index("release")
    assert "Audit passed" in (tiny.path / PAGE).read_text()
    assert (tiny.path / COVERAGE).exists()


def test_a_refused_version_has_its_page(clone: Checkout) -> None:
    """A film that was exchanged after it was sealed: `dvc repro` ends at the release, and the page says why."""
    one, other = (s for s in read_manifest(clone.path / "data/made/blend_swap/manifest.parquet")[:2])
    released = clone.lock()["release"]
    film = clone.path / one.media
    film.unlink()  # and not written into, as it may be DVC's own copy
    shutil.copyfile(clone.path / other.media, film)
    clone.run("dvc", "commit", "--force", "generate@blend_swap")
    said = clone.run("dvc", "repro", fails=True)
    assert "the audit failed" in said.stderr
    text = (clone.path / PAGE).read_text()
    assert "Audit failed: files" in text
    assert f"{one.media}: is not the file that was sealed" in text[: text.index("Checks of the audit")]
    assert json.loads((clone.path / SUMMARY).read_text())["audit_passed"] is False
    assert clone.run("dvc", "status", "report").stdout.strip().endswith("up to date.")  # the page is DVC's
    assert clone.lock()["release"] == released


def test_a_version_is_compared_with_an_older_one(place: Path, tmp_path: Path) -> None:
    project = Checkout(place, user_env(tmp_path))
    about = workspace.SCORES / "about.json"
    write(about, {"figures": [figure("ssim", "blend_swap", "train", 0.5, 0.01)]})
    project.run("git", "init", "--quiet", "--initial-branch", "main")
    project.run("dvc", "init", "--quiet")
    project.run("dvc", "add", "--quiet", str(about))
    project.run("git", "add", f"{about}.dvc", "params.yaml")
    project.run("git", "commit", "--quiet", "--message", "A version")
    project.run("git", "tag", "v1")
    about.unlink()
    write(about, {"figures": [figure("ssim", "blend_swap", "train", 0.75, 0.01)]})
    project.set_params(project.params() | {"report": {"baseline": "v1"}})
    report(load_params())
    assert "1 figures changed since v1" in page().sections["verdict"]
    assert "0.5 [0.49, 0.51] 0.75 [0.74, 0.76] 0.25" in page().sections["drift"]
    project.set_params(project.params() | {"report": {"baseline": "v9"}})
    with pytest.raises(FactoryError, match="v9: its figures can't be read"):
        report(load_params())


# -------------------------------------------------------------------------------------------------------------- a browser


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chromium(tmp_path_factory.mktemp("profile")) as address:
        yield address


@pytest.fixture
def browser(running: str, built: Path) -> Iterator[Browser]:
    """A new tab that shows the page as a file; it asks for nothing else, and says nothing."""
    with tab(running) as shown:
        url = (built / PAGE).as_uri()
        shown.open(url)
        yield shown
        asked = {e["params"]["request"]["url"] for e in shown.events if e["method"] == "Network.requestWillBeSent"}
        assert all(each == url or each.startswith("data:") for each in asked)
        assert url in asked
        assert not shown.complaints()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_fits(browser: Browser, width: int, scheme: str) -> None:
    browser.do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.do("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    assert set(browser.ask("[...document.querySelectorAll('section')].map(s => s.id)")) == SECTIONS
    browser.ask("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    wide, shown = browser.ask("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide <= shown
    assert browser.ask("innerWidth") == width
    assert browser.ask("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert browser.ask("document.querySelectorAll('script').length") == 0
    # Ink on paper, whatever the scheme: text must be told from what is behind it.
    dark = browser.ask("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", dark)[:3])) < 3 * 128) == (scheme == "dark")


def test_the_keyboard_reaches_all(browser: Browser) -> None:
    browser.key("Tab", 9)
    assert browser.ask("document.activeElement.hash") == "#content"
    seen = set()
    for _ in range(80):
        browser.key("Tab", 9)
        tag = browser.ask("document.activeElement.tagName")
        if tag == "SUMMARY" and "SUMMARY" not in seen:
            browser.key("Enter", 13, "\r")
            assert browser.ask("document.activeElement.parentElement.open")
        seen.add(tag)
    assert {"A", "SUMMARY", "DIV"} <= seen  # links, what folds, and tables that scroll
