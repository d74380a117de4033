"""The Prefect tasks that ask a language model and make the `answers` and `descriptions` tables."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from prefect.blocks.system import Secret
from prefect.logging import get_run_logger
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from tasks.datasets.files import read_json
from tasks.describe.llm.access import Access, find_access
from tasks.describe.llm.answers import answer_rows
from tasks.describe.llm.clean import VISUAL_WORDS
from tasks.describe.llm.plan import PromptPlan, Tally, answers_digest, estimate
from tasks.describe.llm.replies import Replies
from tasks.describe.llm.settings import LanguageModelSettings
from tasks.describe.texts import class_texts, generated_texts, join_by_name
from tasks.describe.waffle import WAFFLE_WORDS
from tasks.runtime.errors import InputError, PermanentFailure
from tasks.runtime.progress import Progress
from tasks.store.digest import file_digest
from tasks.store.leases import hold_lock
from tasks.store.schemas import schema
from tasks.store.tables import Recipe, Store, TableRef
from tasks.table_task import HOUR, MINUTE, pipeline_task, report_progress, table_task

# The Prefect Secret block that is looked for where the environment has no OPENAI_API_KEY.
SECRET_BLOCK = "openai-api-key"  # noqa: S105 - a block's name
PATIENCE_SEC = 10.0  # a run that asks for a few answers is over by then
ASKING = "Another run is asking for answers in this store: run again when it has ended."


class TextFile(BaseModel):
    """A description file: where it is, and the digest that decides what is made from it."""

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
    """What is known once every answer has been asked for; `tally` is of this run's calls."""

    model_config = ConfigDict(frozen=True)

    answers_digest: str
    tally: Tally


class AnswersRecipe(Recipe):
    """What decides the `answers` table, but for where its answers came from."""

    questioning: PromptPlan
    rules: tuple[str, ...]
    answers_digest: str
    visual_words: str | None = Field(
        default_factory=lambda given: (
            file_digest(VISUAL_WORDS) if "not_visual" in given["rules"] else None
        )
    )


class DescriptionsRecipe(Recipe):
    """What decides the texts of the classes."""

    classes: TableRef
    templates: tuple[str, ...]
    seed: int
    descriptions: TextFile | None
    descriptors: TextFile | None
    generated: TableRef | None
    waffle_words: str = Field(default_factory=lambda: file_digest(WAFFLE_WORDS))


# Not cached by Prefect: the store keeps every reply, and looking whether all are there takes a
# moment. A batch may take the provider a day, and be given in twice.
@pipeline_task("ask-language-model", 72 * HOUR)
def ask_language_model(
    store_root: str, questioning: PromptPlan, settings: LanguageModelSettings
) -> CollectedAnswers:
    """Bring in every answer that is not in the store yet."""
    store = Store(store_root)
    replies = Replies(store)
    names = store.read(questioning.classes)["class_name"].to_pylist()
    tally = Tally()
    if estimate(questioning, names, settings, replies).call_count:
        # a second would pay for the same; whoever was there before may have brought some
        with hold_lock(replies.folder / ".lock", PATIENCE_SEC, ASKING):
            tally = asyncio.run(_ask(questioning, names, settings, _access(), replies))
    digest, missing = answers_digest(questioning, names, replies)
    if missing and not settings.accept_missing:
        said = f" ({tally.refusal})" if tally.refusal else ""
        raise PermanentFailure(
            f"{missing} answers never came or could not be used{said}: run again to ask for them "
            "once more, or go on without them with --accept-missing."
        )
    return CollectedAnswers(answers_digest=digest, tally=tally)


@table_task("clean-answers", 30 * MINUTE)  # text, without network
def clean_answers(store_root: str, recipe: AnswersRecipe) -> TableRef:
    """Write the `answers` table: every answer, and what cleaning made of it."""
    store = Store(store_root)
    questioning = recipe.questioning
    names = store.read(questioning.classes)["class_name"].to_pylist()
    wanted = questioning.prompts(names)
    rows = answer_rows(wanted, questioning.model, Replies(store), recipe.rules)
    return store.write("answers", recipe.digest, schema("answers"), rows)


@table_task("describe-classes", 30 * MINUTE)  # likewise
def describe_classes(store_root: str, recipe: DescriptionsRecipe) -> TableRef:
    """Write the `descriptions` table: every text of every class."""
    store = Store(store_root)
    names = store.read(recipe.classes)["class_name"].to_pylist()
    texts = {}
    for kind, file in (("description", recipe.descriptions), ("descriptor", recipe.descriptors)):
        if file is not None:
            if file_digest(Path(file.path)) != file.sha256:
                raise InputError(f"{file.path} changed while the run went on: start it again.")
            raw = read_json(Path(file.path))
            texts[kind] = join_by_name(raw, names, file.path)
            if more := len(set(raw) - set(names)):
                get_run_logger().info("%s: texts of %d other classes left out.", file.path, more)
    if recipe.generated is not None:
        columns = ["class_name", "kind", "text"]
        texts |= generated_texts(store.read(recipe.generated, columns).to_pylist())
    rows = class_texts(
        names, recipe.templates, recipe.seed, texts.get("description"), texts.get("descriptor")
    )
    return store.write_rows(
        "descriptions", recipe.digest, schema("descriptions"), [row._asdict() for row in rows]
    )


async def _ask(
    questioning: PromptPlan,
    names: list[str],
    settings: LanguageModelSettings,
    access: Access,
    replies: Replies,
) -> Tally:
    """Ask, with a bar in the terminal and a progress artifact in the UI."""
    from tasks.describe.llm.generate import collect_answers  # the client takes half a second

    expected = estimate(questioning, names, settings, replies)
    title = f"Answers of {questioning.model.llm}"
    cost = "" if expected.cost_usd is None else f", about ${expected.cost_usd:.2f}"
    get_run_logger().info(
        "%s: asking for %d in %d calls%s.", title, expected.answer_count, expected.call_count, cost
    )
    with report_progress(
        "asking", " answers", Progress(done=0, total=expected.answer_count)
    ) as count:

        def note(tally: Tally) -> None:
            count.update(tally.answer_count - count.done)
            if tally.cost_usd:
                count.note(f"${tally.cost_usd:.4f}")

        return await collect_answers(questioning, names, settings, access, replies, note)


def _access() -> Access:
    """The key of the environment, else of the Secret block where there is one."""
    stored = None
    if not os.environ.get("OPENAI_API_KEY"):
        with suppress(ValueError):  # there is no such block
            stored = SecretStr(str(Secret.load(SECRET_BLOCK).get()))  # type: ignore[union-attr]
    return find_access(stored)
