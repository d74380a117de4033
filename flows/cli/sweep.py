"""The command of `wca` that varies parameters."""

from typing import Annotated

from cyclopts import Parameter

from flows.server.temporary import prefect_server
from flows.settings.benchmark import BenchmarkSettings
from flows.settings.sweep import SweepConfig


def sweep(
    data: str,
    *,
    over: tuple[str, ...] = (),
    settings: Annotated[BenchmarkSettings | None, Parameter(name="*")] = None,
) -> None:
    """Vary parameters one at a time and show accuracy against each, with intervals.

    Whoever picks a value by these numbers has used labels: the result is not zero-shot any more.
    Values are picked on one half of the images and judged on the other.

    Example: wca sweep sixteen-photographs

    Example: wca sweep folder:photos --descriptions photos.json --over alpha=0.3,0.5,0.7 --over
    descriptions_per_class=1,5,10

    Parameters
    ----------
    data
        A data set as in benchmark.
    over
        parameter=value,value, repeatable: alpha, beta, size (alpha:beta), pool, crop_strategy
        (even), crops, runs, seed, image_scale and text_scale (off: no weights),
        descriptions_per_class.

    """
    given = (settings or BenchmarkSettings()).model_dump(exclude_unset=True)
    if over:
        given["over"] = over
    config = SweepConfig(data=data, **given)
    with prefect_server("sweep"):
        from flows import sweep as flow

        summary = flow.sweep(config)
    from flows.cli import show_sweep as show

    show.sweep(summary)
