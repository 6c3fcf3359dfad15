"""Names say who is in a clip: a corpus's own give back what they were made of, and no other text makes somebody up.

And its metadata: whatever is put in their place, there is one clear error, or rows that can be written.
"""

import json
import math
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgeline.errors import SourceError
from forgeline.inventory import Inventory
from forgeline.manifest import write_manifest
from forgeline.sample import Sample
from sources import celeba
from sources.celeb_df import METHODS, PEOPLE
from sources.corpus import OUTSIDE, Source, media_type
from sources.ffpp import REENACTMENTS, SWAPS
from tests.layouts import FOLK, LAYOUTS, Layout
from tests.test_sources import by_path, listed, on_disk, with_clips


@pytest.fixture(scope="module", autouse=True)
def _small_celeba() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(celeba, "PICTURES", 2000)
        yield


def row_of(source: Source, path: str, root: Path = Path("unread"), *beside: str) -> Sample:
    """The row of a clip that lies with others in a corpus, of whose metadata nothing is there."""
    return by_path(source(source.kind, root, listed([path, *beside])))[path]  # type: ignore[attr-defined]


def ids(row: Sample) -> tuple[str | None, str | None, str | None]:
    """Target, source and who is seen, without the corpus's name."""
    said = (row.target_id, row.source_id, row.apparent_id)
    return tuple(person if person is None else person.partition(":")[2] for person in said)  # type: ignore[return-value]


# From names back to what they were made of ----------------------------------------------------------------------------

YOUTUBE = st.text("ABCxyz019-_", min_size=11, max_size=11)


@pytest.mark.parametrize("version", ["v1", "v2", "++"])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_celeb_df_s_names(version: str, data: st.DataObject) -> None:
    source = LAYOUTS[f"celeb_df {version}"].source
    target, other = data.draw(st.lists(st.sampled_from(sorted(PEOPLE[version])), min_size=2, max_size=2, unique=True))
    number = data.draw(st.integers(0, 9999))
    top = data.draw(st.sampled_from(["Celeb-synthesis", "celeb-fake", "CELEB-SYNTHESIS"]))
    inner = data.draw(st.sampled_from(["", "videos/"]))
    end = data.draw(st.sampled_from([".mp4", ".noaudio.mp4"]))
    real = f"{data.draw(st.sampled_from(['Celeb-real', 'celeb-real']))}/{inner}{target}_{number:04}{end}"
    nobody = f"{data.draw(st.sampled_from(['YouTube-real', 'Youtube-real']))}/{inner}{number:05}{end}"
    swap = f"{top}/{inner}{target}_{other}_{number:04}{end}"
    rows = by_path(source("celeb_df", Path("unread"), listed([real, nobody, swap])))
    assert [(ids(rows[path]), rows[path].label) for path in (real, nobody, swap)] == [
        ((target, None, target), "real"),
        ((None, None, None), "real"),
        ((target, other, other), "fake"),
    ]
    assert rows[swap].parents == (rows[real].sample_id,)
    if version == "++":
        family = data.draw(st.sampled_from(["FaceSwap", "FaceReenact", "TalkingFace"]))
        method = data.draw(st.sampled_from([name for name in METHODS[family] if name != "Celeb-DF"]))  # type: ignore[index]
        stem = f"{target}_{number:04}_{other}_speech" if family == "TalkingFace" else f"{target}_{other}_{number:04}"
        row = row_of(source, f"{top}/{family}/{method}/{inner}{stem}{end}")
        assert (ids(row), row.method) == ((target, other, other if family == "FaceSwap" else target), method)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_ffpp_s_names(data: st.DataObject) -> None:
    source = LAYOUTS["ffpp"].source
    target, other = (f"{n:03}" for n in data.draw(st.lists(st.integers(0, 999), min_size=2, max_size=2, unique=True)))
    method = data.draw(st.sampled_from([*SWAPS, *REENACTMENTS]))
    real, fake = f"original_sequences/youtube/c23/videos/{target}.mp4", f"{method}/{target}_{other}.mp4"
    mask = f"manipulated_sequences/{method}/masks/videos/{target}_{other}.mp4"
    rows = by_path(source("ffpp", Path("unread"), listed([real, fake, mask])))
    assert (ids(rows[real]), rows[real].label) == ((target, None, target), "real")
    seen = target if method in REENACTMENTS else other
    assert (ids(rows[fake]), rows[fake].label, rows[fake].method) == ((target, other, seen), "fake", method)
    assert (rows[fake].parents, rows[fake].mask) == ((rows[real].sample_id,), f"data/raw/ffpp/{mask}")
    one, two = (f"{n:02}" for n in data.draw(st.lists(st.integers(1, 28), min_size=2, max_size=2, unique=True)))
    scene, code = data.draw(st.text("az_", min_size=1, max_size=12)), data.draw(st.text("AZ09", min_size=8, max_size=8))
    actor = f"original_sequences/actors/c23/videos/{one}__{scene}.mp4"
    swap = f"manipulated_sequences/DeepFakeDetection/c23/videos/{one}_{two}__{scene}__{code}.mp4"
    rows = by_path(source("ffpp", Path("unread"), listed([actor, swap])))
    assert ids(rows[actor]) == (f"actor_{one}", None, f"actor_{one}")
    assert ids(rows[swap]) == (f"actor_{one}", f"actor_{two}", f"actor_{two}")
    assert rows[swap].parents == (rows[actor].sample_id,)


@settings(max_examples=20, deadline=None)
@given(part=st.integers(0, 49), names=st.lists(st.text("abz", min_size=10, max_size=10), min_size=2, max_size=2, unique=True))
def test_dfdc_s_names(tmp_path_factory: pytest.TempPathFactory, part: int, names: list[str]) -> None:
    real, fake = (f"{name}.mp4" for name in names)
    root = tmp_path_factory.mktemp("names") / "raw"
    folder = f"dfdc_train_part_{part:02}"
    told = {real: {"label": "REAL", "split": "train", "original": None}}
    told |= {fake: {"label": "FAKE", "split": "train", "original": real}}
    clips = [f"{folder}/{real}", f"{folder}/{fake}"]
    inventory = with_clips(on_disk(root, {f"{folder}/metadata.json": json.dumps(told)}), clips)
    rows = by_path(LAYOUTS["dfdc"].source("dfdc", root, inventory))
    assert [rows[path].label for path in clips] == ["real", "fake"]
    assert rows[clips[1]].parents == (rows[clips[0]].sample_id,)
    assert {row.origin for row in rows.values()} == {f"dfdc:part_{part}"}
    assert {ids(row) for row in rows.values()} == {(None, None, None)}


@settings(max_examples=20, deadline=None)
@given(numbers=st.lists(st.integers(1, 10**7), min_size=2, max_size=2, unique=True), take=st.integers(0, 999))
def test_dfdc_s_preview_s_names(tmp_path_factory: pytest.TempPathFactory, numbers: list[int], take: int) -> None:
    target, other = numbers
    root = tmp_path_factory.mktemp("names") / "raw"
    real, swap = f"original_videos/{target}_A_{take:03}.mp4", f"method_B/{other}_{target}_A_{take:03}.mp4"
    told = {real: {"label": "real", "set": "train", "target_id": target}}
    told |= {swap: {"label": "fake", "set": "train", "target_id": target, "swapped_id": other, "source_video": real}}
    rows = by_path(LAYOUTS["dfdc"].source("dfdc", root, with_clips(on_disk(root, {"dataset.json": json.dumps(told)}), told)))
    assert ids(rows[real]) == (str(target), None, str(target))
    assert ids(rows[swap]) == (str(target), str(other), str(other))
    assert rows[swap].parents == (rows[real].sample_id,)


@settings(max_examples=30, deadline=None)
@given(number=st.integers(1, 99999), video=YOUTUBE, clip=st.integers(0, 99999), data=st.data())
def test_voxceleb_s_names(number: int, video: str, clip: int, data: st.DataObject) -> None:
    before = data.draw(st.sampled_from(["", "dev/", "test/", "dev/aac/", "x/test/mp4/"]))
    form = data.draw(st.sampled_from(["wav", "m4a", "mp4"]))
    row = row_of(LAYOUTS["voxceleb 1"].source, f"{before}id{number:05}/{video}/{clip:05}.{form}")
    assert (row.reason, ids(row), row.origin) == (None, (f"id{number:05}", None, f"id{number:05}"), f"youtube:{video}")
    assert row.media_type == ("video" if form == "mp4" else "audio")
    if "test" in before:
        assert row.split == "test"


@settings(max_examples=30, deadline=None)
@given(video=YOUTUBE, show=st.integers(10**18, 10**19 - 1), clip=st.integers(0, 99999), data=st.data())
def test_lrs_s_names(video: str, show: int, clip: int, data: st.DataObject) -> None:
    two = f"{data.draw(st.sampled_from(['main', 'mvlrs_v1/main', 'pretrain', 'x/pretrain']))}/{show}/{clip:05}.mp4"
    row = row_of(LAYOUTS["lrs2"].source, two)
    assert (ids(row), row.origin, row.label) == ((None, None, None), f"bbc:{show}", "real")
    subset = data.draw(st.sampled_from(["pretrain", "trainval", "test"]))
    row = row_of(LAYOUTS["lrs3"].source, f"{subset}/{video}/{clip:05}.mp4")
    assert (ids(row), row.origin) == ((video, None, video), f"youtube:{video}")
    assert row.split == ("test" if subset == "test" else "train")


WORDS = [
    "bin lay place set".split(),  # noqa: SIM905
    "blue green red white".split(),  # noqa: SIM905
    "at by in with".split(),  # noqa: SIM905
    [*"abcdefghijklmnopqrstuvxyz"],
    "zero one two three four five six seven eight nine".split(),  # noqa: SIM905
    "again now please soon".split(),  # noqa: SIM905
]


@settings(max_examples=30, deadline=None)
@given(speaker=st.integers(1, 34), words=st.tuples(*map(st.sampled_from, WORDS)), data=st.data())
def test_grid_s_names(speaker: int, words: tuple[str, ...], data: st.DataObject) -> None:
    digits = dict(zip(WORDS[4], "z123456789", strict=True))
    stem = "".join(digits.get(word, word[0]) if place == 4 else word[0] for place, word in enumerate(words))
    path = data.draw(st.sampled_from([f"s{speaker}/{stem}.mpg", f"s{speaker}_50kHz/{stem}.wav", f"id{speaker}_vcd_{stem}.mpg"]))
    row = row_of(LAYOUTS["grid"].source, path)
    assert (ids(row), row.text) == ((f"s{speaker}", None, f"s{speaker}"), " ".join(words))
    assert row.origin == f"grid:s{speaker}/{stem}"


@given(number=st.integers(1, 2000), identity=st.integers(1, 10_177), folder=st.sampled_from(["", "Img/", "a/b/"]))
@settings(max_examples=20, deadline=None)
def test_celeba_s_names(tmp_path_factory: pytest.TempPathFactory, number: int, identity: int, folder: str) -> None:
    root = tmp_path_factory.mktemp("names") / "raw"
    path = f"{folder}img_align_celeba/{number:06}.jpg"
    inventory = with_clips(on_disk(root, {"identity_CelebA.txt": f"{number:06}.jpg {identity}\n"}), [path])
    row = by_path(LAYOUTS["celeba"].source("celeba", root, inventory))[path]
    assert (ids(row), row.split) == ((str(identity), None, str(identity)), "train")


@given(number=st.integers(0, 69_999), folder=st.booleans())
@settings(max_examples=20, deadline=None)
def test_ffhq_s_names(tmp_path_factory: pytest.TempPathFactory, number: int, folder: bool) -> None:
    root = tmp_path_factory.mktemp("names") / "raw"
    entry = json.loads(LAYOUTS["ffhq"].metadata["ffhq-dataset-v2.json"])["3"]
    entry["metadata"]["photo_url"] = f"https://photograph/{number}"
    path = f"{number // 1000:02}000/{number:05}.png" if folder else f"{number:05}.png"
    inventory = with_clips(on_disk(root, {"ffhq-dataset-v2.json": json.dumps({str(number): entry})}), [path])
    row = by_path(LAYOUTS["ffhq"].source("ffhq", root, inventory))[path]
    assert (ids(row), row.origin) == ((None, None, None), f"https://photograph/{number}")


NAMES = st.text(st.characters(exclude_characters="/\\", categories=["L", "N", "P", "S"]), min_size=1, max_size=20)


@settings(max_examples=30, deadline=None)
@given(person=st.sampled_from(FOLK), name=NAMES.filter(lambda name: name not in (".", "..")), stranger=NAMES)
def test_a_folder_s_names(person: str, name: str, stranger: str) -> None:
    """Who is in a clip is whose folder it lies in, and nobody else's folder is anybody's."""
    layout = LAYOUTS["folder"]
    paths = [f"{person}/{name}.mp4", f"{stranger}/{name}.mp4", f"{person}/{stranger}/{name}.mp4"]
    rows = by_path(layout.source("folder", Path("unread"), listed([*layout.clips, *paths])))
    assert ids(rows[paths[0]]) == (person, None, person)
    if stranger not in FOLK:
        known = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", stranger)
        assert rows[paths[1]].reason == (f"no consent is recorded for {stranger}" if known else OUTSIDE)
    assert rows[paths[2]].reason == OUTSIDE


@settings(max_examples=20, deadline=None)
@given(time=st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1)), person=st.sampled_from(["", *FOLK, "eve"]))
def test_a_camera_s_names(tmp_path_factory: pytest.TempPathFactory, time: datetime, person: str) -> None:
    """Only who is written down beside the segment is in it."""
    root = tmp_path_factory.mktemp("names") / "raw"
    stamp, told = f"{time:%Y%m%dT%H%M%S}.{time.microsecond // 1000:03}Z", LAYOUTS["camera"].metadata
    files = {f"{stamp}.jsonl": next(iter(told.values())), "people.csv": "segment,person\n"}
    files["people.csv"] += f"{stamp}.mkv,{person}\n" if person else ""
    more = "20000101T000000.000Z" if time.year > 2000 else "20990101T000000.000Z"
    files[f"{more}.jsonl"] = next(iter(told.values()))
    inventory = with_clips(on_disk(root, dict(files)), [f"{stamp}.mkv", f"{more}.mkv"])
    row = by_path(LAYOUTS["camera"].source("camera", root, inventory))[f"{stamp}.mkv"]
    assert ids(row) == ((None, None, None) if person in ("", "eve") else (person, None, person))
    assert (row.reason or "") == ("no consent is recorded for eve" if person == "eve" else "")


@settings(max_examples=20, deadline=None)
@given(person=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True), clip=st.text("abc019", min_size=1, max_size=9))
def test_the_demo_s_names(person: str, clip: str) -> None:
    row = row_of(LAYOUTS["demo"].source, f"{person}/{clip}.mp4")
    assert (row.reason, ids(row)) == (None, (person, None, person))


# Any text at all ------------------------------------------------------------------------------------------------------

ANY = st.one_of(
    st.sampled_from(["/", "//", "..", ".", "_", "0", "9", "id1", "id10001", ".mp4", "frames", "videos", "test", "٣", "é", "-"]),
    st.text(st.characters(exclude_characters="\\", categories=["L", "N", "P", "S", "Zs"]), max_size=6),
)


def spoilt(data: st.DataObject, text: str, put: st.SearchStrategy[str], most: int) -> str:
    """The text with a piece of it cut out and something else in its place, once or twice."""
    for _ in range(data.draw(st.integers(1, 2))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + most)))
        text = text[:start] + data.draw(put) + text[end:]
    return text


def plain(path: str) -> bool:
    """Whether an inventory could have it."""
    return path.isprintable() and all(part not in ("", ".", "..") for part in path.split("/"))


@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_no_name_makes_somebody_up(name: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Good clips' names with anything in them: a row's people are named in its path, or it is a row with a reason."""
    layout = LAYOUTS[name]
    paths = [spoilt(data, data.draw(st.sampled_from(layout.clips)), ANY, 8) for _ in range(3)] + [
        data.draw(ANY) + layout.suffix
    ]
    root = tmp_path_factory.getbasetemp() / f"names {name}" / "raw"
    metadata = on_disk(root, dict(layout.metadata))
    inventory = with_clips(metadata, [*layout.clips, *(path for path in paths if plain(path) and path not in metadata.files)])
    rows = checked(layout, root, inventory)
    for clip in layout.clips:
        # Another name for the same clip, which comes first, may be taken in its place.
        assert rows[clip].reason is None or "the same " in str(rows[clip].reason)
    for path, row in rows.items():
        if row.reason is None:
            assert named(layout, path, row), (path, row.target_id, row.source_id, row.origin)


def named(layout: Layout, path: str, row: Sample) -> bool:
    """Whether all that a row says of people is said by its path, read by looking for it in the path's own parts."""
    parts = {*re.split(r"[/_.]", path)} | {*path.split("/")}
    people = {person for person in ids(row) if person}
    if layout.kind == "celeba":
        return people <= {"2880"} and path.rpartition("/")[2].partition(".")[0] in {
            f"00000{number}" for number in range(1, 9)
        } | {f"{number:06}" for number in range(9, 2001) if not people}
    if layout.kind == "camera":
        return people <= {"ana"} and (not people or path == layout.clips[0])
    if layout.kind == "grid":
        people = {person for person in people if f"id{person[1:]}" not in parts}
    if layout.kind == "ffpp":
        people = {person.removeprefix("actor_") for person in people}
    return people <= parts


def checked(layout: Layout, root: Path, inventory: Inventory) -> dict[str, Sample]:
    """Its rows, which can be written, and in which every file is accounted for once."""
    corpus = layout.source(layout.kind, root, inventory)
    rows = by_path(corpus)
    write_manifest(root.parent / "manifest.parquet", list(rows.values()))
    media = {path for path in inventory.files if media_type(path) in corpus.media_types}
    assert media - rows.keys() <= {*corpus.known}
    assert not {path for path, row in rows.items() if row.reason is None} & {*corpus.known}
    report = corpus.report()
    told = [*report.missing.examples, *report.unexpected.examples, *report.mismatching.examples, *report.notes]
    told += [row.reason for row in rows.values() if row.reason]
    assert all(text.isprintable() and len(text) < 2000 for text in told)
    assert all(text.isprintable() for row in rows.values() for text in (row.origin or "", row.credit, row.text))
    assert all(
        math.isfinite(word.start_s) and word.start_s <= word.end_s < math.inf
        for row in rows.values()
        for word in (*row.words, *row.phonemes)
    )
    return rows


# Metadata -------------------------------------------------------------------------------------------------------------

TEXT = st.one_of(
    st.sampled_from(
        ["\n", "\r", "\x85", "\t", ",", " ", '"', "\ufeff", "{", "}", "[", "]", ":", "\x00", "\x1b[2J", "-1", "nan"]
    ),
    st.sampled_from(["9" * 30, "9" * 400, "9" * 5000, "1e999", "id10001", "../../x", "null", "true", "\\ud800", "0"]),
    st.text(max_size=6),
)
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    10**400,
    1e308,
    math.nan,
    math.inf,
    "",
    "x",
    "\ud800",
    "\x1b[2J\n",
    "../x",
    [],
    {},
    [[]],
    {"a": 1},
]


def odd(data: st.DataObject, value: Any) -> Any:
    """The value with something else somewhere in it."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 5)):
        key = data.draw(st.sampled_from(sorted(value)))
        if not data.draw(st.integers(0, 6)):
            return {data.draw(st.sampled_from(["", "\ud800", "x" * 999])): value[key]} | value
        return value | {key: odd(data, value[key])}
    if isinstance(value, list) and value and data.draw(st.integers(0, 5)):
        place = data.draw(st.integers(0, len(value) - 1))
        return [*value[:place], odd(data, value[place]), *value[place + 1 :]]
    return data.draw(st.sampled_from(ODD))


@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_any_change_of_metadata_gives_rows_or_one_clear_error(
    name: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Text anywhere, and in JSON any value in the place of another."""
    layout = LAYOUTS[name]
    file = data.draw(st.sampled_from(sorted(layout.metadata)))
    text = layout.metadata[file]
    if ".json" in file and data.draw(st.booleans()):
        lines = [json.loads(line) for line in (text.splitlines() if file.endswith(".jsonl") else [text])]
        place = data.draw(st.integers(0, len(lines) - 1))
        lines[place] = odd(data, lines[place])
        text = "\n".join(map(json.dumps, lines))
    else:
        text = spoilt(data, text, TEXT, 30)
    root = tmp_path_factory.getbasetemp() / f"metadata {name}" / "raw"
    inventory = with_clips(on_disk(root, {**layout.metadata, file: text.encode("utf-8", "surrogatepass")}), layout.clips)
    rows: dict[str, Sample] = {}
    told = f"{file}: ; "
    try:
        rows = checked(layout, root, inventory)
    except SourceError as error:
        told = str(error)
    assert told.isprintable()
    assert len(told) < 700
    assert PurePosixPath(file).name in told or told.startswith("data/raw/")
    for path, row in rows.items():
        assert row.reason or layout.kind in ("celeba", "camera") or named(layout, path, row), (path, row)


TOLD = LAYOUTS["camera"].metadata["20261121T100000.000Z.jsonl"]
FOUND = {
    "a number beyond floats": ("camera", "20261121T100000.000Z.jsonl", TOLD.replace("1.5", "9" * 400)),
    "a sensor of half a character": ("camera", "20261121T100000.000Z.jsonl", TOLD.replace("motion", r"\ud800")),
    "an address of half a character": ("ffhq", "ffhq-dataset-v2.json", ("https://www", r"\ud800")),
    "an address of two lines": ("ffhq", "ffhq-dataset-v2.json", ("https://www", r"a\nb")),
    "a time beyond floats": ("demo", "p00/c0.truth.json", ("[0.0, 0.1,", f"[0.0, {'9' * 400},")),
    "a word that ends before it begins": ("demo", "p00/c0.truth.json", ("[0.0, 0.1,", "[0.2, 0.1,")),
    "a sentence with codes": ("lrs3", "trainval/0Fi83BHQsMA/00001.txt", "Text:  YOU \x1b[2J\x00 FOR\n"),
    "a word without end": ("lrs3", "trainval/0Fi83BHQsMA/00001.txt", f"Text: A\n\nWORD START END\nA 0.1 {'9' * 400} 1\n"),
    "an aligned word with codes": ("folder", "ana/a.align", "0 23750 a\x1b[2J\n"),
}


@pytest.mark.parametrize("what", FOUND)
def test_what_was_found_in_metadata(what: str, tmp_path: Path) -> None:
    """By the test above: each crashed, or came into a row that could not be written or printed."""
    name, file, change = FOUND[what]
    layout = LAYOUTS[name]
    text = change if isinstance(change, str) else layout.metadata[file].replace(*change, 1)
    assert text != layout.metadata[file]
    inventory = with_clips(on_disk(tmp_path / "raw", {**layout.metadata, file: text}), layout.clips)
    if name == "demo":
        with pytest.raises(SourceError, match="not the renderer's"):
            checked(layout, tmp_path / "raw", inventory)
        return
    row = checked(layout, tmp_path / "raw", inventory)[layout.clips[0]]
    if name == "folder":
        assert (row.reason, row.words) == (None, ())
    elif name == "lrs3":
        assert (row.reason, row.words) == (None, ())
        assert row.text in ("YOU [2J FOR", "A")
    else:
        assert re.search("is not the recorder's|does not say in which part it is", str(row.reason))


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name not in ("demo", "folder")])
def test_a_name_with_anything_behind_it_is_another(name: str, tmp_path: Path) -> None:
    layout = LAYOUTS[name]
    longer = [
        path for clip in layout.clips for path in (f"{clip.removesuffix(layout.suffix)}~{layout.suffix}", clip + layout.suffix)
    ]
    inventory = with_clips(on_disk(tmp_path / "raw", dict(layout.metadata)), [*layout.clips, *longer])
    rows = checked(layout, tmp_path / "raw", inventory)
    assert {rows[path].reason for path in longer} == {OUTSIDE}
