"""Code is an ingredient: changed arithmetic makes other names, comments and formatting do not."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.describe.task import AnswersRecipe, DescriptionsRecipe
from tasks.score.task import (
    AlignmentsRecipe,
    AlignmentSummaryRecipe,
    ClassVectorsRecipe,
    ExplanationsRecipe,
    PredictionsRecipe,
    ResultsRecipe,
    StatisticsRecipe,
    SweepRecipe,
    TextEffectsRecipe,
)
from tasks.store import code
from tasks.store.code import digest_code
from tasks.store.tables import Recipe

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the stages, which can be changed."""
    shutil.copytree(
        ROOT / "tasks", tmp_path / "tasks", ignore=shutil.ignore_patterns("__pycache__")
    )
    monkeypatch.setattr(code, "_ROOT", tmp_path)
    monkeypatch.setattr(
        code, "_INTERVALS", tmp_path / "tasks" / "store" / "published" / "intervals.sql"
    )
    digest_code.cache_clear()
    yield tmp_path / "tasks"
    digest_code.cache_clear()


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(re.findall(old, text)) >= 1, f"{path} has no {old!r}"
    path.write_text(re.sub(old, new, text, count=1), encoding="utf-8")
    digest_code.cache_clear()


@pytest.mark.parametrize(
    ("file", "old", "new", "recipes"),
    [
        # the formula
        ("methods/wca.py", r"math\.exp\(scale\)", "-math.exp(scale)", [ClassVectorsRecipe,
            PredictionsRecipe, ExplanationsRecipe]),
        ("methods/wca.py", r"counts\.log\(\)", "counts.log2()", [PredictionsRecipe]),
        ("methods/bifta.py", "REPEATED_COSINE = 0.99", "REPEATED_COSINE = 0.9",
            [ClassVectorsRecipe]),
        ("methods/wca.py", r'"draw/\{seed\}', '"draws/{seed}', [PredictionsRecipe]),
        ("methods/means.py", r"unit\(unit\(texts", "unit((texts", [ClassVectorsRecipe]),
        ("methods/wca.py", r'"wca", "WCA", \(WEIGHTED_CROPS', '"wca", "WCA", (WHOLE',
            [PredictionsRecipe]),
        ("score/predict.py", "TOP_K = 5", "TOP_K = 4", [PredictionsRecipe]),
        ("store/digest.py", "2\\*\\*53", "2**52", [PredictionsRecipe, StatisticsRecipe]),
        # texts
        ("describe/texts.py", "which has \\{desc", "that has {desc", [DescriptionsRecipe]),
        ("describe/waffle.py", "DESCRIPTORS_PER_KIND = 15", "DESCRIPTORS_PER_KIND = 14",
            [DescriptionsRecipe]),
        ("describe/llm/clean.py", "def _?\\w+\\(", "def renamed_rule(", [AnswersRecipe]),
        ("describe/llm/remarks.py", "disclaimer", "notice", [AnswersRecipe]),
        ("describe/llm/parse.py", "\\\\u2022", "+", [AnswersRecipe]),
        # SQL
        ("score/sql/accuracy.sql", "p.rank <= 5", "p.rank <= 4", [ResultsRecipe]),
        ("score/sql/sweep.sql", "(?i)select", "SELECT 1 AS one,", [SweepRecipe]),
        ("score/sql/image_alignments.sql", "WHEN is_own", "WHEN NOT is_own",
            [AlignmentSummaryRecipe]),
        ("score/sql/explained_images.sql", "(?i)order by", "ORDER BY 1,", [ExplanationsRecipe]),
        ("store/published/intervals.sql", "(?i)sqrt", "abs", [ResultsRecipe, StatisticsRecipe]),
        # statistics
        ("score/intervals.py", "0\\.975", "0.95", [StatisticsRecipe, AlignmentSummaryRecipe]),
        ("score/comparisons/significance.py", "0\\.5", "0.4", [StatisticsRecipe]),
        ("score/align.py", r"crops\.max\(axis=0\)", "crops.min(axis=0)", [AlignmentsRecipe]),
        ("score/text_effects.py", "lost - gained", "gained - lost", [TextEffectsRecipe]),
        ("score/explain.py", "PAIRS = 6", "PAIRS = 5", [ExplanationsRecipe]),
    ],
)  # fmt: skip
def test_changed_code_makes_tables_of_other_names(
    copy: Path, file: str, old: str, new: str, recipes: list[type[Recipe]]
) -> None:
    before = [digest_code(*recipe.code) for recipe in recipes]
    change(copy / file, old, new)
    after = [digest_code(*recipe.code) for recipe in recipes]
    assert all(a != b for a, b in zip(after, before, strict=True))


def test_comments_docstrings_and_formatting_change_no_name(copy: Path) -> None:
    recipes = (ClassVectorsRecipe, PredictionsRecipe, ResultsRecipe, StatisticsRecipe)
    before = [digest_code(*recipe.code) for recipe in recipes]
    change(copy / "methods" / "wca.py", "# log 0 = -inf", "# the logarithm of 0 is")
    change(copy / "methods" / "wca.py", '"""Scale vectors', '"""Bring vectors')
    change(copy / "methods" / "wca.py", r"    return image @ text", "    return (image @ text)\n\n")
    change(copy / "score" / "sql" / "accuracy.sql", r"\A", "-- a comment\n\n")
    change(copy / "score" / "sql" / "accuracy.sql", r"\n(?=\S)", "\n    ")
    change(copy / "runtime" / "progress.py", r"\Z", "\nSHOWN = True\n")
    assert [digest_code(*recipe.code) for recipe in recipes] == before


def test_every_recipe_names_its_code_or_has_a_revision() -> None:
    def list_recipes(base: type[Recipe]) -> list[type[Recipe]]:
        return [r for sub in base.__subclasses__() for r in [sub, *list_recipes(sub)]]

    import tasks.embed.task
    import tasks.inbox.task  # noqa: F401

    for recipe in list_recipes(Recipe):
        if not recipe.__module__.startswith("tasks."):
            continue
        is_part = recipe.__name__ == "PromptPlan"  # of the answers' recipe
        is_record = recipe.__name__ == "InboxBatchRecipe"  # of what happened, and never made again
        assert recipe.code or "revision" in recipe.model_fields or is_part or is_record, recipe


def test_a_name_that_is_no_module_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tasks\.score\.nothing is not a module"):
        digest_code("tasks.score.nothing")
