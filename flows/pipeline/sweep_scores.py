"""Scores the points of a sweep: of each, only what the earlier ones have not computed."""

from collections.abc import Sequence

from flows.pipeline.runner import StageRunner
from flows.pipeline.stages import (
    choose_crops_of_images,
    embed_images,
    embed_texts,
    gather_rule_inputs,
    gather_texts,
    score_images,
    weigh_texts,
)
from flows.pipeline.sweep_points import AUTO, CROPS, CROPS_BY_WEIGHT, TEXTS, Point
from flows.pipeline.texts import text_sources
from flows.settings.benchmark import BenchmarkConfig
from tasks.datasets.dataset import Dataset
from tasks.datasets.index import IndexedDataset
from tasks.embed.crops import CropParameters
from tasks.embed.identity import EncoderSource, Resampling
from tasks.methods.registry import METHODS, OVER_WHOLE_POOL, SETTLING, text_kinds
from tasks.score.sweep import CropCost, SweepPoint
from tasks.store.tables import TableRef


class PointScorer:
    """Scores points of one data set and encoder, and keeps the tables that they rest on."""

    def __init__(
        self,
        runner: StageRunner,
        dataset: Dataset,
        indexed: IndexedDataset,
        methods: tuple[str, ...],
        encoder: EncoderSource,
        resampling: Resampling,
        base: BenchmarkConfig,
    ) -> None:
        self._runner, self._dataset, self._indexed = runner, dataset, indexed
        self._methods, self._encoder, self._resampling = methods, encoder, resampling
        self._base = base
        self._base_texts = self._embed_texts(self._describe(base), base)
        self.tables: list[TableRef] = []

    def score(self, points: Sequence[Point]) -> tuple[SweepPoint, ...]:
        """Score all points; those of crops are held against the whole pool where it is asked for.

        With `auto` among the crops, their cost is the question.
        """
        scored = [self._score(point) for point in points]
        if any(point.parameter == CROPS_BY_WEIGHT for point in points):
            values = {CROPS: self._base.pool, "crop_order": "weight"}
            every = self._base.with_values(values, CROPS)
            whole = self._score(Point(CROPS_BY_WEIGHT, "", 0, False, every)).predictions
            scored = [
                point.model_copy(update={"whole_pool": whole})
                if point.parameter in (CROPS, CROPS_BY_WEIGHT)
                else point
                for point in scored
            ]
        return tuple(scored)

    def _score(self, point: Point) -> SweepPoint:
        settings, methods = point.settings, self._choose_methods(point.settings)
        descriptions = self._describe(settings)
        # fewer descriptions are among the base's, which are embedded already
        is_subset = point.parameter == TEXTS
        texts = self._base_texts if is_subset else self._embed_texts(descriptions, settings)
        parameters, identity = settings.part(CropParameters), self._encoder.identity
        crops, undecodable = embed_images(
            self._runner, self._indexed, self._encoder, parameters, self._resampling, settings
        )
        vectors = weigh_texts(
            self._runner,
            descriptions,
            texts,
            methods,
            settings.used_text_scale,
            identity.dimension,
        )
        rules = gather_rule_inputs(methods, descriptions, texts, self._encoder.logits, settings)
        uses = choose_crops_of_images(
            self._runner, crops, vectors, methods, identity, parameters, settings
        )
        scores = score_images(self._runner, crops, vectors, parameters, settings, rules, uses)
        used = tuple(ref for refs in uses for ref in refs)
        self.tables += (descriptions, *texts, *crops, *undecodable, vectors, *used, *scores)
        return SweepPoint(
            parameter=point.parameter,
            value=point.value,
            value_index=point.value_index,
            is_base=point.is_base,
            predictions=tuple(scores),
            cost=CropCost(
                pool=parameters.pool,
                crops_per_run=settings.crops_per_run,
                runs=settings.runs,
                seed=parameters.seed,
                crop_uses=used,
            ),
        )

    def _choose_methods(self, settings: BenchmarkConfig) -> tuple[str, ...]:
        """Choose the methods of a point: with as many crops as settle a class, those that do."""
        if settings.crops != AUTO:
            return self._methods
        adaptive = {name for name, whole in OVER_WHOLE_POOL.items() if whole in self._methods}
        others = {name for name in self._methods if not METHODS[name].needs_crops}
        chosen = others | adaptive | ({SETTLING} if adaptive else set())
        return tuple(name for name in METHODS if name in chosen)

    def _describe(self, settings: BenchmarkConfig) -> TableRef:
        files = text_sources(settings, self._dataset)
        templates = self._dataset.templates
        return gather_texts(self._runner, self._indexed, templates, files, None, settings.seed)

    def _embed_texts(self, described: TableRef, settings: BenchmarkConfig) -> list[TableRef]:
        kinds = text_kinds(self._methods)
        return embed_texts(self._runner, described, kinds, self._encoder, settings)
