"""Random labels and scores, whose figures other libraries know too."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

CLASSES, IMAGES, RUNS = 6, 40, 3


def wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's ends by his definition: shares p with (share - p)^2 = z^2 p (1 - p) / count."""
    square = norm.ppf(0.975) ** 2 / count
    low, high = sorted(np.roots([1 + square, -2 * share - square, share**2]))
    return low, high


class World:
    """Random labels and scores, as stored tables."""

    def __init__(self, root: Path, rejected: int = 2, image_count: int = IMAGES) -> None:
        rng = np.random.default_rng(0)
        self.labels = rng.integers(0, CLASSES, image_count)
        self.scores = rng.normal(size=(RUNS, image_count, CLASSES))
        self.scores[:, np.arange(image_count), self.labels] += 1
        self.store = Store(root)
        images = [
            {"image_id": i, "image_name": f"{i}.jpg", "image_digest": f"d{i}",
             "class_id": int(label), "read_error": None}
            for i, label in enumerate([*self.labels, *[0] * rejected])
        ]  # fmt: skip
        images.append({"image_id": 99, "image_name": "gone.jpg", "image_digest": None,
                       "class_id": 1, "read_error": "No such file."})  # fmt: skip
        bad = [
            {"image_digest": f"d{image_count + i}", "reason": "The file is empty."}
            for i in range(rejected)
        ]
        predictions = [
            {"image_digest": f"d{i}", "method": "wca", "run_index": run, "rank": rank + 1,
             "class_id": int(c), "score": float(self.scores[run, i, c])}
            for run in range(RUNS)
            for i in range(image_count)
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

    def renamed(self, method: str, runs: int, digest: str, first: int = 0) -> TableRef:
        """The predictions of `runs` runs from the `first` on once more, as another method's."""
        rows = [
            {**row, "method": method, "run_index": row["run_index"] - first}
            for ref in self.inputs["predictions"]
            for row in self.store.read(ref).to_pylist()
            if first <= row["run_index"] < first + runs
        ]
        return self.write("predictions", rows, digest)

    def unlabelled_from(self, image_id: int) -> TableRef:
        """The images once more, without the labels of those from a number on."""
        rows = [
            {**row, "class_id": row["class_id"] if row["image_id"] < image_id else None}
            for row in self.store.read(self.inputs["images"][0]).to_pylist()
        ]
        return self.write("images", rows, f"{image_id:02}")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)
