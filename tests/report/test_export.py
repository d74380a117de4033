"""A run's results as LaTeX and CSV: every figure, in tables that are well formed."""

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.methods.registry import method_title
from tasks.report.export import export_csv, export_latex
from tasks.report.latex import escape_latex
from tasks.runtime.errors import InputError
from tasks.store.published.publish import publish
from tasks.store.records import RunManifest
from tasks.store.runs import record_run
from tasks.store.tables import Store
from tests.report.page.runs import METHODS, Run

HOSTILE = 'a & b_1 #2 50% $x$ {y} \\input{z} ~^\n=1, "q"'
PDFLATEX = shutil.which("pdflatex")
SPECIAL = re.compile(r"(?<!\\)[&%#_$]")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def run(store: Store) -> Run:
    made = Run(store, 1, dataset_name=HOSTILE)
    publish(store)
    return made


@pytest.fixture(scope="module")
def document(store: Store, run: Run) -> str:
    return export_latex(store, run.run_id)


def table_lines(document: str, label: str) -> list[str]:
    """The lines between the rules of a table, the header first."""
    (table,) = [t for t in document.split(r"\begin{table}") if rf"\label{{tab:{label}}}" in t]
    body = table[table.index(r"\toprule") : table.index(r"\bottomrule")]
    return [line for line in body.splitlines() if line.endswith(r"\\")]


def test_every_table_is_well_formed(document: str) -> None:
    for kind in ("table", "tabular"):
        assert document.count(rf"\begin{{{kind}}}") == document.count(rf"\end{{{kind}}}") == 4
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\caption{", r"\label{"):
        assert document.count(rule) == 4
    assert len(re.findall(r"(?<!\\)\{", document)) == len(re.findall(r"(?<!\\)\}", document))
    for table in document.split(r"\begin{table}")[1:]:
        (columns,) = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", table)
        lines = [line for line in table.splitlines() if line.endswith(r"\\")]
        assert len(lines) > 1
        for line in lines:
            assert len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1, line


def test_names_hold_no_command(document: str) -> None:
    assert document.count(escape_latex(HOSTILE)) == 4  # in each caption
    assert r"\input{z}" not in document
    assert SPECIAL.sub("", escape_latex(HOSTILE)) == escape_latex(HOSTILE)
    assert "\n" not in escape_latex(HOSTILE)
    assert escape_latex("\\{~^}") == (r"\textbackslash{}\{\textasciitilde{}\textasciicircum{}\}")


def test_the_tables_have_every_figure(document: str, run: Run) -> None:
    header, *lines = table_lines(document, "accuracy")
    assert header.startswith(r"Method & Top-1 (\%)")
    for name, line in zip(METHODS, lines, strict=True):
        (row,) = run.select("accuracy", method=name)
        cells = [cell.strip() for cell in line.removesuffix(r"\\").split(" & ")]
        assert cells[:2] == [method_title(name), f"{100 * row['top1']:.2f}"]
        assert cells[2] == f"{100 * row['top1_low']:.2f} to {100 * row['top1_high']:.2f}"
        against = run.select("comparisons", baseline_method="clip", method=name)
        for compared in against:
            stars = sum(compared["p_holm"] < level for level in (0.05, 0.01, 0.001))
            mark = f"^{{{'*' * stars}}}" * bool(stars)
            assert cells[5] == f"${100 * compared['difference']:+.2f}{mark}$"
        assert against or cells[5] == ""
    best = max(row["top1"] for row in run.rows["method_grid"])
    assert rf"\textbf{{{100 * best:.2f}}}" in "".join(table_lines(document, "grid"))
    assert len(table_lines(document, "steps")) == 1 + len(run.rows["method_steps"])
    pairs = table_lines(document, "pairs")[1:]
    cells_of = [[c.strip() for c in line.removesuffix(r"\\").split(" & ")] for line in pairs]
    for i, j in ((1, 0), (0, 1)):  # each pair stands twice, with both signs
        (row,) = run.select("comparisons", baseline_method="clip", method="cupl")
        assert cells_of[i][1 + j].startswith(f"${(-1) ** (i == 0) * 100 * row['difference']:+.2f}")
    assert "Few images" in document


@pytest.mark.skipif(PDFLATEX is None, reason="LaTeX is not installed")
def test_latex_accepts_it(document: str, tmp_path: Path) -> None:
    text = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{document}"
    (tmp_path / "x.tex").write_text(text + r"\end{document}")
    subprocess.run(
        [str(PDFLATEX), "-halt-on-error", "-no-shell-escape", "x.tex"], cwd=tmp_path, check=True
    )


def test_the_csv_has_a_row_for_each_estimate(store: Store, run: Run) -> None:
    rows = list(csv.DictReader(io.StringIO(export_csv(store, run.run_id))))
    counts = {name: len(run.rows[name]) for name in
              ("intervals", "method_grid", "method_steps", "comparisons")}  # fmt: skip
    found = [row["table_name"] for row in rows]
    assert {name: found.count(name) for name in counts} == counts
    assert {(row["run_id"], row["dataset_name"]) for row in rows} == {(run.run_id, HOSTILE)}
    values = {
        "intervals": "value", "method_grid": "top1",
        "method_steps": "difference", "comparisons": "difference",
    }  # fmt: skip
    for name, column in values.items():
        exact = [float(row["value"]) for row in rows if row["table_name"] == name]
        assert sorted(exact) == sorted(row[column] for row in run.rows[name])


def test_a_run_without_accuracy_is_refused(store: Store, run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No run's name begins with 'x'"):
        export_latex(store, "x")
    unlabelled = Run(Store(tmp_path), 1, {"accuracy": [], "intervals": []})
    publish(Store(tmp_path))
    with pytest.raises(InputError, match="has no accuracy"):
        export_latex(Store(tmp_path), unlabelled.run_id)
    manifest = RunManifest(flow_name="sweep", dataset_name="x", parameters={}, tables=())
    record_run(Store(tmp_path), manifest, "flow", [])
    with pytest.raises(InputError, match="takes runs of benchmark"):
        export_csv(Store(tmp_path), manifest.run_id)
