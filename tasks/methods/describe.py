"""What each method is, needs and costs, in words: `wca methods` and docs/methods.md."""

from collections.abc import Iterable
from textwrap import fill
from typing import Any

from tasks.methods.method import ImageSide, Method, Rule, TextSide
from tasks.methods.options import list_option_classes
from tasks.methods.registry import ALL, GRID, IMAGE_SIDES, METHODS, TEXT_SIDES
from tasks.methods.wca import CROPS_PER_RUN, RUNS
from tasks.store.schemas import SNAPSHOT_TABLES, quote

KINDS = {
    "label": "label prompts",
    "template": "templates",
    "descriptor": "descriptors",
    "waffle": "random words",
    "description": "descriptions",
    "prompted_description": "label prompts before descriptions",
}
SYMBOLS = (
    "p_0 is the embedding of the whole image, p_i that of a crop, t_0 that of a class's label "
    "prompt, t_j that of one of its other texts, all of length 1. n(x) is x at length 1, <x, y> a "
    "product, tau the encoder's logit scale. Costs are for an image: N crops of the pool, R runs, "
    "C classes, M texts of a class, D values of an embedding."
)
_NO_SOURCE = "none"
_INTRODUCTION = (
    "`make docs` writes this page from the modules of `tasks/methods`; `wca methods` prints the "
    "same, and what the last run of a store lacks.",
    "`--methods NAME,NAME` names rows of the results table. Without it, every row whose texts are "
    f"there is scored, except those marked by an asterisk. `{GRID}` stands for every pair of an "
    f"image side and a text side, `{ALL}` for every row. A pair is named by its sides, as "
    "`weighted_crops.words` or `weighted crops x words`; a published pair has its published name. "
    "`--method-option NAME.OPTION=VALUE` sets a parameter.",
    SYMBOLS,
)


def describe_method(method: Method) -> dict[str, str]:
    """Describe a method: its formula, texts, views, source, cost and options."""
    score = method.score
    if isinstance(score, Rule):
        formula, views, multiplications = score.formula, score.views, score.multiplications
    else:
        formula = _write_product(*score)
        views = _describe_views(score[0])
        product = "R C D" if method.has_draws else "C D"
        multiplications = " + ".join(filter(None, (score[0].multiplications, product)))
    uses_label = method.text_kind != "label" and (
        method.needs_labels or (method.text_side is not None and bool(method.text_side.weights))
    )
    texts = KINDS.get(method.text_kind, method.text_kind)
    if method.published_strategy:
        views += f" (as published with --crop-strategy {method.published_strategy})"
    return {
        "formula": formula,
        "texts": texts + " and label prompts" * uses_label,
        "views": views,
        "source": _describe_source(method),
        "cost": f"encodings: {_count_encodings(method)}; multiplications: " + multiplications,
        "options": "; ".join(describe_options(method)),
    }


def describe_other_crops(names: Iterable[str], strategy: str) -> list[str]:
    """Say which methods look at other crops than they were published with; nothing for none."""
    others: dict[str, list[str]] = {}
    for method in (METHODS[name] for name in names):
        if method.published_strategy not in ("", strategy):
            others.setdefault(method.published_strategy, []).append(method.title)
    return [
        f"Published with other crops: {', '.join(titles)} (--crop-strategy {published})."
        for published, titles in others.items()
    ]


def describe_options(method: Method) -> list[str]:
    """Describe what decides a method, each with its published value and its bounds."""
    owner: Method | ImageSide = method.image_side or method
    options = list_option_classes().get(owner.name)
    fields = options.model_fields.items() if options else ()
    settings = [side.settings for side in (method.image_side, method.text_side) if side]
    return [
        *([f"--crops {CROPS_PER_RUN}", f"--runs {RUNS}"] if method.has_draws else []),
        *filter(None, settings),
        *(
            f"--method-option {owner.name}.{name}={field.default} "
            f"({_describe_bounds(field)}{field.description})"
            for name, field in fields
        ),
    ]


def write_markdown() -> str:
    """Write the text of docs/methods.md."""
    named = [method for method in METHODS.values() if method.is_named]
    parts = ["# Methods", *(fill(text, 110) for text in _INTRODUCTION)]
    for method in named:
        facts = describe_method(method)
        lines = [
            f"## {method.name}{'' if method.is_default else '*'}: {method.title}",
            "",
            f"`{facts['formula']}`",
            "",
            f"- texts: {facts['texts']}; views: {facts['views']}",
            f"- {facts['cost']}",
            f"- source: {facts['source']}",
            *([f"- options: {facts['options']}"] if facts["options"] else []),
        ]
        parts.append("\n".join(lines))
    for title, sides in (("Image sides", IMAGE_SIDES), ("Text sides", TEXT_SIDES)):
        rows = [f"| `{side.name}` | {side.title} | `{_write_side(side)}` |" for side in sides]
        table = ["| name | title | vector |", "|---|---|---|", *rows]
        parts.append("\n".join([f"## {title}", "", *table]))
    return "\n\n".join(parts) + "\n"


def write_sql() -> str:
    """Write the text of tasks/store/published/methods.sql: the query for the table `methods`."""
    rows = []
    for method in METHODS.values():
        facts = describe_method(method)
        image_side = method.image_side.name if method.image_side else None
        text_side = method.text_side.name if method.text_side else None
        source = None if facts["source"] == _NO_SOURCE else facts["source"]
        values = (method.name, method.title, image_side, text_side, facts["formula"], source)
        rows.append(", ".join("NULL" if v is None else quote(v) for v in values))
    head = "-- Written by `make docs`.\nFROM (VALUES\n"
    names = ", ".join(column.name for column in SNAPSHOT_TABLES["methods"].columns)
    return head + ",\n".join(f"  ({row})" for row in rows) + f"\n) AS methods({names})\n"


def _write_product(image_side: ImageSide, text_side: TextSide) -> str:
    """Write the product of two sides, and then their weights."""
    image, text = image_side.formula, text_side.formula
    if text_side.is_normalised:
        image = image if image_side.is_unit else f"n({image})"
        text = text if text_side.text_kind == "label" else f"n({text})"
    weights = (image_side.weights, text_side.weights)
    return ", ".join(filter(None, (f"<{image}, {text}>", *weights)))


def _write_side(side: ImageSide | TextSide) -> str:
    return ", ".join(filter(None, (side.formula, side.weights)))


def _describe_source(method: Method) -> str:
    """Name the publication of a method, else those of its sides."""
    if method.source:
        return str(method.source)
    sides = [side for side in (method.image_side, method.text_side) if side and side.source]
    return "; ".join(f"{side.title}: {side.source}" for side in sides) or _NO_SOURCE


def _count_encodings(method: Method) -> str:
    if not method.needs_crops:
        return "1"
    return "at most 1 + N" if method.is_adaptive else "1 + N"


def _describe_views(side: ImageSide) -> str:
    if side.views or not side.needs_crops:
        return side.views or "the whole"
    if side.is_adaptive:
        return "the whole and as many crops as settle the class"
    return "crops that each run draws" if side.has_draws else "the whole and the pool of crops"


def _describe_bounds(field: Any) -> str:
    """Describe the bounds of a field: `above 0, at most 1: `; empty for none."""
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    bounds = [
        f"{words[name]} {getattr(bound, name):g}"
        for bound in field.metadata
        for name in words
        if getattr(bound, name, None) is not None
    ]
    return f"{', '.join(bounds)}: " if bounds else ""
