"""The command that a run is recorded with, read back by the command line."""

import shlex
from pathlib import Path

import pytest
from pydantic import BaseModel

from flows.cli.app import app
from flows.pipeline.command import build_command
from flows.settings.benchmark import BenchmarkConfig
from flows.settings.classify import ClassifyConfig
from flows.settings.describe import DescribeConfig
from flows.settings.sweep import SweepConfig
from tasks.datasets.class_names import read_class_names


def read_back(command: str) -> dict[str, object]:
    words = shlex.split(command)
    assert words[0] == "wca"
    _, bound, _ = app.parse_args(words[1:], exit_on_error=False)
    given = dict(bound.arguments)
    settings = given.pop("settings", None)
    more = settings.model_dump(exclude_unset=True) if settings else {}
    if "classes" in given and "images" in given:
        given["classes"] = read_class_names(given["classes"])
    return {**given, **more}


@pytest.mark.parametrize(
    ("name", "operand", "config"),
    [
        ("benchmark", "data", BenchmarkConfig(data="places365", alpha=0.5, image_weights=False)),
        ("benchmark", "data", BenchmarkConfig(data="folder:a b", methods=("clip,wca",), limit=3)),
        (
            "benchmark",
            "data",
            BenchmarkConfig(data="x", descriptions=Path("it's.json"), exact=True),
        ),
        ("describe", "classes", DescribeConfig(classes="cat,dog", questions=("cupl", "clip-d"))),
        (
            "sweep",
            "data",
            SweepConfig(data="x", over=("crops=1,2", "size=0.2:0.2,0.5:0.9"), seed=4),
        ),
        ("sweep", "data", SweepConfig(data="x", over=("seed=1",))),
    ],
)
def test_a_command_says_what_was_given_and_no_more(
    name: str, operand: str, config: BaseModel
) -> None:
    command = build_command(name, [getattr(config, operand)], config, {operand})
    again = type(config).model_validate(read_back(command))
    assert again == config
    assert again.model_fields_set == config.model_fields_set


def test_pictures_and_classes_are_named_one_by_one() -> None:
    images = (Path("a b.jpg"), Path("$c.jpg"))
    config = ClassifyConfig(images=images, classes=("big cat", "dog"), pool=3)
    command = build_command("classify", [p.as_posix() for p in images], config, {"images"})
    assert ClassifyConfig.model_validate(read_back(command)) == config
