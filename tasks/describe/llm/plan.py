"""The answers that a run needs, those that the store lacks, and what these would cost."""

from collections.abc import Callable, Iterator, Sequence

from pydantic import BaseModel, Field

from tasks.datasets.spelling import suggest_name
from tasks.describe.llm.chat_format import estimate_tokens
from tasks.describe.llm.prices import find_run_price
from tasks.describe.llm.questions import QuestionSet, build_prompts, read_question_sets
from tasks.describe.llm.replies import Call, Replies, Reply
from tasks.describe.llm.settings import LanguageModelSettings, ModelSettings
from tasks.runtime.errors import InputError
from tasks.store.digest import digest_of
from tasks.store.tables import Recipe, TableRef


class PromptPlan(Recipe):
    """Everything that decides the calls: the classes, the questions, the model."""

    classes: TableRef
    question_sets: tuple[QuestionSet, ...]
    domain: str | None
    model: ModelSettings
    # by class name: which of several askings counts, 2 or more
    attempts: dict[str, int] = Field({}, exclude_if=lambda attempts: not attempts)

    @classmethod
    def of(
        cls, classes: TableRef, settings: LanguageModelSettings, own_questions: str = ""
    ) -> "PromptPlan":
        """Make the plan that settings describe; InputError where they do not fit together.

        own_questions: the set of questions that the data set's card names.
        """
        if settings.llm is None:
            raise InputError("No language model is named: name one, e.g. --llm gpt-4o-mini.")
        sets = read_question_sets(settings.questions, settings.answers, own_questions)
        next(build_prompts(sets, ["class"], settings.domain))  # raises where the domain is missing
        return cls(
            classes=classes,
            question_sets=sets,
            domain=settings.domain,
            model=ModelSettings.model_validate(settings, from_attributes=True),
            attempts=settings.attempts,
        )

    def calls(self, class_names: Sequence[str]) -> Iterator[Call]:
        """Yield a call for each chunk of answers to every question about every class.

        Raises InputError where another attempt is wanted for a class that is none of these.
        """
        if unknown := sorted(set(self.attempts) - set(class_names)):
            raise InputError(
                f"--redo names no class: {suggest_name(unknown[0], class_names)}; it takes one "
                "class, and is repeated for others."
            )
        model, size = self.model.model_dump(), self.model.answers_per_call
        for prompt in build_prompts(self.question_sets, class_names, self.domain):
            # of everything that decides an answer: the number of answers does not
            attempt = self.attempts.get(prompt.class_name)
            digest = digest_of(
                ["prompt", model, prompt.instruction, prompt.text, *([attempt] if attempt else [])]
            )
            for chunk, start in enumerate(range(0, prompt.answers, size)):
                indices = range(start, min(start + size, prompt.answers))
                yield Call(prompt, digest, chunk, tuple(indices))

    def unanswered_calls(self, class_names: Sequence[str], replies: Replies) -> Iterator[Call]:
        """Yield the calls that ask once for every answer that the store lacks.

        Equal questions of two sets, and of two classes, are one question.
        """
        ends: dict[str, int] = {}  # by key: where the next question's answers begin
        for call in self.calls(class_names):
            end = ends.get(call.key, 0)
            if missing := tuple(i for i in replies.find_missing(call) if i >= end):
                ends[call.key] = missing[-1] + 1
                yield call._replace(asked=missing)


class Tally(BaseModel):
    """The calls of a run, their answers, tokens and cost; `cost_usd` is None without a price.

    `refusal` is the server's reason for the last call that it refused or left unanswered.
    """

    call_count: int = 0
    answer_count: int = 0
    missing_count: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = 0.0
    refusal: str = ""

    def add(self, reply: Reply) -> None:
        """Count one reply."""
        self.call_count += 1
        self.answer_count += len(reply.answers)
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        if self.cost_usd is not None:
            self.cost_usd = None if reply.cost_usd is None else self.cost_usd + reply.cost_usd


# Called with the totals so far, after each reply.
ReportTally = Callable[[Tally], None]


def generated_kinds(settings: LanguageModelSettings) -> set[str]:
    """The kinds of texts that the language model writes; none where no model is named."""
    if settings.llm is None:
        return set()
    return {str(questions.kind) for questions in read_question_sets(settings.questions)}


def estimate(
    plan: PromptPlan, class_names: Sequence[str], settings: LanguageModelSettings, replies: Replies
) -> Tally:
    """Estimate the calls, tokens and cost of the answers that the store lacks; sends nothing."""
    price = find_run_price(settings, plan.model.llm)
    tally = Tally(cost_usd=None)
    for call in plan.unanswered_calls(class_names, replies):
        tokens = estimate_tokens(call.prompt, call.asked)
        tally.call_count += 1
        tally.answer_count += len(call.asked)
        tally.prompt_tokens += tokens.prompt
        tally.completion_tokens += tokens.completion
    if price:
        tally.cost_usd = price.cost_usd(tally.prompt_tokens, tally.completion_tokens)
    return tally
