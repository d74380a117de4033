"""An explanation as one picture: the paper's figures 4 and 5, heat map and deciding crops."""

import io
from typing import Any

from PIL import Image

from tasks.report.page.charts import Spec
from tasks.report.page.explained import ExplainedImage

# Pixels of a chart, and how many more the picture has, for screens and print.
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


def explanation_png(explained: ExplainedImage) -> bytes:
    """The explanation of one image as a PNG file."""
    from vl_convert import vegalite_to_png  # noqa: PLC0415 - loads a browser engine

    drawn = vegalite_to_png(explanation_spec(explained), scale=SCALE)
    with Image.open(io.BytesIO(drawn)) as image, io.BytesIO() as small:
        # 256 colours look the same here and take a fifth of the bytes
        image.convert("RGB").quantize(256).save(small, "PNG", optimize=True)
        return small.getvalue()


def explanation_spec(explained: ExplainedImage) -> Spec:
    """Charts with the page's specifications, and the pictures."""
    pictures = [
        _picture(uri, explained.picture_size, title)
        for uri, title in (
            (explained.heat_uri, "Crop weights"),
            (explained.marked_uri, f"1-3: {explained.predicted}, a-c: {explained.runner_up}"),
        )
        if uri
    ]
    drawn = (explained.weight_chart, *explained.similarity_charts)
    weights, *similarities = [
        {**{k: v for k, v in c.spec.items() if k != "datasets"}, "width": WIDTH, "title": c.title}
        for c in drawn
    ]
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "config": CONFIG,
        # named data may stand only at the top
        "datasets": {name: rows for c in drawn for name, rows in c.spec["datasets"].items()},
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
            {"hconcat": [weights, *pictures], "spacing": 30},
            {"hconcat": similarities, "spacing": 30, "resolve": _APART},
        ],
        "resolve": _APART,
    }


# Charts that share no scale keep their own legends and colours.
_APART = {"scale": {"color": "independent", "shape": "independent"}}


def _picture(uri: str, size: tuple[int, int], title: str) -> Spec:
    width, height = size
    return {
        "width": width,
        "height": height,
        "title": title,
        "data": {"values": [{"uri": uri}]},
        "mark": {
            "type": "image", "width": width, "height": height, "align": "left", "baseline": "top"
        },
        "encoding": {"url": {"field": "uri"}, "x": {"value": 0}, "y": {"value": 0}},
    }  # fmt: skip
