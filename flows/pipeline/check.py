"""What can be wrong with a command's input, found before anything is started for it.

Nothing here imports Prefect or torch. What only a server or an encoder can tell is found later.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from flows.pipeline.texts import text_sources
from flows.settings.describe import DescribeConfig
from flows.settings.run import Settings
from tasks.datasets.class_names import is_names_file, read_class_names
from tasks.datasets.dataset import Dataset
from tasks.datasets.files import read_json
from tasks.datasets.settings import DataSource, FileSource
from tasks.datasets.sources import KINDS, keep_open, open_dataset
from tasks.describe.llm.plan import PromptPlan, Tally, estimate
from tasks.describe.llm.replies import Replies
from tasks.describe.llm.settings import LanguageModelSettings
from tasks.describe.texts import join_by_name
from tasks.embed.names import check_encoder_name
from tasks.methods.registry import choose_methods
from tasks.runtime.gpus import check_driver, needs_gpu
from tasks.store.tables import Store, TableRef


@contextmanager
def checked_input(settings: Settings, source: DataSource | FileSource) -> Iterator[Dataset]:
    """Open the data set of a run and check everything that its flow will read.

    Within the context `open_source` need not open it again. Raises InputError for an unknown
    encoder or method, a missing or broken file, and texts that lack a class.
    """
    check_encoder_name(settings.encoder)
    if settings.device and needs_gpu(settings.device) and settings.engine_address is None:
        check_driver(settings.device)
    with keep_open(source) as dataset:
        sources = text_sources(settings, dataset)
        choose_methods(settings.methods, sources.kinds)
        for file in filter(None, (sources.descriptions, sources.descriptors)):
            join_by_name(read_json(file), dataset.class_names, str(file))
        if settings.llm:
            plan_prompts(settings, dataset.class_names, dataset.questions)
        yield dataset


class DescribedClasses(NamedTuple):
    """Classes for a language model to describe; questions: the set that their card names."""

    title: str
    class_names: tuple[str, ...]
    questions: str = ""


def plan_prompts(
    settings: LanguageModelSettings, class_names: Sequence[str], own_questions: str
) -> PromptPlan:
    """Plan the questions about classes that no table holds yet.

    Raises InputError as `PromptPlan.of` and `PromptPlan.calls`.
    """
    classes = TableRef(table="classes", digest="", row_count=len(class_names))
    plan = PromptPlan.of(classes, settings, own_questions)
    next(plan.calls(class_names))
    return plan


def estimate_descriptions(config: DescribeConfig) -> Tally:
    """What the describe flow would ask, about, and at what price; nothing is sent."""
    described = open_classes(config.classes)
    plan = plan_prompts(config, described.class_names, described.questions)
    return estimate(plan, described.class_names, config, Replies(Store(config.store)))


def open_classes(given: str) -> DescribedClasses:
    """Open the classes of a list, a file, or a data set."""
    if given.partition(":")[0] not in KINDS and ("," in given or is_names_file(given)):
        names = read_class_names(given)
        return DescribedClasses(f"{len(names)} classes", names)
    dataset = open_dataset(given)
    return DescribedClasses(dataset.name, dataset.class_names, dataset.questions)
