"""The `wca` command: parses, calls a flow, prints."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from flows.cli.compare import compare, report
from flows.cli.datasets import datasets, import_, reproduce
from flows.cli.describe import describe
from flows.cli.options import StoreOption
from flows.cli.store import store_app
from flows.cli.sweep import sweep
from flows.cli.tables import doctor, sql
from flows.cli.ui import ui
from flows.server.temporary import prefect_server
from flows.settings.benchmark import BenchmarkConfig, BenchmarkSettings
from flows.settings.classify import ClassifyConfig, ClassifySettings
from flows.settings.store import DEFAULT_STORE
from tasks.runtime.errors import InputError

app = App(
    name="wca",
    help="Zero-shot image classification by weighted visual-text cross alignment.",
    help_format="rich",
    default_parameter=Parameter(negative_iterable=()),
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # what stopping means is said in flows.cli.__main__
)


@app.command
def demo(*, store: StoreOption = DEFAULT_STORE) -> None:
    """Classify the sixteen photographs with the embedded encoder.

    Example: wca demo
    """
    benchmark("sixteen-photographs", settings=BenchmarkSettings(store=store))


@app.command
def benchmark(
    data: str,
    *,
    settings: Annotated[BenchmarkSettings | None, Parameter(name="*")] = None,
) -> None:
    """Score every method on a labelled data set and print accuracy.

    Example: wca benchmark sixteen-photographs

    Example: wca benchmark folder:photos --descriptions photos.json

    Example: wca benchmark cub --data-root /data --limit 500

    Example: wca benchmark folder:photos --encoder ViT-B-32-quickgelu/openai --methods clip,wca

    Parameters
    ----------
    data
        A name that `wca datasets` lists, folder:PATH (one sub-folder per class), csv:PATH or
        parquet:PATH (columns path and label), wds:PATH (tar shards), hf:NAME or card:PATH.

    """
    given = (settings or BenchmarkSettings()).model_dump(exclude_unset=True)
    config = BenchmarkConfig(data=data, **given)
    with prefect_server("benchmark"):
        from flows import benchmark as flow

        summary = flow.benchmark(config)
    from flows.cli import show

    show.benchmark(summary)
    show.require_used_images(summary)


@app.command
def classify(
    *images: Path,
    classes: str,
    settings: Annotated[ClassifySettings | None, Parameter(name="*")] = None,
) -> None:
    """Find the best classes of pictures without labels.

    Example: wca classify cat.jpg --classes cat,dog,horse

    Example: wca classify photos --classes birds.txt --descriptions birds.json

    Example: wca classify bird.jpg --classes birds.txt --descriptions birds.json --explain

    Parameters
    ----------
    images
        Image files; of a folder all pictures below it.
    classes
        Class names separated by commas, a text file with one class name a line, or a JSON file.

    """
    from tasks.datasets.class_names import read_class_names

    if not images:
        raise InputError("Name at least one image: wca classify photo.jpg --classes cat,dog.")
    chosen = read_class_names(classes)
    if len(chosen) < 2:
        raise InputError("Name at least two classes: --classes cat,dog.")
    given = (settings or ClassifySettings()).model_dump(exclude_unset=True)
    config = ClassifyConfig(images=images, classes=chosen, **given)
    with prefect_server("classify"):
        from flows import classify as flow

        summary = flow.classify(config)
    from flows.cli import show

    show.classify(summary)
    if summary.report:
        from flows.cli import show_explanations  # charts, which few need

        show_explanations.explanations(summary)
    show.require_used_images(summary)


app.command(datasets)
app.command(describe)
app.command(compare)
app.command(report)
app.command(sweep)
app.command(import_, name="import")
app.command(reproduce)
app.command(sql)
app.command(store_app)
app.command(doctor)
app.command(ui)
