"""Two runs side by side; this needs no flow, as their tables hold all of it."""

from pathlib import Path
from typing import NamedTuple

from tasks.datasets.index import IndexedDataset
from tasks.report.page.compare import RunPair, pair_page, read_pair
from tasks.report.page.images import image_opener
from tasks.score.significance import McNemar, mcnemar
from tasks.store.place import Place, write_text
from tasks.store.tables import Store


class RunComparison(NamedTuple):
    """Two runs, their test (None of runs that share no image), and the page that shows them."""

    pair: RunPair
    test: McNemar | None
    page: Place


def compare_runs(root: str | Path, first: str, second: str, method: str | None) -> RunComparison:
    """Compare two runs of a store and write the page into the first one's folder.

    first, second and method: as for `read_pair`, which raises InputError for unknown ones.
    """
    store = Store(root)
    pair = read_pair(store, first, second, method)
    (counts,) = pair.rows("counts")
    test = (
        mcnemar(counts["only_second_right_count"], counts["only_first_right_count"])
        if counts["image_count"]
        else None
    )
    first_id, second_id = pair.first.run_id, pair.second.run_id
    opener = image_opener(IndexedDataset.model_validate(pair.first.indexed))
    page = store.root / "runs" / first_id / f"compare-{second_id}.html"
    write_text(page, pair_page(pair, opener, test))
    return RunComparison(pair, test, page)
