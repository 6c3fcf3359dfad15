"""VoxCeleb is read in every layout and spelling that it is about in, and rows never say a speaker's name."""

from pathlib import Path

import av
import numpy as np
import pytest

from forgeline.audio import open_sound
from forgeline.errors import MediaError, SourceError
from sources.corpus import OUTSIDE, Corpus
from sources.metadata import cells
from sources.voxceleb import VoxCeleb
from tests.test_sources import by_path, given_file, listed, on_disk

VOX = VoxCeleb(terms=VoxCeleb.template)
ONE, TWO = "dev/wav/id10001/1zcIwhmdeo4/00001.wav", "dev/aac/id00012/_raOc3-IRsw/00110.m4a"
TABLE1 = (
    "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\nid10001\tAda_B.\tf\tIreland\tdev\nid10270\tEve_C.\tf\tUSA\ttest\n"
)
TABLE2 = "\ufeffVoxCeleb2 ID ,VGGFace2 ID,Gender,Set\nid00012 ,n000012 ,m ,dev \nid00017 ,n000017 ,m ,test \n"
TRACK1 = (
    "Identity  : \tid10001\nReference : \t1zcIwhmdeo4\nOffset    : \t-1\nFV Conf   : \t17.997\nASD Conf  : \t6.338\n\n"
    "FRAME \tX \tY \tW \tH\n002316 \t223 \t80 \t130 \t130\n"
)
TRACK2 = (
    "Identity  : \tid00012\nReference : \t_raOc3-IRsw\nOffset    : \t2\nFV Conf   : \t20.230\t(1)\nASD Conf  : \t2.765\n\n"
    "FRAME \tX \tY \tW \tH \n000349 \t0.319 \t0.067 \t0.424 \t0.753 \n"
)


def read(tmp_path: Path, files: dict[str, str | bytes]) -> Corpus:
    return VOX("vox", tmp_path / "raw", on_disk(tmp_path / "raw", files))


def test_both_versions_as_published(tmp_path: Path) -> None:
    film, test = TWO.replace("aac", "mp4").replace("m4a", "mp4"), "test/wav/id10270/x6uYqmx31kE/00001.wav"
    files: dict[str, str | bytes] = {ONE: "1", TWO: "2", film: "3", test: "4", "test/aac/id00017/01dfn2spqyE/00001.m4a": "5"}
    files |= {"vox1_meta.csv": TABLE1, "vox2_meta.csv": TABLE2, "veri_test2.txt": "1 a b", "list.md": ""}
    files |= {"dev/txt/id00012/_raOc3-IRsw/00110.txt": TRACK2, "dev/txt/id10001/1zcIwhmdeo4/00001.txt": TRACK1}
    corpus = read(tmp_path, files)
    rows = by_path(corpus)
    assert [path for path, row in rows.items() if row.reason] == []
    assert set(rows) == {path for path in files if path.endswith((".wav", ".m4a", ".mp4"))}
    one, two, shown = rows[ONE], rows[TWO], rows[film]
    assert (one.target_id, one.apparent_id, one.source_id, one.split) == ("vox:id10001", "vox:id10001", None, "train")
    assert (one.media_type, one.label, one.video_label, one.audio_label) == ("audio", "real", None, "real")
    assert (two.media_type, two.origin, two.split) == ("audio", "youtube:_raOc3-IRsw", "train")
    assert (shown.media_type, shown.video_label, shown.audio_label) == ("video", "real", "real")
    assert shown.origin == two.origin
    assert (rows[test].split, rows["test/aac/id00017/01dfn2spqyE/00001.m4a"].split) == ("test", "test")
    report = corpus.report()
    assert report.have == {
        "VoxCeleb1 dev audio": 1,
        "VoxCeleb1 test audio": 1,
        "VoxCeleb2 dev audio": 1,
        "VoxCeleb2 dev video": 1,
        "VoxCeleb2 test audio": 1,
    }
    assert set(report.have) <= set(report.published)
    assert (report.unexpected.examples, report.missing.count, report.mismatching.examples) == (("list.md",), 0, ())
    assert report.notes == ()


@pytest.mark.parametrize(
    ("place", "split"),
    [
        ("{}", "train"),  # the table alone
        ("aac/{}", "train"),
        ("VoxCeleb/vox2/dev/{}", "train"),
        ("dev/aac/deep/{}", "train"),
        ("test/{}", "test"),  # against the table: what may be test is test
        ("dev/test/{}", "test"),
        ("test/dev/{}", "train"),
    ],
)
def test_levels_may_be_missing(tmp_path: Path, place: str, split: str) -> None:
    path = place.format("id00012/_raOc3-IRsw/00110.m4a")
    corpus = read(tmp_path, {path: "", "meta/vox2_meta.csv": TABLE2})
    row = by_path(corpus)[path]
    assert (row.target_id, row.split) == ("vox:id00012", split)
    assert corpus.mismatching == (["id00012/: dev by its table, test by its folder"] if split == "test" else [])
    assert corpus.missing == ["id00017/"]


def test_without_tables_splits_come_from_folders_and_the_paper(tmp_path: Path) -> None:
    bare = "id00012/_raOc3-IRsw/00110.m4a"
    files: dict[str, str | bytes] = {bare: "", "test/aac/id00017/_raOc3-IRsw/00001.m4a": ""}
    files |= {f"wav/{speaker}/_raOc3-IRsw/00001.wav": "" for speaker in ("id10269", "id10270", "id10309", "id10310")}
    corpus = read(tmp_path, files)
    rows = by_path(corpus)
    assert [row.split for row in rows.values()] == [None, "test", "train", "test", "test", "train"]
    assert corpus.missing == ["vox1_meta.csv", "vox2_meta.csv"]


@pytest.mark.parametrize(
    ("file", "table"),
    [
        ("vox1_meta.csv", TABLE1),
        ("vox1_meta.csv", "".join(f'"{line}"\r\n' for line in TABLE1.splitlines())),
        ("vox1_meta.csv", "\ufeff" + TABLE1.replace("\t", " , ")),
        ("vox1_meta.csv", TABLE1.replace("\t", '"\t"').replace("\n", '"\n"').join('""').removesuffix('""')),
        ("vox1_meta.csv", "\n".join(line.rpartition("\t")[0] for line in TABLE1.splitlines())),
        ("vox1_meta.csv", TABLE1.replace("test", "testo")),
        ("vox1_meta.csv", TABLE1.replace("\tdev", "").replace("\ttest", "")),
    ],
    ids=["as published", "lines in quotes", "commas", "cells in quotes", "no column Set", "testo", "no cell"],
)
def test_the_first_table_in_every_spelling(tmp_path: Path, file: str, table: str) -> None:
    test = "Eve_C./x6uYqmx31kE_0000001.wav"
    corpus = read(tmp_path, {"Ada_B./1zcIwhmdeo4_0000001.wav": "", test: "", file: table})
    rows = by_path(corpus)
    assert [(row.target_id, row.split, row.origin) for row in rows.values()] == [
        ("vox:id10001", "train", "youtube:1zcIwhmdeo4"),
        ("vox:id10270", "test", "youtube:x6uYqmx31kE"),
    ]
    typo = ["vox1_meta.csv:3: the set of id10270 is 'testo'"] if "testo" in table else []
    assert corpus.mismatching == typo


def test_the_second_table_in_every_spelling(tmp_path: Path) -> None:
    spellings = [
        TABLE2,
        "\ufeffVoxCeleb2ID,VGGFace2ID,Gender,Set\r\nid00012,n000012,m,dev\r\nid00017,n000017,m,test\r\n",
        "Name\tVoxCeleb2 ID\tVGGFace2 ID\tGender\tSet\n\tid00012\tn000012\tm\tdev\n\nY Z\tid00017\tn000017\tm\ttest",
    ]
    for number, table in enumerate(spellings):
        files: dict[str, str | bytes] = {f"{who}/_raOc3-IRsw/00001.m4a": "" for who in ("id00012", "id00017", "id00018")}
        corpus = read(tmp_path / str(number), files | {"vox2_meta.csv": table})
        assert [row.split for row in by_path(corpus).values()] == ["train", "test", None]
        assert corpus.mismatching == ["id00018/: not in vox2_meta.csv"]


def test_speakers_of_whom_nothing_was_released_are_not_missing(tmp_path: Path) -> None:
    table = TABLE2 + "id04170 ,n004170 ,m ,test \nid05348 ,n005348 ,m ,test \n"
    assert read(tmp_path, {TWO: "", "vox2_meta.csv": table}).missing == ["id00017/"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("a\t b ,c \t d\r", ["a", "b ,c", "d"]),
        ("\ta\t", ["", "a", ""]),
        (" a b , c,", ["a b", "c", ""]),
        ("  a   -1  1 ", ["a", "-1", "1"]),
        ('"a\tb"', ["a", "b"]),
        ('"a" , "b"', ["a", "b"]),
        ('""', [""]),
        (" ", [""]),
    ],
)
def test_cells(line: str, found: list[str]) -> None:
    assert cells(line) == found


def test_a_set_of_another_name_refuses_whose_split_nothing_else_tells(tmp_path: Path) -> None:
    table = TABLE2.replace("test", "testo")
    files: dict[str, str | bytes] = {"id00012/_raOc3-IRsw/00001.m4a": "", "id00017/_raOc3-IRsw/00001.m4a": ""}
    rows = by_path(read(tmp_path, files | {"vox2_meta.csv": table}))
    assert rows["id00012/_raOc3-IRsw/00001.m4a"].split == "train"
    refused = rows["id00017/_raOc3-IRsw/00001.m4a"]
    assert refused.reason == "vox2_meta.csv:3 puts its speaker into 'testo', not into dev or test"


def test_no_row_has_a_name_a_gender_or_a_nationality(tmp_path: Path) -> None:
    for row in by_path(read(tmp_path, {ONE: "", "vox1_meta.csv": TABLE1})).values():
        assert not [word for word in ("Ada", "Eve", "Ireland", "gender", "nationality") if word in repr(row)]


def test_the_old_form_is_the_same_clip(tmp_path: Path) -> None:
    old, strange = "wav/Ada_B./1zcIwhmdeo4_0000001.wav", "wav/Nobody/1zcIwhmdeo4_0000002.wav"
    other = "Ada_B./ab_cdefg_-h_0000002.wav"
    corpus = read(tmp_path, {old: "", ONE: "", strange: "", other: "", "vox1_meta.csv": TABLE1})
    rows = by_path(corpus)
    assert rows[old].reason == f"the same clip as {ONE}"
    assert rows[strange].reason == "no vox1_meta.csv says whose voice it is"
    assert (rows[other].origin, rows[other].target_id) == ("youtube:ab_cdefg_-h", "vox:id10001")
    assert corpus.notes == ("1 clips lie in folders with names of people: only paths in data/real have these",)


def test_sound_that_was_converted_is_read_once(tmp_path: Path) -> None:
    converted, film = TWO.replace("m4a", "wav"), TWO.replace("m4a", "mp4")
    again, alone = "wav/id00012/_raOc3-IRsw/00110.wav", "wav/id00012/_raOc3-IRsw/00111.wav"
    copy = "aac/id00012/_raOc3-IRsw/00110.m4a"
    corpus = read(tmp_path, dict.fromkeys((TWO, converted, copy, film, again, alone), ""))
    rows = by_path(corpus)
    assert {path: row.reason for path, row in rows.items()} == {
        copy: None,
        TWO: f"the same clip as {copy}",
        film: None,
        alone: None,
    }
    assert corpus.notes == ("2 wav files of clips that are here as m4a are left out",)
    report = corpus.report()
    assert report.unexpected.count == 0
    assert report.mismatching.examples == (f"{TWO}: the same clip as {copy}",)
    twice = by_path(read(tmp_path / "twice", {alone: "", f"dev/{alone}": ""}))
    assert twice[alone].reason == f"the same clip as dev/{alone}"


def test_a_converted_clip_whose_track_names_somebody_else_is_refused_too(tmp_path: Path) -> None:
    track = "dev/txt/id00012/_raOc3-IRsw/00110.txt"
    converted = TWO.replace("m4a", "wav")
    rows = by_path(read(tmp_path, {ONE: "", TWO: "", converted: "", track: TRACK2.replace("id00012", "id00013")}))
    assert rows[TWO].reason == rows[converted].reason == f"its track {track} is of id00013"


@pytest.mark.parametrize(
    ("track", "wrong"),
    [
        (TRACK2, None),
        (TRACK2.replace("_raOc3", "_raOc4"), "it is of the video '_raOc4-IRsw'"),
        (TRACK2.replace("2.765", "high"), "ASD Conf is no number"),
        (TRACK2.replace("\t2\n", "\tnan\n"), "Offset is no number"),
        (TRACK2.replace("0.753", "0"), "a line is not a frame and a box"),
        (TRACK2.replace("0.753", ""), "a line is not a frame and a box"),
        (TRACK1.replace("id10001", "id00012").replace("1zcIwhmdeo4", "_raOc3-IRsw"), "its boxes are in pixels"),
        ("", None),
        (b"\xff\xfe", "not UTF-8 text (byte 0)"),
        (TRACK2.replace("\n", "\r\n"), None),
    ],
)
def test_tracks_are_checked(tmp_path: Path, track: str | bytes, wrong: str | None) -> None:
    path = "dev/txt/id00012/_raOc3-IRsw/00110.txt"
    corpus = read(tmp_path, {TWO: "", path: track, "txt/id00012/_raOc3-IRsw/00111.txt": TRACK2})
    assert by_path(corpus)[TWO].reason is None
    assert corpus.mismatching == ([] if wrong is None else [f"{path}: {wrong}"])
    assert corpus.notes == ("1 tracks are of clips that are not here",)


def test_a_track_in_fractions_is_none_of_the_first_version(tmp_path: Path) -> None:
    path = ONE.replace("wav", "txt")
    track = TRACK2.replace("id00012", "id10001").replace("_raOc3-IRsw", "1zcIwhmdeo4")
    assert read(tmp_path, {ONE: "", path: track}).mismatching == [f"{path}: its boxes are in fractions of the picture"]


def test_a_clip_whose_track_names_somebody_else_is_refused(tmp_path: Path) -> None:
    path = "dev/txt/id00012/_raOc3-IRsw/00110.txt"
    rows = by_path(read(tmp_path, {ONE: "", TWO: "", path: TRACK2.replace("id00012", "id00013")}))
    assert rows[TWO].reason == f"its track {path} is of id00013"


@pytest.mark.parametrize(
    "path",
    [
        "id00012/_raOc3-IRsw/0011.m4a",
        "id0012/_raOc3-IRsw/00110.m4a",
        "id00012/_raOc3-IRs/00110.m4a",
        "id00012/00110.m4a",
        "id00012/_raOc3-IRsw/00110.M4A",
        "id00012/_raOc3-IRsw/00110.flac",
        "Ada_B./1zcIwhmdeo4_00001.wav",
        "id٠٠٠12/_raOc3-IRsw/00110.mp4",
    ],
)
def test_other_names_are_refused(tmp_path: Path, path: str) -> None:
    assert by_path(VOX("vox", tmp_path, listed([ONE, path])))[path].reason == OUTSIDE


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "vox2_meta.csv: its first line has no column"),
        ("id00012 ,n000012 ,m ,dev", "vox2_meta.csv: its first line has no column"),
        (b"\xff\xfe", "not UTF-8 text"),
        (TABLE2 + "id00012 ,n000012 ,m ,dev\n", "vox2_meta.csv:4: it is not one new speaker"),
        (TABLE2 + "12,n000012 ,m ,dev\n", "vox2_meta.csv:4: it is not one new speaker"),
        (TABLE2 + "id00013,n000012 ,m ,dev,more\n", "vox2_meta.csv:4: it is not one new speaker"),
    ],
)
def test_a_wrong_table_is_one_clear_line(tmp_path: Path, table: str | bytes, message: str) -> None:
    with pytest.raises(SourceError) as error:
        read(tmp_path, {TWO: "", "vox2_meta.csv": table})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_real_tables(tmp_path: Path) -> None:
    tables = {
        "vox2_meta.csv": given_file("voxceleb/vox2_meta.csv"),
        "vox1_meta.csv": given_file("voxceleb/vox1_meta.sample.csv"),
    }
    clips = [f"id{number:05}/_raOc3-IRsw/00001.m4a" for number in (12, 17, 10001, 10269, 10270, 10309, 10310)]
    corpus = read(tmp_path, {**dict.fromkeys(clips, ""), **tables})
    assert [row.split for row in by_path(corpus).values()] == ["train", "test", "train", "train", "test", "test", "train"]
    assert len([name for name in corpus.missing if name < "id1"]) == 6114 - 2 - 2
    # The given copy of the first table is cut off after id10269; the paper says who is test.
    assert corpus.mismatching == [f"id{number}/: not in vox1_meta.csv" for number in (10270, 10309, 10310)]


def test_m4a_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="ipod") as file:
        stream = file.add_stream("aac", rate=16000, layout="mono")
        tone = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000).astype(np.float32) / 4
        for start in range(0, 16000, 1000):
            piece = av.AudioFrame.from_ndarray(tone[None, start : start + 1000], format="fltp", layout="mono")
            piece.sample_rate, piece.pts = 16000, start
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
    sound = open_sound(path).sound()
    assert sound is not None
    assert sound.rate == 16000
    assert 15000 <= len(sound.samples) <= 18000
    spectrum = np.abs(np.fft.rfft(sound.samples[4000:12000]))
    assert abs(int(spectrum.argmax()) * 2 - 440) <= 2
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(MediaError, match="broken, cut off or no sound"):
        open_sound(path)
