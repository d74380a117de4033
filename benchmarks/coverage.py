"""How often intervals hold the truth, and tests reject it, on simulated results of methods.

An image is as hard for one method as for another, more or less; over its runs a method is right on
it with a chance of its own. Each kind of interval meets several such worlds. The table has the
least and the mean coverage over them.

    python benchmarks/coverage.py --repeats 2000
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from tasks.score.comparisons.paired import compare_hits
from tasks.score.intervals import Floats, Interval, mean_interval, t_interval, wilson_interval
from tasks.score.statistics import Protocol, estimate_class_mean, estimate_seed_sigma

SIZES = (16, 50, 500)
RUNS = 20
RESAMPLES = 300  # of the bootstrap, whose draws take the time
# Accuracy of the better method; how alike two methods are (the correlation of their margins), with
# the runs of each; how often they differ at all.
ACCURACIES = (0.45, 0.6, 0.75, 0.9, 0.97)
LIKENESSES = (0.6, 0.95)
RARE = (0.01, 0.02, 0.05, 0.1)
CLASSES = (4, 16, 50)


class Pair(NamedTuple):
    """Runs in which each image is right under two methods, and their true difference."""

    first: Floats
    first_runs: int
    second: Floats
    second_runs: int
    difference: float


def draw_alike(rng: np.random.Generator, count: int, likeness: float, runs: int) -> Pair:
    """Draw two methods, the first of one run, of which the second is right a little more often."""
    mean, spread = rng.uniform(0, 1.5), 0.5  # of margins over images; and of runs around them
    gain = 0.15
    common, own, other = rng.normal(size=(3, count))
    margins = mean + np.sqrt(likeness) * common
    first = margins + np.sqrt(1 - likeness) * own > 0
    second = margins + gain + np.sqrt(1 - likeness) * other
    truth = ndtr(mean) * -1.0
    if runs == 1:
        hits = (second > 0).astype(float)
        truth += ndtr(mean + gain)
    else:
        hits = rng.binomial(runs, ndtr(second / spread)).astype(float)
        truth += ndtr((mean + gain) / np.sqrt(1 + spread**2))
    return Pair(first.astype(float), 1, hits, runs, float(truth))


def draw_rarely_different(
    rng: np.random.Generator, count: int, share: float, gains: float, runs: int
) -> Pair:
    """Draw two methods that differ on a share of the images; of these the second gains a share."""
    right = rng.random(count) < 0.6
    differs = rng.random(count) < share
    gain = rng.random(count) < gains
    first = np.where(differs, ~gain, right).astype(float)
    chance = np.where(differs, gain, right).astype(float)
    if runs > 1:  # on images that differ, the second is right in some runs only
        chance = np.where(differs, np.where(gain, 0.8, 0.2), chance)
        truth = share * (gains * 0.8 + (1 - gains) * (0.2 - 1))
    else:
        truth = share * (2 * gains - 1)
    return Pair(first, 1, rng.binomial(runs, chance).astype(float), runs, truth)


def pair_worlds() -> dict[str, Callable[[np.random.Generator, int], Pair]]:
    """Name every world of two methods."""
    worlds: dict[str, Callable[[np.random.Generator, int], Pair]] = {}
    for runs in (1, RUNS):
        for likeness in LIKENESSES:
            worlds[f"alike {likeness}, {runs} runs"] = lambda rng, n, a=likeness, r=runs: (
                draw_alike(rng, n, a, r)
            )
        for share in RARE:
            for gains in (0.5, 0.7, 1.0):
                worlds[f"{share} differ, {gains} gained, {runs} runs"] = (
                    lambda rng, n, s=share, g=gains, r=runs: draw_rarely_different(rng, n, s, g, r)
                )
    return worlds


def bootstrap_interval(values: Floats, rng: np.random.Generator) -> Interval:
    """Compute the percentile bootstrap interval of a mean, to compare with."""
    counts = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), size=RESAMPLES)
    low, high = np.quantile(counts @ values / len(values), [0.025, 0.975])
    return Interval(float(low), float(high))


def newcombe_interval(first: Floats, second: Floats) -> Interval:
    """Compute Newcombe's hybrid score interval of mean(second - first), to compare with.

    Means over runs stand for shares, and the table of both methods has the means of products.
    """
    p, q = float(second.mean()), float(first.mean())
    spread = np.sqrt(p * (1 - p) * q * (1 - q))
    phi = float(((first * second).mean() - p * q) / spread) if spread else 0.0
    (p_low, p_high), (q_low, q_high) = (wilson_interval(x, len(first)) for x in (p, q))
    a, b, c, d = p - p_low, q_high - q, p_high - p, q - q_low
    low = np.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))
    high = np.sqrt(max(0.0, c * c - 2 * phi * c * d + d * d))
    return Interval(p - q - float(low), p - q + float(high))


def cover_differences(
    rng: np.random.Generator, count: int, repeats: int
) -> Iterator[tuple[str, str, float]]:
    """Yield kind, world and coverage of each interval of a difference, and how often tests err."""
    for world, draw in pair_worlds().items():
        held: dict[str, list[bool]] = defaultdict(list)
        for i in range(repeats):
            pair = draw(rng, count)
            first, second = pair.first / pair.first_runs, pair.second / pair.second_runs
            result = compare_hits(pair.first, pair.first_runs, pair.second, pair.second_runs)
            intervals = {
                "difference of top1": Interval(result.difference_low, result.difference_high),
                "difference, by Newcombe (not used)": newcombe_interval(first, second),
            }
            if i < repeats // 4:
                bootstrapped = bootstrap_interval(second - first, rng)
                intervals["difference, by bootstrap (not used)"] = bootstrapped
            for kind, ends in intervals.items():
                held[kind].append(ends.low <= pair.difference <= ends.high)
            if pair.difference == 0:
                held["sign-flip test: no false alarm"].append(result.p_value > 0.05)
        for kind, outcomes in held.items():
            yield kind, world, float(np.mean(outcomes))


def cover_shares(
    rng: np.random.Generator, count: int, repeats: int
) -> Iterator[tuple[str, str, float]]:
    """Yield kind, world and coverage of intervals of top1 and macro_top1."""
    for runs in (1, RUNS):
        for accuracy in ACCURACIES:
            held = []
            for _ in range(repeats):
                truth = rng.uniform(accuracy - 0.025, accuracy + 0.025)
                chance = (
                    (rng.random(count) < truth).astype(float)
                    if runs == 1  # which a run of one repeats
                    else rng.beta(truth, 1 - truth, size=count)
                )
                share = rng.binomial(runs, chance).mean() / runs
                low, high = wilson_interval(float(share), count)
                held.append(low <= truth <= high)
            yield "top1, top5", f"{accuracy}, {runs} runs", float(np.mean(held))
        for classes in CLASSES:
            for is_even in (True, False):
                held = []
                for _ in range(repeats):
                    sizes = np.ones(classes) if is_even else rng.lognormal(size=classes)
                    labels = np.sort(rng.choice(classes, count, p=sizes / sizes.sum()))
                    _, starts, inverse = np.unique(labels, return_index=True, return_inverse=True)
                    truths = rng.beta(2, 1, size=len(starts))
                    chance = (
                        (rng.random(count) < truths[inverse]).astype(float)
                        if runs == 1
                        else rng.beta(truths[inverse], 1 - truths[inverse])
                    )
                    estimate = estimate_class_mean(
                        rng.binomial(runs, chance) / runs, starts.tolist()
                    )
                    low, high = wilson_interval(estimate.value, estimate.effective_count)
                    held.append(low <= truths.mean() <= high)
                world = f"{classes} classes, {'even' if is_even else 'uneven'}, {runs} runs"
                yield "macro_top1", world, float(np.mean(held))


def cover_alignments(
    rng: np.random.Generator, count: int, repeats: int
) -> Iterator[tuple[str, str, float]]:
    """Yield kind, world and coverage of intervals of `alignment_summary`."""
    for mean in (0.5, 0.8, 0.95):
        held: dict[str, list[bool]] = defaultdict(list)
        for _ in range(repeats):
            pairs = rng.integers(10, 50, size=count).astype(float)
            concentration = 8
            own, other = (
                rng.binomial(pairs.astype(int), rng.beta(m * concentration, (1 - m) * concentration,
                                                         size=count)) / pairs
                for m in (mean, 0.9 * mean)
            )  # fmt: skip
            gains = 0.05 * (rng.gamma(2, 1, size=count) - mean)  # which are skewed
            for kind, ends, truth in (
                ("alignment: share", mean_interval(own, (0, 1), pairs), mean),
                ("alignment: difference", mean_interval(own - other, (-1, 1), pairs), 0.1 * mean),
                ("alignment: gain", t_interval(gains, pairs), 0.05 * (2 - mean)),
            ):
                low, high = ends
                held[kind].append(low is not None and high is not None and low <= truth <= high)
        for kind, outcomes in held.items():
            yield kind, f"mean {mean}", float(np.mean(outcomes))


def check_seed_sigma(rng: np.random.Generator, count: int, repeats: int) -> float:
    """Compare seed_sigma with the deviation over new pools and draws of the same images."""
    protocol = Protocol(pool=100, crops_per_run=60)
    values: list[float] = []
    sigmas: list[float] = []
    means = rng.normal(scale=0.3, size=count)
    for _ in range(repeats):
        crops = means[:, None] + rng.normal(size=(count, protocol.pool))
        chances = np.full(protocol.pool, 1 / protocol.pool)
        draws = rng.multinomial(protocol.crops_per_run, chances, size=RUNS)
        accuracy = (crops @ draws.T > 0).mean(axis=0)
        values.append(float(accuracy.mean()))
        sigmas.append(estimate_seed_sigma(float(accuracy.std()), RUNS, protocol, "wca") or 0.0)
    return float(np.sqrt(np.mean(np.square(sigmas))) / np.std(values))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    coverage: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    ratios = []
    for count in SIZES:
        rng = np.random.default_rng([given.seed, count])
        for cover in (cover_shares, cover_differences, cover_alignments):
            for kind, _, share in cover(rng, count, given.repeats):
                coverage[kind][count].append(share)
        ratios.append(check_seed_sigma(rng, count, min(400, given.repeats)))
    print(f"| coverage %, least and mean | {' | '.join(f'{n} images' for n in SIZES)} |")
    print(f"|---|{'---:|' * len(SIZES)}")
    for kind, by_size in coverage.items():
        cells = (f"{100 * min(by_size[n]):.1f}, {100 * np.mean(by_size[n]):.1f}" for n in SIZES)
        print(f"| {kind} | {' | '.join(cells)} |")
    print(f"| seed_sigma / deviation over seeds | {' | '.join(f'{r:.2f}' for r in ratios)} |")


if __name__ == "__main__":
    main()
