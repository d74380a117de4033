"""Turns `--over parameter=value,value` into the settings of every point of a sweep."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, get_args

from platformdirs import user_cache_path

from flows.pipeline.texts import text_sources
from flows.settings.benchmark import BenchmarkConfig
from flows.settings.sweep import SweepConfig
from tasks.datasets.dataset import Dataset
from tasks.datasets.files import read_json
from tasks.embed.crops import RANDOM_RESIZED, Strategy, default_bounds
from tasks.embed.identity import EncoderSource
from tasks.runtime.errors import InputError
from tasks.score.sweep import BY_WEIGHT, ENCODER, SEED
from tasks.store.digest import digest_of
from tasks.store.place import write_text
from tasks.store.tables import NAME_DIGITS, Store

OFF = "off"
# Scales that can be switched off, and the settings that do it.
SWITCHES = {"image_scale": "image_weights", "text_scale": "text_weights"}
# Two parameters at a time: crops of one size are alpha:alpha.
SIZE, TEXTS = "size", "descriptions_per_class"
# Their values are words, the others' numbers.
STRATEGY = "crop_strategy"
# With `auto` among the values of the first there are points of the second too.
CROPS, AUTO = "crops", "auto"
CROPS_BY_WEIGHT = CROPS + BY_WEIGHT
PARAMETERS = (
    *(ENCODER, "alpha", "beta", SIZE, "pool", STRATEGY, "crops", "runs", SEED),
    *("image_scale", "text_scale", TEXTS),
)
# Without a base in the settings, the first of the values that are named is it.
OWN_BASE = (ENCODER, SEED)


class Point(NamedTuple):
    """One value of one parameter, and the settings with it in place.

    encoder_name: empty where no encoder is swept, so that a moved one leaves the results' names.
    """

    encoder_name: str
    parameter: str
    value: str
    value_index: int
    is_base: bool
    settings: BenchmarkConfig


def read_swept_values(over: tuple[str, ...]) -> dict[str, list[str]]:
    """Read `parameter=value,value` of every parameter: its values in one spelling, each once.

    The first `=` ends the parameter. A value that holds a comma or a quotation mark stands in
    quotation marks, as in CSV: `encoder=photo-lite,"local-dir:/models/a,b"`. Raises InputError for
    what cannot be swept.
    """
    swept: dict[str, list[str]] = {}
    for item in over:
        parameter, _, listed = item.partition("=")
        values = [value for value in _split_values(parameter, listed) if value]
        if parameter not in PARAMETERS or not values:
            raise InputError(
                f"Cannot sweep {item!r}: write parameter=value,value with one of "
                f"{', '.join(PARAMETERS)}."
            )
        if parameter in swept:
            raise InputError(f"{parameter} is swept twice: list all its values in one --over.")
        swept[parameter] = list(dict.fromkeys(_normalize_value(parameter, v) for v in values))
    return swept


def _split_values(parameter: str, listed: str) -> list[str]:
    try:
        (values,) = csv.reader([listed], skipinitialspace=True, strict=True) if listed else ([],)
    except (csv.Error, ValueError) as error:
        raise InputError(
            f"The values of {parameter} cannot be told apart in {listed!r}: write a value with a "
            'comma in double quotes, and "" for a quotation mark in it.'
        ) from error
    return [value.strip() for value in values]


def choose_sweep_base(config: SweepConfig) -> SweepConfig:
    """Take the first encoder and the first seed that are swept where the settings name none."""
    swept = read_swept_values(config.over)
    missing = set(OWN_BASE).intersection(swept).difference(config.model_fields_set)
    return config.with_values({name: swept[name][0] for name in sorted(missing)}, "--over")


def list_encoders(config: SweepConfig) -> list[str]:
    """List the names of the encoders of a sweep: those that are swept, or the settings' one."""
    return _add_base(config, ENCODER, read_swept_values(config.over).get(ENCODER, []))


def describe_encoders(encoders: Mapping[str, EncoderSource]) -> dict[str, object]:
    """Return what a run's parameters say of several encoders; nothing of a single one."""
    described = {name: source.describe() for name, source in encoders.items()}
    return {"encoders": described} if len(described) > 1 else {}


def list_sweep_points(
    config: BenchmarkConfig, over: tuple[str, ...], dataset: Dataset
) -> list[Point]:
    """List every point; each parameter's values include that of the base.

    One parameter is changed at a time, and each under every encoder that is swept. Raises
    InputError for a parameter or a value that cannot be swept.
    """
    named = read_swept_values(over)
    swept = {parameter: _add_base(config, parameter, values) for parameter, values in named.items()}
    points = []
    for parameter, values in swept.items():
        for encoder in [""] if parameter == ENCODER else swept.get(ENCODER, [""]):
            under = config.model_copy(update={ENCODER: encoder}) if encoder else config
            if parameter == CROPS and AUTO in named[CROPS]:
                points += _list_points_by_weight(under, encoder, named[CROPS])
            points += [
                Point(
                    value if parameter == ENCODER else encoder,
                    parameter,
                    value,
                    i,
                    value == _find_base_value(config, parameter),
                    _change_settings(under, parameter, value, dataset),
                )
                for i, value in enumerate(values)
            ]
    return points


def _list_points_by_weight(config: BenchmarkConfig, encoder: str, values: list[str]) -> list[Point]:
    """List the points at which crops are taken in the order of their weight."""
    points = []
    for i, value in enumerate(values):
        order = {} if value == AUTO else {"crop_order": "weight"}
        settings = config.with_values({CROPS: value, **order}, f"{CROPS}={value}")
        points.append(Point(encoder, CROPS_BY_WEIGHT, value, i, False, settings))
    return points


def _add_base(config: BenchmarkConfig, parameter: str, values: list[str]) -> list[str]:
    """Add the base's value where it was not named: words before the others, numbers in order."""
    values = [value for value in values if (parameter, value) != (CROPS, AUTO)]
    base = _find_base_value(config, parameter)
    if base is None or base in values:
        return values
    if parameter in (STRATEGY, ENCODER):
        return [base, *values]
    return sorted([*values, base], key=_sort_key)


def _normalize_value(parameter: str, value: str) -> str:
    """Write a value in one way: 0.50 and 0.5 are the same."""
    if parameter == STRATEGY and value not in get_args(Strategy):
        raise InputError(f"{STRATEGY} is one of {', '.join(get_args(Strategy))}, not {value!r}.")
    if parameter in (STRATEGY, ENCODER) or (value == OFF and parameter in SWITCHES):
        return value
    if (parameter, value) == (CROPS, AUTO):
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
    if parameter in (STRATEGY, ENCODER):
        return str(getattr(config, parameter))
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
