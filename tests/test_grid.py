"""GRID is read by speaker and sentence, with words from alignments or, without these, from names."""

from pathlib import Path

import pytest

from forgeline.clip import Said
from sources.corpus import OUTSIDE, Corpus, Names
from sources.grid import CREDIT, GRID
from tests.test_sources import by_path, on_disk

ALIGN = (
    "0 23750 sil\n23750 29500 bin\n29500 34000 blue\n34000 35500 at\n35500 41000 f\n41000 47250 two\n47250 53000 now\n"
    "53000 74500 sil\n"
)
WORDS = (
    Said(0.95, 1.18, "bin"),
    Said(1.18, 1.36, "blue"),
    Said(1.36, 1.42, "at"),
    Said(1.42, 1.64, "f"),
    Said(1.64, 1.89, "two"),
    Said(1.89, 2.12, "now"),
)


def read(tmp_path: Path, files: dict[str, str | bytes]) -> Corpus:
    return GRID(terms=GRID.template)("grid", tmp_path / "raw", on_disk(tmp_path / "raw", files))


@pytest.mark.parametrize(
    ("film", "sound", "align"),
    [
        ("s1/bbaf2n.mpg", "audio_25k/s1/bbaf2n.wav", "alignments/s1/bbaf2n.align"),
        ("s1/video/mpg_6000/bbaf2n.mpg", "s1/audio/bbaf2n.wav", "s1/align/bbaf2n.align"),
        ("grid/s1.mpg_vcd/bbaf2n.mpg", "s1_50kHz/bbaf2n.wav", "s1/bbaf2n.align"),
        ("s1/id1_vcd_bbaf2n.mpg", "s1/bbaf2n.wav", "align/s1/bbaf2n.align"),
        ("id1_vcd_bbaf2n.mpg", "s2/s1/bbaf2n.wav", "s1/bbaf2n.align"),
    ],
)
def test_layouts(tmp_path: Path, film: str, sound: str, align: str) -> None:
    corpus = read(tmp_path, {film: "", sound: "", align: "\ufeff" + ALIGN.replace("\n", "\r\n"), "readme.txt": ""})
    rows = by_path(corpus)
    assert {path: row.media_type for path, row in rows.items()} == {film: "video", sound: "audio"}
    for row in rows.values():
        assert (row.reason, row.label, row.audio_label) == (None, "real", "real")
        assert row.video_label == ("real" if row.media_type == "video" else None)
        assert (row.target_id, row.apparent_id, row.source_id, row.split) == ("grid:s1", "grid:s1", None, None)
        assert (row.origin, row.credit) == ("grid:s1/bbaf2n", CREDIT)
        assert (row.words, row.text) == (WORDS, "")
    report = corpus.report()
    assert (report.have, report.unexpected.examples, report.mismatching.count) == ({"audio": 1, "video": 1}, ("readme.txt",), 0)
    assert len(corpus.missing) == 33


@pytest.mark.parametrize(
    ("name", "text"),
    [("bbaf2n", "bin blue at f two now"), ("swwzzp", "set white with z zero please"), ("pgix1s", "place green in x one soon")],
)
def test_names_say_what_is_said(tmp_path: Path, name: str, text: str) -> None:
    corpus = read(tmp_path, {f"s34/{name}.mpg": ""})
    (row,) = corpus
    assert (row.text, row.words, row.target_id) == (text, (), "grid:s34")
    assert f"s34/{name}.align" in corpus.missing


def test_an_alignment_of_other_words_is_told_and_believed(tmp_path: Path) -> None:
    corpus = read(tmp_path, {"s1/bbaf2n.mpg": "", "s1/bbaf2n.align": ALIGN.replace("two", "three"), "s1/bbas3a.align": ALIGN})
    (row,) = corpus
    assert row.words[4].text == "three"
    assert corpus.mismatching == ["s1/bbaf2n.align: it does not say 'bin blue at f two now'"]
    assert corpus.notes == ("1 alignments are of sentences that are not here",)
    assert corpus.report().unexpected.count == 0


def test_the_same_words_by_two_people_are_two_sentences(tmp_path: Path) -> None:
    rows = list(read(tmp_path, {"s1/bbaf2n.mpg": "", "s10/bbaf2n.mpg": ""}))
    assert [row.target_id for row in rows] == ["grid:s1", "grid:s10"]
    assert rows[0].origin != rows[1].origin


def test_a_second_film_is_refused(tmp_path: Path) -> None:
    rows = by_path(read(tmp_path, {"s1/mpg_6000/bbaf2n.mpg": "", "s1/mpg_vcd/bbaf2n.mpg": ""}))
    assert rows["s1/mpg_vcd/bbaf2n.mpg"].reason == "the same sentence as s1/mpg_6000/bbaf2n.mpg"


@pytest.mark.parametrize(
    "path",
    [
        "bbaf2n.mpg",
        "s35/bbaf2n.mpg",
        "s0/bbaf2n.mpg",
        "s01/bbaf2n.mpg",
        "s1/bbaw2n.mpg",
        "s1/bbaf0n.mpg",
        "s1/bbaf2x.mpg",
        "s1/xbaf2n.mpg",
        "s1/bbaf2n.mp4",
        "s1/bbaf2n.MPG",
        "s1/id2_vcd_bbaf2n.mpg",
        "id99_vcd_bbaf2n.mpg",
        "sa/bbaf2n.mpg",
    ],
)
def test_other_names_are_refused(tmp_path: Path, path: str) -> None:
    assert by_path(read(tmp_path, {"s1/bbas3a.mpg": "", path: ""}))[path].reason == OUTSIDE


def test_a_broken_alignment_is_one_clear_line(tmp_path: Path) -> None:
    corpus = read(tmp_path, {"s1/bbaf2n.mpg": "", "s1/bbaf2n.align": "0 1 sil\n3 2 bin"})
    assert corpus.report().mismatching == Names(1, ("s1/bbaf2n.align: line 2 is not `start end word`",))
    (row,) = corpus
    assert (row.reason, row.words, row.text) == (None, (), "bin blue at f two now")
