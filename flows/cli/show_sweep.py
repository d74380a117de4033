"""What the command line prints of a sweep."""

from flows.cli.show import console, print_locations
from flows.sweep import SweepSummary
from tasks.methods.registry import METHODS
from tasks.report.page.tables import format_value
from tasks.report.table import text_table
from tasks.store.tables import Store


def sweep(summary: SweepSummary) -> None:
    """Accuracy by value, what a selection with labels picks, and where the page is."""
    table = Store(summary.store_root).read(summary.sweeps)
    rows = [row for row in table.to_pylist() if METHODS[row["method"]].image_side.has_draws]
    picked = {
        (r["parameter"], r["value"], r["method"]): r for r in rows if r["split"] == "evaluation"
    }
    lines = []
    for row in rows:
        if row["split"] != "all":
            continue
        judged = picked.get((row["parameter"], row["value"], row["method"]))
        top1, low, high = (
            format_value(row[name], "percent") for name in ("top1", "top1_low", "top1_high")
        )
        lines.append(
            {
                "parameter": row["parameter"],
                "value": row["value"] + (" (base)" if row["is_base"] else ""),
                "method": METHODS[row["method"]].title,
                "top-1 %": top1,
                "95 % interval": f"{low} to {high}",
                "picked, other half %": format_value(judged["top1"], "percent")
                if judged and row["is_selected"]
                else "",
            }
        )
    title = f"{summary.dataset_name}: {summary.point_count} points"
    console.print(text_table(lines, title))
    console.print("A value picked by these numbers is picked with labels: no zero-shot result.")
    print_locations(summary, "parameter, value, method, split, top1 FROM sweeps")
