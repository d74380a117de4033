"""What scoring can be told."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from tasks.methods.options import check_options
from tasks.methods.settled import AGREEMENT
from tasks.methods.wca import CROPS_PER_RUN, IMAGE_SCALE, RUNS, TEXT_SCALE


class ScoreSettings(BaseModel):
    """Parameters that decide scores, besides the texts and the pool of crops."""

    crops: Annotated[
        Annotated[int, Field(ge=1, le=1000)] | Literal["auto"],
        Field(
            description="Crops of the pool in each run; auto: for each image as many as settle its "
            "class (wca_adaptive), and no more are embedded unless a method that is named needs "
            "them."
        ),
    ] = CROPS_PER_RUN
    agreement: Annotated[
        float,
        Field(
            gt=0.5,
            lt=1,
            description="Share of images that shall have the class of the whole pool when crops "
            "are as many as settle it.",
        ),
    ] = AGREEMENT
    crop_order: Annotated[
        Literal["random", "weight"],
        Field(
            description="random: each run draws its crops; weight: those that are expected to "
            "weigh most, in one run, and no others are embedded."
        ),
    ] = "random"
    runs: Annotated[
        int,
        Field(ge=0, le=1000, description="Runs to average over; 0: one run over the whole pool."),
    ] = RUNS
    image_scale: Annotated[
        float, Field(ge=-20, le=20, description="Exponent of the crop weights' scale: e^4.")
    ] = IMAGE_SCALE
    text_scale: Annotated[
        float, Field(ge=-20, le=20, description="Exponent of the text weights' scale: e^2.")
    ] = TEXT_SCALE
    image_weights: Annotated[
        bool, Field(description="Weight crops by their likeness to the whole image.")
    ] = True
    text_weights: Annotated[
        bool, Field(description="Weight descriptions by their likeness to the label.")
    ] = True

    method_option: Annotated[
        tuple[str, ...],
        AfterValidator(check_options),
        Field(description="METHOD.OPTION=VALUE, e.g. zero.keep=0.3: see `wca methods`."),
    ] = ()

    @property
    def crops_per_run(self) -> int:
        """Crops that a run draws, or takes: the published number where crops are `auto`."""
        return CROPS_PER_RUN if self.crops == "auto" else self.crops

    @property
    def crop_count(self) -> int | None:
        """The crops of every image in the order of their weight; None where they are drawn."""
        return None if self.crops == "auto" or self.crop_order == "random" else self.crops

    @property
    def used_image_scale(self) -> float | None:
        """Exponent of the crop weights' scale, None for equal weights."""
        return self.image_scale if self.image_weights else None

    @property
    def used_text_scale(self) -> float | None:
        """Exponent of the text weights' scale, None for equal weights."""
        return self.text_scale if self.text_weights else None
