"""What someone can do to the mark who has all of this code, and no key. Each test's figures are in docs/watermark.md.

Tests whose name says that something can be done are no promise but a known limit: if one fails, tell the docs.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from scipy import fft
from sklearn.linear_model import LogisticRegression

from benchmarks.attacks import blurred, jpeg, noisy
from flows.read import Index, Means, examine, report
from forgeline.clip import Picture
from forgeline.image import open_image, write_image
from watermark.evidence import Evidence
from watermark.fingerprint import Fingerprint
from watermark.keys import DEMO, MasterKey, ShardKey, master
from watermark.payload import Mark
from watermark.read import read
from watermark.strength import Marker
from watermark.tile import TILE, Bins, bits_for, fold, folded, grey, half_luma, hidden, layout

KODAK = Path(__file__).parents[2] / "shared/media/kodak"
MASTER = MasterKey("tests", b"tests" * 6 + b"32")
KEY = MASTER.shard("control-test-0000")

pytestmark = pytest.mark.skipif(not KODAK.is_dir(), reason="the Kodak photographs are not here")


def squares(side: int) -> list[Picture]:
    """All square cut-outs of the photographs that do not overlap, in a drawn order."""
    found = []
    for path in sorted(KODAK.glob("*.png")):
        picture = next(open_image(path).pictures())
        height, width = picture.shape[:2]
        for top in range(0, height - side + 1, side):
            for left in range(0, width - side + 1, side):
                found.append(np.ascontiguousarray(picture[top : top + side, left : left + side]))
    return [found[index] for index in np.random.default_rng(0).permutation(len(found))]


def mark(number: int, picture: Picture) -> Mark:
    """An id as good as any drawn one."""
    bits = bits_for(*picture.shape[1::-1])
    return Mark(int(np.random.default_rng(number).integers(1 << (40 if bits == 64 else 16))), bits)


def marked(picture: Picture, number: int, key: ShardKey = KEY) -> Picture:
    return Marker(key, mark(number, picture))(picture)


def evidence(picture: Picture, key: ShardKey = KEY) -> Evidence:
    """What the picture says, read where the tiles were put."""
    plan = layout(key.layout, bits_for(*picture.shape[1::-1]))
    found = Evidence(plan)
    found.add(plan.bins(folded(picture)))
    return found


def reads(picture: Picture, number: int, key: ShardKey = KEY) -> bool:
    return evidence(picture, key).carries(key, mark(number, picture))


@pytest.fixture(scope="module")
def photographs() -> list[Picture]:
    return squares(512)


@pytest.fixture(scope="module")
def released(photographs: list[Picture]) -> list[Picture]:
    return [marked(picture, number) for number, picture in enumerate(photographs)]


# What an adversary sees and does without a key: the bins are the same for all keys, what is in them is not.


def seen(picture: Picture) -> Bins:
    plan = layout(b"any", bits_for(*picture.shape[1::-1]))
    return plan.bins(folded(picture))


def laid(picture: Picture, pattern: Bins, decibels: float, sign: int = 1) -> Picture:
    """The picture with a pattern of bins laid on it, or taken off it, hidden as the mark is."""
    height, width = picture.shape[:2]
    plan = layout(b"any", bits_for(width, height))
    grid = np.zeros((TILE, TILE // 2 + 1), np.complex64)
    grid[plan.ky % TILE, plan.kx] = pattern * plan.amplitude
    tile = fft.irfft2(grid, (TILE, TILE))
    tiles = np.tile(tile / tile.std(), (height // TILE + 1, width // TILE + 1))[:height, :width]
    tiles *= cv2.resize(hidden(half_luma(grey(picture))), (width, height))
    change = sign * 255 / 10 ** (decibels / 20) * tiles
    return np.clip(np.rint(picture + change[..., None]), 0, 255).astype(np.uint8)


def freed(picture: Picture, pattern: Bins) -> Picture:
    """The picture with so much of a pattern taken off that its own bins say nothing of it any more."""
    weak, strong = 60.0, 25.0
    for _ in range(8):
        middle = (weak + strong) / 2
        left = float((seen(laid(picture, pattern, middle, -1)) * np.conj(pattern)).real.sum())
        weak, strong = (middle, strong) if left > 0 else (weak, middle)
    return laid(picture, pattern, weak, -1)


# Removing


def test_averaging_files_of_one_master_gives_its_template_away_but_no_payload(tmp_path: Path) -> None:
    pictures = squares(256)
    shards = [MASTER.shard(f"control-train-{batch:04d}") for batch in range(8)]  # another key for each eighth file
    files = [marked(picture, number, shards[number % 8]) for number, picture in enumerate(pictures)]
    targets = range(len(files) - 24, len(files))
    plan = layout(MASTER.layout, 32)

    def attacked(count: int) -> tuple[dict[int, Picture], float]:
        """The targets without what the mean of so many files shows of the template; and the share of it that this is."""
        mean = np.mean([seen(file) for file in files[:count]], 0)
        loudest = np.argsort(-np.abs(mean))[: len(plan.sync)]
        pattern = np.zeros_like(mean)
        pattern[loudest] = mean[loudest] / np.abs(mean[loudest])
        found = {target: freed(files[target], pattern) for target in targets}
        assert np.mean([cv2.PSNR(files[target], picture) for target, picture in found.items()]) > 44
        return found, float(np.isin(loudest, plan.sync).mean())

    def located(found: dict[int, Picture]) -> float:
        return float(np.mean([plan.locate(plan.bins(folded(picture)))[1:] == (0, 0) for picture in found.values()]))

    after, share = attacked(4)
    print(f"4 files: {share:.2f} of the template, tiles found in {located(after):.2f}")
    assert share < 0.6
    assert located(after) > 0.8
    after, share = attacked(64)
    print(f"64 files: {share:.2f} of the template, tiles found in {located(after):.2f}")
    assert share > 0.9
    assert located(after) < 0.2
    still_read = np.mean([reads(picture, target, shards[target % 8]) for target, picture in after.items()])
    print(f"payloads read where they were put: {still_read:.2f}")
    assert still_read > 0.9
    target, picture = next(iter(after.items()))
    write_image(tmp_path / "whole.png", picture)
    write_image(tmp_path / "cut.png", np.ascontiguousarray(picture[2:, 2:]))
    assert [found.mark for found in read(tmp_path / "whole.png", shards).found] == [mark(target, picture)]
    assert not read(tmp_path / "cut.png", shards).found  # known limit: without the template nobody finds the tiles


def test_folding_a_file_onto_itself_removes_its_mark(released: list[Picture]) -> None:
    attacked = [freed(picture, seen(picture)) for picture in released]
    psnr = np.mean([cv2.PSNR(a, b) for a, b in zip(released, attacked, strict=True)])
    share = np.mean([reads(picture, number) for number, picture in enumerate(attacked)])
    print(f"folded: {psnr:.1f} dB, read {share:.2f}")
    assert psnr > 38
    assert share < 0.1


@pytest.mark.parametrize(
    ("attack", "psnr_limit"),
    [
        (lambda picture: jpeg(picture, 30), 31.5),
        (lambda picture: blurred(picture, 2), 27.0),
        (lambda picture: noisy(picture, 20, np.random.default_rng(0)), 23.0),
        (lambda picture: np.asarray(cv2.medianBlur(picture, 5), np.uint8), 28.0),
        (lambda picture: np.asarray(cv2.bilateralFilter(picture, 9, 80, 5), np.uint8), 33.0),
    ],
    ids=["jpeg", "blur", "noise", "median", "bilateral"],
)
def test_who_does_not_fold_must_spoil_the_picture(
    released: list[Picture], attack: Callable[[Picture], Picture], psnr_limit: float
) -> None:
    attacked = [attack(picture) for picture in released]
    psnr = np.mean([cv2.PSNR(a, b) for a, b in zip(released, attacked, strict=True)])
    share = np.mean([reads(picture, number) for number, picture in enumerate(attacked)])
    print(f"{psnr:.1f} dB, read {share:.2f}")
    assert psnr < psnr_limit
    assert share > 0.9


# Forging


def sealed_row(folder: Path, picture: Picture, number: int, label: str = "fake") -> None:
    """A release of one sample."""
    known = Fingerprint(1)
    known.add(picture)
    row = dict.fromkeys(("sample_id", "role", "method", "variant", "split", "target_id", "source_id", "licence"), "x")
    row |= {"label": label, "permitted_use": ["research"], "mark_id": f"{mark(number, picture).id:010x}"}
    row |= {"mark_key_id": KEY.id, "sha256": "0" * 64, "fingerprint": known.hex}
    row |= {"height": picture.shape[0], "width": picture.shape[1]}
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist([row]), folder / "test.parquet")


def test_a_copied_mark_is_proven_and_is_not_a_sample(
    photographs: list[Picture], released: list[Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, host = 0, photographs[2]
    with_original = np.clip(host.astype(np.int16) + released[victim] - photographs[victim], 0, 255).astype(np.uint8)
    without = laid(host, seen(released[victim]), 36)
    monkeypatch.chdir(tmp_path)  # no manifests but the release's
    sealed_row(tmp_path / "release", released[victim], victim)
    index, means = Index([tmp_path / "release"]), Means((KEY,), "")
    found = {}
    own, part = jpeg(released[victim], 75), np.ascontiguousarray(released[victim][30:440, 60:470])
    for name, picture in {"own": own, "part": part, "with original": with_original, "without": without}.items():
        write_image(tmp_path / f"{name}.png", picture)
        (told,) = report(examine(tmp_path / f"{name}.png", means), index).marks  # it does read, with a valid proof
        found[name] = told.content
    assert found == {"own": "same", "part": "same", "with original": "different", "without": "different"}


def test_how_often_a_mark_can_be_copied_without_the_original(photographs: list[Picture], released: list[Picture]) -> None:
    share = {}
    for decibels in (44, 36):
        forged = [laid(host, seen(file), decibels) for host, file in zip(photographs[1:], released, strict=False)]
        share[decibels] = np.mean([reads(picture, number) for number, picture in enumerate(forged)])
    print(f"copied: {share}")
    assert share[36] > 0.8  # known limit: copying takes no key


# Marking again


@pytest.mark.parametrize(
    ("key", "kept"),
    [(MasterKey("other", bytes(32)).shard("x"), 0.9), (MASTER.shard("blend_swap-test-0000"), 0.9), (KEY, 0.0)],
    ids=["other master", "other shard", "same shard"],
)
def test_who_marks_again_leaves_the_older_mark_unless_he_has_the_very_key(
    released: list[Picture], key: ShardKey, kept: float
) -> None:
    again = [marked(picture, 1000 + number, key) for number, picture in enumerate(released)]
    older = np.mean([reads(picture, number) for number, picture in enumerate(again)])
    newer = np.mean([reads(picture, 1000 + number, key) for number, picture in enumerate(again)])
    print(f"older {older:.2f}, newer {newer:.2f}")
    assert newer > 0.95
    assert older >= kept
    assert kept or older < 0.1


# Marking to frame: making a real photograph be called fake


def test_a_photograph_marked_with_the_public_key_is_no_known_sample(
    photographs: list[Picture], released: list[Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = master(DEMO).shard(KEY.name)
    monkeypatch.chdir(tmp_path)
    sealed_row(tmp_path / "release", released[0], 0)
    write_image(tmp_path / "framed.png", marked(photographs[1], 0, public))  # the very id of a fake
    told = report(examine(tmp_path / "framed.png", Means((public, KEY), "")), Index([tmp_path / "release"]))
    assert [found.key_id for found in told.marks] == [public.id]
    assert told.marks[0].samples == ()


def features(picture: Picture) -> NDArray[np.float64]:
    """What a detector may go by: the strength of five bands of detail, how much there is where detail is evened out, and
    how much of that repeats from tile to tile."""
    luma = half_luma(grey(picture))
    found, smooth = [], luma
    for size in (3, 5, 9, 17, 33):
        blur = cv2.blur(luma, (size, size))
        found.append(np.mean((smooth - blur) ** 2))
        smooth = blur
    rough = luma - cv2.blur(luma, (17, 17))
    even = rough / (np.sqrt(cv2.blur(rough * rough, (17, 17))) + 1.2)
    repeats = np.abs(fold(luma)[3:22, 3:22])
    return np.log([*found, np.mean(even**2), np.mean(repeats**2), np.mean(repeats**4)]) + 0.0


def doctored(picture: Picture) -> Picture:
    """A forgery with a flaw of its own: smoothed a little."""
    return blurred(picture, 0.5)


def test_a_detector_trained_on_marked_classes_is_hardly_moved_by_a_mark() -> None:
    pictures = squares(256)
    key = MASTER.shard("train-0000")
    plain = [features(picture) for picture in pictures]
    real = [features(marked(picture, number, key)) for number, picture in enumerate(pictures)]
    fake = [features(marked(doctored(picture), 500 + number, key)) for number, picture in enumerate(pictures)]
    framed = [features(marked(picture, number, master(DEMO).shard("x"))) for number, picture in enumerate(pictures)]

    def called_fake(reals: list[NDArray[np.float64]]) -> tuple[float, float]:
        """How many real photographs a detector of `fake` against these calls fake: as they are, and marked to frame. It
        learns from one half of the photographs and is asked about the other, and the other way round."""
        before, after = [], []
        for learnt, asked in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
            known = np.array([*reals[learnt], *fake[learnt]])
            middle, spread = known.mean(0), known.std(0)
            labels = np.repeat([0, 1], len(known) // 2)
            detector = LogisticRegression(C=10, max_iter=5000).fit((known - middle) / spread, labels)
            before += detector.predict((np.array(plain[asked]) - middle) / spread).tolist()
            after += detector.predict((np.array(framed[asked]) - middle) / spread).tolist()
        return float(np.mean(before)), float(np.mean(after))

    before, after = called_fake(plain)
    print(f"marks on fakes alone: real photographs called fake {before:.2f}, marked to frame {after:.2f}")
    assert after - before > 0.4  # the shortcut that marks on one class teach
    before, after = called_fake(real)
    print(f"marks on both: real photographs called fake {before:.2f}, marked to frame {after:.2f}")
    assert after - before < 0.2
