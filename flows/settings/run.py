"""What a flow can be told, described once for the command line, the Prefect form and the docs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from flows.settings.engine import EngineSettings
from flows.settings.form import changed_in_form
from flows.settings.store import DEFAULT_STORE, StoreField
from tasks.describe.llm.settings import LanguageModelSettings, Names
from tasks.embed.crops import CropParameters, Strategy
from tasks.methods.registry import METHODS


class Settings(LanguageModelSettings, EngineSettings):
    """Parameters that every flow over images shares; `llm` has the descriptions written."""

    encoder: Annotated[
        str,
        Field(
            description="photo-lite, ARCHITECTURE/TAG (ViT-B-32-quickgelu/openai), "
            "ARCHITECTURE:/path/to/weights, hf-hub:ORG/MODEL or local-dir:/path."
        ),
    ] = "photo-lite"
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        Field(description="Number format; auto: the fastest that keeps the encoder's predictions."),
    ] = "auto"
    device: Annotated[
        str | None, Field(description="cpu, cuda, cuda:1 ...; by default cuda where there is one.")
    ] = None
    descriptions: Annotated[
        Path | None,
        Field(description="JSON {class name: list of sentences} for CuPL and WCA."),
    ] = None
    descriptors: Annotated[
        Path | None,
        Field(description="JSON {class name: list of descriptors} for CLIP-D."),
    ] = None
    methods: Annotated[
        Names,
        Field(
            description=f"Rows of the table, comma-separated: {', '.join(METHODS)}. By default all "
            "whose texts are there; classify takes the best one.",
            json_schema_extra={"items": {"type": "string", "enum": [*METHODS]}},
        ),
    ] = ()

    alpha: Annotated[
        float, Field(gt=0, le=1, description="Smallest side of a crop, as a share of the image's.")
    ] = 0.5
    beta: Annotated[
        float, Field(gt=0, le=1, description="Largest side of a crop, as a share of the image's.")
    ] = 0.9
    pool: Annotated[int, Field(ge=1, le=1000, description="Crops embedded and kept per image.")] = (
        100
    )
    crop_strategy: Annotated[
        Strategy,
        Field(
            description="random: each crop by itself, as published; even: spread out; refined: "
            "without those that nearly repeat an earlier one, as BiFTA."
        ),
    ] = "random"
    crops: Annotated[
        int, Field(ge=1, le=1000, description="Crops drawn from the pool in each run.")
    ] = 60
    runs: Annotated[
        int,
        Field(ge=0, le=1000, description="Runs to average over; 0: one run over the whole pool."),
    ] = 20
    seed: Annotated[
        int, Field(ge=0, le=2**63 - 1, description="Seed of crops, draws and random words.")
    ] = 0
    image_scale: Annotated[
        float, Field(ge=-20, le=20, description="Exponent of the crop weights' scale: e^4.")
    ] = 4.0
    text_scale: Annotated[
        float, Field(ge=-20, le=20, description="Exponent of the text weights' scale: e^2.")
    ] = 2.0
    image_weights: Annotated[
        bool, Field(description="Weight crops by their likeness to the whole image.")
    ] = True
    text_weights: Annotated[
        bool, Field(description="Weight descriptions by their likeness to the label.")
    ] = True
    batch_size: Annotated[
        int | None,
        Field(ge=1, description="Views encoded at once; by default what suits the device."),
    ] = None
    exact: Annotated[bool, Field(description="Crops by Pillow, to the bit, on a GPU as well.")] = (
        False
    )
    shard_size: Annotated[
        int, Field(ge=1, description="Images per task, about: what a crash can cost.")
    ] = 1000
    store: StoreField = DEFAULT_STORE

    @model_validator(mode="before")
    @classmethod
    def _from_form(cls, given: object) -> object:
        """Of a form only what somebody changed."""
        return changed_in_form(cls, given)

    @property
    def used_image_scale(self) -> float | None:
        """Exponent of the crop weights' scale, None for equal weights."""
        return self.image_scale if self.image_weights else None

    @property
    def used_text_scale(self) -> float | None:
        """Exponent of the text weights' scale, None for equal weights."""
        return self.text_scale if self.text_weights else None

    def crop_parameters(self) -> CropParameters:
        """The part that decides where crops lie."""
        return CropParameters(
            alpha=self.alpha,
            beta=self.beta,
            pool=self.pool,
            crop_strategy=self.crop_strategy,
            seed=self.seed,
        )

    def with_preset(self, preset: Mapping[str, float]) -> Self:
        """These settings, with a data set's published protocol where nothing was set."""
        missing = {k: v for k, v in preset.items() if k not in self.model_fields_set}
        return self.model_copy(update=missing)
