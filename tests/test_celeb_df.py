"""Celeb-DF in every version and layout that is known, and in disorder."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flows.ingest import _report
from forgeline.errors import SourceError
from sources.celeb_df import METHODS, PEOPLE, TEST_LIST, CelebDF
from sources.corpus import OUTSIDE, Corpus, media_type
from tests.test_sources import by_path, given_file, listed, on_disk, with_clips

V1, V2, PLUS = (CelebDF(terms=CelebDF.template, version=version) for version in ("v1", "v2", "++"))


def plus(tmp_path: Path, clips: list[str], lines: str | None = None) -> Corpus:
    """Celeb-DF++ of these clips and this list."""
    metadata = listed([]) if lines is None else on_disk(tmp_path / "raw", {TEST_LIST: lines})
    return PLUS("celeb", tmp_path / "raw", with_clips(metadata, clips))


def test_ingest_tells_how_much_of_what_is_published_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    clips = ["Celeb-real/id0_0000.mp4", "Celeb-real/id1_0000.mp4", "YouTube-real/00000.mp4"]
    _report(V2("celeb", Path(), with_clips(listed([]), clips)))
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "celeb: 2 of 590 Celeb-real, 1 of 300 YouTube-real; none of 5639 Celeb-synthesis"


def test_why_nothing_can_be_used_is_told() -> None:
    with pytest.raises(SourceError, match=r"none of its 1 files .*/id20_0000\.mp4: Celeb-DF v1 has nobody called id20"):
        V1("celeb", Path(), with_clips(listed([]), ["Celeb-real/id20_0000.mp4"]))


# Celeb-DF++


def test_plus_reads_every_method(tmp_path: Path) -> None:
    clips = ["Celeb-real/id0_0001.mp4", "YouTube-real/00000.mp4"]
    names = {"FaceSwap": "id0_id1_0001", "FaceReenact": "id0_id1_0001", "TalkingFace": "id0_0001_test_a-1"}
    clips += [f"Celeb-synthesis/{family}/{method}/{names[family]}.mp4" for family in METHODS for method in METHODS[family]]
    corpus = plus(tmp_path, clips)
    rows = by_path(corpus)
    assert len(rows) == 24
    assert not [row for row in rows.values() if row.reason]
    real = rows["Celeb-real/id0_0001.mp4"]
    for family, methods in METHODS.items():
        for method in methods:
            row = rows[f"Celeb-synthesis/{family}/{method}/{names[family]}.mp4"]
            assert (row.label, row.video_label, row.method, row.target_id) == ("fake", "fake", method, "celeb:id0")
            assert row.source_id == (None if family == "TalkingFace" else "celeb:id1")
            assert row.apparent_id == ("celeb:id1" if family == "FaceSwap" else "celeb:id0")
            assert row.parents == (() if family == "FaceReenact" else (real.sample_id,))
            assert row.audio_label == ("real" if family == "FaceSwap" else None)
    assert corpus.report().have["FaceReenact/LIA"] == 1
    assert corpus.report().have["Celeb-synthesis"] == 1  # version 2's own
    assert corpus.report().missing.examples == (TEST_LIST,)


@pytest.mark.parametrize(
    ("stem", "source", "reason"),
    [
        ("id0_0001", None, None),
        ("id0_0001_test_id10283_00001", None, None),  # a voice that is not Celeb-DF's
        ("id0_0001_id3_0002", "celeb:id3", None),
        ("id0_0001_audio_id3", "celeb:id3", None),
        ("id0_0001_id0_0002", None, None),  # its own voice
        ("id0_0001_id3_id4", None, OUTSIDE),
        ("id0_0001_id62_0001", None, "Celeb-DF ++ has nobody called id62"),
        *((f"{person}_0001", None, f"Celeb-DF ++ has nobody called {person}") for person in ("id14", "id15", "id18", "id62")),
        ("id61_0001", None, None),
        ("id10283_0001_x", None, "Celeb-DF ++ has nobody called id10283"),
        ("id0_id3_0001", None, OUTSIDE),
        ("id0_1_test", None, OUTSIDE),
        ("00001_test", None, OUTSIDE),
    ],
)
def test_talking_faces_are_understood_or_refused(tmp_path: Path, stem: str, source: str | None, reason: str | None) -> None:
    path = f"Celeb-synthesis/TalkingFace/SadTalker/{stem}.mp4"
    corpus = plus(tmp_path, [path, "YouTube-real/00000.mp4"])
    row = by_path(corpus)[path]
    assert (row.reason, row.source_id) == (reason, source)
    assert corpus.report().unexpected.count == (reason == OUTSIDE)


@pytest.mark.parametrize(
    "path",
    [
        "Celeb-synthesis/FaceReenact/DaGAN/id0_0001_test.mp4",
        "Celeb-synthesis/FaceReenact/SadTalker/id0_id1_0001.mp4",
        "Celeb-synthesis/FaceSwap/Celeb-DF-v3/id0_id1_0001.mp4",
        "Celeb-synthesis/SimSwap/id0_id1_0001.mp4",
        "Celeb-real/FaceSwap/SimSwap/id0_id1_0001.mp4",
        "Celeb-synthesis/FaceSwap/SimSwap/id0_id0_0001.mp4",
        "Celeb-synthesis/FaceSwap/SimSwap/extra/id0_id1_0001.mp4",
    ],
)
def test_plus_refuses_other_places_and_names(tmp_path: Path, path: str) -> None:
    corpus = plus(tmp_path, [path, "YouTube-real/00000.mp4"])
    assert by_path(corpus)[path].reason == OUTSIDE
    assert corpus.report().unexpected.examples == (path,)


def test_plus_knows_version_2s_clips_wherever_they_lie(tmp_path: Path) -> None:
    flat = "Celeb-synthesis/id0_id1_0002.mp4"
    named = ["Celeb-synthesis/FaceSwap/Celeb-DF/id0_id1_0002.mp4", "celeb-fake/faceswap/celeb-df-V2/videos/id0_id1_0002.mp4"]
    rows = by_path(plus(tmp_path, [flat, *named]))
    assert [rows[path].reason for path in named] == [None, f"the same clip as {named[0]}"]
    assert rows[flat].reason == f"the same clip as {named[0]}"


def test_pluss_list_may_name_clips_that_are_not_understood(tmp_path: Path) -> None:
    odd = "Celeb-synthesis/TalkingFace/FLOAT/who_knows.mp4"
    swap = "Celeb-synthesis/FaceSwap/SimSwap/id0_id1_0000.mp4"
    lines = f"1 YouTube-real/00000.mp4\n0 {swap}\n0 {odd}\n0 Celeb-synthesis/FaceReenact/LIA/gone-too.mp4"
    corpus = plus(tmp_path, ["YouTube-real/00000.mp4", swap, odd], lines)
    rows = by_path(corpus)
    assert (rows[swap].split, rows[odd].reason) == ("test", OUTSIDE)
    assert set(corpus.missing) == {"Celeb-synthesis/FaceReenact/LIA/gone-too.mp4", "Celeb-real/id0_0000.mp4"}
    assert corpus.mismatching == [f"{TEST_LIST}: 4 clips, 5418 are published"]
    with pytest.raises(SourceError, match="is not a label and a clip"):
        V2("celeb", tmp_path / "raw", on_disk(tmp_path / "raw", {TEST_LIST: lines}))


def test_a_list_of_5418_is_pluss_own(tmp_path: Path) -> None:
    lines = [f"1 YouTube-real/{number:05}.mp4" for number in range(178)]
    lines += [f"0 Celeb-synthesis/FaceReenact/LIA/id0_id1_{number:04}.mp4" for number in range(5240)]
    corpus = plus(tmp_path, ["YouTube-real/00000.mp4", "Celeb-synthesis/FaceReenact/LIA/id0_id1_9999.mp4"], "\n".join(lines))
    assert corpus.mismatching == []
    assert [row.split for row in corpus] == ["train", "test"]


def test_other_versions_say_that_these_are_pluss_folders(tmp_path: Path) -> None:
    path = "Celeb-synthesis/FaceSwap/SimSwap/id0_id1_0000.mp4"
    corpus = V2("celeb", tmp_path, listed([path, "YouTube-real/00000.mp4"]))
    assert by_path(corpus)[path].reason == OUTSIDE
    assert corpus.notes[0] == "1 clips lie as in Celeb-DF++, and this is read as v2: set version: ++ to read them"


# Layouts and lists of all versions


def test_folders_go_by_other_names(tmp_path: Path) -> None:
    clips = ["CELEB-REAL/id0_0001.mp4", "Celeb-Fake/videos/id0_id1_0001.mp4", "Youtube-real/videos/00001.mp4"]
    rows = by_path(V2("celeb", tmp_path, listed(clips)))
    assert [(rows[path].label, rows[path].reason) for path in clips] == [("real", None), ("fake", None), ("real", None)]
    assert rows[clips[1]].parents == (rows[clips[0]].sample_id,)


@pytest.mark.parametrize(
    "text",
    [
        "1 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4",
        "1 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n\n",
        "\ufeff1 Celeb-real/id0_0000.mp4\r\n0 Celeb-synthesis/id0_id1_0000.mp4\r\n",
        '"1 Celeb-real/id0_0000.mp4"\r\n"0 Celeb-synthesis/id0_id1_0000.mp4"',
        '1 "Celeb-real/id0_0000.mp4"\n0\t"Celeb-fake/videos/id0_id1_0000.mp4"  \n',
    ],
)
def test_the_list_is_read_however_it_was_saved(tmp_path: Path, text: str) -> None:
    clips = ["Celeb-real/id0_0000.mp4", "Celeb-real/id1_0000.mp4", "Celeb-synthesis/id0_id1_0000.mp4"]
    corpus = V2("celeb", tmp_path / "raw", with_clips(on_disk(tmp_path / "raw", {TEST_LIST: text}), clips))
    assert [row.split for row in corpus] == ["test", "train", "test"]
    assert corpus.mismatching == [f"{TEST_LIST}: 2 clips, 518 are published"]


def test_a_part_of_it_says_what_is_not_here(tmp_path: Path) -> None:
    corpus = V1("celeb", tmp_path, listed(["Celeb-synthesis/id0_id1_0003.mp4"]))
    (row,) = corpus
    assert (row.label, row.parents, row.split) == ("fake", (), None)
    assert corpus.missing == ["Celeb-real/id0_0003.mp4", TEST_LIST]


def test_pictures_taken_out_of_clips_are_left_out(tmp_path: Path) -> None:
    stills = [f"Celeb-real/frames/id0_0000/{number:03}.png" for number in (0, 13, 26)]
    stills += ["Celeb-real/landmarks/id0_0000/000.npy", "YouTube-real/frames/00001/000.png"]
    video = "Celeb-real/videos/id0_0000.mp4"
    corpus = V2("celeb", tmp_path, listed([video, *stills]))
    assert set(by_path(corpus)) == {video}
    assert corpus.notes == ("5 pictures and points taken out of 3 clips are left out: the videos themselves are read",)
    assert corpus.report().unexpected.count == 0
    with pytest.raises(SourceError, match="and no video; unpack the corpus's own videos"):
        V2("celeb", tmp_path, listed(stills))


def test_four_groups_of_people_are_tied_by_swaps(tmp_path: Path) -> None:
    clips = given_file("celeb-df-v2/all_video_names.derived.txt").split()
    (note,) = V2("celeb", tmp_path, listed(clips)).notes
    assert note == (
        "forgeries tie people together, and a split by people can only part these groups: "
        "id0-id13, id16-id17, id19-id35, id37-id38, id59-id61 (38 people, 4188 forgeries); "
        "id39-id48 (10 people, 723 forgeries); id49-id58 (10 people, 728 forgeries); id36 (1 people, 0 forgeries)"
    )


def test_groups_are_those_of_the_swaps(tmp_path: Path) -> None:
    """Against networks of people found by flooding."""
    swaps = [(0, 1), (2, 3), (1, 2), (5, 6), (7, 7), (8, 9), (9, 5)]
    clips = [f"Celeb-synthesis/id{a}_id{b}_0000.mp4" for a, b in swaps if a != b] + ["Celeb-real/id7_0000.mp4"]
    (note,) = V2("celeb", tmp_path, listed(clips)).notes
    assert note.split(": ")[1].split("; ") == [
        "id0-id3 (4 people, 3 forgeries)",
        "id5-id6, id8-id9 (4 people, 3 forgeries)",
        "id7 (1 people, 0 forgeries)",
    ]


# Anything at all

IDS = st.sampled_from(["id0", "id1", "id14", "id61", "id99", "id10283", "id00", "00000"])
STEMS = st.lists(st.one_of(IDS, st.sampled_from(["0000", "0001", "1", "test", "x-y", ""])), min_size=1, max_size=5).map(
    "_".join
)
PLACES = st.sampled_from(
    ["Celeb-real", "celeb-real/videos", "YouTube-real", "Celeb-synthesis", "Celeb-fake", "Celeb-synthesis/videos", "other"]
    + [f"Celeb-synthesis/{family}/{methods[0]}" for family, methods in METHODS.items()]
    + ["Celeb-synthesis/FaceSwap/SimSwap/videos", "Celeb-synthesis/FaceSwap/Celeb-DF-v2", "Celeb-real/frames/id0_0000"]
)
SUFFIXES = st.sampled_from([".mp4", ".noaudio.mp4", ".MP4", ".avi", ".png", ".txt"])
PATHS = st.builds(lambda place, stem, suffix: f"{place}/{stem}{suffix}", PLACES, STEMS, SUFFIXES)
LINES = st.builds(lambda label, path: f"{label} {path}", st.sampled_from("0123"), PATHS)


@pytest.mark.parametrize("source", [V1, V2, PLUS], ids=["v1", "v2", "plus"])
@given(paths=st.lists(PATHS, max_size=12), lines=st.lists(LINES, max_size=3) | st.text(max_size=20).map(lambda text: [text]))
@example(paths=["Celeb-synthesis/TalkingFace/SadTalker/id0_0000.mp4"], lines=["0 YouTube-real/00000.mp4"])
def test_whatever_lies_there_is_accounted_for_once(
    source: CelebDF, tmp_path_factory: pytest.TempPathFactory, paths: list[str], lines: list[str]
) -> None:
    root = tmp_path_factory.getbasetemp() / "celeb" / "raw"
    metadata = on_disk(root, {TEST_LIST: "\n".join(lines)})
    inventory = with_clips(metadata, [*paths, "YouTube-real/00000.mp4"])
    try:
        corpus = source("celeb", root, inventory)
    except SourceError as error:
        if TEST_LIST not in str(error):  # nothing but the list can be wrong
            raise
        return
    rows = by_path(corpus)
    videos = {path for path in inventory.files if media_type(path) == "video"}
    assert set(rows) == videos
    assert set(corpus.found) | set(corpus.refused) <= videos
    for path, row in rows.items():
        made = "synthesis" in path.lower() or "fake" in path.lower()
        assert row.label == ("fake" if made or row.reason else "real")
        if row.reason is None:
            people = {row.target_id, row.source_id, row.apparent_id} - {None}
            assert {str(person).removeprefix("celeb:") for person in people} <= PEOPLE[source.version]
            assert row.source_id is None or row.source_id != row.target_id
    have = Counter(clip.group for clip in corpus.found.values())
    assert dict(have) == dict(corpus.report().have)
