"""What the mark does to pictures, and which attacks it survives there, beside others' marks."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from skimage.metrics import structural_similarity

from benchmarks.attacks import PICTURE_ATTACKS
from benchmarks.watermark.figures import Goal, Rate, lowest, mean_least, table
from benchmarks.watermark.media import Material
from benchmarks.watermark.methods import Method, Ours, Rival
from forgeline.clip import Picture

_OTHER_GOALS = ("crop 80 %", "colour jitter", "JPEG 30", "rotation 1°", "rotation 2°", "stretch 5 %")
_FIRM_GOALS = (
    *("JPEG 90", "JPEG 75", "JPEG 50", "noise 15", "flip"),
    *("scale .25 and back", "scale .5 and back", "scale .75 and back", "scale .5", "scale .75"),
)


@dataclass
class Found:
    """What one method did to some pictures, and which of its payloads came back after which attack."""

    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    read: dict[str, list[bool]] = field(default_factory=lambda: {name: [] for name in PICTURE_ATTACKS})

    def rates(self) -> dict[str, Rate]:
        """By attack."""
        return {name: Rate.of(found) for name, found in self.read.items()}


def measure(material: Material, rivals: Sequence[Rival]) -> list[Goal]:
    """Print the tables of all sets of pictures, and give the goals for pictures."""
    repeats = 1 if material.quick else 2
    large = [
        _compare("Photographs", material.photographs, repeats, rivals),
        _compare("Demo frames, 1024 px", material.portraits(1024), 1, []),
        _compare("Demo frames, 512 px", material.portraits(512), repeats, rivals),
    ]
    small = _compare("Demo frames, 256 px", material.portraits(256), repeats, rivals)
    return [*_large_goals(large), *_small_goals(small)]


def _tried(method: Method, pictures: Sequence[Picture], repeats: int) -> Found:
    """Each picture marked with `repeats` payloads, each marked picture attacked in every way."""
    found = Found()
    for number in range(len(pictures) * repeats):
        picture = pictures[number % len(pictures)]
        marked = method.mark(picture, number)
        found.psnr.append(cv2.PSNR(picture, marked))
        found.ssim.append(float(structural_similarity(picture, marked, channel_axis=2)))  # type: ignore[no-untyped-call]
        small = min(picture.shape[:2]) < 400
        for name, attack in PICTURE_ATTACKS.items():
            attacked = attack.do(marked, np.random.default_rng(number))
            found.read[name].append(method.reads(attacked, number, attack.look, small))
    return found


def _compare(title: str, pictures: Sequence[Picture], repeats: int, rivals: Sequence[Rival]) -> Found:
    """Print both tables of a set of pictures; ours marks each with `repeats` payloads, rivaGan but two, being slow."""
    found: dict[str, Found] = {"ours": _tried(Ours(), pictures, repeats)}
    for rival in rivals:
        found[rival.name] = _tried(rival, pictures[:2] if rival.name == "rivaGan" else pictures, 1)
    table(
        f"{title}: what marking changes, mean (least)",
        ("method", "PSNR, dB", "SSIM"),
        [(name, mean_least(each.psnr), mean_least(each.ssim, ".4f")) for name, each in found.items()],
    )
    table(
        f"{title}: payloads read to the last bit",
        ("attack", "ours looks", *found),
        [
            (name, attack.look, *(Rate.of(each.read[name]) for each in found.values()))
            for name, attack in PICTURE_ATTACKS.items()
        ],
    )
    return found["ours"]


def _large_goals(sets: Sequence[Found]) -> list[Goal]:
    """The goals for pictures of at least 512 pixels, over all sets of them."""
    psnr, ssim = ([value for each in sets for value in getattr(each, what)] for what in ("psnr", "ssim"))
    rates = {name: Rate.of(hit for each in sets for hit in each.read[name]) for name in PICTURE_ATTACKS}
    return [
        Goal("pictures ≥ 512 px, mean PSNR", "≥ 45 dB", f"{np.mean(psnr):.1f} dB", bool(np.mean(psnr) >= 45)),
        Goal("… least PSNR", "≥ 42 dB", f"{min(psnr):.1f} dB", min(psnr) >= 42),
        Goal("… SSIM, mean (least)", "≥ .985", mean_least(ssim, ".4f"), bool(np.mean(ssim) >= 0.985)),
        lowest("… JPEG ≥ 50, scale .25–1, noise 15, flip", 0.99, {name: rates[name] for name in _FIRM_GOALS}),
        lowest("… scale .25, its size not known", 0.99, {"scale .25": rates["scale .25"]}),
        *(lowest(f"… {name}", 0.95, {name: rates[name]}) for name in _OTHER_GOALS),
    ]


def _small_goals(found: Found) -> list[Goal]:
    """The goals for 256 pixels."""
    rates = found.rates()
    return [
        lowest("256 px, JPEG 50", 0.99, {"JPEG 50": rates["JPEG 50"]}),
        lowest("256 px, crop 80 %", 0.95, {"crop 80 %": rates["crop 80 %"]}),
    ]
