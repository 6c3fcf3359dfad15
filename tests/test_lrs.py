"""LRS2 and LRS3 are read with what is said in them, and with the splits of their lists."""

from pathlib import Path

import pytest

from forgeline.clip import Said
from forgeline.errors import SourceError
from forgeline.sample import Sample
from sources.corpus import OUTSIDE, Corpus
from sources.lrs import LRS
from tests.test_sources import by_path, given_file, on_disk

TWO = LRS(terms=LRS.template)
THREE = LRS(terms=LRS.template, version="lrs3")
SHOW, OTHER = "6330311066473698535", "5535415699068794046"
TIMED = "Text:  YOU FOR ME\nConf:  4\n\nWORD START END ASDSCORE\nYOU 0.08 0.49 7.3\nFOR 0.49 1 -0.2\nME 1.0 1.25 6\n"
BOXES = "Text:  AND SO\nRef:  0Fi83BHQsMA\nConf:  4\n\nFRAME \tX \tY \tW \tH \n000245 \t0.392 \t0.1 \t0.2 \t0.3\n"


def read(source: LRS, tmp_path: Path, files: dict[str, str | bytes]) -> Corpus:
    return source("lrs", tmp_path / "raw", on_disk(tmp_path / "raw", files))


def clip(path: str, transcript: str | bytes = "Text:  YES\nConf:  4\n") -> dict[str, str | bytes]:
    return {f"{path}.mp4": "", f"{path}.txt": transcript}


def test_lrs2_as_published(tmp_path: Path) -> None:
    at = "mvlrs_v1/{}/" + SHOW + "/{}"
    files = clip(at.format("main", "00011")) | clip(at.format("main", "00012")) | clip(at.format("main", "00013"))
    files |= clip(at.format("pretrain", "00011"), TIMED)
    files |= {"train.txt": f"{SHOW}/00011\n", "val.txt": f"\ufeff{SHOW}/00012\r\n", "pretrain.txt": f"{SHOW}/00011"}
    files |= {"mvlrs_v1/test.txt": f"{SHOW}/00013 NF\n{OTHER}/00001 MV\n", "readme.md": ""}
    corpus = read(TWO, tmp_path, files)
    rows = by_path(corpus)
    main = rows[at.format("main", "00011") + ".mp4"]
    long = rows[at.format("pretrain", "00011") + ".mp4"]
    assert [row.split for row in rows.values()] == ["train", "val", "test", "train"]
    assert (main.target_id, main.apparent_id, main.origin) == (None, None, f"bbc:{SHOW}")
    assert (main.label, main.video_label, main.audio_label, main.media_type) == ("real", "real", "real", "video")
    assert (main.text, main.words) == ("YES", ())
    assert (long.text, long.words) == ("", (Said(0.08, 0.49, "YOU"), Said(0.49, 1.0, "FOR"), Said(1.0, 1.25, "ME")))
    report = corpus.report()
    assert report.have == {"pretrain": 1, "test": 1, "train": 1, "val": 1}
    assert set(report.have) == set(report.published)
    assert (corpus.missing, corpus.mismatching, report.unexpected.examples) == ([f"main/{OTHER}/00001.mp4"], [], ("readme.md",))


def test_lrs3_as_published(tmp_path: Path) -> None:
    files = clip("trainval/UGtFXtnWME4/50021") | clip("trainval/UGtFXtnWME4/50022") | clip("test/0Fi83BHQsMA/00002", BOXES)
    files |= clip("pretrain/-ab_defghij/00001", TIMED) | {"lrs3-valid.id": "trainval/UGtFXtnWME4/50021\n"}
    corpus = read(THREE, tmp_path, files)
    rows = by_path(corpus)
    assert {path[:8]: (row.split, row.text) for path, row in rows.items() if "50021" not in path} == {
        "pretrain": ("train", ""),
        "test/0Fi": ("test", "AND SO"),
        "trainval": ("train", "YES"),
    }
    chosen = rows["trainval/UGtFXtnWME4/50021.mp4"]
    assert chosen.split == "val"
    assert (chosen.target_id, chosen.apparent_id, chosen.origin) == (
        "lrs:UGtFXtnWME4",
        "lrs:UGtFXtnWME4",
        "youtube:UGtFXtnWME4",
    )
    assert corpus.report().have == {"pretrain": 1, "test": 1, "trainval": 2}
    assert (corpus.missing, corpus.mismatching) == ([], [])


def test_without_lists(tmp_path: Path) -> None:
    corpus = read(TWO, tmp_path, clip(f"main/{SHOW}/00001") | clip(f"pretrain/{SHOW}/00001"))
    assert [row.split for row in by_path(corpus).values()] == [None, "train"]
    assert corpus.missing == ["train.txt", "val.txt", "test.txt", "pretrain.txt"]
    corpus = read(THREE, tmp_path / "3", clip("trainval/UGtFXtnWME4/50021"))
    assert [row.split for row in by_path(corpus).values()] == ["train"]
    assert corpus.missing == []


def test_a_clip_in_no_list_is_told(tmp_path: Path) -> None:
    lists: dict[str, str | bytes] = {f"{name}.txt": "" for name in ("train", "val", "test", "pretrain")}
    corpus = read(TWO, tmp_path, clip(f"main/{SHOW}/00001") | lists)
    assert corpus.mismatching == [f"main/{SHOW}/00001.mp4: in no list"]
    assert by_path(corpus)[f"main/{SHOW}/00001.mp4"].split is None


def test_transcripts_of_the_text_only_copy_are_found_by_name(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"videos/test/0Fi83BHQsMA/00002.mp4": "", "lrs3_v0.4/test/0Fi83BHQsMA/00002.txt": BOXES}
    files |= clip("test/0Fi83BHQsMA/00003") | {"a/test/0Fi83BHQsMA/00003.txt": "Text: NO", "test/0Fi83BHQsMA/00004.txt": ""}
    corpus = read(THREE, tmp_path, files)
    assert [row.text for row in by_path(corpus).values()] == ["YES", "AND SO"]
    assert corpus.report().notes == ("1 transcripts are of clips that are not here",)
    assert (corpus.missing, corpus.report().unexpected.count) == ([], 0)


def said(tmp_path: Path, transcript: str | bytes) -> tuple[Sample, list[str]]:
    corpus = read(THREE, tmp_path, clip("pretrain/0Fi83BHQsMA/00002", transcript))
    (row,) = corpus
    return row, [each.partition(".txt: ")[2] for each in corpus.mismatching]


@pytest.mark.parametrize(
    ("transcript", "text", "wrong"),
    [
        ("Text:  YES\nConf:  4\n", "YES", []),
        ("\ufeffText:  YES\r\nConf:  4\r\n", "YES", []),
        ("Text:  IT IS 10:30 NOW: GO", "IT IS 10:30 NOW: GO", []),
        ("Text:  {LG} WE'RE 10 {NS}{BR} HERE} ", "WE'RE 10 HERE", []),
        ("Text: YES\nText: NO", "YES", []),
        ("", "", ["it says nothing"]),
        (b"Text: \xe9", "", ["not UTF-8 text (byte 6)"]),
        ("Conf: 4", "", ["it says nothing"]),
        ("Text: YES\nRef: 0Fi83BHQsMB", "YES", ["it is of '0Fi83BHQsMB'"]),
        ("Text: YES\n\nWORD START END ASDSCORE\n", "YES", []),
        ("Text: YES\nWORD START END ASDSCORE\nYES x 1 2", "YES", ["line 3 is not a word, its start and its end"]),
        ("Text: YES\nWORD START END ASDSCORE\nYES 2 1 2", "YES", ["line 3 is not a word, its start and its end"]),
        ("Text: YES\nWORD START END ASDSCORE\nYES -1 1 2", "YES", ["line 3 is not a word, its start and its end"]),
        ("Text: YES\nWORD START END ASDSCORE\nYES 0 nan 2", "YES", ["line 3 is not a word, its start and its end"]),
        ("Text: YES NO\nWORD START END ASDSCORE\nYES 0 1\nNO", "YES NO", ["line 4 is not a word, its start and its end"]),
    ],
)
def test_texts(tmp_path: Path, transcript: str | bytes, text: str, wrong: list[str]) -> None:
    row, why = said(tmp_path, transcript)
    assert (row.text, row.words, why, row.reason) == (text, (), wrong, None)


@pytest.mark.parametrize(
    "transcript",
    [
        TIMED,
        TIMED.replace("\n", "\r\n"),
        TIMED.partition("\n\n")[2],
        BOXES.replace("AND SO", "") + TIMED.partition("\n\n")[2],
        TIMED.replace("ME 1.0", "{NS} 0.5 0.6 1\nME 1.0"),
        TIMED.replace(" -0.2", ""),
        "WORD\tSTART\tEND\nME\t1.0\t1.25\nYOU\t0.08\t0.49\nFOR\t0.49\t1.0",
    ],
    ids=["as published", "CRLF", "words alone", "boxes before", "no word", "no score", "tabs, not in order"],
)
def test_words(tmp_path: Path, transcript: str) -> None:
    row, wrong = said(tmp_path, transcript)
    assert row.words == (Said(0.08, 0.49, "YOU"), Said(0.49, 1.0, "FOR"), Said(1.0, 1.25, "ME"))
    assert (row.text, wrong) == ("", [])


@pytest.mark.parametrize(
    ("source", "path"),
    [
        (TWO, f"main/{SHOW}/0001.mp4"),
        (TWO, f"main/{SHOW[1:]}/00001.mp4"),
        (TWO, f"trainval/{SHOW}/00001.mp4"),
        (TWO, "pretrain/0Fi83BHQsMA/00001.mp4"),
        (TWO, f"main/{SHOW}/00001.avi"),
        (THREE, "0Fi83BHQsMA/00001.mp4"),
        (THREE, "main/0Fi83BHQsMA/00001.mp4"),
        (THREE, "test/0Fi83BHQsM/00001.mp4"),
        (THREE, "test/0Fi83BHQsMA/00001.MP4"),
    ],
)
def test_other_names_are_refused(tmp_path: Path, source: LRS, path: str) -> None:
    good = clip(f"main/{SHOW}/00009") if source is TWO else clip("test/0Fi83BHQsMA/00009")
    assert by_path(read(source, tmp_path, {**good, path: ""}))[path].reason == OUTSIDE


def test_doubles_are_refused(tmp_path: Path) -> None:
    rows = by_path(read(THREE, tmp_path, clip("test/0Fi83BHQsMA/00009") | clip("a/test/0Fi83BHQsMA/00009")))
    assert rows["test/0Fi83BHQsMA/00009.mp4"].reason == "the same clip as a/test/0Fi83BHQsMA/00009.mp4"


def test_the_other_version_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"sources\.lrs\.version: no film of LRS2 is here, and other files of LRS are; set it"
    ):
        read(TWO, tmp_path, clip("test/0Fi83BHQsMA/00009"))


@pytest.mark.parametrize(
    ("source", "file", "content", "message"),
    [
        (TWO, "train.txt", f"{SHOW}/00011.mp4, THEY'RE", "train.txt:1: .* is not a clip of main"),
        (TWO, "train.txt", f"../../main/{SHOW}/00011", "train.txt:1: .* is not a clip of main"),
        (TWO, "pretrain.txt", f"main/{SHOW}/00011", "pretrain.txt:1: '.*' is not a clip of pretrain"),
        (TWO, "test.txt", f"{SHOW}/00011 NF\n\n{SHOW}/00011 MV", "test.txt:3: main/.*/00011 is listed twice"),
        (TWO, "val.txt", b"\xff\xfe", "not UTF-8 text"),
        (THREE, "lrs3-valid.id", "test/0Fi83BHQsMA/00002", "is not a clip of trainval"),
    ],
)
def test_wrong_metadata_are_one_clear_line(tmp_path: Path, source: LRS, file: str, content: str | bytes, message: str) -> None:
    good = clip(f"main/{SHOW}/00009") if source is TWO else clip("test/0Fi83BHQsMA/00009")
    with pytest.raises(SourceError, match=message):
        read(source, tmp_path, {**good, file: content})


def test_the_real_lists(tmp_path: Path) -> None:
    valid, tests = given_file("lrs3/lrs3-valid.id"), given_file("lrs3/lrs3-test-ids.derived.txt").split()
    files: dict[str, str | bytes] = {"lrs3-valid.id": valid, **{f"test/{clip}.mp4": "" for clip in tests[:9]}}
    corpus = read(THREE, tmp_path, files | {f"{valid.split()[0]}.mp4": ""})
    assert {row.split for row in by_path(corpus).values()} == {"test", "val"}
    assert len([path for path in corpus.missing if path.endswith(".mp4")]) == 1199
