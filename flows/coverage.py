"""Who and what is in a version, and what is missing: samples counted by method, variant, split and by what the clips show.

Single groups are counted by method and variant, and every two of them together: what never comes together in a version (glasses
and a language, a turned face in the dark) is a gap that neither alone shows, and so is what only comes together.

All of it is counted from manifest rows. What a corpus declares of its people is in the rows; pose and light are told apart
by what `flows.report` measured on the control of each sample.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product

from forgeline.sample import SPLITS, Sample

FEWEST, FEWEST_PEOPLE = 5, 2
"""Samples, and people in them, below which a cell is thin: of one person alone nobody can tell the group from the person."""
MOST_LEVELS = 16
"""Values of an attribute that are counted one by one; with more, it is left out, and named."""
POSE, LIGHT, LANGUAGE, METHOD = "pose, measured", "light, measured", "language", "method"

_YAW = ((15.0, "0 to 15°"), (40.0, "15 to 40°"), (180.0, "over 40°"))
_LUMA = ((70.0, "dark"), (160.0, "medium"), (256.0, "bright"))


@dataclass(frozen=True)
class Seen:
    """What a clip shows: degrees that its face is turned to the side, without sign, and the luma (0 to 255) on it.

    None where it shows no face, or that is not known.
    """

    yaw: float | None = None
    luma: float | None = None


@dataclass(frozen=True)
class Cell:
    """How many samples, and of how many people."""

    samples: int = 0
    people: int = 0

    @property
    def state(self) -> str:
        """`empty`, `thin` or `enough`."""
        if not self.samples:
            return "empty"
        return "thin" if self.samples < FEWEST or self.people < FEWEST_PEOPLE else "enough"


@dataclass(frozen=True)
class Level:
    """One value of a factor, over all masters: a column of the design matrix."""

    factor: str
    name: str
    all: Cell
    real: int
    fake: int
    splits: Mapping[str, Cell]


@dataclass(frozen=True)
class Cross:
    """Two factors together, over all masters of which both are known: `cells` by a level of each, all of them.

    Where `one` is the method, a level that does not apply to it is not there.
    """

    one: str
    other: str
    cells: Mapping[tuple[str, str], Cell]

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(row for row, _ in self.cells))

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(column for _, column in self.cells))

    def of_state(self, state: str) -> list[tuple[str, str]]:
        return [key for key, cell in self.cells.items() if cell.state == state]


@dataclass(frozen=True)
class Coverage:
    """The design matrix: `cells` by (method, variant) and (factor, level); a pair that is not there does not apply.

    A factor applies to a method and variant when the value is known of at least one of its samples. `crosses` are of methods
    and languages, pose and light, and then of every other two factors. `left_out` says what is not counted, and why.
    """

    lines: tuple[tuple[str, str], ...] = ()
    levels: tuple[Level, ...] = ()
    cells: Mapping[tuple[str, str, str, str], Cell] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    crosses: tuple[Cross, ...] = ()

    def states(self) -> dict[tuple[str, str], dict[str, int]]:
        """By method and variant: how many of its cells are `empty`, `thin` and `enough`, of those that have any."""
        found: dict[tuple[str, str], dict[str, int]] = {}
        for (method, variant, *_), cell in self.cells.items():
            found.setdefault((method, variant), {"empty": 0, "thin": 0, "enough": 0})[cell.state] += 1
        return found

    def of_state(self, state: str, variant: str | None = None) -> list[tuple[str, str, str, str]]:
        """The cells of a state, `empty` or `thin`, of one variant or of all."""
        return [key for key, cell in self.cells.items() if cell.state == state and variant in (None, key[1])]

    def missing_in(self, split: str) -> list[Level]:
        """The levels that are in the version, but not in this split."""
        return [level for level in self.levels if not level.splits[split].samples]

    def unlike_masters(self) -> list[tuple[str, str, str, str]]:
        """The cells of other variants that do not hold what the master's cell holds."""
        masters = {key[:1] + key[2:]: cell for key, cell in self.cells.items() if key[1] == "master"}
        return [key for key, cell in self.cells.items() if key[1] != "master" and masters.get(key[:1] + key[2:]) != cell]


def coverage(rows: Sequence[Sample], seen: Mapping[str, Seen]) -> Coverage:
    """Count the samples that stand. `seen` is by a control's id, and holds for all that is paired with it."""
    standing = [s for s in rows if s.reason is None]
    values, left_out = _values(standing, seen)
    members: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in standing:
        members[sample.method, sample.variant].append(sample)
    columns = sorted({(factor, level) for factor, of in values.items() for level in of.values()}, key=_column)
    cells = {}
    for line, samples in sorted(members.items()):
        applies = {factor for factor, of in values.items() if any(s.sample_id in of for s in samples)}
        for factor, level in columns:
            if factor in applies:
                cells[*line, factor, level] = _cell([s for s in samples if values[factor].get(s.sample_id) == level])
    levels = []
    for factor, level in columns:
        own = [s for s in standing if s.variant == "master" and values[factor].get(s.sample_id) == level]
        levels.append(
            Level(
                factor=factor,
                name=level,
                all=_cell(own),
                real=sum(s.label == "real" for s in own),
                fake=sum(s.label == "fake" for s in own),
                splits={split: _cell([s for s in own if s.split == split]) for split in SPLITS},
            )
        )
    unknown = {m for m, _ in members} - {m for m, *_ in cells}
    if unknown:
        left_out.append(f"{', '.join(sorted(unknown))}: nothing is declared or measured of whom they show")
    lines = sorted(members, key=lambda line: (line[0], line[1] != "master", line[1]))
    masters = [s for s in standing if s.variant == "master"]
    return Coverage(tuple(lines), tuple(levels), cells, tuple(left_out), _crosses(masters, values, columns, cells))


def _crosses(
    masters: Sequence[Sample],
    values: Mapping[str, Mapping[str, str]],
    columns: Sequence[tuple[str, str]],
    cells: Mapping[tuple[str, str, str, str], Cell],
) -> tuple[Cross, ...]:
    """Methods by language first, as they are in `cells`; then pose by light, then the others in the order of their columns."""
    levels: dict[str, list[str]] = defaultdict(list)
    for factor, level in columns:
        levels[factor].append(level)
    of_methods = {(m, level): cell for (m, v, factor, level), cell in cells.items() if (v, factor) == ("master", LANGUAGE)}
    found = [Cross(METHOD, LANGUAGE, of_methods)] if of_methods else []
    for one, other in sorted(combinations(levels, 2), key=lambda pair: pair != (POSE, LIGHT)):
        members: dict[tuple[str, str], list[Sample]] = {pair: [] for pair in product(levels[one], levels[other])}
        for sample in masters:
            if sample.sample_id in values[one] and sample.sample_id in values[other]:
                members[values[one][sample.sample_id], values[other][sample.sample_id]].append(sample)
        if any(members.values()):
            found.append(Cross(one, other, {pair: _cell(own) for pair, own in members.items()}))
    return tuple(found)


def _values(standing: Sequence[Sample], seen: Mapping[str, Seen]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Factor → sample id → level, and what is left out. Declared attributes first, then pose, light and language."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for sample in standing:
        for name, value in sample.attributes.items():
            if name != LANGUAGE:
                found[name][sample.sample_id] = value
    kept, left_out = {}, []
    for name, of in sorted(found.items()):
        different = len(set(of.values()))
        if all(map(_is_number, of.values())):
            left_out.append(f"{name}: a number, which has no groups")
        elif different > MOST_LEVELS:
            left_out.append(f"{name}: {different} different values, more than {MOST_LEVELS}")
        else:
            kept[name] = of
    others: dict[str, dict[str, str]] = {POSE: {}, LIGHT: {}, LANGUAGE: {}}
    for sample in standing:
        shown = seen.get(_control(sample), Seen())
        if shown.yaw is not None:
            others[POSE][sample.sample_id] = _bin(shown.yaw, _YAW)
        if shown.luma is not None:
            others[LIGHT][sample.sample_id] = _bin(shown.luma, _LUMA)
        if language := spoken(sample):
            others[LANGUAGE][sample.sample_id] = language
    left_out += [f"{name}: known of no sample" for name, of in others.items() if not of]
    return kept | {name: of for name, of in others.items() if of}, left_out


def spoken(sample: Sample) -> str | None:
    """The language of a sample's sound: drawn when it was made, else the one that its target declares; None of a mute one."""
    if sample.audio_label is None:
        return None
    drawn = {name.rpartition(".")[2]: value for name, value in sample.drawn.items()}  # a chain names its steps
    return drawn.get(LANGUAGE) or sample.attributes.get(LANGUAGE)


def _control(sample: Sample) -> str:
    """The id of the master of the control that a sample, or a variant of one, is paired with."""
    return str(sample.pair_id).removesuffix(f"-{sample.variant}")


def _cell(samples: Sequence[Sample]) -> Cell:
    """A person who doesn't exist is one for each sample."""
    return Cell(len(samples), len({s.target_id or s.sample_id for s in samples}))


def _bin(value: float, bins: Sequence[tuple[float, str]]) -> str:
    return next((name for end, name in bins if value < end), bins[-1][1])


def _column(column: tuple[str, str]) -> tuple[int, str, int, str]:
    """Declared attributes by name, then pose, light and language; levels by name, those of pose and light by size."""
    factor, level = column
    last = (POSE, LIGHT, LANGUAGE)
    order = [name for _, name in (*_YAW, *_LUMA)]
    return last.index(factor) + 1 if factor in last else 0, factor, order.index(level) if level in order else 0, level


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
