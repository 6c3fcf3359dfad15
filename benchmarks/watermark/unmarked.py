"""How often something that was never marked is read as marked, by the reads that everyone uses."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.watermark.figures import Goal, Rate, table
from forgeline.clip import Picture, Sound
from forgeline.image import write_image
from watermark.evidence import Evidence
from watermark.keys import DEMO, ShardKey, master
from watermark.payload import MAC_BITS, decode, proven
from watermark.read import read
from watermark.sound import read_sound
from watermark.tile import folded, layout


def count(pictures: Sequence[Picture], sounds: Sequence[Sound], keys: int) -> list[Goal]:
    """Look in each picture and each sound for the marks of so many shards; print what was found in them."""
    every = [master(DEMO).shard(f"unmarked {number}") for number in range(keys)]
    rows: list[tuple[object, ...]] = []
    for bits in MAC_BITS:
        chances = sum(_proofs(picture, every, bits) for picture in pictures)
        trials = len(pictures) * keys
        rows.append((f"proofs that hold by chance, {bits} bits, before the score is asked", Rate(chances, trials)))
    with tempfile.TemporaryDirectory() as folder:
        seen = 0
        for number, picture in enumerate(pictures):
            path = Path(folder) / f"{number}.png"
            write_image(path, picture)
            seen += len(read(path, every).found)
    rows.append(("pictures: blind reads, a key and a file each", Rate(seen, len(pictures) * keys)))
    heard = sum(read_sound(sound, every) is not None for sound in sounds)
    rows.append(("sounds: blind reads, a key and a file each", Rate(heard, len(sounds) * keys)))
    table("Never marked, and read as marked", ("read", "accepted"), rows)
    trials = (len(pictures) + len(sounds)) * keys
    text = f"{seen + heard} of {trials} reads"
    return [Goal("false accepts", "0 of ≥ 100 000 reads", text, seen + heard == 0 and trials >= 100_000)]


def _proofs(picture: Picture, keys: Sequence[ShardKey], bits: int) -> int:
    """How many keys find a payload that they prove in a picture as it lies."""
    evidence = Evidence(layout(keys[0].layout, bits))
    evidence.add(layout(keys[0].layout, bits).bins(folded(picture)))
    found = 0
    for start in range(0, len(keys), 512):
        some = list(keys[start : start + 512])
        found += sum(proven(row, key.secret) is not None for key, row in zip(some, decode(evidence.soft(some)), strict=True))
    return found
