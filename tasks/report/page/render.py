"""Pages from templates: each is one HTML file with everything in it."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.methods.registry import BASELINE, method_title
from tasks.report.page.tables import format_value

_TEMPLATES = Path(__file__).parent / "templates"


def render_template(name: str, **values: Any) -> str:
    """Return the page that a template makes of values, each of them escaped."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "baseline_title": method_title(BASELINE),
        "format_value": format_value,
        "script": _read_script,
    }
    return environment.get_template(name).render(values)


@cache
def _read_script(name: str) -> str:
    """Return code to stand between <script> tags: of this project, or the charts' runtime."""
    if name == "vega":
        from vl_convert import javascript_bundle  # noqa: PLC0415 - loads a browser engine

        code = str(javascript_bundle("window.vegaEmbed = vegaEmbed;"))
    else:
        code = (_TEMPLATES / name).read_text(encoding="utf-8")
    return code.replace("</script", "<\\/script").replace("<!--", "<\\!--")
