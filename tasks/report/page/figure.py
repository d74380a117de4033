"""An explanation as one picture: the paper's figures 4 and 5, the margin's places, its crops."""

import io
from typing import Any

from PIL import Image

from tasks.report.page.charts import Spec
from tasks.report.page.explained import ExplainedImage

# Width of a chart in pixels, and how many times more pixels the picture has, for screens and print.
WIDTH, SCALE = 330, 1.5
CONFIG: dict[str, Any] = {
    "background": "white",
    "font": "Liberation Sans, Noto Sans, DejaVu Sans, sans-serif",
    "view": {"stroke": None},
    "axis": {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": 500},
    "axisY": {"labelLimit": 300},
    "title": {"anchor": "start", "fontSize": 13, "limit": 620},
    "legend": {"labelFontSize": 11},
}
# Charts that share no scale keep their own legends and colours.
_INDEPENDENT = {"scale": {"color": "independent", "shape": "independent"}}


def explanation_png(explained: ExplainedImage) -> bytes:
    """Return the explanation of one image as a PNG file."""
    from vl_convert import vegalite_to_png  # noqa: PLC0415 - loads a browser engine

    png = vegalite_to_png(_explanation_spec(explained), scale=SCALE)
    with Image.open(io.BytesIO(png)) as image, io.BytesIO() as small:
        # 256 colours look the same here and take a fifth of the bytes
        image.convert("RGB").quantize(256).save(small, "PNG", optimize=True)
        return small.getvalue()


def _explanation_spec(explained: ExplainedImage) -> Spec:
    """Lay out the page's charts and drawings as one chart."""
    charts = (explained.weight_chart, *explained.similarity_charts)
    weights, *similarities = [
        {**{k: v for k, v in c.spec.items() if k != "datasets"}, "width": WIDTH, "title": c.title}
        for c in charts
    ]
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "config": CONFIG,
        # named data may stand only at the top
        "datasets": {name: rows for c in charts for name, rows in c.spec["datasets"].items()},
        "padding": 16,
        "title": {
            "text": f"{explained.predicted}, not {explained.runner_up}",
            "subtitle": explained.sentences[0],
            "fontSize": 18,
            "subtitleFontSize": 12,
            "offset": 14,
            "limit": 1200,
        },
        "spacing": 26,
        "vconcat": [
            {"hconcat": [weights, *_drawing_specs(explained)], "spacing": 30},
            {"hconcat": similarities, "spacing": 30, "resolve": _INDEPENDENT},
        ],
        "resolve": _INDEPENDENT,
    }


def _drawing_specs(explained: ExplainedImage) -> list[Spec]:
    if explained.drawings is None:
        return []
    width, height = explained.drawings.size
    return [
        {
            "width": width,
            "height": height,
            "title": title,
            "data": {"values": [{"uri": uri}]},
            "mark": {
                "type": "image", "width": width, "height": height, "align": "left",
                "baseline": "top",
            },
            "encoding": {"url": {"field": "uri"}, "x": {"value": 0}, "y": {"value": 0}},
        }
        for uri, title in (
            (explained.drawings.margin_map_uri, "Margin: blue for, striped orange against"),
            (explained.drawings.crops_uri, f"Crops {explained.crops_caption}"),
        )
    ]  # fmt: skip
