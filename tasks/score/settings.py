"""What scoring can be told."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from tasks.methods.options import check_options
from tasks.methods.wca import CROPS_PER_RUN, IMAGE_SCALE, RUNS, TEXT_SCALE


class ScoreSettings(BaseModel):
    """Parameters that decide scores, besides the texts and the pool of crops."""

    crops: Annotated[
        int, Field(ge=1, le=1000, description="Crops drawn from the pool in each run.")
    ] = CROPS_PER_RUN
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
    def used_image_scale(self) -> float | None:
        """Exponent of the crop weights' scale, None for equal weights."""
        return self.image_scale if self.image_weights else None

    @property
    def used_text_scale(self) -> float | None:
        """Exponent of the text weights' scale, None for equal weights."""
        return self.text_scale if self.text_weights else None
