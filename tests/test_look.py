"""Contact sheets, and the pages on which clips play."""

import re
from pathlib import Path

import cv2

from tests.browser import chromium, tab
from tests.conftest import Checkout


def test_every_generator_gets_a_sheet_and_a_page(clone: Checkout, tmp_path: Path) -> None:
    """In a browser, by file: every clip plays, masks too; a row runs together; nothing is missing."""
    clone.flows("look")
    out = clone.path / "build/look"
    names = set(clone.params()["generators"])
    assert {path.stem for path in out.glob("*.png")} == {path.stem for path in out.glob("*.html")} == names
    people = 2  # of the tiny dataset's four, each in one clip; a pair has one of them as its source
    sheet = cv2.imread(str(out / "blend_swap.png"))
    assert sheet is not None
    assert sheet.shape[1] == (3 + 1 + 3 + 3) * 192
    assert sheet.shape[0] % 192 == 0
    assert sheet.shape[0] >= people * 192
    moments = [sheet[:192, i * 192 : (i + 1) * 192].astype(int) for i in range(10)]
    assert abs(moments[0] - moments[4]).mean() > 1, "the result is the target"
    assert set(moments[7].ravel()) - {0}, "the mask is empty"
    with chromium(tmp_path / "profile") as address, tab(address) as shown:
        shown.open((out / "blend_swap.html").as_uri())
        names_shown = shown.ask("[...document.querySelector('figure').querySelectorAll('b')].map(b => b.textContent)")
        assert names_shown == ["target", "source", "blend_swap", "mask"]
        playing = """(async () => {
            document.getElementById("play").click();
            const row = [...document.querySelector("figure").querySelectorAll("video")];
            await Promise.all(row.map(v => new Promise((ok, no) => {
                v.addEventListener("timeupdate", () => v.currentTime > 0 && ok()); v.addEventListener("error", no); })));
            return row.map(v => [v.videoWidth, v.error]);
        })()"""
        assert shown.ask(playing) == [[128, None]] * 4
        assert shown.ask("document.getElementById('play').textContent") == "Pause"
        shown.open((out / "dcgan.html").as_uri())
        assert shown.ask("[...document.images].every(i => i.naturalWidth == 256)")
        assert shown.ask("document.images.length") > 0
        assert not shown.complaints()


def test_only_what_is_named_is_drawn(clone: Checkout) -> None:
    clone.flows("look", "control")
    assert sorted(path.name for path in (clone.path / "build/look").iterdir()) == ["control.html", "control.png"]
    page = (clone.path / "build/look/control.html").read_text()
    for source in re.findall(r'src="([^"]+)"', page):
        assert (clone.path / "build/look" / source).is_file()


def test_a_generator_that_is_not_there_is_told(clone: Checkout) -> None:
    said = clone.flows("look", "blend_swop", fails=True)
    assert "blend_swop: is not in params" in said.stderr
