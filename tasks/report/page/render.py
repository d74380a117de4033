"""The page: one file with everything in it, made from the snapshot and the run's images."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from tasks.methods.registry import method_title
from tasks.report.page.cells import shown
from tasks.report.page.explained import ExplainedImage, explained_images
from tasks.report.page.pictures import data_uri, square
from tasks.report.page.queries import Queries, Row
from tasks.report.page.sections import parts
from tasks.store.place import Place
from tasks.store.snapshot import open_snapshot, snapshot_path
from tasks.store.tables import Store

TEMPLATES = Path(__file__).parent / "templates"
# All small thumbnails together: with the charts' runtime a page then stays below 3 MB.
THUMBNAIL_CHARACTERS = 600_000
THUMBNAIL, MOST_THUMBNAIL = 72, 3_500

Open = Callable[[str, str], Image.Image | None]


class Thumbnail(NamedTuple):
    """A small picture with what it was taken for."""

    uri: str
    image_name: str
    class_name: str | None
    predicted_class_name: str
    is_correct: bool | None


class Confused(NamedTuple):
    """A pair of classes that are confused, with some of the images."""

    class_name: str
    predicted_class_name: str
    image_count: float
    thumbnails: list[Thumbnail]


class Thumbnails:
    """Makes thumbnails until the page has as many as it may carry."""

    def __init__(self, open_image: Open) -> None:
        self.open_image = open_image
        self.left = THUMBNAIL_CHARACTERS

    def of(self, row: Row) -> Thumbnail | None:
        """The thumbnail of a row with `image_name` and `image_digest`, None where there is none."""
        if self.left <= 0:
            return None
        image = self.open_image(row["image_name"], row["image_digest"])
        if image is None:
            return None
        uri = data_uri(square(image, THUMBNAIL), 62, MOST_THUMBNAIL)
        self.left -= len(uri)
        names = ("image_name", "class_name", "predicted_class_name", "is_correct")
        return Thumbnail(uri, *(row[name] for name in names))


def render(snapshot: Place, run_id: str, open_image: Open) -> str:
    """The page of a run as HTML; the same snapshot rows and images make the same bytes.

    open_image: from an image's name and digest to the picture, None where it is not there any more.
    """
    with open_snapshot(snapshot, run_id) as connection:
        queries = Queries(connection, run_id)
        thumbnails = Thumbnails(open_image)
        (run,) = queries.ask("configuration").rows
        values: dict[str, Any] = {
            "run": run,
            "settings": _settings(run),
            "configuration_sql": queries.ask("configuration").sql,
            "parts": parts(queries),
            "method_title": method_title(queries.method),
            "is_labelled": run["flow_name"] != "classify",
            "confused": _confused(queries, thumbnails),
            "explained": list(explained_images(queries, open_image)),
            "explained_sql": [
                queries.ask(name).sql
                for name in ("explained", "explained_pairs", "explained_texts", "counterfactuals")
            ],
            "gallery": [],
            "gallery_sql": "",
        }
        if values["is_labelled"]:
            gallery = queries.ask("gallery")
            values["gallery_sql"] = gallery.sql
            values["gallery"] = [t for row in gallery.rows if (t := thumbnails.of(row))]
    return environment().get_template("report.html.j2").render(values)


def read_explanations(store: Store, run_id: str, open_image: Open) -> list[ExplainedImage]:
    """The explanations of a run, without a page around them."""
    with open_snapshot(snapshot_path(store), run_id) as connection:
        return list(explained_images(Queries(connection, run_id), open_image))


def environment() -> Environment:
    """Templates whose every value is escaped."""
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["script"] = _script
    found.globals["shown"] = shown
    return found


@cache
def _script(name: str) -> str:
    """Code to stand between <script> tags: of this project, or the charts' runtime."""
    if name == "vega":
        from vl_convert import javascript_bundle  # noqa: PLC0415 - loads a browser engine

        code = str(javascript_bundle("window.vegaEmbed = vegaEmbed;"))
    else:
        code = (TEMPLATES / name).read_text(encoding="utf-8")
    return code.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _confused(queries: Queries, thumbnails: Thumbnails) -> list[Confused]:
    images: dict[tuple[int, int], list[Row]] = {}
    for row in queries.ask("confused_images").rows:
        images.setdefault((row["class_id"], row["predicted_class_id"]), []).append(row)
    found = []
    for pair in queries.ask("confusion").rows:
        names = {key: pair[key] for key in ("class_name", "predicted_class_name")}
        rows = images.get((pair["class_id"], pair["predicted_class_id"]), [])
        small = [thumbnails.of({**row, **names, "is_correct": False}) for row in rows]
        if images_shown := [t for t in small if t is not None]:
            found.append(
                Confused(**names, image_count=pair["image_count"], thumbnails=images_shown)
            )
    return found


def _settings(run: Row) -> dict[str, dict[str, str]]:
    """The run's JSON columns, a value each."""
    return {
        title: {
            name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for name, value in json.loads(run[column]).items()
        }
        for title, column in (
            ("Parameters", "parameters"), ("Encoder", "encoder"), ("Libraries", "versions"),
        )
    }  # fmt: skip
