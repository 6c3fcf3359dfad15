"""Contact sheets, and the pages on which clips play."""

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from flows import workspace
from flows.look import look
from flows.params import Params, load_params
from forgeline.audio import write_sound
from forgeline.clip import Picture, Said, Segment, Sound
from forgeline.image import open_image
from forgeline.manifest import write_manifest
from forgeline.sample import Sample
from forgeline.video import Encoding, MaskWriter, VideoWriter
from tests.browser import Browser, chromium, tab
from tests.conftest import ROOT, Checkout

RATE, FPS, FRAMES = 16000, 25, 200  # long enough that a row does not end while a busy machine looks at it
SECONDS = FRAMES / FPS
WORDS = ("lay", "<b>white</b>", "at", "F", "now")


def tone(hz: float) -> Sound:
    """Beeps, one a second, so that there is a wave to see."""
    at = np.arange(round(SECONDS * RATE)) / RATE
    return Sound((0.3 * np.sin(2 * np.pi * hz * at) * (at % 1 < 0.6)).astype(np.float32), RATE)


def picture(number: int, shade: int) -> Picture:
    drawn = np.full((96, 128, 3), shade, np.uint8)
    drawn[:, : 2 * number + 2] = 255 - shade
    return drawn


def written(params: Params) -> None:
    """Four rows of lip_sync and of speech, with their controls, each with sound of its own; files and manifests."""
    rows: dict[str, list[Sample]] = {name: [] for name in params.generators}

    def add(name: str, number: int, kind: str, control: str, parents: tuple[str, ...], hz: float) -> None:
        path = workspace.MADE / name / f"{number}.{'mp4' if kind == 'video' else 'flac'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        forged, silent = name != control, name == "lip_sync" and number == 3
        mask = path.with_suffix(".mask.mp4") if kind == "video" and forged else None
        if kind == "audio":
            write_sound(path, tone(hz))
        else:
            with VideoWriter(path, 128, 96, Fraction(FPS), Encoding(), None if silent else tone(hz)) as out:
                for frame in range(FRAMES):
                    out.write(picture(frame, 30 * number + (90 if forged else 20)))
        if mask:
            with MaskWriter(mask, 128, 96, Fraction(FPS)) as masks:
                for _ in range(FRAMES):
                    masks.write(np.full((96, 128), 200, np.uint8))
        segments = (Segment(2.0, 4.0, "video"), Segment(0.0, SECONDS, "audio")) if forged else ()
        rows[name].append(
            Sample(
                sample_id=f"{name}-{number}",
                media=path.as_posix(),
                media_type="video" if kind == "video" else "audio",
                label="fake" if forged else "real",
                video_label=None if kind == "audio" else "fake" if forged else "real",
                audio_label="fake" if forged else "real",
                role="forgery" if forged else "control",
                method=name,
                source="demo",
                recipe="{}",
                pair_id=f"{control}-{number}",
                target_id=f"demo:p{number}",
                apparent_id=f"demo:p{number}",
                parents=parents,
                mask=mask.as_posix() if mask else None,
                segments=segments[1:] if kind == "audio" else segments,
                duration_s=SECONDS,
                sample_rate=RATE,
                words=tuple(Said(at / 3, (at + 1) / 3, word) for at, word in enumerate(WORDS)) if forged else (),
            )
        )

    for number in range(4):
        for control, fake, kind in (("control", "lip_sync", "video"), ("sound_control", "speech", "audio")):
            add(control, number, kind, control, (f"clip-{number}",), 300)
            # The last one's second parent has no control: it was dropped.
            parents = (f"clip-{number}", f"clip-{number + 1}") if fake == "lip_sync" else (f"clip-{number}",)
            add(fake, number, kind, control, parents, 900)
    for name, made in rows.items():
        write_manifest(workspace.MADE / name / workspace.MANIFEST, made)


def filled(path: Path) -> Params:
    """Params and files in `path`, which is the current folder."""
    settings = yaml.safe_load((ROOT / "params.tiny.yaml").read_text())
    settings["generators"] = {"control": {}, "lip_sync": {}, "sound_control": {}}
    (path / "params.yaml").write_text(yaml.safe_dump(settings))
    params = load_params()
    # Whatever speaks will do: it is asked for its docstring alone.
    params = params.model_copy(update={"generators": {**params.generators, "speech": params.generators["sound_control"]}})
    written(params)
    return params


def media(row: int) -> str:
    return f"[...document.querySelectorAll('figure')[{row}].querySelectorAll('video, audio')]"


def press(shown: Browser, row: int) -> None:
    """Space on a row's button: browsers play sound only for who pressed something."""
    shown.ask(f"document.querySelectorAll('figure button')[{row}].focus()")
    shown.key(" ", 32, " ")


def playing(shown: Browser, row: int) -> int:
    """How many of a row's media have moved on by a fifth of a second; an exception when one has an error, or does not move."""
    return int(
        shown.ask(f"""Promise.all({media(row)}.map(m => new Promise((ok, no) => {{
            const from = m.currentTime;
            const look = () => m.error ? no(m.error) : m.currentTime > from + 0.2 ? ok() : setTimeout(look, 20);
            look();
            setTimeout(() => no("stands still"), 10000);
        }}))).then(all => all.length)""")
    )


def in_step(shown: Browser, row: int) -> bool:
    """Whether, while the row plays, all of it shows the same time to a tenth of a second, be the machine as busy as it may."""
    found: bool = shown.ask(f"""new Promise(done => {{
        const row = {media(row)}, look = () => {{
            const times = row.map(m => m.currentTime);
            if (row.some(m => m.paused)) done(false);
            else if (Math.max(...times) - Math.min(...times) < 0.1) done(true);
            else setTimeout(look, 20);
        }};
        look();
    }})""")
    return found


def state(shown: Browser, row: int, what: str) -> list[Any]:
    found: list[Any] = shown.ask(f"{media(row)}.map(m => m.{what})")
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the pages of `written`."""
    path = tmp_path_factory.mktemp("look")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        look((), filled(path))
    return path / "build/look"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as address, tab(address) as opened:
        yield opened


@pytest.mark.parametrize(("name", "strips", "lead"), [("lip_sync", 4, 2), ("speech", 2, 1)])
def test_a_row_plays_together_and_one_strip_is_heard(place: Path, shown: Browser, name: str, strips: int, lead: int) -> None:
    """Films with FLAC in mp4 and sound alone: play, hear another, pause, play another row, and to the end."""
    shown.open((place / f"{name}.html").as_uri())
    press(shown, 1)
    assert playing(shown, 1) == strips
    assert in_step(shown, 1)
    assert state(shown, 1, "muted") == [at != lead for at in range(strips)]
    assert shown.ask(f"{media(1)}[{lead}].webkitAudioDecodedByteCount") > 0
    assert shown.ask("document.querySelectorAll('figure button')[1].textContent") == "Pause"
    assert float(shown.ask("document.querySelectorAll('figure')[1].querySelector('line').getAttribute('x1')")) > 0

    shown.ask("document.querySelectorAll('figure')[1].querySelector('input[type=radio]').click()")
    assert state(shown, 1, "muted") == [at != 0 for at in range(strips)]
    assert playing(shown, 1) == strips, "to hear another one stops nothing"

    press(shown, 1)
    assert all(state(shown, 1, "paused"))
    before = state(shown, 1, "currentTime")
    press(shown, 0)
    assert playing(shown, 0) == strips
    assert state(shown, 1, "currentTime") == before
    press(shown, 1)
    assert playing(shown, 1) == strips
    assert all(state(shown, 0, "paused")), "two rows are heard at once"

    ended = f"new Promise(ok => {media(1)}[{lead}].addEventListener('ended', () => setTimeout(ok, 50)))"
    shown.ask(
        f"(() => {{ const range = document.querySelectorAll('input[type=range]')[1]; range.value = {SECONDS - 0.5};"
        f" range.dispatchEvent(new Event('input')); return {ended}; }})()"
    )
    assert all(state(shown, 1, "paused"))
    press(shown, 1)
    assert playing(shown, 1) == strips
    assert max(state(shown, 1, "currentTime")) < SECONDS / 2, "it did not begin anew"
    press(shown, 1)
    assert not shown.complaints()


def test_the_bar_and_the_drawing_move_all_of_a_row(place: Path, shown: Browser) -> None:
    shown.open((place / "speech.html").as_uri())
    moved = f"""(() => {{
        const range = document.querySelectorAll('figure')[2].querySelector('input[type=range]');
        range.value = 1.5;
        range.dispatchEvent(new Event('input'));
        return Promise.all({media(2)}.map(m => m.seeking ? new Promise(ok => m.addEventListener('seeked', ok)) : 0));
    }})()"""
    shown.ask(f"Promise.all({media(2)}.map(m => m.readyState || new Promise(ok => m.addEventListener('loadedmetadata', ok))))")
    shown.ask(moved)
    assert state(shown, 2, "currentTime") == [1.5, 1.5]
    assert shown.ask("document.querySelectorAll('output')[2].textContent") == "1.5"
    shown.ask("""(() => {
        const drawing = document.querySelectorAll('figure')[2].querySelector('svg'), box = drawing.getBoundingClientRect();
        drawing.dispatchEvent(new MouseEvent('click', { clientX: box.left + box.width / 4, clientY: box.top + 2 }));
    })()""")
    assert state(shown, 2, "currentTime") == pytest.approx([SECONDS / 4] * 2, abs=0.02)
    assert not shown.complaints()


def test_the_space_bar_plays_the_row_that_was_used_last(place: Path, shown: Browser) -> None:
    shown.open((place / "speech.html").as_uri())
    press(shown, 2)
    assert playing(shown, 2) == 2
    shown.ask("document.activeElement.blur()")
    shown.key(" ", 32, " ")
    assert all(state(shown, 2, "paused"))
    shown.key(" ", 32, " ")
    assert playing(shown, 2) == 2
    assert all(state(shown, 1, "paused"))


def test_a_silent_sample_lets_its_target_be_heard(place: Path, shown: Browser) -> None:
    shown.open((place / "lip_sync.html").as_uri())
    assert state(shown, 3, "muted") == [False, True, True]
    assert shown.ask("document.querySelectorAll('figure')[3].querySelectorAll('input[type=radio]').length") == 1


def test_a_row_says_what_was_changed_and_what_is_said(place: Path, shown: Browser) -> None:
    shown.open((place / "lip_sync.html").as_uri())
    first = "document.querySelector('figure')"
    assert shown.ask(f"{first}.querySelector('q').textContent") == " ".join(WORDS)
    assert shown.ask(f"[...{first}.querySelectorAll('span')].map(s => s.textContent)") == ["video fake", "audio fake"]
    bars = f"[...{first}.querySelectorAll('rect')].map(r => ['class', 'x', 'y', 'width'].map(a => r.getAttribute(a)))"
    assert shown.ask(bars) == [["video", "75", "48", "75"], ["audio", "0", "53", "300"]]
    assert shown.ask(f"{first}.querySelectorAll('path').length") == 3
    shown.open((place / "sound_control.html").as_uri())
    assert shown.ask("[...document.querySelectorAll('span')].map(s => s.textContent)") == ["audio real"] * 4
    assert not shown.ask("document.querySelectorAll('rect, q').length")
    assert not shown.complaints()


def test_waves_are_drawn_to_one_scale(place: Path) -> None:
    """Beeps: where there is none the drawing is as thin as nothing, where there is one half as high as the row's loudest."""
    page = (place / "speech.html").read_text()
    path = re.findall(r'<path d="M([^"]*)Z"', page)[1]
    points = [tuple(map(float, point.split())) for point in path.split("L")]
    assert len(points) == 2 * 150
    assert all(0 <= x <= 300 for x, _ in points)
    beep = [y for x, y in points if x < 0.5 / SECONDS * 300]
    pause = [y for x, y in points if 0.65 < x / 300 * SECONDS < 0.9]
    assert (min(beep), max(beep)) == pytest.approx((0, 48), abs=0.5)
    assert (min(pause), max(pause)) == pytest.approx((24, 24), abs=0.2)


def test_pages_need_nothing_from_elsewhere(place: Path) -> None:
    for page in place.glob("*.html"):
        named = re.findall(r'(?:src|href)="([^"]+)"', page.read_text())
        assert named
        for name in named:
            assert name == "data:," or (place / name).is_file(), name
        assert "http" not in page.read_text()


def test_sound_alone_is_shown_as_spectrograms(place: Path) -> None:
    """A tone of 300 Hz beside one of 900: each is brightest in its own line, and dark between beeps."""
    sheet = next(open_image(place / "speech.png").pictures())
    assert sheet.shape == (4 * 192, 2 * 3 * 192, 3)
    for at, hz in enumerate((300, 900)):
        tile = sheet[: 192 - 2, at * 576 : (at + 1) * 576 - 2].astype(int)
        beep, pause = (tile[:, round(s / SECONDS * 576)] for s in (1.3, 1.8))
        assert int(beep.sum(1).argmax()) == pytest.approx(192 * (1 - hz / 8000), abs=2)
        assert pause.sum() < beep.sum()
    assert next(open_image(place / "lip_sync.png").pictures()).shape == (4 * 192, 10 * 192, 3), "the last row is filled up"


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
        press(shown, 0)
        assert playing(shown, 0) == 4
        assert shown.ask(f"({media(0)}).map(m => m.videoWidth)") == [128] * 4
        shown.open((out / "dcgan.html").as_uri())
        assert shown.ask("[...document.images].every(i => i.naturalWidth == 256)")
        assert shown.ask("document.images.length") > 0
        assert not shown.ask("document.querySelectorAll('button, svg').length")
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
