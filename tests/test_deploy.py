"""What deploy/ names is there: files, commands, options, paths and environment variables."""

import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import yaml
from prefect.settings import Settings
from prefect.settings.legacy import _get_settings_fields

from flows.cli.app import app
from tests.copies import build_wheel

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OWN = re.compile(r"\bWCA_[A-Z_]+\b")
ELSEWHERE = {"DO_NOT_TRACK", "OPENAI_API_KEY", "PATH"}  # read by Prefect, openai and the shell


def check_command(words: list[str]) -> None:
    """A command of `wca` or of Prefect parses with its options."""
    program, *rest = words
    parser = app
    if Path(program).name != "wca":
        assert program == "prefect"
        group, *rest = rest
        parser = getattr(import_module(f"prefect.cli.{group}"), f"{group}_app")
    parser.parse_args(rest, print_error=False, exit_on_error=False)


def check_variable(name: str) -> None:
    if name.startswith("WCA_"):
        code = [*ROOT.glob("flows/**/*.py"), *ROOT.glob("tasks/**/*.py")]
        assert any(f'"{name}"' in file.read_text() for file in code), name
    elif name.startswith("PREFECT_"):
        assert name in _get_settings_fields(Settings), name
    else:
        assert name in ELSEWHERE, name


def test_compose_names_what_is_there() -> None:
    assert SERVICES.keys() == {"database", "server", "worker"}
    for name in ("server", "worker"):
        service = SERVICES[name]
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        check_command(service["command"])
        for variable in service["environment"]:
            check_variable(variable)
    mounted = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    for volume in mounted:
        source, target = re.sub(r"\$\{\w+:-(\w+)\}", r"\1", volume).split(":")[:2]
        assert source in COMPOSE["volumes"]
        assert target.startswith("/var/lib/postgresql/") or f" {target}" in DOCKERFILE
    worker = SERVICES["worker"]
    assert worker["network_mode"] == "service:server"
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["server"]["ports"])


def test_images_are_pinned_checked_and_not_root() -> None:
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    for image in (*images, SERVICES["database"]["image"]):
        assert re.search(r":\d+\.\d+", image), image
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    let_in = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name
        assert any(Path(name).match(line[1:]) for line in let_in if line.startswith("!")), name
    last = DOCKERFILE[DOCKERFILE.rindex("FROM") :]
    assert "USER wca" in last
    assert "HEALTHCHECK" in last
    for name, _ in (pair.split("=", 1) for pair in re.search(r"ENV (.+)", last)[1].split()):  # type: ignore[index] # it is there
        check_variable(name)


def lines(file: str, key: str) -> Iterator[str]:
    for line in (DEPLOY / file).read_text().splitlines():
        if line.startswith(f"{key}="):
            yield line.partition("=")[2]


@pytest.mark.parametrize("file", ["wca-ui.service", "wca-benchmark.service"])
def test_units_start_commands_that_are_there(file: str) -> None:
    (command,) = lines(file, "ExecStart")
    check_command(shlex.split(command))
    for pairs in lines(file, "Environment"):
        for pair in pairs.split():
            check_variable(pair.partition("=")[0])
    (folder,) = lines(file, "WorkingDirectory")
    assert folder in command
    assert (DEPLOY / "wca-benchmark.service").is_file()


def test_cron_and_the_cluster_start_commands_that_are_there() -> None:
    (line,) = (x for x in (DEPLOY / "wca.cron").read_text().splitlines() if not x.startswith("#"))
    command = next(part for part in re.split(r"&&|\|\|", line) if "wca benchmark" in part)
    words = shlex.split(command)
    check_command([word for word in words if "=" not in word])
    for word in words:
        if "=" in word:
            check_variable(word.partition("=")[0])
    claim, worker = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    assert claim["metadata"]["name"] == "store"
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    check_command(container["command"])
    for variable in container["env"]:
        check_variable(variable["name"])


def test_the_wheel_holds_all_code_and_data_and_nothing_else(tmp_path: Path) -> None:
    """Of the folders of a checkout, in which runs leave a store and an inbox."""
    wheel = build_wheel(tmp_path)
    left_out = ("data/store/*", "data/inbox/*")
    here = {
        name
        for folder in ("flows", "tasks", "data")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
        if not any(fnmatch(name := str(path.relative_to(ROOT)), each) for each in left_out)
    }
    with ZipFile(wheel) as file:
        held = {name for name in file.namelist() if ".dist-info/" not in name}
        assert file.read("flows/server/prefect.yaml") == (ROOT / "prefect.yaml").read_bytes()
    assert held == here | {"flows/server/prefect.yaml"}
    for page in (ROOT / "README.md", ROOT / "docs" / "operation.md"):
        assert set(re.findall(r"wca_flows-[^*\s\[\"]+", page.read_text())) == {wheel.name}


def test_the_guide_names_every_file_and_each_variable_is_read() -> None:
    guide = (ROOT / "docs" / "operation.md").read_text()
    for file in DEPLOY.iterdir():
        if not file.name.endswith(".dockerignore"):
            assert f"deploy/{file.name}" in guide, file.name
    for variable in OWN.findall(guide):
        check_variable(variable)
