"""Installations of the project, whose code a test can change, and the command in them."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[1]


def as_options(settings: Mapping[str, object]) -> list[str]:
    """Settings as words of a command line."""
    return [
        word
        for name, value in settings.items()
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]


def build_wheel(folder: Path) -> Path:
    """Build the project's wheel in a folder."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory"]
    subprocess.run([*command, str(folder)], cwd=ROOT, capture_output=True, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


class Copy:
    """Runs `wca` of an unpacked wheel, which has a store and a Prefect home of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        with ZipFile(build_wheel(root)) as wheel:
            wheel.extractall(root)
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(root),
            "PREFECT_HOME": str(root / "prefect"),
            "HF_HUB_OFFLINE": "1",
            "COLUMNS": "200",
        }

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
