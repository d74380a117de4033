"""Which descriptions of a run help or hurt, repeat one another, or say the same of all classes."""

from typing import Any

from tasks.report.page.tables import format_value
from tasks.runtime.errors import InputError
from tasks.store.records import RunManifest
from tasks.store.tables import Store

SHOWN = 10  # rows of each table
REPEATED_COSINE = 0.99  # as BiFTA's refinement counts repetitions
Rows = list[dict[str, str]]


def effect_tables(store: Store, run: RunManifest) -> dict[str, Rows]:
    """Rows of text by title: the texts that hurt and help most, classes, repeated and shared ones.

    Raises InputError where the run has no table `text_effects`.
    """
    ref = next((ref for ref in run.tables if ref.table == "text_effects"), None)
    if ref is None:
        raise InputError(
            f"Run {run.run_id[:8]} has not measured its texts: repeat it with --text-effects, "
            "which computes only that."
        )
    texts = store.read(ref).to_pylist()
    measured = sorted(
        (row for row in texts if row["effect"] is not None),
        key=lambda row: (row["effect"], row["class_id"], row["position"]),
    )
    hurting = [row for row in measured if row["effect"] < 0]
    helping = [row for row in reversed(measured) if row["effect"] > 0]
    repeated = [row for row in texts if (row["twin_similarity"] or 0) >= REPEATED_COSINE]
    shared = sorted(
        (row for row in texts if row["class_count"] > 1), key=lambda row: -row["class_count"]
    )
    note = "measured with labels: texts chosen by it are not zero-shot on these images"
    return {
        _title("texts that hurt", hurting, note): [_describe_effect(r) for r in hurting[:SHOWN]],
        _title("texts that help", helping, note): [_describe_effect(r) for r in helping[:SHOWN]],
        _title("texts that nearly repeat another of their class", repeated): [
            {"text": r["text"], "class": r["class_name"], "cosine": f"{r['twin_similarity']:.3f}"}
            for r in repeated[:SHOWN]
        ],
        _title("texts that several classes share", shared): [
            {"text": r["text"], "class": r["class_name"], "classes": str(r["class_count"])}
            for r in shared[:SHOWN]
        ],
    }


def _title(what: str, rows: list[dict[str, Any]], note: str = "") -> str:
    shown = f", the first {SHOWN}" if len(rows) > SHOWN else ""
    return f"{len(rows)} {what}{shown}" + (f" ({note})" if note else "")


def _describe_effect(row: dict[str, Any]) -> dict[str, str]:
    similarities = {
        name: "" if row[column] is None else f"{row[column]:.3f}"
        for name, column in (("whole", "whole_similarity"), ("crops", "crop_similarity"))
    }
    low, effect, high = (
        format_value(row[name], "points") for name in ("effect_low", "effect", "effect_high")
    )
    return {
        "text": row["text"],
        "class": row["class_name"],
        "weight": f"{row['weight']:.3f}",
        **similarities,
        "points": effect,
        "95 % interval": f"{low} to {high}",
    }
