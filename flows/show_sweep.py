"""What the command line prints of a sweep."""

from flows.show import console
from flows.sweep import SweepSummary
from tasks.report.table import text_table
from tasks.score.methods import METHODS
from tasks.store.tables import Store


def sweep(summary: SweepSummary) -> None:
    """Accuracy by value, what a selection with labels picks, and where the page is."""
    table = Store(summary.store_root).read(summary.sweeps)
    rows = [row for row in table.to_pylist() if METHODS[row["method"]].is_weighted]
    picked = {
        (r["parameter"], r["value"], r["method"]): r for r in rows if r["split"] == "evaluation"
    }
    lines = []
    for row in rows:
        if row["split"] != "all":
            continue
        judged = picked.get((row["parameter"], row["value"], row["method"]))
        lines.append(
            {
                "parameter": row["parameter"],
                "value": row["value"] + (" (base)" if row["is_base"] else ""),
                "method": METHODS[row["method"]].title,
                "top-1 %": f"{100 * row['top1']:.2f}",
                "95 % interval": f"{100 * row['top1_low']:.2f} to {100 * row['top1_high']:.2f}",
                "picked, other half %": f"{100 * judged['top1']:.2f}"
                if judged and row["is_selected"]
                else "",
            }
        )
    title = f"{summary.dataset_name}: {summary.point_count} points"
    console.print(text_table(lines, title))
    console.print("A value picked by these numbers is picked with labels: no zero-shot result.")
    for stage in summary.stages:
        console.print(f"  {stage.stage:<18}{stage.duration_sec:8.1f} s  "
                      f"{stage.reused_count} of {stage.table_count} Cached")  # fmt: skip
    console.print(f"Run      {summary.run_id}")
    console.print(f"Page     {summary.report}", soft_wrap=True)
    console.print('Ask it: wca sql "FROM sweeps"')
