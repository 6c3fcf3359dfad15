"""How a sample is made. A recipe's id is the sample's id."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces, so that equal values have equal text; NaN and infinities raise ValueError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of `canonical(value)`, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


@dataclass(frozen=True)
class Recipe:
    """Generator, parents (sample ids, the target first), seed and parameters (plain JSON values)."""

    generator: str
    parents: tuple[str, ...]
    seed: int
    params: Mapping[str, Any]

    def canonical(self) -> str:
        """The recipe's only text form; it is what a manifest stores."""
        return canonical(
            {"generator": self.generator, "params": dict(self.params), "parents": list(self.parents), "seed": self.seed}
        )

    @property
    def id(self) -> str:
        """20 hexadecimal digits: the first 80 bits of the SHA-256 of the canonical text."""
        return recipe_id(self.canonical())

    def rng(self) -> np.random.Generator:
        """The only source of chance for this sample: keyed by the whole recipe, so that equal seeds don't repeat draws."""
        return np.random.default_rng(int(hashlib.sha256(self.canonical().encode()).hexdigest(), 16))


def recipe_id(text: str) -> str:
    """The id of a recipe given by its canonical text."""
    return hashlib.sha256(text.encode()).hexdigest()[:20]
