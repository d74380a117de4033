"""A run with a thousand classes and hostile names and texts, and a log of what its page does."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flows.pipeline.summary import RunSummary
from flows.settings.benchmark import BenchmarkConfig

SCRIPT = "<script>alert(1)</script>"
BREAKOUT = "</script><img src=x onerror=alert(1)>"
RIGHT_TO_LEFT = "قطة كبيرة"
LONG = ("A very long description of a cat. " * 295).strip()
WIDE = "W" * 5000
CLASSES = 1000


@pytest.fixture(scope="session")
def hostile_config(
    photos: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> BenchmarkConfig:
    root = tmp_path_factory.mktemp("hostile")
    names = [SCRIPT, RIGHT_TO_LEFT, BREAKOUT, WIDE, *(f"class {i}" for i in range(4, CLASSES))]
    folders = [f"c{i:04}" for i in range(CLASSES)]
    for i, folder in enumerate(folders):
        (root / "images" / folder).mkdir(parents=True)
        if i < 6:
            source = sorted((photos / ("big_cat", "drink")[i % 2]).glob("[0-5].jpg"))
            for path in source[i // 2 * 2 : i // 2 * 2 + 2]:
                shutil.copy(path, root / "images" / folder / path.name)
    (root / "images" / folders[1] / "empty.jpg").write_bytes(b"")
    (root / "names.json").write_text(json.dumps(dict(zip(folders, names, strict=True))))
    texts = {name: [f"Something like {name}.", LONG] for name in names}
    texts[SCRIPT] += [SCRIPT, BREAKOUT]
    texts[RIGHT_TO_LEFT].append("القطة لها شوارب طويلة")
    (root / "texts.json").write_text(json.dumps(texts))
    return BenchmarkConfig(
        data=f"folder:{root / 'images'}",
        classnames=root / "names.json",
        descriptions=root / "texts.json",
        encoder=f"local-dir:{tiny_model}",
        methods=("clip", "cupl", "wca"),
        precision="fp32",
        device="cpu",
        pool=6,
        crops=4,
        runs=3,
        store=root / "store",
    )


@pytest.fixture(scope="session")
def hostile(hostile_config: BenchmarkConfig, prefect_server: None) -> RunSummary:
    from flows.benchmark import benchmark

    return benchmark(hostile_config)


class PageLog:
    """The messages and the requests of a page in a browser."""

    def __init__(self, page: Any) -> None:
        self.messages: list[str] = []
        self.urls: list[str] = []
        page.on("console", lambda message: self.messages.append(message.text))
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        page.on("dialog", lambda dialog: self.messages.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: self.urls.append(request.url))

    def requests(self) -> list[str]:
        """The requests for anything outside of the page itself."""
        return [url for url in self.urls if not url.startswith(("data:", "blob:"))]
