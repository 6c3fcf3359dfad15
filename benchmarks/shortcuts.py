"""How often the shortcut audit fails a clean release, and how large a leak must be to be found, by how many pairs there are.

    OMP_NUM_THREADS=1 python -m benchmarks.shortcuts

A release has 250 factors (three variants of some eighty), which share what they say of a clip: a fake and its control have
three quarters of their variance in common, people half of that. The first table counts releases without a leak: in how many
any factor fails, and how many factors are left undecided. The second plants a leak in one factor and counts how often it is
found among all others; the third does so for what a gradient boosting learns from the eighty of one variant together, where
it is planted in ten of them, too little in each to be found there.
"""

import numpy as np

from evaluators.shortcuts import Names, Numbers, ask, ask_together, judge

FACTORS, TOGETHER, RELEASES = 250, 80, 100
SIZES = ((16, 8), (48, 16), (100, 25), (400, 80))
TIMES = 10  # for each that is planted
AUCS = (0.60, 0.65, 0.70, 0.80, 0.95)


def drawn(rng: np.random.Generator, pairs: int, people: int, factors: int) -> tuple[Numbers, Names, Names]:
    """Numbers (pairs, 2, factors) of variance 1; clips and people."""
    who = np.arange(pairs) % people
    scene = np.sqrt(0.375) * (rng.normal(size=(people, 1, factors))[who] + rng.normal(size=(pairs, 1, factors)))
    return scene + 0.5 * rng.normal(size=(pairs, 2, factors)), np.arange(pairs).astype(str), who.astype(str)


def verdicts(values: Numbers, clips: Names, people: Names) -> list[str]:
    """Of each factor, asked beside all others."""
    return [one.verdict for one in judge([ask(str(at), values[:, :, at], clips, people) for at in range(values.shape[2])])]


def main() -> None:
    """Print the tables."""
    from scipy.stats import norm

    shifts = {auc: float(norm.ppf(auc) * np.sqrt(2)) for auc in AUCS}
    print(f"{RELEASES} clean releases       failed   factors undecided   factors with an AUC above 0.55")
    for pairs, people in SIZES:
        failed, undecided, above = 0, 0, 0
        for seed in range(RELEASES):
            values, clips, who = drawn(np.random.default_rng((seed, pairs)), pairs, people, FACTORS)
            told = judge([ask(str(at), values[:, :, at], clips, who) for at in range(FACTORS)])
            failed += any(one.verdict == "fails" for one in told)
            undecided += sum(one.verdict == "undecided" for one in told)
            above += sum(one.auc > 0.55 for one in told)
        every = RELEASES * FACTORS
        print(f"{pairs:5} pairs, {people:3} people {failed:11} {undecided / every:18.1%} {above / every:20.1%}", flush=True)
    print(f"\nfound, of one leak by AUC    {'   '.join(f'{auc:.2f}' for auc in AUCS)}")
    for pairs, people in SIZES:
        found = []
        for shift in shifts.values():
            count = 0
            for seed in range(TIMES):
                values, clips, who = drawn(np.random.default_rng((seed, pairs, 1)), pairs, people, FACTORS)
                values[:, 0, 0] += shift
                count += verdicts(values, clips, who)[0] == "fails"
            found.append(f"{count / TIMES:4.0%}")
        print(f"{pairs:5} pairs, {people:3} people     {'   '.join(found)}", flush=True)
    print("\nfactors together             clean: failed    ten leaks of 0.56: found alone   together")
    for pairs, people in SIZES[2:4]:
        clean, alone, together = 0, 0, 0
        for seed in range(TIMES):
            values, clips, who = drawn(np.random.default_rng((seed, pairs, 2)), pairs, people, TOGETHER)
            clean += judge([ask_together(values, clips, who)])[0].verdict == "fails"
            values[:, 0, :10] += norm.ppf(0.56) * np.sqrt(2)
            alone += "fails" in verdicts(values, clips, who)
            together += judge([ask_together(values, clips, who)])[0].verdict == "fails"
        print(
            f"{pairs:5} pairs, {people:3} people {clean:11} of {TIMES} {alone:21} of {TIMES} {together:13} of {TIMES}",
            flush=True,
        )


if __name__ == "__main__":
    main()
