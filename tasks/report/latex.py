"""A run's tables in LaTeX, for the package booktabs; names are escaped."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from tasks.methods.registry import BASELINE, method_title
from tasks.report.grid import arrange_grid
from tasks.report.page.queries import RunQueries
from tasks.report.titles import step_title
from tasks.report.verdict import LEVEL, warn_of_few_images
from tasks.runtime.errors import InputError
from tasks.store.records import ID_SHOWN

Row = dict[str, Any]
# p after Holm's correction below these is marked with so many stars.
MARKS = {0.001: 3, 0.01: 2, LEVEL: 1}
_ESCAPES = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "×": r"$\times$",  # noqa: RUF001 - a multiplication sign
        "\N{MINUS SIGN}": "$-$",
    }
)
_MARKS_NOTE = (
    "$^{*}$, $^{**}$, $^{***}$: $p$ below 0.05, 0.01, 0.001 by a sign-flip permutation test after "
    "Holm's correction over {count} tests"
)


class _Setting(NamedTuple):
    """What captions say of a run: data set, images and encoder; and the warning of few images."""

    text: str
    warning: str


def escape_latex(text: str) -> str:
    r"""Return a text in which LaTeX finds no command; it is one line.

    Examples
    --------
    >>> print(escape_latex("50% of a_b"))
    50\% of a\_b

    """
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split()).translate(_ESCAPES)


def latex_document(queries: RunQueries) -> str:
    """Return the tables of a run, to be put into a document; InputError without accuracy."""
    (run,) = queries.execute("configuration").rows
    accuracy = queries.execute("accuracy").rows
    comparisons = queries.execute("comparisons").rows
    pairs = queries.execute("pairs").rows
    grid = queries.execute("method_grid").rows
    steps = queries.execute("method_steps").rows
    if not accuracy:
        raise InputError(
            f"Run {run['run_id'][:ID_SHOWN]} has no accuracy: name a run on labelled images."
        )
    images = accuracy[0]["image_count"]
    encoder = ", ".join(filter(None, (run["encoder_name"], run["precision"])))
    setting = _Setting(
        f"{escape_latex(run['dataset_name'])}, {images} images, encoder {escape_latex(encoder)}",
        warn_of_few_images(images),
    )
    tests = next((row["test_count"] for row in comparisons), 0)
    parts = [
        f"% Run {run['run_id']}. Needs \\usepackage{{booktabs}}; "
        "names in other scripts need XeLaTeX or LuaLaTeX.",
        _accuracy_table(accuracy, comparisons, tests, setting, run["crop_strategy"]),
    ]
    if grid:
        parts.append(_grid_table(grid, setting))
    if steps:
        parts.append(_step_table(steps, setting))
    if pairs:
        parts.append(_pair_table(pairs, tests, setting))
    return "\n\n".join(parts) + "\n"


def _accuracy_table(
    rows: Sequence[Row],
    comparisons: Sequence[Row],
    test_count: int,
    setting: _Setting,
    crop_strategy: str,
) -> str:
    against = {row["method"]: row for row in comparisons}
    baseline = escape_latex(method_title(BASELINE))
    lines = []
    for row in rows:
        sigma = f"{100 * row['top1_sigma']:.2f}" if row["run_count"] > 1 else ""
        compared = against.get(row["method"])
        lines.append(
            [
                escape_latex(method_title(row["method"], crop_strategy)),
                _percent(row["top1"]),
                _interval(row["top1_low"], row["top1_high"]),
                sigma,
                _percent(row["top5"]),
                *(_difference(compared) if compared else ("", "")),
            ]
        )
    note = (
        "Top-1 is averaged over runs; $\\sigma$ is its deviation over runs; the interval is "
        "Wilson's over images"
    )
    if against:
        note += (
            f". The last columns are points above {baseline} with a paired interval (Bonett and "
            f"Price); {_MARKS_NOTE.replace('{count}', str(test_count))}"
        )
    header = ["Method", r"Top-1 (\%)", r"95\,\% interval", r"$\sigma$", r"Top-5 (\%)"]
    return _table(
        "accuracy",
        f"Accuracy on {setting.text}. {note}. {setting.warning}",
        "lrrrrrr",
        [*header, f"over {baseline}", r"95\,\% interval"],
        lines,
    )


def _grid_table(rows: Sequence[Row], setting: _Setting) -> str:
    grid = arrange_grid(rows)
    lines: list[list[str]] = []
    for title, cells in grid.rows.items():
        values, intervals = [escape_latex(title)], [""]
        for cell in cells:
            value = _percent(cell.row["top1"]) if cell else ""
            values.append(f"\\textbf{{{value}}}" if cell and cell.is_best else value)
            ends = _interval(cell.row["top1_low"], cell.row["top1_high"]) if cell else ""
            intervals.append(f"{{\\scriptsize {ends}}}" if cell else "")
        lines += [values, intervals]
    return _table(
        "grid",
        f"Top-1 accuracy (\\%) of every pair of an image side and a text side on {setting.text}, "
        f"with Wilson's 95\\,\\% interval over images. The best is in bold. {setting.warning}",
        "l" + "r" * len(grid.text_titles),
        ["Image side", *(escape_latex(title) for title in grid.text_titles)],
        lines,
    )


def _step_table(rows: Sequence[Row], setting: _Setting) -> str:
    lines = [
        [
            escape_latex(step_title(row["step"])),
            *(escape_latex(method_title(row[name])) for name in ("baseline_method", "method")),
            *_difference(row),
        ]
        for row in rows
    ]
    marks = _MARKS_NOTE.replace("{count}", str(rows[0]["test_count"]))
    return _table(
        "steps",
        f"What each part of WCA adds on {setting.text}: points of mean top-1 with a paired "
        f"95\\,\\% interval over images (Bonett and Price). {marks}. {setting.warning}",
        "lllrr",
        ["Step", "From", "To", "Points", r"95\,\% interval"],
        lines,
    )


def _pair_table(rows: Sequence[Row], test_count: int, setting: _Setting) -> str:
    names = list(dict.fromkeys(row[k] for row in rows for k in ("baseline_method", "method")))
    cells: dict[tuple[str, str], str] = {}
    for row in rows:
        for sign, pair in (
            (1, (row["method"], row["baseline_method"])),
            (-1, (row["baseline_method"], row["method"])),
        ):
            cells[pair] = _points(sign * row["difference"], row["p_holm"])
    lines = [
        [
            f"{number} {escape_latex(method_title(name))}",
            *(cells.get((name, other), "") for other in names),
        ]
        for number, name in enumerate(names, start=1)
    ]
    return _table(
        "pairs",
        f"Row less column, points of mean top-1, on {setting.text}. "
        f"{_MARKS_NOTE.replace('{count}', str(test_count))}. {setting.warning}",
        "l" + "r" * len(names),
        ["", *(str(number) for number in range(1, len(names) + 1))],
        lines,
    )


def _table(
    name: str, caption: str, columns: str, header: Sequence[str], lines: Iterable[Sequence[str]]
) -> str:
    """Make a table of cells that are LaTeX already."""
    body = [" & ".join(cells) + r" \\" for cells in lines]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption.rstrip()}}}",
            rf"\label{{tab:{name}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(header) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _interval(low: float, high: float) -> str:
    return f"{_percent(low)} to {_percent(high)}"


def _difference(row: Row) -> tuple[str, str]:
    """Return a difference with its marks, and its interval."""
    low, high = (_points(row[f"difference_{end}"]) for end in ("low", "high"))
    return _points(row["difference"], row["p_holm"]), f"{low} to {high}"


def _points(share: float, p: float | None = None) -> str:
    stars = next((count for level, count in MARKS.items() if p is not None and p < level), 0)
    return f"${100 * share:+.2f}{'^{' + '*' * stars + '}' if stars else ''}$"
