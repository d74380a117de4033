"""Published tables of results, and whether a measured accuracy agrees with the published one."""

import math
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from tasks.datasets.files import DATA_FOLDER, read_json
from tasks.methods.registry import METHODS
from tasks.runtime.errors import InputError, invalid_file_error

PUBLISHED = DATA_FOLDER / "published"
# Both figures are of the same images, so the tolerance holds no sampling of images. Where nothing
# is drawn, other versions of libraries round, decode and resize otherwise, which moves single
# images across the border between two classes.
LIBRARY_POINTS = 0.3
# Where crops are drawn, in deviations over runs. Each figure is a mean over runs, but on one pool
# of crops: another pool of 100 moves it about as much as another draw of 60 moves one run.
SIGMAS = 2.0

_Values = dict[str, dict[str, float]]  # percent by data set and the encoder's label


class Unlike(BaseModel):
    """Cells that this project measures otherwise than the published ones, and one sentence on it.

    datasets: all of the table where none is named.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    methods: tuple[str, ...]
    datasets: tuple[str, ...] = ()
    reason: str

    def has_cell(self, method: str, dataset: str) -> bool:
        """Whether the cell of a method and a data set is among these."""
        return method in self.methods and (not self.datasets or dataset in self.datasets)


class PublishedTable(BaseModel):
    """A published table: top-1 in percent by method, data set and encoder.

    encoders: the table's labels, each with the encoder's name. settings: of a benchmark, where all
    rows were measured with others than the data sets' cards have; dataset_settings: those of single
    data sets. descriptions: a kind of `wca import` whose files are taken in place of CuPL's. sigma:
    the deviations over runs of the method `sigma_of`. unlike: the cells that are not like for like.
    precision: a sentence on the number format of the published figures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    source: str
    encoders: dict[str, str]
    datasets: tuple[str, ...]
    settings: dict[str, JsonValue] = {}
    dataset_settings: dict[str, dict[str, JsonValue]] = {}
    descriptions: str | None = None
    top1: dict[str, _Values]
    sigma_of: str
    sigma: _Values
    mean: dict[str, dict[str, float]] = {}
    unlike: tuple[Unlike, ...] = ()
    precision: str = ""

    def label(self, encoder: str) -> str | None:
        """Return the table's label of an encoder, None for one that the table does not have.

        Published weights are known by their tag. A file with weights of the same architecture
        counts as the published weights unless it names another tag; `notes` says so.
        """
        start, colon, _ = encoder.partition(":")
        for label, name in self.encoders.items():
            if start == name or (colon and start == name.partition("/")[0]):
                return label
        return None

    @property
    def first_label(self) -> str:
        """The label whose values are shown beside an encoder that the table does not have."""
        return next(iter(self.encoders))

    def value(self, method: str, dataset: str, label: str | None) -> float | None:
        """Return the published percent, None where there is none."""
        return self.top1.get(method, {}).get(dataset, {}).get(label or "")


class Measured(BaseModel):
    """One measured accuracy, in percent; `reason` says why it is missing."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    encoder: str
    method: str
    top1: float | None = None
    low: float = 0.0
    high: float = 0.0
    sigma: float | None = None
    image_count: int = 0
    rejected_count: int = 0
    expected_count: int = 0
    precision: str = ""
    resampling: str = ""
    reason: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether the whole published data set was scored."""
        return self.image_count >= self.expected_count


class Judged(NamedTuple):
    """A measured accuracy beside the published one, in points; None where nothing is known.

    tolerance: by how much the two may differ although the method and the data are the same.
    unlike: in which ways the two were measured otherwise.
    """

    measured: Measured
    published: float | None = None
    published_sigma: float | None = None
    difference: float | None = None
    tolerance: float | None = None
    unlike: tuple[Unlike, ...] = ()

    @property
    def is_within_tolerance(self) -> bool | None:
        """Whether the difference is within the tolerance, None without a tolerance."""
        if self.difference is None or self.tolerance is None:
            return None
        return abs(self.difference) <= self.tolerance


def published_table(name: str) -> PublishedTable:
    """Return a table of data/published; InputError where there is none of that name."""
    path = PUBLISHED / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PUBLISHED.glob("*.json")))
        raise InputError(f"Unknown table {name!r}: choose from {known}.")
    try:
        return PublishedTable.model_validate(read_json(path))
    except ValidationError as error:
        raise invalid_file_error(f"{path} is not a published table", error) from error


def judge(table: PublishedTable, measured: Measured) -> Judged:
    """Compare a measured accuracy with the published one.

    Where the table lacks that figure, it is still said in which ways ours is measured otherwise.
    There is no tolerance where only some of the images were scored, for a method whose texts are
    random, and for cells that are not like for like.
    """
    label = table.label(measured.encoder)
    published = table.value(measured.method, measured.dataset, label)
    if measured.top1 is None or label is None:
        return Judged(measured, published)
    unlike = tuple(u for u in table.unlike if u.has_cell(measured.method, measured.dataset))
    if published is None:
        return Judged(measured, unlike=unlike)
    # in hundredths, as published: 66.79 is 0.05 away from 66.84, not 0.0499999
    difference = round(round(measured.top1, 2) - published, 2)
    sigma = None
    if measured.method == table.sigma_of:
        sigma = table.sigma.get(measured.dataset, {}).get(label or "")
    is_random = METHODS[measured.method].has_random_texts
    has_tolerance = measured.is_whole and not is_random and not unlike
    tolerance = _tolerance(measured, sigma) if has_tolerance else None
    return Judged(measured, published, sigma, difference, tolerance, unlike)


def _tolerance(measured: Measured, published_sigma: float | None) -> float:
    """Return points, rounded up to hundredths; an unknown deviation is taken to be the other."""
    sigmas = [sigma for sigma in (measured.sigma, published_sigma) if sigma is not None]
    spread = math.hypot(sigmas[0], sigmas[-1]) if sigmas else 0.0
    points = max(LIBRARY_POINTS, 100 / measured.image_count, SIGMAS * spread)
    return math.ceil(round(100 * points, 6)) / 100
