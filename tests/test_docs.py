"""Documentation that says what is so."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint

from benchmarks.scale import UNIT_COSTS, replace_table
from flows.settings.benchmark import BenchmarkConfig
from flows.settings.classify import ClassifyConfig
from flows.settings.reproduce import ReproduceConfig
from flows.settings.sweep import SweepConfig
from tasks.describe.llm.settings import LanguageModelSettings
from tasks.methods.describe import write_markdown, write_sql
from tasks.store.schemas import markdown

ROOT = Path(__file__).parents[1]


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


@pytest.mark.parametrize("page", ["README.md", "docs/datasets.md", "docs/descriptions.md"])
def test_pages_name_only_commands_and_options_that_exist(page: str) -> None:
    from flows.cli.app import app

    text = (ROOT / page).read_text()
    commands = set(re.findall(r"^wca (\w+)", text, re.MULTILINE))
    assert len(commands) > 2
    for name in commands:
        app.parse_args([name, "--help"], exit_on_error=False)
    configs = (BenchmarkConfig, ClassifyConfig, ReproduceConfig, SweepConfig)
    fields = {name for config in configs for name in config.model_fields}
    known = {f"--{field.replace('_', '-')}" for field in fields}
    own = {
        "--format",
        "--help",
        "--dry-run",
        "--output",
        "--keep",
        "--port",
    }  # the last is llama-server's
    own |= {"--wheel", "--quiet", "--percentile", "--precision", "--review"}
    own |= {"--download", "--kind", "--to", "--latex", "--csv"}
    used = {option.replace("--no-", "--") for option in re.findall(r"--[a-z][a-z-]+", text)}
    assert used <= known | own


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
