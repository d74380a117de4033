"""A worker that cannot reach the store of a command says so in one sentence."""

import re
from pathlib import Path

import fsspec
import pytest

from tasks.runtime.errors import InputError
from tasks.store.reach import open_on_worker
from tasks.store.schemas import schema
from tasks.store.tables import Store

ROW = {"class_id": 0, "class_name": "cat"}


def test_a_folder_that_is_not_mounted_is_not_created(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    known = Store(here).write_rows("classes", "ab" * 32, schema("classes"), [ROW])
    assert open_on_worker(str(here), known).root == here
    with pytest.raises(InputError, match=f"^The worker on .* does not see the store {there}: .*"):
        open_on_worker(str(there), known)
    assert not there.exists()


def test_a_bucket_without_credentials_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    known = Store(tmp_path).write_rows("classes", "ab" * 32, schema("classes"), [ROW])
    sentence = re.escape("cannot use the store s3://bucket/wca: The environment has no credentials")
    with pytest.raises(InputError, match=f"^The worker on .* {sentence}"):
        open_on_worker("s3://bucket/wca", known)
