"""The generators that are measured: those of the table, or of a params file, that change filmed faces; trained where they
must be."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from flows.params import load_params
from forgeline.clip import Clip, Made
from forgeline.recipe import digest
from forgeline.section import Section
from generators.chain import learner
from generators.plugin import Generator, Trained
from generators.table import GENERATORS


class Makers:
    """The generators by name, each made ready when it is first used."""

    def __init__(
        self, params: Path | None, only: Sequence[str] | None, steps: int | None, people: list[Clip], scratch: Path
    ) -> None:
        self._people, self._scratch = people, scratch
        self._sections = {
            name: section if steps is None else _with_steps(section, steps)
            for name, section in (load_params(params).generators if params else _defaults()).items()
            if (name in only if only else True) and _changes_faces(section)
        }
        self._ready: dict[str, Generator] = {}

    @property
    def names(self) -> list[str]:
        """In the table's order."""
        return list(self._sections)

    def casting(self, name: str) -> str:
        """Whose clips it is called with."""
        return str(getattr(self._sections[name], "casting", ""))

    def make(self, name: str, target: Clip, source: Clip, seed: int) -> Made:
        """Call a generator, after training where it learns. Raises MediaError for parents that it refuses."""
        if name not in self._ready:
            self._ready[name] = self._trained(name)
        generator = self._ready[name]
        parents = (target, source) if generator.casting == "pair" else (target,)
        return generator(parents, np.random.default_rng([7, seed]))

    def _trained(self, name: str) -> Generator:
        section = self._sections[name]
        learns = learner(section)
        if learns:
            folder = self._model(learns)
            section = section.load(folder)  # type: ignore[attr-defined]  # a chain, too, loads what its step has learned
        if not isinstance(section, Generator):
            raise TypeError(f"{name} is no generator")
        return section

    def _model(self, learns: Trained) -> Path:
        """The model that a learner makes of the people; a swap and its null twin share theirs, as chains do."""
        kind = getattr(learns, "twin_of", None) or next(n for n, table in GENERATORS.items() if isinstance(learns, table))
        folder = self._scratch / digest([kind, learns.settings()])
        if not folder.exists():
            folder.mkdir()
            start = time.process_time()
            learns.train(iter(self._people), np.random.default_rng(7), folder)
            print(f"{kind}: trained in {time.process_time() - start:.0f} CPU s ({learns.settings()})", flush=True)
        return folder


def _defaults() -> dict[str, Section]:
    """The table's sections as they are without params; those that need some are left out, and named."""
    sections = {}
    for name, section in GENERATORS.items():
        try:
            sections[name] = section()
        except ValidationError:
            print(f"{name}: needs settings of its own; left out without --params", flush=True)
    return sections


def _with_steps(section: Section, steps: int) -> Section:
    return section.model_copy(update={"steps": steps}) if isinstance(section, Trained) else section


def _changes_faces(section: Section) -> bool:
    """Whether it makes videos from videos, and is no control."""
    role, casting = getattr(section, "role", ""), getattr(section, "casting", "nobody")
    return casting != "nobody" and role != "control"
