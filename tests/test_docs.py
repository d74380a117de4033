"""Documentation that says what is so."""

import json
import re
import shlex
from collections.abc import Iterator
from functools import cache, reduce
from itertools import dropwhile, groupby
from operator import getitem
from pathlib import Path

import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint

from benchmarks.scale import UNIT_COSTS, replace_table
from flows.cli.app import app
from tasks.describe.llm.settings import LanguageModelSettings
from tasks.methods.describe import write_markdown, write_sql
from tasks.store.schemas import markdown
from tests.test_deploy import check_command

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))]
PAGES_ON_BENCHMARKS = {"docs/performance.md", "docs/scale.md"}  # whose programs have options, too


def test_the_table_documentation_is_what_the_code_writes() -> None:
    assert (ROOT / "docs" / "tables.md").read_text() == markdown(), "run `make docs`"


def test_the_documentation_of_methods_is_what_their_modules_say() -> None:
    assert (ROOT / "docs" / "methods.md").read_text() == write_markdown(), "run `make docs`"
    assert (ROOT / "tasks" / "store" / "published" / "methods.sql").read_text() == write_sql(), (
        "run `make docs`"
    )


def test_the_page_on_scale_has_the_tables_that_the_program_prints() -> None:
    page = (ROOT / "docs" / "scale.md").read_text()
    assert page == replace_table(page), "run `make docs`"
    measured = (ROOT / "docs" / "performance.md").read_text()
    for cost in UNIT_COSTS.values():
        assert re.search(rf"^##+ {cost.heading}$", measured, re.MULTILINE), cost.heading


def read_commands(page: str) -> Iterator[list[str]]:
    """The commands in a page's shell blocks, in words, without the variables that they set."""
    text = (ROOT / page).read_text().replace("\\\n", " ")
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        code = re.sub(r"(^|\s)#\s.*$", "", block, flags=re.MULTILINE)
        lexer = shlex.shlex(code, posix=True, punctuation_chars="\n;&|")
        lexer.whitespace, lexer.whitespace_split = " \t", True
        for is_end, words in groupby(lexer, lambda word: not word.strip("\n;&|")):
            command = list(dropwhile(re.compile(r"[A-Z_]+=").match, words))
            if command and not is_end:
                yield command


@cache
def list_options(*command: str) -> set[str]:
    """The options of a command, or of all below it."""
    found = reduce(getitem, command, app)
    if found.default_command:
        return {name for given in found.assemble_argument_collection() for name in given.names}
    below = [name for name in found if not name.startswith("-")]
    return {"--help", "--version"}.union(*(list_options(*command, name) for name in below))


@pytest.mark.parametrize("page", PAGES)
def test_pages_give_commands_that_exist_with_options_that_they_take(page: str) -> None:
    for command in read_commands(page):
        program, *words = command
        if program in {"wca", "prefect"}:
            check_command(command)
        elif program == "make":
            assert f"\n{words[0]}: " in (ROOT / "Makefile").read_text()
        elif program == "python" and words[0] != "-c":
            module = words[1].replace(".", "/") + ".py" if words[0] == "-m" else words[0]
            assert (ROOT / module).is_file()
    text = (ROOT / page).read_text()
    for spoken in re.findall(r"`wca ([a-z][^`|]*)`", text):
        words = spoken.split()
        options = {word for word in words if word.startswith("--")}
        command = words[: 2 if words[0] == "store" else 1]
        assert options <= list_options(*command), spoken
    options = {name.replace("--no-", "--") for name in re.findall(r"(?<=`)--[a-z][a-z-]+", text)}
    assert options <= list_options() or page in PAGES_ON_BENCHMARKS


def test_the_readme_has_the_figures_of_the_results() -> None:
    results = (ROOT / "docs" / "results.md").read_text()
    readme = (ROOT / "README.md").read_text()
    heading, _, cells = (
        line.strip("| ").split(" | ")
        for line in readme[readme.index("| CLIP | CuPL") :].splitlines()[:3]
    )
    for title, cell in zip(heading, cells, strict=True):
        method = title[0].upper() + title[1:]
        top1, low, high = re.search(  # type: ignore[union-attr] # it is there
            rf"^\| {method} \| ([\d.]+) \| ([\d.]+) to ([\d.]+) ", results, re.MULTILINE
        ).groups()
        assert cell == f"{float(top1):.1f} % ({float(low):.1f} to {float(high):.1f})"


def test_the_options_of_the_language_model_are_documented() -> None:
    page = (ROOT / "docs" / "descriptions.md").read_text()
    rare = {"reply_timeout_sec", "batch_poll_sec"}  # --help says enough
    for field in set(LanguageModelSettings.model_fields) - rare:
        assert f"--{field.replace('_', '-')}" in page, field


def test_the_page_on_operation_names_every_deployment_and_picture() -> None:
    page = (ROOT / "docs" / "operation.md").read_text()
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE)) == {
        deployment["name"] for deployment in deployments
    }
    for picture in re.findall(r"\]\((images/[^)]+)\)", page):
        assert (ROOT / "docs" / picture).stat().st_size < 100_000


def test_deployments_point_at_flows_and_their_parameters_are_valid() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert deployments
    for deployment in deployments:
        flow = load_flow_from_entrypoint(deployment["entrypoint"])
        flow.validate_parameters(deployment["parameters"])


def test_the_lock_names_no_host_and_pins_by_hash() -> None:
    for name in ("requirements.txt", "requirements-uv.txt"):
        lock = (ROOT / name).read_text()
        assert "://" not in lock
        packages = re.findall(r"^[a-z0-9][\w.\[\]-]*==", lock, re.MULTILINE)
        assert len(packages) > (100 if name == "requirements.txt" else 0)
        assert lock.count("--hash=sha256:") >= len(packages)


def test_the_readme_shows_the_demos_methods() -> None:
    from tasks.methods.registry import METHODS

    readme = (ROOT / "README.md").read_text()
    for method in METHODS.values():
        assert method.title in readme or not method.is_default


def test_descriptions_of_the_photographs_are_valid_json() -> None:
    for path in (ROOT / "data" / "descriptions").glob("*.json"):
        texts = json.loads(path.read_text())
        assert texts
        for name, sentences in texts.items():
            assert name == name.strip() != ""
            assert sentences == [s.strip() for s in sentences if s.strip()]
