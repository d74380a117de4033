"""The Prefect task that makes the `descriptions` table."""

from pathlib import Path

from prefect import task
from pydantic import BaseModel, ConfigDict, Field

from tasks.datasets.sources import read_json
from tasks.describe.texts import class_texts, join_by_name
from tasks.store.digest import file_digest
from tasks.store.errors import InputError
from tasks.store.schemas import schema
from tasks.store.tables import Recipe, Store, TableRef
from tasks.store.task import TABLE_TASK


class TextFile(BaseModel):
    """A description file: where it is, and the digest that decides what is made from it."""

    model_config = ConfigDict(frozen=True)

    path: str = Field(exclude=True)
    sha256: str

    @classmethod
    def at(cls, path: Path) -> "TextFile":
        """Digest a file; InputError where it cannot be read."""
        try:
            return cls(path=str(path), sha256=file_digest(path))
        except OSError as error:
            raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error


class DescribeRecipe(Recipe):
    """What decides the texts of the classes."""

    classes: TableRef
    templates: tuple[str, ...]
    seed: int
    descriptions: TextFile | None
    descriptors: TextFile | None


@task(name="describe-classes", **TABLE_TASK)
def describe_classes(store_root: str, recipe: DescribeRecipe) -> TableRef:
    """Write the `descriptions` table: every text of every class."""
    store = Store.at(store_root)
    names = store.read(recipe.classes)["class_name"].to_pylist()

    def texts(file: TextFile | None) -> dict[str, tuple[str, ...]] | None:
        if file is None:
            return None
        if file_digest(Path(file.path)) != file.sha256:
            raise InputError(f"{file.path} changed while the run was under way: start it again.")
        return join_by_name(read_json(Path(file.path)), names, file.path)

    rows = class_texts(
        names, recipe.templates, recipe.seed, texts(recipe.descriptions), texts(recipe.descriptors)
    )
    return store.write_rows(
        "descriptions", recipe.digest, schema("descriptions"), [row._asdict() for row in rows]
    )
