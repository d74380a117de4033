"""Parameters of methods, as a command line says them: `zero.keep=0.3`."""

from collections.abc import Iterable, Mapping, Sequence

from pydantic import ValidationError

from tasks.methods.inputs import MethodOptions
from tasks.methods.method import ImageSide, Method
from tasks.methods.registry import IMAGE_SIDES, METHODS
from tasks.runtime.errors import InputError, first_validation_error


def list_option_classes() -> dict[str, type[MethodOptions]]:
    """List the rules and image sides that have parameters, with the classes of these."""
    owners: list[Method | ImageSide] = [*IMAGE_SIDES, *METHODS.values()]
    return {owner.name: owner.options for owner in owners if owner.options}


def parse_options(items: Iterable[str]) -> dict[str, MethodOptions]:
    """Parse items such as `zero.keep=0.3`: names of rules and image sides to their options.

    Only those that an item names are there. Raises InputError for an unknown name, and for a value
    that is out of bounds.
    """
    classes = list_option_classes()
    values: dict[str, dict[str, str]] = {}
    for item in items:
        key, _, value = item.partition("=")
        owner, _, name = key.strip().partition(".")
        if owner not in classes or name not in classes[owner].model_fields or not value.strip():
            known = [
                f"{o}.{field}" for o, options in classes.items() for field in options.model_fields
            ]
            raise InputError(
                f"Unknown method option {item!r}: write METHOD.OPTION=VALUE with one of "
                f"{', '.join(known) or 'none'}; `wca methods` describes them."
            )
        values.setdefault(owner, {})[name] = value.strip()
    return {owner: make_options(owner, given) for owner, given in values.items()}


def make_options(owner: str, values: Mapping[str, object]) -> MethodOptions:
    """Make the options of a rule or an image side; InputError for values that are out of bounds."""
    try:
        return list_option_classes()[owner].model_validate(values)
    except ValidationError as error:
        name, message = first_validation_error(error)
        raise InputError(f"The method option {owner}.{name}: {message}.") from error


def check_options(items: tuple[str, ...]) -> tuple[str, ...]:
    """Split items that contain several, separated by commas; InputError as `parse_options`."""
    single = tuple(part.strip() for item in items for part in item.split(",") if part.strip())
    parse_options(single)
    return single


def select_options(names: Sequence[str], items: Iterable[str]) -> dict[str, MethodOptions]:
    """Return the options of some methods and of their image sides: as set, else the defaults.

    Options of methods that are not among them decide nothing and are left out.
    """
    chosen = parse_options(items)
    methods = [METHODS[name] for name in names]
    owners: list[Method | ImageSide] = [method.image_side or method for method in methods]
    return {
        owner.name: chosen.get(owner.name) or owner.options() for owner in owners if owner.options
    }
