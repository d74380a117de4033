"""Which crops of its pool an image is embedded with, and the order in which they are encoded.

The order is that of the weight that is expected of each crop from its box alone. In every run the
first crops are therefore encoded together, however many follow.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Self

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.embed.crops import Layout
from tasks.embed.identity import EncoderIdentity
from tasks.methods.adaptive import Decision, StopRule, Views, next_look, order_crops
from tasks.store.code import digest_code
from tasks.store.embeddings import embedding_matrix
from tasks.store.tables import Store, TableRef


class CropChoice(BaseModel):
    """Which crops are embedded: a fixed number, or as many as settle an image's class.

    crops: the number, in the order of encoding. class_vectors: those with whose `method` images are
    classified. image_scale: exponent of the scale of the crop weights, None for equal ones.
    agreement: the share of images that shall have the class of the whole pool. code: of the order
    and the rule.
    """

    model_config = ConfigDict(frozen=True)

    crops: int | None = Field(None, ge=1)
    class_vectors: TableRef | None = None
    method: str | None = None
    image_scale: float | None = None
    agreement: float | None = Field(None, gt=0.5, lt=1)
    code: str = Field(default_factory=lambda: digest_code("tasks.methods.adaptive"))

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        fields = [self.class_vectors, self.method, self.agreement]
        if len({self.crops is None, *(field is not None for field in fields)}) > 1:
            raise ValueError("name a number of crops, or class_vectors, method and agreement")
        return self


class ChosenCrops:
    """The `NeededCrops` of an image: all, a fixed number, or as many as settle its class.

    is_cropped: as of `order_crops`. crops: a fixed number. rule: settles classes.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        is_cropped: bool = True,
        crops: int | None = None,
        rule: StopRule | None = None,
    ) -> None:
        boxes = np.array(layout.boxes)
        # indices from 1
        self.order = order_crops(boxes, *layout.size, is_cropped=is_cropped)
        self._pool, self._rule = len(boxes), rule
        self._fixed = self._pool if crops is None else min(crops, self._pool)
        if rule is not None:
            places = boxes[np.array(self.order) - 1]
            self._views = Views.place(places, *layout.size, is_cropped=is_cropped)

    def count(self, views: Sequence[NDArray[np.float32]]) -> int:
        """Count the crops that are needed, as `NeededCrops.count`."""
        if self._rule is None:
            return self._fixed
        return self.decide(views).next_count if views else next_look(0, self._pool)

    def decide(self, views: Sequence[NDArray[np.float32]]) -> Decision:
        """Decide by the views seen, the whole and at least one crop, whether more are needed.

        Raises ValueError where a fixed number of crops is taken.
        """
        if self._rule is None:
            raise ValueError("a fixed number of crops is taken")
        whole, *crops = views
        return self._rule.decide(self._views, whole, np.stack(crops))


def sees_square(encoder: EncoderIdentity) -> bool:
    """Tell whether an encoder sees the central square of an image alone, or all of it."""
    return encoder.preprocess.get("resize_mode", "shortest") == "shortest"


def read_choice(
    store: Store, choice: CropChoice | None, encoder: EncoderIdentity
) -> Callable[[Layout], ChosenCrops]:
    """Read what a choice refers to; the result is called for each image.

    choice: None takes the whole pool.
    """
    crops, rule = choice.crops if choice else None, None
    if choice and choice.class_vectors is not None and choice.agreement is not None:
        vectors = store.read(choice.class_vectors, where=pc.field("method") == choice.method)
        ordered = vectors.sort_by("class_id")["embedding"]
        rule = StopRule(embedding_matrix(ordered), choice.image_scale, choice.agreement)
    return partial(ChosenCrops, is_cropped=sees_square(encoder), crops=crops, rule=rule)
