"""How often something that was never marked is read as marked, by the reads that everyone uses."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.watermark.figures import Goal, Rate, table
from benchmarks.watermark.media import Material
from forgeline.clip import Picture
from forgeline.image import write_image
from watermark.evidence import Evidence, score
from watermark.keys import DEMO, ShardKey, master
from watermark.payload import MAC_BITS, decode, proven
from watermark.read import read
from watermark.sound import read_sound
from watermark.tile import folded, layout


def measure(material: Material) -> list[Goal]:
    """Look in each picture and each sound for the marks of so many shards; print what was found in them."""
    pictures = [*material.photographs, *material.portraits(512)]
    sounds = [sound for pieces in material.speech.values() for sound in pieces] + material.recorded(1)
    keys = 64 if material.quick else 4096
    every = [master(DEMO).shard(f"unmarked {number}") for number in range(keys)]
    rows: list[tuple[object, ...]] = []
    for bits in MAC_BITS:
        scores, proofs = zip(*(_decoded(picture, every, bits) for picture in pictures), strict=True)
        tail = np.sort(np.concatenate(scores))[::-1]
        rows.append((f"proofs that hold by chance, {bits} bits, before the score is asked", Rate(sum(proofs), len(tail))))
        once = ", ".join(f"{tail[len(tail) // rare]:.2f} (1 in {rare})" for rare in (1000, 10000) if rare < len(tail))
        rows.append(("… likeliest payload's score", f"exceeds {once}; at most {tail[0]:.2f}"))
    with tempfile.TemporaryDirectory() as folder:
        seen = 0
        for number, picture in enumerate(pictures):
            path = Path(folder) / f"{number}.png"
            write_image(path, picture)
            seen += len(read(path, every).found)
    rows.append(("pictures: blind reads, a key and a file each", Rate(seen, len(pictures) * keys)))
    fewer = every[: keys // 8]  # as sound is read in three places for each
    heard = sum(read_sound(sound, fewer) is not None for sound in sounds)
    rows.append(("sounds: blind reads, a key and a file each", Rate(heard, len(sounds) * len(fewer))))
    table("Never marked, and read as marked", ("what", "how many"), rows)
    trials = len(pictures) * keys + len(sounds) * len(fewer)
    text = f"{seen + heard} of {trials} reads"
    return [Goal("false accepts", "0 of ≥ 100 000 reads", text, seen + heard == 0 and trials >= 100_000)]


def _decoded(picture: Picture, keys: Sequence[ShardKey], bits: int) -> tuple[NDArray[np.float32], int]:
    """Of a picture as it lies: the score (keys,) of each key's likeliest payload, and how many of them it proves."""
    plan = layout(keys[0].layout, bits)
    evidence = Evidence(plan)
    evidence.add(plan.bins(folded(picture)))
    scores, proofs = np.empty(len(keys), np.float32), 0
    for start in range(0, len(keys), 512):
        soft = evidence.soft(list(keys[start : start + 512]))
        for number, (row, likeliest) in enumerate(zip(soft, decode(soft), strict=True), start):
            scores[number] = score(row, likeliest)
            proofs += proven(likeliest, keys[number].secret) is not None
    return scores, proofs
