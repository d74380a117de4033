"""Stages over shards: what each flow is a table of contents of."""

import time

from flows.pipeline.runner import StageRunner, progress_of
from flows.pipeline.texts import TextSources
from flows.settings.run import Settings
from tasks.datasets.index import IndexedDataset
from tasks.datasets.settings import DataSource, FileSource
from tasks.datasets.task import index_images
from tasks.describe.task import DescriptionsRecipe, TextFile, describe_classes
from tasks.embed.identity import EncoderSource
from tasks.embed.sources import resampling_for
from tasks.embed.task import (
    CropsRecipe,
    EmbeddedImages,
    TextEmbeddingsRecipe,
    embed_image_shard,
    embed_text_shard,
)
from tasks.score.task import (
    ClassVectorsRecipe,
    PredictionsRecipe,
    ResultsRecipe,
    RunResults,
    class_vectors,
    score_shard,
    summarise_run,
)
from tasks.store.digest import bytes_digest, shards_by_digest
from tasks.store.tables import TableRef

TEXTS_PER_SHARD = 4096  # a few seconds' work; ImageNet with CuPL has about 130,000 texts


class Stages:
    """The stages over one store, each a few lines that say what decides its tables."""

    def __init__(self, runner: StageRunner, settings: Settings) -> None:
        self.runner = runner
        self.store = runner.store
        self.settings = settings

    def index(self, source: DataSource | FileSource) -> IndexedDataset:
        """Read every file's digest."""
        started = time.perf_counter()
        indexed: IndexedDataset = index_images.submit(str(self.store.root), source).result()
        self.runner.note("index images", started, 1, 0)
        return indexed

    def describe(
        self,
        indexed: IndexedDataset,
        templates: tuple[str, ...],
        sources: TextSources,
        answers: TableRef | None,
    ) -> TableRef:
        """Gather every text of every class, of files and of a language model's `answers`."""
        recipe = DescriptionsRecipe(
            classes=indexed.classes,
            templates=templates,
            seed=self.settings.seed,
            descriptions=sources.descriptions and TextFile.at(sources.descriptions),
            descriptors=sources.descriptors and TextFile.at(sources.descriptors),
            generated=answers,
        )
        refs: list[TableRef] = self.runner.run(
            "describe classes", describe_classes, ["descriptions"], [recipe]
        )
        return refs[0]

    def embed_texts(
        self, described: TableRef, kinds: set[str], encoder: EncoderSource
    ) -> list[TableRef]:
        """Embed each distinct text of the kinds that are needed."""
        rows = self.store.read(described, ["kind", "text"]).to_pylist()
        texts = {bytes_digest(r["text"].encode()): r["text"] for r in rows if r["kind"] in kinds}
        shards = shards_by_digest(texts, TEXTS_PER_SHARD)
        recipes = [
            TextEmbeddingsRecipe(
                encoder=encoder.identity.of_texts(), texts=tuple(texts[d] for d in s)
            )
            for s in shards
        ]
        tables, more = ["text_embeddings"], progress_of(shards)
        return self.runner.run(
            "embed texts", embed_text_shard, tables, recipes, more, encoder=encoder
        )

    def embed_images(
        self, indexed: IndexedDataset, encoder: EncoderSource
    ) -> tuple[list[TableRef], list[TableRef]]:
        """Embed each distinct image and its crops; the `crops` and the `undecodable` tables."""
        settings = self.settings
        recipe = CropsRecipe(
            encoder=encoder.identity,
            crops=settings.crop_parameters(),
            resampling=resampling_for(encoder, settings.exact),
            image_digests=(),
        )
        digests = self.store.read(indexed.images, ["image_digest"])["image_digest"].drop_null()
        shards = shards_by_digest(digests.to_pylist(), settings.shard_size)
        embedded: list[EmbeddedImages] = self.runner.run(
            "embed images",
            embed_image_shard,
            ["crops", "undecodable"],
            [recipe.model_copy(update={"image_digests": tuple(shard)}) for shard in shards],
            progress_of(shards),
            dataset=indexed,
            encoder=encoder,
            batch_size=settings.batch_size,
        )
        return [e.crops for e in embedded], [e.undecodable for e in embedded]

    def score(
        self,
        described: TableRef,
        texts: list[TableRef],
        crops: list[TableRef],
        methods: tuple[str, ...],
        dimension: int,
    ) -> tuple[TableRef, list[TableRef]]:
        """The `class_vectors` table, and the `predictions` of every shard of crops."""
        s = self.settings
        recipe = ClassVectorsRecipe(
            descriptions=described,
            text_embeddings=tuple(texts),
            methods=methods,
            text_scale=s.used_text_scale,
            dimension=dimension,
        )
        (vectors,) = self.runner.run("weigh texts", class_vectors, ["class_vectors"], [recipe])
        recipes = [
            PredictionsRecipe(
                crops=shard,
                class_vectors=vectors,
                image_scale=s.used_image_scale,
                pool=s.pool,
                crops_per_run=s.crops,
                runs=s.runs,
                seed=s.seed,
            )
            for shard in crops
        ]
        return vectors, self.runner.run("score images", score_shard, ["predictions"], recipes)

    def summarise(self, recipe: ResultsRecipe) -> RunResults:
        """The result tables, every image accounted for."""
        tables = ["accuracy", "per_class_accuracy", "confusion", "rejected"]
        results: RunResults
        (results,) = self.runner.run("summarise", summarise_run, tables, [recipe])
        return results
