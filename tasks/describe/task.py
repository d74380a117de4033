"""The Prefect tasks that ask a language model and make the `answers` and `descriptions` tables."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from prefect.blocks.system import Secret
from prefect.logging import get_run_logger
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from tasks.datasets.files import read_json
from tasks.describe.llm.access import Access, find_access
from tasks.describe.llm.answers import answer_rows, digest_answers
from tasks.describe.llm.clean import VISUAL_WORDS
from tasks.describe.llm.plan import PromptPlan, Tally, estimate
from tasks.describe.llm.replies import Replies
from tasks.describe.llm.settings import LanguageModelSettings
from tasks.describe.texts import class_texts, group_generated_texts, join_by_name
from tasks.describe.waffle import WAFFLE_WORDS
from tasks.runtime.errors import InputError, PermanentFailure
from tasks.runtime.progress import Progress
from tasks.store.digest import file_digest
from tasks.store.leases import hold_lock
from tasks.store.schemas import schema
from tasks.store.tables import Recipe, Store, TableRef
from tasks.table_task import HOUR, MINUTE, pipeline_task, report_progress, table_task

# The Prefect Secret block that is read where the environment has no OPENAI_API_KEY.
SECRET_BLOCK = "openai-api-key"  # noqa: S105 - a block's name
LOCK_WAIT_SEC = 10.0  # a run that asks for a few answers has ended by then
LOCKED = "Another run is asking for answers in this store: run the command again after its end."


class TextFile(BaseModel):
    """A description file: its path, and the digest that decides what is made from it."""

    model_config = ConfigDict(frozen=True)

    path: str = Field(exclude=True)
    sha256: str

    @classmethod
    def at(cls, path: Path) -> "TextFile":
        """Digest a file; InputError where it cannot be read."""
        try:
            return cls(path=str(path), sha256=file_digest(path))
        except OSError as error:
            raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error


class CollectedAnswers(BaseModel):
    """The digest of all answers after asking; `tally` counts this run's calls."""

    model_config = ConfigDict(frozen=True)

    answers_digest: str
    tally: Tally


class AnswersRecipe(Recipe):
    """Everything that decides the `answers` table, except where its answers came from."""

    code = ("tasks.describe.llm.answers", "tasks.describe.task")

    plan: PromptPlan
    rules: tuple[str, ...]
    answers_digest: str
    visual_words: str | None = Field(
        default_factory=lambda fields: (
            file_digest(VISUAL_WORDS) if "not_visual" in fields["rules"] else None
        )
    )


class DescriptionsRecipe(Recipe):
    """Everything that decides the texts of the classes; has_prompted: with those of AWT."""

    code = ("tasks.describe.texts", "tasks.describe.waffle", "tasks.describe.task")

    classes: TableRef
    templates: tuple[str, ...]
    seed: int
    descriptions: TextFile | None
    descriptors: TextFile | None
    generated: TableRef | None
    waffle_words: str = Field(default_factory=lambda: file_digest(WAFFLE_WORDS))
    has_prompted: bool = Field(False, exclude_if=lambda has_prompted: not has_prompted)


# Not cached by Prefect: the store keeps every reply, and tells quickly which are
# missing. A batch may take the provider a day, and be given in twice.
@pipeline_task("ask-language-model", 72 * HOUR)
def ask_language_model(
    store_root: str, plan: PromptPlan, settings: LanguageModelSettings
) -> CollectedAnswers:
    """Ask for every answer that the store lacks."""
    store = Store(store_root)
    replies = Replies(store)
    names = store.read(plan.classes)["class_name"].to_pylist()
    tally = Tally()
    digest, missing_count = digest_answers(plan, names, replies)
    if missing_count:
        replies.check_writable()
        # two runs at once would pay for the same answers
        with hold_lock(replies.folder / ".lock", LOCK_WAIT_SEC, LOCKED):
            replies.pack()
            try:
                tally = _ask_with_progress(plan, names, settings, replies)
            finally:
                replies.pack()
        digest, missing_count = digest_answers(plan, names, replies)
    if missing_count and not settings.accept_missing:
        reason = f" ({tally.refusal})" if tally.refusal else ""
        raise PermanentFailure(
            f"{missing_count} answers never came or could not be used{reason}: run the command "
            "again to ask for them once more, or continue without them with --accept-missing."
        )
    return CollectedAnswers(answers_digest=digest, tally=tally)


@table_task("clean-answers", 30 * MINUTE, "answers")  # text, without network
def clean_answers(store_root: str, recipe: AnswersRecipe) -> TableRef:
    """Write the `answers` table: every answer, its cleaned text or the rule that dropped it."""
    store = Store(store_root)
    names = store.read(recipe.plan.classes)["class_name"].to_pylist()
    rows = answer_rows(recipe.plan, names, Replies(store), recipe.rules)
    return store.write("answers", recipe.digest, schema("answers"), rows)


@table_task("describe-classes", 30 * MINUTE, "descriptions")  # likewise
def describe_classes(store_root: str, recipe: DescriptionsRecipe) -> TableRef:
    """Write the `descriptions` table: every text of every class."""
    store = Store(store_root)
    names = store.read(recipe.classes)["class_name"].to_pylist()
    texts: dict[str, Mapping[str, Sequence[str]]] = {}
    for kind, file in (("description", recipe.descriptions), ("descriptor", recipe.descriptors)):
        if file is not None:
            if file_digest(Path(file.path)) != file.sha256:
                raise InputError(f"{file.path} changed during the run: start the run again.")
            raw = read_json(Path(file.path))
            texts[kind] = join_by_name(raw, names, file.path)
            if others := len(set(raw) - set(names)):
                get_run_logger().info("%s: texts of %d other classes left out.", file.path, others)
    if recipe.generated is not None:
        columns = ["class_name", "kind", "text"]
        texts |= group_generated_texts(store.read(recipe.generated, columns).to_pylist())
    rows = class_texts(
        names,
        recipe.templates,
        recipe.seed,
        texts.get("description"),
        texts.get("descriptor"),
        has_prompted=recipe.has_prompted,
    )
    return store.write_rows(
        "descriptions", recipe.digest, schema("descriptions"), [row._asdict() for row in rows]
    )


def _ask_with_progress(
    plan: PromptPlan, names: list[str], settings: LanguageModelSettings, replies: Replies
) -> Tally:
    """Ask, with a progress bar in the terminal and a progress artifact in the UI."""
    from tasks.describe.llm.ask import collect_answers  # the client takes half a second to import

    access = _load_access()
    expected = estimate(plan, names, settings, replies)
    cost = "" if expected.cost_usd is None else f", about ${expected.cost_usd:.2f}"
    get_run_logger().info(
        f"{plan.model.llm} is asked for {expected.answer_count} answers in {expected.call_count} "
        f"calls{cost}."
    )
    progress = Progress(done=0, total=expected.answer_count)
    with report_progress("asking", " answers", progress) as count:

        def report(tally: Tally) -> None:
            count.update(tally.answer_count - count.done)
            if tally.cost_usd:
                count.note(f"${tally.cost_usd:.4f}")

        return asyncio.run(collect_answers(plan, names, settings, access, replies, report))


def _load_access() -> Access:
    """Find the key in the environment, else in the Secret block if there is one."""
    stored = None
    if not os.environ.get("OPENAI_API_KEY"):
        with suppress(ValueError):  # the block does not exist
            stored = SecretStr(str(Secret.load(SECRET_BLOCK).get()))  # type: ignore[union-attr]
    return find_access(stored)
