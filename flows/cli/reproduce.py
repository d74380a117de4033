"""`wca reproduce`: a published table, measured again."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli.console import console, print_table, print_unwrapped
from flows.server.temporary import prefect_server
from flows.settings.reproduce import ReproduceConfig, ReproduceSettings
from tasks.report.published import LIBRARY_POINTS, SIGMAS, judge, published_table
from tasks.report.published_text import layout, notes

if TYPE_CHECKING:
    from flows.reproduce import Reproduction


def reproduce(
    table: str = "table1",
    *,
    settings: Annotated[ReproduceSettings | None, Parameter(name="*")] = None,
) -> None:
    """Measure a published table again: ours and theirs side by side, and whether they agree.

    Finished runs are kept: the same command goes on from where it was.

    Example: wca reproduce table1 --data-root /data

    Example: wca reproduce table2 --datasets imagenet-a,imagenet-r

    Example: wca reproduce table1 --datasets cub --encoders ViT-B-32-quickgelu/openai --limit 500

    Parameters
    ----------
    table
        table1 (six data sets, three encoders), table2 (ImageNet and its shifts), bifta (BiFTA's
        refined crops and texts) or awt (AWT with its own views).

    """
    given = (settings or ReproduceSettings()).model_dump(exclude_unset=True)
    config = ReproduceConfig(table=table, **given)
    from tasks.datasets.named.cards import find_card
    from tasks.embed.names import check_encoder_name

    published_table(table)
    for encoder in config.encoders:
        check_encoder_name(encoder)
    for name in config.datasets:
        find_card(name)
    with prefect_server("reproduce"):
        from flows.reproduce import reproduce as flow

        result = flow(config)
    _print_reproduction(result)


def _print_reproduction(result: "Reproduction") -> None:
    """Print a table per encoder in the published layout, and notes on its cells."""
    table = published_table(result.table)
    cells = [judge(table, cell) for cell in result.cells]
    console.print(f"{table.title}: ours / published")
    for encoder in result.encoders:
        label = table.label(encoder)
        note = f"({label})" if label else f"- not published; beside it {table.first_label}"
        print_unwrapped(f"{encoder} {note}")
        print_table(layout(table, encoder, result.datasets, cells), "")
    console.print(
        "Second line: the difference in points. The two agree if it is at most what libraries and "
        f"draws change: {LIBRARY_POINTS:g}, one image, or {SIGMAS:g} times both deviations over "
        "runs together, whichever is most."
    )
    for line in notes(table, cells):
        console.print(f"* {line}")
    console.print(f"Published: {table.source}")
    print_unwrapped(f"Every cell as a row: {result.path}")
