"""Two runs compared: no flow, as nothing is computed but what the tables hold."""

from pathlib import Path
from typing import NamedTuple

from tasks.datasets.index import IndexedDataset
from tasks.report.compare import Comparison, compare, comparison_page
from tasks.report.images import image_opener
from tasks.score.methods import method_titles
from tasks.score.significance import McNemar, mcnemar
from tasks.store.place import Place, write_text
from tasks.store.tables import Store


class Compared(NamedTuple):
    """A comparison, its test, and the page that shows it."""

    comparison: Comparison
    test: McNemar
    page: Place


def compare_runs(root: str | Path, first: str, second: str, method: str | None) -> Compared:
    """Compare two runs and write the page beside the first run's."""
    store = Store(root)
    comparison = compare(store, first, second, method, list(method_titles()))
    (counts,) = comparison.rows("counts")
    test = mcnemar(counts["won_count"], counts["lost_count"])
    first_id, second_id = comparison.first.run_id, comparison.second.run_id
    opener = image_opener(IndexedDataset.model_validate(comparison.first.indexed))
    page = store.root / "runs" / first_id / f"compare-{second_id}.html"
    write_text(page, comparison_page(comparison, method_titles(), opener, test))
    return Compared(comparison, test, page)
