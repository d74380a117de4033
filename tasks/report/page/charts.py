"""Charts of the report as Vega-Lite specifications, readable by shape and position alone."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from tasks.methods.registry import method_title
from tasks.report.page.queries import Row

Spec = dict[str, Any]
# Okabe & Ito's blue and orange, dark enough on white and light enough on black.
BLUE, ORANGE = "#2a7fc4", "#d8731a"
# For lines, whose points differ in shape too.
COLOURS = ("#7a7f87", "#b1549a", BLUE, ORANGE, "#2f8f6b", "#a08a1b", "#5b6ec0", "#c0504d")
# A description as the name on an axis.
LABEL_CHARACTERS = 56


def accuracy(rows: Sequence[Row]) -> Spec:
    """A dot with its interval for every method."""
    values = [
        {
            "method": method_title(r["method"]),
            **{k: 100 * r[k] for k in ("top1", "top1_low", "top1_high")},
        }
        for r in rows
    ]
    y = alt.Y("method:N", sort=None, title=None)
    base = alt.Chart(alt.InlineData(values=values)).encode(y=y)
    rule = base.mark_rule(strokeWidth=2, color=BLUE).encode(
        x=alt.X("top1_low:Q", title="top-1 accuracy, %, with Wilson 95 % interval",
                scale=alt.Scale(zero=False)),
        x2="top1_high:Q",
    )  # fmt: skip
    dot = base.mark_point(filled=True, size=90, color=BLUE, opacity=1).encode(
        x="top1:Q", tooltip=["method:N", alt.Tooltip("top1:Q", format=".2f")]
    )
    return _spec(rule, dot, height=26 * len(values))


def calibration(rows: Sequence[Row]) -> Spec:
    """Share of right predictions against confidence, with the line where they agree."""
    names = ("confidence", "top1", "top1_low", "top1_high")
    values = [{name: 100 * r[name] for name in names} for r in rows]
    base = alt.Chart(alt.InlineData(values=values))
    scale = alt.Scale(domain=[0, 100])
    line = (
        alt.Chart(alt.InlineData(values=[{"x": 0, "y": 0}, {"x": 100, "y": 100}]))
        .mark_line(strokeDash=[4, 4], color="#888888")
        .encode(x=alt.X("x:Q", scale=scale), y=alt.Y("y:Q", scale=scale))
    )
    x = alt.X("confidence:Q", title="mean confidence, %", scale=scale)
    rule = base.mark_rule(strokeWidth=2, color=BLUE).encode(
        x=x, y=alt.Y("top1_low:Q", title="right, %", scale=scale), y2="top1_high:Q"
    )
    dot = base.mark_point(filled=True, size=80, color=BLUE, opacity=1).encode(x=x, y="top1:Q")
    return _spec(line, rule, dot, height=280)


def gains(rows: Sequence[Row]) -> Spec:
    """The distribution of the gain of the best crop, own descriptions and the control."""
    names = {"own": "descriptions of its class", "other": "of other classes (control)"}
    values = [
        {
            "pairs": names[r["pairs"]],
            "gain": r["gain_low"] + 0.005,
            "share": 100 * r["share"],
        }
        for r in rows
    ]
    colour = alt.Color(
        "pairs:N",
        title=None,
        scale=alt.Scale(domain=list(names.values()), range=[BLUE, ORANGE]),
        legend=alt.Legend(orient="top", labelLimit=260),
    )
    dash = alt.StrokeDash(
        "pairs:N", title=None, scale=alt.Scale(domain=list(names.values()), range=[[1, 0], [6, 4]])
    )
    chart = (
        alt.Chart(alt.InlineData(values=values))
        .mark_line(interpolate="step", strokeWidth=2.5)
        .encode(
            x=alt.X("gain:Q", title="cosine of the best crop less that of the whole image"),
            y=alt.Y("share:Q", title="pairs, %"),
            color=colour,
            strokeDash=dash,
        )
    )
    zero = (
        alt.Chart(alt.InlineData(values=[{"gain": 0}]))
        .mark_rule(color="#888888")
        .encode(x="gain:Q")
    )
    return _spec(zero, chart, height=260)


def similarities(rows: Sequence[Row], whole: float, weighted: float) -> Spec:
    """The paper's figure 5: each description under WCA beside CuPL, with the averages.

    rows: of `explained_texts`, one class. whole, weighted: the averages under CuPL and WCA.
    """
    views = ("WCA, weighted crops", "CuPL, whole image")
    values = [
        {"text": _label(r["text"], i), "view": view, "cosine": r[name], "full": r["text"][:200]}
        for i, r in enumerate(rows)
        for view, name in zip(views, ("weighted_similarity", "whole_similarity"), strict=True)
    ]
    means = [{"view": v, "mean": m} for v, m in zip(views, (weighted, whole), strict=True)]
    scale = alt.Scale(domain=list(views), range=[BLUE, ORANGE])
    colour = alt.Color(
        "view:N", title=None, scale=scale, legend=alt.Legend(orient="top", labelLimit=200)
    )
    shape = alt.Shape(
        "view:N", title=None, scale=alt.Scale(domain=list(views), range=["circle", "diamond"])
    )
    dots = (
        alt.Chart(alt.InlineData(values=values))
        .mark_point(filled=True, size=85, opacity=0.95)
        .encode(
            x=alt.X("cosine:Q", title="similarity; lines: averages", scale=alt.Scale(zero=False)),
            y=_texts_axis("text:N"),
            color=colour,
            shape=shape,
            tooltip=["full:N", "view:N", alt.Tooltip("cosine:Q", format=".4f")],
        )
    )
    rules = (
        alt.Chart(alt.InlineData(values=means))
        .mark_rule(strokeWidth=1.5, strokeDash=[5, 3])
        .encode(x="mean:Q", color=colour)
    )
    return _spec(rules, dots, height=24 * len(rows))


def text_weights(rows: Sequence[Row], description_count: int) -> Spec:
    """The paper's figure 4: the weights of a class's descriptions, lowest first.

    rows: with `text` and `text_weight`, the lowest of `description_count` descriptions.
    """
    values = [
        {"text": _label(r["text"], i), "weight": 100 * r["text_weight"], "full": r["text"][:200]}
        for i, r in enumerate(rows)
    ]
    bars = (
        alt.Chart(alt.InlineData(values=values))
        .mark_bar(color=BLUE, height=11)
        .encode(
            x=alt.X("weight:Q", title="text weight, %; line: all the same"),
            y=_texts_axis("text:N"),
            tooltip=["full:N", alt.Tooltip("weight:Q", format=".3f")],
        )
    )
    even = [{"even": 100 / description_count}]
    rule = alt.Chart(alt.InlineData(values=even)).mark_rule(
        strokeDash=[5, 3], color=ORANGE, strokeWidth=1.5
    )
    return _spec(bars, rule.encode(x="even:Q"), height=24 * len(rows))


def sweep(rows: Sequence[Row]) -> Spec:
    """Accuracy against one parameter's values, a line with intervals for every method."""
    percent = ("top1", "top1_low", "top1_high")
    values = [
        {
            "value": r["value"],
            "method": method_title(r["method"]),
            **{k: 100 * r[k] for k in percent},
        }
        for r in rows
    ]
    methods = list(dict.fromkeys(v["method"] for v in values))
    order = alt.Scale(domain=list(dict.fromkeys(r["value"] for r in rows)))
    x = alt.X("value:O", scale=order, title=None, axis=alt.Axis(labelAngle=0))
    y = alt.Y("top1:Q", title="top-1, %", scale=alt.Scale(zero=False))
    colour = alt.Color(
        "method:N",
        title=None,
        scale=alt.Scale(domain=methods, range=list(COLOURS[: len(methods)])),
        legend=alt.Legend(orient="top", labelLimit=200, columns=2),
    )
    shape = alt.Shape("method:N", title=None, scale=alt.Scale(domain=methods))
    layers = []
    for i, method in enumerate(methods):
        mine = alt.InlineData(values=[v for v in values if v["method"] == method])
        aside = 5 * (i - (len(methods) - 1) / 2)  # pixels, so that intervals stand side by side
        base = alt.Chart(mine).encode(x=x, color=colour)
        layers += [
            base.mark_rule(strokeWidth=1.5, opacity=0.75, xOffset=aside).encode(
                y=alt.Y("top1_low:Q", title="top-1, %", scale=alt.Scale(zero=False)),
                y2="top1_high:Q",
            ),
            base.mark_line(strokeWidth=1.5, opacity=0.6, xOffset=aside).encode(y=y),
            base.mark_point(filled=True, size=65, opacity=1, xOffset=aside).encode(
                y=y,
                shape=shape,
                tooltip=["value:O", "method:N", alt.Tooltip("top1:Q", format=".2f")],
            ),
        ]
    chosen = [r["value"] for r in rows if r["is_base"]][:1]
    mark = (
        alt.Chart(alt.InlineData(values=[{"value": value} for value in chosen]))
        .mark_rule(strokeDash=[3, 3], color="#888888")
        .encode(x=x)
    )
    return _spec(mark, *layers, height=230)


def _texts_axis(field: str) -> alt.Y:
    return alt.Y(field, sort=None, title=None, axis=alt.Axis(domain=False))


def _label(text: str, place: int) -> str:
    """A description short enough for an axis; invisible marks keep equal beginnings apart."""
    line = " ".join(text.split())
    if len(line) > LABEL_CHARACTERS:
        line = line[: LABEL_CHARACTERS - 1].rstrip() + "…"
    return line + "\u200b" * place


def _spec(*layers: alt.Chart, height: int) -> Spec:
    """Layers as one chart, as wide as its place on the page."""
    spec: Spec = alt.layer(*layers).to_dict()
    spec.pop("config", None)  # the page's, which knows light and dark
    return {**spec, "width": "container", "height": height}
