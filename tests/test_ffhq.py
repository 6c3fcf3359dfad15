"""FFHQ is read with each picture's licence and author, and its large JSON in pieces."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from forgeline.errors import SourceError
from forgeline.terms import Terms
from sources import ffhq
from sources.corpus import OUTSIDE, Corpus
from sources.ffhq import FFHQ
from tests.test_sources import by_path, on_disk

TERMS = FFHQ.template
FACES = FFHQ(terms=TERMS)
TABLE = "ffhq-dataset-v2.json"
NC = "https://creativecommons.org/licenses/by-nc/2.0/"


def entry(number: int, **metadata: object) -> dict[str, Any]:
    about = {
        "photo_url": f"https://www.flickr.com/photos/x/{number}/",
        "photo_title": "DSCF0899.JPG",
        "author": "A. Nobody",
        "country": "",
        "license": "Attribution License",
        "license_url": "https://creativecommons.org/licenses/by/2.0/",
    }
    image = {"file_path": "images1024x1024/…", "file_size": 4, "file_md5": "0" * 32, "face_landmarks": [[1.5, 2.5]] * 68}
    category = "training" if number < 60000 else "validation"
    return {"category": category, "metadata": about | metadata, "image": image, "in_the_wild": {"face_rect": [1, 2, 3, 4]}}


def table(*numbers: int, **metadata: object) -> str:
    return json.dumps({str(number): entry(number, **metadata) for number in numbers}, indent=1)


def read(tmp_path: Path, files: dict[str, str | bytes], terms: Terms = TERMS) -> Corpus:
    return FFHQ(terms=terms)("ffhq", tmp_path / "raw", on_disk(tmp_path / "raw", files))


def test_as_published(tmp_path: Path) -> None:
    paths = [f"images1024x1024/{folder}/{name}.png" for folder, name in (("00000", "00007"), ("69000", "69001"))]
    files: dict[str, str | bytes] = {**dict.fromkeys(paths, "four"), TABLE: table(7, 8, 69001), "LICENSE.txt": "", "x.txt": ""}
    files |= {
        "images1024x1024/00000/LICENSE.txt": "",
        "thumbnails128x128/00000/00007.png": "",
        "tfrecords/ffhq/a.tfrecords": "",
    }
    files |= {"in-the-wild-images/00000/00007.png": ""}
    corpus = read(tmp_path, files)
    rows = by_path(corpus)
    assert {path: row.reason for path, row in rows.items()} == dict.fromkeys(paths)
    first, last = rows[paths[0]], rows[paths[1]]
    assert (first.split, last.split) == ("train", "val")
    assert (first.media_type, first.label, first.video_label, first.audio_label) == ("image", "real", "real", None)
    assert (first.target_id, first.origin) == (None, "https://www.flickr.com/photos/x/7/")
    assert first.licence == "CC-BY-2.0 AND CC-BY-NC-SA-4.0"
    assert first.credit == "DSCF0899.JPG, by A. Nobody, https://www.flickr.com/photos/x/7/, CC-BY-2.0"
    assert (corpus.missing, corpus.mismatching, corpus.report().unexpected.examples) == (["00008.png"], [], ("x.txt",))
    assert corpus.report().have == {"training": 1, "validation": 1}
    assert corpus.notes == ("2 thumbnails and whole photographs are left out",)


@pytest.mark.parametrize("path", ["00007.png", "00000/00007.png", "ffhq/1024/00007.png", "deep/er/00000/00007.png"])
def test_flat_copies_and_other_sizes(tmp_path: Path, path: str) -> None:
    corpus = read(tmp_path, {path: "scaled", f"meta/{TABLE}": table(7)})
    assert by_path(corpus)[path].split == "train"
    assert corpus.mismatching == [f"{path}: 6 bytes, 4 are published"]


@pytest.mark.parametrize(
    ("url", "licence", "gain"),
    [
        ("https://creativecommons.org/licenses/by/2.0/", "CC-BY-2.0", True),
        (NC, "CC-BY-NC-2.0", False),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "CC-PDM-1.0", True),
        ("http://creativecommons.org/publicdomain/zero/1.0", "CC0-1.0", True),
        ("http://www.usa.gov/copyright.shtml", "United States Government Work", True),
    ],
)
def test_each_picture_has_its_licence(tmp_path: Path, url: str, licence: str, gain: bool) -> None:
    terms = TERMS.model_copy(update={"permitted_use": ("commercial", "detection", "research"), "licence": "ours"})
    (row,) = read(tmp_path, {"00007.png": "four", TABLE: table(7, license_url=url)}, terms)
    assert row.licence == " AND ".join(sorted([licence, "ours"]))
    assert row.permitted_use == (("commercial",) if gain else ()) + ("detection", "research")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"license_url": "https://creativecommons.org/licenses/by-nd/2.0/"}, "gives it the licence 'creativecommons.org/lic"),
        ({"license_url": ""}, "gives it the licence ''"),
        ({"license_url": None}, "gives it the licence 'None'"),
        ({"photo_url": ""}, "does not say in which part it is, and from which photograph"),
        ({"photo_url": 7}, "does not say in which part it is, and from which photograph"),
    ],
)
def test_a_picture_of_no_known_licence_is_refused(tmp_path: Path, change: dict[str, object], reason: str) -> None:
    both = json.dumps({"7": entry(7, **change), "8": entry(8)})
    rows = by_path(read(tmp_path, {"00007.png": "four", "00008.png": "four", TABLE: both}))
    assert str(rows["00007.png"].reason).startswith(f"{TABLE} {reason}")
    assert rows["00008.png"].reason is None


@pytest.mark.parametrize("what", [{}, {"category": "testing", "metadata": entry(7)["metadata"]}, {"category": "training"}])
def test_an_entry_of_another_shape_refuses_its_picture(tmp_path: Path, what: dict[str, object]) -> None:
    rows = by_path(read(tmp_path, {"00007.png": "", "00008.png": "four", TABLE: json.dumps({"7": what, "8": entry(8)})}))
    assert str(rows["00007.png"].reason).startswith(f"{TABLE} does not say in which part")


def test_without_the_table_nothing_can_be_used(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=rf"{TABLE}: is not here, and it alone says .*; put it there"):
        read(tmp_path, {"00007.png": "four"})


def test_a_picture_that_the_table_does_not_name_is_refused(tmp_path: Path) -> None:
    rows = by_path(read(tmp_path, {"00007.png": "four", "00008.png": "four", TABLE: table(7)}))
    assert rows["00008.png"].reason == f"{TABLE} does not name it"


def test_credits_are_one_line(tmp_path: Path) -> None:
    (row,) = read(tmp_path, {"00007.png": "four", TABLE: table(7, photo_title=" a\n\tb\x07\u2028c ", author="")})
    assert row.credit == "a b c, by an author who is not named, https://www.flickr.com/photos/x/7/, CC-BY-2.0"


def test_faces_of_one_photograph_share_their_origin(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"00007.png": "four", "60007.png": "four", TABLE: table(7, 60007, photo_url="https://f/1")}
    assert {row.origin for row in read(tmp_path, files)} == {"https://f/1"}


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("images1024x1024/01000/00007.png", "it belongs into the folder 00000"),
        ("a/00007.png", "the same picture as 00007.png"),
        ("7.png", OUTSIDE),
        ("00007.jpg", OUTSIDE),
        ("000007.png", OUTSIDE),
    ],
)
def test_other_names_are_refused(tmp_path: Path, path: str, reason: str) -> None:
    rows = by_path(read(tmp_path, {"00007.png": "four", "00008.png": "four", path: "four", TABLE: table(7, 8)}))
    assert rows[path].reason == reason


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not the JSON of this corpus, after 0 pictures ('' where '{' should be)"),
        ("[]", "not the JSON of this corpus, after 0 pictures ('[' where '{' should be)"),
        ("{", "not the JSON of this corpus"),
        ('{"7": 3}', "not the JSON of this corpus, after 0 pictures ('3' where"),
        ('{"7": "x"}', "the entry of 7 is no object"),
        ('{"7": {}, "7": {}}', "'7' is not the number of a new picture"),
        ('{"../7": {}}', "'../7' is not the number of a new picture"),
        ('{"007": {}}', "'007' is not the number of a new picture"),
        ('{"٧": {}}', "is not the number of a new picture"),
        ('{"7": {"a": 1, "a": 2}}', "the key 'a' is there twice"),
        ('{"7": {} "8": {}}', "not the JSON of this corpus, after 1 pictures ('\"' where ',' should be)"),
        ('{"7": {},}', "not the JSON of this corpus"),
        ('{"7": {}} {}', "there is something after its end"),
        ('{"7": {}', "not the JSON of this corpus"),
        ('{"7": ' + '{"a":' * 100_000, "JSON nested too deeply"),
        (b'{"7": {"a": "\xff"}}', "not UTF-8 text"),
        (b'{"7": {}}\xc3', "not UTF-8 text"),
        (table(7)[:300], "not the JSON of this corpus"),
    ],
)
def test_a_wrong_table_is_one_clear_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(SourceError) as error:
        read(tmp_path, {"00007.png": "four", TABLE: content})
    assert message in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "raw" / TABLE))
    assert "\n" not in str(error.value)


def test_it_must_be_the_table_in_the_inventory(tmp_path: Path) -> None:
    inventory = on_disk(tmp_path / "raw", {"00007.png": "four", TABLE: table(7)})
    (tmp_path / "raw" / TABLE).write_text(table(7, license_url=NC))
    with pytest.raises(SourceError, match="not the file in the inventory; run python -m flows scan again"):
        FACES("ffhq", tmp_path / "raw", inventory)


@pytest.mark.parametrize("piece", [1, 2, 7, 100, 5000])
def test_where_pieces_end_makes_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    """Also in the middle of a character, a mark, a string or an object."""
    text = table(7, 8, photo_title='Zoë "]}, \\ 👤', license_url=NC)
    literal = json.dumps(json.loads(text), ensure_ascii=False, separators=(" ,\r\n\t", "\n: "))
    files: dict[str, str | bytes] = {"00007.png": "four", "00008.png": "four", TABLE: "\ufeff" + literal + "\n"}
    whole = list(read(tmp_path, files))
    assert whole[0].credit.startswith('Zoë "]}')
    monkeypatch.setattr(ffhq, "_PIECE", piece)
    assert list(read(tmp_path, files)) == whole


def test_memory_does_not_grow_with_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffhq, "_PIECE", 1 << 14)
    peaks = []
    for count in (100, 1000):
        rest = {str(number): entry(number) for number in range(count)}
        inventory = on_disk(tmp_path / str(count), {"00000.png": "four", TABLE: json.dumps(rest, indent=1)})
        tracemalloc.start()
        try:
            corpus = FACES("ffhq", tmp_path / str(count), inventory)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert len(corpus.missing) == count - 1
    assert (tmp_path / "1000" / TABLE).stat().st_size > 10 * peaks[1]
    assert peaks[1] < peaks[0] + 250 * 900  # names of pictures that are missing, and of those seen


def test_an_entry_without_an_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffhq, "_PIECE", 1000)
    monkeypatch.setattr(ffhq, "_LONGEST", 5000)
    with pytest.raises(SourceError, match="not the JSON of this corpus"):
        read(tmp_path, {"00007.png": "four", TABLE: '{"7": {"a": "' + "b" * 20_000 + '"}}'})
