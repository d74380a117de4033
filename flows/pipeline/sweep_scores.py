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
from tasks.embed.identity import EncoderSource
from tasks.embed.sources import resampling_for
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
        base: BenchmarkConfig,
    ) -> None:
        self._runner, self._dataset, self._indexed = runner, dataset, indexed
        self._methods, self._encoder, self._base = methods, encoder, base
        self._resampling = resampling_for(encoder, base.exact)
        self._kinds = text_kinds(methods)
        self.tables: list[TableRef] = []

    def score(self, points: Sequence[Point]) -> tuple[SweepPoint, ...]:
        """Score all points; those of crops are held against the whole pool where it is asked for.

        With `auto` among the crops, their cost is the question.
        """
        scored = [self._score(point) for point in points]
        if any(point.parameter == CROPS_BY_WEIGHT for point in points):
            values = {CROPS: self._base.pool, "crop_order": "weight"}
            every = self._base.with_values(values, CROPS)
            whole = self._score(Point("", CROPS_BY_WEIGHT, "", 0, False, every)).predictions
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
        # fewer descriptions are among the base's, which are embedded once
        embedded = self._describe(self._base) if point.parameter == TEXTS else descriptions
        texts = embed_texts(self._runner, embedded, self._kinds, self._encoder, settings)
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
            **{name: getattr(point, name) for name in point._fields if name != "settings"},
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
        templates, seed = self._dataset.templates, settings.seed
        return gather_texts(self._runner, self._indexed, templates, files, None, seed, self._kinds)
