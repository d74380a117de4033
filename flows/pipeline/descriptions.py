"""Having a language model write the descriptions of a run's classes."""

import time
from typing import NamedTuple

from flows.pipeline.artifacts import publish_answers
from flows.pipeline.runner import StageRunner
from tasks.describe.llm.plan import PromptPlan
from tasks.describe.llm.settings import LanguageModelSettings
from tasks.describe.task import AnswersRecipe, CollectedAnswers, ask_language_model, clean_answers
from tasks.store.tables import TableRef


class Writing(NamedTuple):
    """What a language model wrote: the `answers` table, what decided it, what this run took."""

    plan: PromptPlan
    answers: TableRef
    asked: CollectedAnswers


def write_descriptions(
    runner: StageRunner,
    classes: TableRef,
    settings: LanguageModelSettings,
    title: str,
    own_questions: str,
) -> Writing:
    """Ask a language model about every class, clean its answers, show what became of them.

    own_questions: the set of questions that the data set's card names; empty for none.
    """
    plan = PromptPlan.of(classes, settings, own_questions)
    store = runner.store
    started = time.perf_counter()
    # in a thread: Ctrl-C lets the calls that are under way end, and what they cost is kept
    asked = ask_language_model.submit(str(store.root), plan, settings).result()
    runner.note("ask language model", started, 1, int(asked.tally.call_count == 0))
    recipe = AnswersRecipe(plan=plan, rules=settings.clean, answers_digest=asked.answers_digest)
    ((answers,),) = runner.run("clean answers", clean_answers, [recipe])
    publish_answers(store, answers, title)
    return Writing(plan, answers, asked)


def writing_parameters(writing: Writing, settings: LanguageModelSettings) -> dict[str, object]:
    """The parameters that decide which texts a language model's answers become."""
    return {
        **writing.plan.model.model_dump(),
        "questions": [chosen.name for chosen in writing.plan.question_sets],
        "domain": settings.domain,
        "clean": list(settings.clean),
        **({"redo": list(settings.redo)} if settings.redo else {}),
    }
