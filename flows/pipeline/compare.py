"""Two runs side by side; this needs no flow, as their tables hold all of it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from tasks.datasets.index import IndexedDataset
from tasks.methods.registry import method_title
from tasks.report.page.compare import RunPair, pair_page, read_pair
from tasks.report.page.images import image_opener
from tasks.report.page.tables import format_value
from tasks.report.verdict import warn_of_few_images
from tasks.score.comparisons.paired import PairedComparison, compare_hits
from tasks.store.place import Place, write_text
from tasks.store.seals import seal_page
from tasks.store.tables import Store


class RunComparison(NamedTuple):
    """Two runs, their accuracy compared, a sentence on it, and the page that shows them.

    test is None, and verdict empty, of runs that share no labelled image.
    """

    pair: RunPair
    test: PairedComparison | None
    verdict: str
    page: Place


def compare_runs(root: str | Path, first: str, second: str, method: str | None) -> RunComparison:
    """Compare two runs of a store and write the page into the first one's folder.

    first, second and method: as for `read_pair`, which raises InputError for unknown ones.
    """
    store = Store(root)
    pair = read_pair(store, first, second, method)
    test = _compare_accuracy(pair)
    verdict = _describe_test(method_title(pair.method), test) if test else ""
    first_id, second_id = pair.first.run_id, pair.second.run_id
    opener = image_opener(IndexedDataset.model_validate(pair.first.indexed))
    page = store.root / "runs" / first_id / f"compare-{second_id}.html"
    write_text(page, seal_page(pair_page(pair, opener, verdict)))
    return RunComparison(pair, test, verdict, page)


def _compare_accuracy(pair: RunPair) -> PairedComparison | None:
    """Compare the runs by the rule for methods; None where they share no labelled image."""
    rows = pair.hits.rows
    if not rows:
        return None
    first, second = (np.array([row[name] for row in rows], float) for name in ("first", "second"))
    return compare_hits(first, rows[0]["first_runs"], second, rows[0]["second_runs"])


def _describe_test(title: str, test: PairedComparison) -> str:
    difference, low, high = (
        format_value(value, "points")
        for value in (test.difference, test.difference_low, test.difference_high)
    )
    p, exact, mid = (format_value(value, "p") for value in (test.p_value, test.p_exact, test.p_mid))
    warning = warn_of_few_images(test.image_count)
    return (
        f"{title}, accuracy over runs on the {test.image_count} labelled images of both: the "
        f"second run less the first is {difference} points ({low} to {high}), p {p} by sign flips. "
        f"McNemar's test of the images that are right in most runs: p {exact}, mid-p {mid}."
        + (f" {warning}" if warning else "")
    )
