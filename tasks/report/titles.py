"""The names by which people know what tables name."""

from tasks.methods.registry import IMAGE_SIDES, TEXT_SIDES

_SIDES = {side.name: side.title for side in (*IMAGE_SIDES, *TEXT_SIDES)}
_STEPS = {
    "descriptions": "descriptions in place of the label",
    "equal_crops": "plain mean of as many crops, with descriptions",
    "crop_weights": "crop weights, with descriptions",
    "text_weights_on_crops": "text weights, with weighted crops",
    "all": "all of WCA",
    "crops_alone": "weighted crops alone",
    "texts_alone": "weighted descriptions alone",
    "text_weights_alone": "text weights alone",
    "content": "descriptions over random words",
    "content_on_crops": "descriptions over random words, with weighted crops",
    "all_but_crops": "WCA over weighted crops alone",
    "all_but_text_weights": "WCA over weighted descriptions alone",
    "all_but_descriptions": "WCA over descriptions alone",
    "all_but_equal_crops": "WCA over the plain mean of crops",
}


def side_title(name: str) -> str:
    """Return the title of an image side or a text side; any other name stays as it is."""
    return _SIDES.get(name, name)


def step_title(name: str) -> str:
    """Return what people call a step of `method_steps`; any other name stays as it is."""
    return _STEPS.get(name, name)
