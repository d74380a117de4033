import pytest

from tasks.runtime.errors import one_line


@pytest.mark.parametrize(
    ("said", "most", "line"),
    [
        ("no\n  such\tfile", 200, "no such file"),
        (OSError("a b c"), 3, "a b"),
        (TimeoutError(), 200, "TimeoutError"),
        ("x" * 300, None, "x" * 300),
        ("", None, ""),
    ],
)
def test_what_was_said_fits_into_a_sentence(said: object, most: int | None, line: str) -> None:
    assert one_line(said, most) == line
