"""Random labels and scores, whose figures other libraries know too."""

from pathlib import Path

import numpy as np
import pytest

from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

CLASSES, IMAGES, RUNS = 6, 40, 3


class World:
    """Random labels and scores, as stored tables."""

    def __init__(self, root: Path, rejected: int = 2) -> None:
        rng = np.random.default_rng(0)
        self.labels = rng.integers(0, CLASSES, IMAGES)
        self.scores = rng.normal(size=(RUNS, IMAGES, CLASSES))
        self.scores[:, np.arange(IMAGES), self.labels] += 1
        self.store = Store(root)
        images = [
            {"image_id": i, "image_name": f"{i}.jpg", "image_digest": f"d{i}",
             "class_id": int(label), "read_error": None}
            for i, label in enumerate([*self.labels, *[0] * rejected])
        ]  # fmt: skip
        images.append({"image_id": 99, "image_name": "gone.jpg", "image_digest": None,
                       "class_id": 1, "read_error": "No such file."})  # fmt: skip
        bad = [
            {"image_digest": f"d{IMAGES + i}", "reason": "The file is empty."}
            for i in range(rejected)
        ]
        predictions = [
            {"image_digest": f"d{i}", "method": "wca", "run_index": run, "rank": rank + 1,
             "class_id": int(c), "score": float(self.scores[run, i, c])}
            for run in range(RUNS)
            for i in range(IMAGES)
            for rank, c in enumerate(np.argsort(-self.scores[run, i])[:5])
        ]  # fmt: skip
        names = [{"class_id": c, "class_name": f"class {c}"} for c in range(CLASSES)]
        self.inputs = {
            "images": [self.write("images", images)],
            "classes": [self.write("classes", names)],
            # two shards, to be read as one
            "predictions": [
                self.write("predictions", predictions[:100], "a"),
                self.write("predictions", predictions[100:], "b"),
            ],
            "undecodable": [self.write("undecodable", bad)],
        }

    def write(self, name: str, rows: list[dict[str, object]], digest: str = "a") -> TableRef:
        return self.store.write_rows(name, digest * 64, schema(name), rows)

    def renamed(self, method: str, runs: int, digest: str) -> TableRef:
        """The predictions of the first `runs` runs once more, as another method's."""
        rows = [
            {**row, "method": method}
            for ref in self.inputs["predictions"]
            for row in self.store.read(ref).to_pylist()
            if row["run_index"] < runs
        ]
        return self.write("predictions", rows, digest)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)
