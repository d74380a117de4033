"""Charts of the pages as Vega-Lite specifications, readable by shape and position alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
from altair.utils.schemapi import disable_debug_mode

from tasks.methods.registry import method_title
from tasks.report.page.queries import Row

# Altair would check each part of each chart against its schema, a third of the time that a page
# takes. The charts are the same for every page, and the tests check them.
disable_debug_mode()

Spec = dict[str, Any]
# Okabe & Ito's blue and orange, dark enough on white and light enough on black.
BLUE, ORANGE, GREEN, GREY = "#2a7fc4", "#d8731a", "#2f8f6b", "#888888"
# For lines, whose points differ in shape too. There are eight shapes: with nine colours the first
# pair of a shape and a colour that comes again is that of the 73rd method.
COLOURS = (
    "#7a7f87",
    "#b1549a",
    BLUE,
    ORANGE,
    GREEN,
    "#a08a1b",
    "#5b6ec0",
    "#c0504d",
    "#8a6d5b",
)
# Characters of a description as the name on an axis.
LABEL_CHARACTERS = 56


def draw_accuracy(rows: Sequence[Row]) -> Spec:
    """Draw a dot with its interval for every method."""
    values = [
        {"method": method_title(row["method"]), **_percent(row, "top1", "top1_low", "top1_high")}
        for row in rows
    ]
    base = _chart(values).encode(y=alt.Y("method:N", sort=None, title=None))
    rule = base.mark_rule(strokeWidth=2, color=BLUE).encode(
        x=alt.X("top1_low:Q", title="top-1 accuracy, %, with Wilson 95 % interval",
                scale=alt.Scale(zero=False)),
        x2="top1_high:Q",
    )  # fmt: skip
    dot = base.mark_point(filled=True, size=90, color=BLUE, opacity=1).encode(
        x="top1:Q", tooltip=["method:N", alt.Tooltip("top1:Q", format=".2f")]
    )
    return _spec(rule, dot, height=26 * len(values))


def draw_calibration(rows: Sequence[Row]) -> Spec:
    """Draw the share of right predictions against confidence, with the line where they agree."""
    base = _chart([_percent(row, "confidence", "top1", "top1_low", "top1_high") for row in rows])
    scale = alt.Scale(domain=[0, 100])
    line = (
        _chart([{"x": 0, "y": 0}, {"x": 100, "y": 100}])
        .mark_line(strokeDash=[4, 4], color=GREY)
        .encode(x=alt.X("x:Q", scale=scale), y=alt.Y("y:Q", scale=scale))
    )
    x = alt.X("confidence:Q", title="mean confidence, %", scale=scale)
    rule = base.mark_rule(strokeWidth=2, color=BLUE).encode(
        x=x, y=alt.Y("top1_low:Q", title="right, %", scale=scale), y2="top1_high:Q"
    )
    dot = base.mark_point(filled=True, size=80, color=BLUE, opacity=1).encode(x=x, y="top1:Q")
    return _spec(line, rule, dot, height=240)


def draw_risk(rows: Sequence[Row]) -> Spec:
    """Draw the share of wrong predictions against the share of images that are answered."""
    base = _chart([_percent(row, "coverage_step", "risk", "risk_low", "risk_high") for row in rows])
    x = alt.X("coverage_step:Q", title="answered, % of images", scale=alt.Scale(domain=[0, 100]))
    rule = base.mark_rule(strokeWidth=2, color=BLUE).encode(
        x=x, y=alt.Y("risk_low:Q", title="wrong, %"), y2="risk_high:Q"
    )
    line = base.mark_line(point=True, color=BLUE).encode(x=x, y="risk:Q")
    return _spec(rule, line, height=240)


def draw_gains(rows: Sequence[Row]) -> Spec:
    """Draw the distribution of the best crop's gain: own descriptions, and the controls."""
    names = {
        "own": "descriptions of its class",
        "other": "of other classes, drawn",
        "matched": "of other classes, as similar to the whole image",
    }
    values = [
        # in the middle of a step of 0.01
        {"pairs": names[row["pairs"]], "gain": row["gain_low"] + 0.005, "share": 100 * row["share"]}
        for row in rows
    ]
    domain = list(names.values())
    chart = (
        _chart(values)
        .mark_line(interpolate="step", strokeWidth=2.5)
        .encode(
            x=alt.X("gain:Q", title="cosine of the best crop less that of the whole image"),
            y=alt.Y("share:Q", title="pairs, %"),
            color=_colour("pairs", domain, (BLUE, ORANGE, GREEN), labelLimit=300),
            strokeDash=alt.StrokeDash(
                "pairs:N",
                title=None,
                scale=alt.Scale(domain=domain, range=[[1, 0], [6, 4], [2, 3]]),
            ),
        )
    )
    zero = _chart([{"gain": 0}]).mark_rule(color=GREY).encode(x="gain:Q")
    return _spec(zero, chart, height=220)


def draw_similarities(classes: Sequence[tuple[Sequence[Row], float, float]]) -> list[Spec]:
    """Draw the paper's figure 5 for classes that are read together: their charts share an axis.

    classes: of each its rows of `explained_texts`, and the averages under CuPL and under WCA.
    """
    cosines = [
        cosine
        for rows, *averages in classes
        for row in rows
        for cosine in (row["weighted_similarity"], row["whole_similarity"], *averages)
    ]
    scale = alt.Scale(zero=False, nice=True, domain=[min(cosines), max(cosines)])
    return [_draw_similarities(*of_class, scale) for of_class in classes]


def _draw_similarities(
    rows: Sequence[Row], whole: float, weighted: float, scale: alt.Scale
) -> Spec:
    """Draw each description of a class under WCA beside CuPL, with the averages."""
    views = {"WCA, weighted crops": "weighted_similarity", "CuPL, whole image": "whole_similarity"}
    values = [
        {"view": view, "cosine": row[name], **_text(row, i)}
        for i, row in enumerate(rows)
        for view, name in views.items()
    ]
    means = [{"view": v, "mean": m} for v, m in zip(views, (weighted, whole), strict=True)]
    colour = _colour("view", list(views), (BLUE, ORANGE), labelLimit=200)
    shapes = alt.Scale(domain=list(views), range=["circle", "diamond"])
    dots = (
        _chart(values)
        .mark_point(filled=True, size=85, opacity=0.95)
        .encode(
            x=alt.X("cosine:Q", title="similarity; lines: averages", scale=scale),
            y=_text_axis(),
            color=colour,
            shape=alt.Shape("view:N", title=None, scale=shapes),
            tooltip=["full:N", "view:N", alt.Tooltip("cosine:Q", format=".4f")],
        )
    )
    rules = (
        _chart(means).mark_rule(strokeWidth=1.5, strokeDash=[5, 3]).encode(x="mean:Q", color=colour)
    )
    return _spec(rules, dots, height=21 * len(rows))


def draw_text_weights(rows: Sequence[Row], description_count: int) -> Spec:
    """Draw the paper's figure 4: the weights of a class's descriptions, lowest first.

    rows: with `text` and `text_weight`, the lowest of `description_count` descriptions.
    """
    bars = (
        _chart(
            [{"weight": 100 * row["text_weight"], **_text(row, i)} for i, row in enumerate(rows)]
        )
        .mark_bar(color=BLUE, height=11)
        .encode(
            x=alt.X("weight:Q", title="text weight, %; line: all the same"),
            y=_text_axis(),
            tooltip=["full:N", alt.Tooltip("weight:Q", format=".3f")],
        )
    )
    rule = _chart([{"even": 100 / description_count}]).mark_rule(
        strokeDash=[5, 3], color=ORANGE, strokeWidth=1.5
    )
    return _spec(bars, rule.encode(x="even:Q"), height=21 * len(rows))


def draw_sweep(rows: Sequence[Row], together: Sequence[Row], is_ordered: bool = True) -> Spec:
    """Draw accuracy against one parameter's values, with intervals for every method.

    together: the rows of all panels that are read together, which share the axis of accuracy.
    is_ordered: whether values have an order, along which lines connect a method's points.
    """
    values = [
        {
            "value": row["value"],
            "method": method_title(row["method"]),
            **_percent(row, "top1", "top1_low", "top1_high"),
        }
        for row in rows
    ]
    methods = list(dict.fromkeys(value["method"] for value in values))
    order = alt.Scale(domain=list(dict.fromkeys(row["value"] for row in rows)))
    axis = alt.Axis(labelAngle=0, labelLimit=150)
    x = alt.X("value:O", scale=order, title=None, axis=axis)
    low, high = min(r["top1_low"] for r in together), max(r["top1_high"] for r in together)
    scale = alt.Scale(zero=False, nice=True, domain=[100 * low, 100 * high])
    y = alt.Y("top1:Q", title="top-1, %", scale=scale)
    colour = _colour("method", methods, COLOURS[: len(methods)], labelLimit=200, columns=2)
    shape = alt.Shape("method:N", title=None, scale=alt.Scale(domain=methods))
    layers = []
    for i, method in enumerate(methods):
        offset = 5 * (i - (len(methods) - 1) / 2)  # pixels, so that intervals stand side by side
        base = _chart([v for v in values if v["method"] == method]).encode(x=x, color=colour)
        layers += [
            base.mark_rule(strokeWidth=1.5, opacity=0.75, xOffset=offset).encode(
                y=alt.Y("top1_low:Q", title="top-1, %", scale=scale), y2="top1_high:Q"
            ),
            *(
                [base.mark_line(strokeWidth=1.5, opacity=0.6, xOffset=offset).encode(y=y)]
                if is_ordered
                else []
            ),
            base.mark_point(filled=True, size=65, opacity=1, xOffset=offset).encode(
                y=y,
                shape=shape,
                tooltip=["value:O", "method:N", alt.Tooltip("top1:Q", format=".2f")],
            ),
        ]
    base_values = [{"value": row["value"]} for row in rows if row["is_base"]][:1]
    base_line = _chart(base_values).mark_rule(strokeDash=[3, 3], color=GREY).encode(x=x)
    return _spec(base_line, *layers, height=230)


def _chart(values: Sequence[Mapping[str, object]]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=list(values)))


def _percent(row: Row, *names: str) -> dict[str, float]:
    return {name: 100 * row[name] for name in names}


def _colour(field: str, domain: list[str], colours: Sequence[str], **legend: Any) -> alt.Color:
    """Return one colour for each value of a field, with a legend above the chart."""
    return alt.Color(
        f"{field}:N",
        title=None,
        scale=alt.Scale(domain=domain, range=list(colours)),
        legend=alt.Legend(orient="top", **legend),
    )


def _text(row: Row, index: int) -> dict[str, str]:
    """Return a description for an axis, and for its tooltip."""
    line = " ".join(row["text"].split())
    if len(line) > LABEL_CHARACTERS:
        line = line[: LABEL_CHARACTERS - 1].rstrip() + "…"
    # invisible characters keep descriptions with equal beginnings apart
    return {"text": line + "\u200b" * index, "full": row["text"][:200]}


def _text_axis() -> alt.Y:
    return alt.Y("text:N", sort=None, title=None, axis=alt.Axis(domain=False))


def _spec(*layers: alt.Chart, height: int) -> Spec:
    """Return layers as one chart, as wide as its place on the page."""
    spec: Spec = alt.layer(*layers).to_dict(validate=False)
    spec.pop("config", None)  # the page has its own, for light and dark
    return {**spec, "width": "container", "height": height}
