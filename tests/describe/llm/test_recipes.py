"""A table's name changes with every file that decides its rows."""

from pathlib import Path

import pytest

from tasks.datasets.index import write_classes
from tasks.describe import task
from tasks.describe.llm.plan import PromptPlan
from tasks.describe.llm.settings import LanguageModelSettings
from tasks.describe.task import AnswersRecipe, DescriptionsRecipe
from tasks.store.tables import Store, TableRef


@pytest.fixture
def classes(tmp_path: Path) -> TableRef:
    return write_classes(Store(tmp_path / "store"), ["cat", "dog"])


def test_other_random_words_make_another_table(
    classes: TableRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digest() -> str:
        return DescriptionsRecipe(
            classes=classes,
            templates=("a {}.",),
            seed=0,
            descriptions=None,
            descriptors=None,
            generated=None,
        ).digest

    before = digest()
    assert digest() == before
    other = tmp_path / "words.txt"
    other.write_text("one\ntwo\n")
    monkeypatch.setattr(task, "WAFFLE_WORDS", other)
    assert digest() != before


def test_visual_words_decide_only_where_a_rule_looks_at_them(
    classes: TableRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = PromptPlan.of(classes, LanguageModelSettings(llm="gpt-4o-mini"))

    def digests() -> list[str]:
        rules = ("numbering",), ("numbering", "not_visual")
        return [AnswersRecipe(plan=plan, rules=r, answers_digest="0").digest for r in rules]

    before = digests()
    other = tmp_path / "words.txt"
    other.write_text("red\n")
    monkeypatch.setattr(task, "VISUAL_WORDS", other)
    after = digests()
    assert after[0] == before[0]
    assert after[1] != before[1]
