"""Turns `--over parameter=value,value` into the settings of every point of a sweep."""

import json
from pathlib import Path
from typing import NamedTuple, get_args

from platformdirs import user_cache_path

from flows.pipeline.texts import text_sources
from flows.settings.benchmark import BenchmarkConfig
from tasks.datasets.dataset import Dataset
from tasks.datasets.files import read_json
from tasks.embed.crops import RANDOM_RESIZED, Strategy, default_bounds
from tasks.runtime.errors import InputError
from tasks.score.sweep import BY_WEIGHT
from tasks.store.digest import digest_of
from tasks.store.place import write_text
from tasks.store.tables import NAME_DIGITS, Store

OFF = "off"
# Scales that can be switched off, and the settings that do it.
SWITCHES = {"image_scale": "image_weights", "text_scale": "text_weights"}
# Two parameters at a time: crops of one size are alpha:alpha.
SIZE, TEXTS = "size", "descriptions_per_class"
# Its values are words, the others' numbers.
STRATEGY = "crop_strategy"
# With `auto` among the values of the first there are points of the second too.
CROPS, AUTO = "crops", "auto"
CROPS_BY_WEIGHT = CROPS + BY_WEIGHT
PARAMETERS = (
    *("alpha", "beta", SIZE, "pool", STRATEGY, "crops", "runs", "seed"),
    *("image_scale", "text_scale", TEXTS),
)


class Point(NamedTuple):
    """One value of one parameter, and the settings with it in place."""

    parameter: str
    value: str
    value_index: int
    is_base: bool
    settings: BenchmarkConfig


def list_sweep_points(
    config: BenchmarkConfig, over: tuple[str, ...], dataset: Dataset
) -> list[Point]:
    """List every point; each parameter's values include that of the base.

    Raises InputError for a parameter or a value that cannot be swept.
    """
    points: list[Point] = []
    for item in over:
        parameter, _, listed = item.partition("=")
        values = [value.strip() for value in listed.split(",") if value.strip()]
        if parameter not in PARAMETERS or not values:
            raise InputError(
                f"Cannot sweep {item!r}: write parameter=value,value with one of "
                f"{', '.join(PARAMETERS)}."
            )
        if parameter == CROPS and AUTO in values:
            points += _list_points_by_weight(config, values)
            values = [value for value in values if value != AUTO]
        base = _find_base_value(config, parameter)
        normalized = list(dict.fromkeys(_normalize_value(parameter, value) for value in values))
        if base is not None and base not in normalized:
            normalized = (
                [base, *normalized]
                if parameter == STRATEGY
                else sorted([*normalized, base], key=_sort_key)
            )
        points += [
            Point(
                parameter,
                value,
                i,
                value == base,
                _change_settings(config, parameter, value, dataset),
            )
            for i, value in enumerate(normalized)
        ]
    return points


def _list_points_by_weight(config: BenchmarkConfig, values: list[str]) -> list[Point]:
    """List the points at which crops are taken in the order of their weight."""
    points: list[Point] = []
    for value in dict.fromkeys(values):
        if value == AUTO:
            changes: dict[str, object] = {CROPS: AUTO}
        else:
            value = _normalize_value(CROPS, value)  # noqa: PLW2901 - the same number
            changes = {CROPS: value, "crop_order": "weight"}
        settings = config.with_values(changes, f"{CROPS}={value}")
        points.append(Point(CROPS_BY_WEIGHT, value, len(points), False, settings))
    return points


def _normalize_value(parameter: str, value: str) -> str:
    """Write a value in one way: 0.50 and 0.5 are the same."""
    if parameter == STRATEGY and value not in get_args(Strategy):
        raise InputError(f"{STRATEGY} is one of {', '.join(get_args(Strategy))}, not {value!r}.")
    if parameter == STRATEGY or (value == OFF and parameter in SWITCHES):
        return value
    is_whole = parameter in (TEXTS, CROPS) or (
        parameter != SIZE and BenchmarkConfig.model_fields[parameter].annotation is int
    )
    parts = value.split(":")
    try:
        numbers = [int(part) if is_whole else float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) != (2 if parameter == SIZE else 1):
        what = "pair alpha:beta" if parameter == SIZE else "number"
        off = f"; nor is it {OFF!r}" if parameter in SWITCHES else ""
        raise InputError(
            f"{value!r} is no {'whole ' * is_whole}{what} to sweep {parameter} over{off}."
        )
    return ":".join(map(_format_number, numbers))


def _format_number(number: float) -> str:
    """Write a number with all of its digits, and 2.0 as 2."""
    return repr(number).removesuffix(".0")


def _sort_key(value: str) -> tuple[float, ...]:
    return (-1e9,) if value == OFF else tuple(float(part) for part in value.split(":"))


def _find_base_value(config: BenchmarkConfig, parameter: str) -> str | None:
    """Find the value that the points of other parameters keep; None stands for all descriptions."""
    if parameter == TEXTS:
        return None
    if parameter == SIZE:
        return f"{_format_number(config.alpha)}:{_format_number(config.beta)}"
    if parameter == STRATEGY:
        return config.crop_strategy
    if parameter == CROPS and config.crops == AUTO:
        raise InputError("A sweep compares numbers of crops with a fixed one: set --crops 60.")
    if parameter in SWITCHES and not getattr(config, SWITCHES[parameter]):
        return OFF
    return _format_number(getattr(config, parameter))


def _change_settings(
    config: BenchmarkConfig, parameter: str, value: str, dataset: Dataset
) -> BenchmarkConfig:
    changes: dict[str, object]
    if parameter == TEXTS:
        changes = {"descriptions": _write_fewer_texts(config, value, dataset)}
    elif parameter == SIZE:
        alpha, _, beta = value.partition(":")
        changes = {"alpha": alpha, "beta": beta}
    elif value == OFF:
        changes = {SWITCHES[parameter]: False}
    elif parameter == STRATEGY and RANDOM_RESIZED in (value, config.crop_strategy):
        # alpha and beta mean areas there: a point has the bounds of its own strategy
        bounds = {} if value == config.crop_strategy else default_bounds(value)
        changes = {parameter: value, **bounds}
    else:
        switch = {SWITCHES[parameter]: True} if parameter in SWITCHES else {}
        changes = {parameter: value, **switch}
    return config.with_values(changes, f"{parameter}={value}")


def _write_fewer_texts(config: BenchmarkConfig, count: str, dataset: Dataset) -> str:
    """Write a file of the first `count` descriptions of every class.

    It lies in the store, beside a store in a bucket in the user's cache: tasks read it as any file.
    """
    path = text_sources(config, dataset).descriptions
    if path is None or int(count) < 1:
        raise InputError(f"{TEXTS} takes whole numbers from 1, and needs --descriptions FILE.")
    by_class = {name: texts[: int(count)] for name, texts in read_json(path).items()}
    root = Store(config.store).root
    folder = root if isinstance(root, Path) else user_cache_path("wca")
    target = folder / "sweeps" / f"texts-{digest_of(by_class)[:NAME_DIGITS]}.json"
    write_text(target, json.dumps(by_class, ensure_ascii=False))
    return str(target)
