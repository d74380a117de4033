"""The summary of a run, for people and for other flows."""

from pydantic import BaseModel, ConfigDict

from tasks.datasets.index import IndexedDataset
from tasks.embed.identity import EncoderIdentity, Resampling
from tasks.store.place import PlaceField
from tasks.store.records import StageTiming
from tasks.store.tables import TableRef


class FlowSummary(BaseModel):
    """A run of any flow: how long its stages took, and where its results are."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    store_root: str
    snapshot: PlaceField
    stages: tuple[StageTiming, ...]
    report: PlaceField | None = None


class RunSummary(FlowSummary):
    """A run of all stages over images."""

    dataset_name: str
    class_count: int
    image_count: int
    rejected_count: int
    encoder_name: str
    encoder: EncoderIdentity
    resampling: Resampling
    crop_strategy: str
    texts: tuple[str, ...]
    tables: tuple[TableRef, ...]
    indexed: IndexedDataset
    remarks: tuple[str, ...] = ()
    pictures: tuple[PlaceField, ...] = ()

    @property
    def used_count(self) -> int:
        """Images that were classified."""
        return self.image_count - self.rejected_count

    def refs(self, table: str) -> list[TableRef]:
        """The run's tables of one kind."""
        return [ref for ref in self.tables if ref.table == table]
