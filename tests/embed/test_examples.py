"""The examples in the docstrings of the mathematical modules hold."""

import doctest
from types import ModuleType

import pytest

from tasks.embed import crops, precision, resample


@pytest.mark.parametrize("module", [crops, precision, resample])
def test_examples_give_what_they_show(module: ModuleType) -> None:
    failed, attempted = doctest.testmod(module)
    assert attempted and not failed
