"""Counts with their certainty, times without the rest of the machine, and what was promised beside what was found."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import beta


@dataclass(frozen=True)
class Rate:
    """How many of how many."""

    hits: int
    trials: int

    @classmethod
    def of(cls, found: Iterable[bool]) -> "Rate":
        """Counts what is true."""
        every = list(found)
        return cls(sum(every), len(every))

    @property
    def share(self) -> float:
        """From 0 to 1; NaN without trials."""
        return self.hits / self.trials if self.trials else float("nan")

    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of Clopper and Pearson (1934), which errs on the wide side."""
        low = float(beta.ppf(0.025, self.hits, self.trials - self.hits + 1)) if self.hits else 0.0
        high = float(beta.ppf(0.975, self.hits + 1, self.trials - self.hits)) if self.hits < self.trials else 1.0
        return low, high

    def __str__(self) -> str:
        if not self.trials:
            return "–"
        low, high = self.interval()
        return f"{self.hits}/{self.trials} ({100 * low:.3g}–{100 * high:.3g} %)"


@dataclass(frozen=True)
class Goal:
    """What was to be reached, and what was measured."""

    what: str
    goal: str
    measured: str
    met: bool


def lowest(what: str, least: float, rates: dict[str, Rate]) -> Goal:
    """The goal that each of the rates is at least so high; the lowest is what was measured."""
    name, rate = min(rates.items(), key=lambda item: item[1].share)
    where = f", {name}" if len(rates) > 1 and rate.share < 1 else ""
    return Goal(what, f"≥ {100 * least:.0f} %", f"{100 * rate.share:.1f} %{where}: {rate}", rate.share >= least)


def milliseconds(work: Callable[[], object]) -> float:
    """CPU time of one call: the least of five means, after one call to warm up."""
    work()
    means = []
    for _ in range(5):
        runs, start = 0, time.process_time()
        while runs < 1 or time.process_time() - start < 0.05:
            work()
            runs += 1
        means.append((time.process_time() - start) / runs * 1000)
    return min(means)


def mean_least(values: Sequence[float], form: str = ".1f") -> str:
    """`mean (least)`."""
    return f"{np.mean(values):{form}} ({min(values):{form}})" if values else "–"


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table in Markdown."""
    print(f"\n{title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")
    print(flush=True)
