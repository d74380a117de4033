"""Which places can hold a store, and what is said of others."""

import sys
from pathlib import Path

import fsspec
import pytest

from tasks.runtime.errors import InputError
from tasks.store.place import resolve_place
from tasks.store.published.publish import publish
from tasks.store.published.snapshot import open_snapshot
from tasks.store.tables import Store
from tests.store.conftest import classes, record


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://key:secret@bucket/x", "give credentials and options in the environment"),
        ("s3://bucket/x?key=secret", "in the environment"),
        ("s3://", "names no bucket"),
        ("s3://bucket/../other", "names no bucket"),
        ("nonsense://bucket/x", "cannot hold a store"),
    ],
)
def test_what_is_no_store_is_refused(url: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        Store(url)
    assert "secret" not in str(refused.value)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "gs", raising=False)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="gs:// is not installed: run `make install`"):
        Store("gs://bucket/x")


def test_other_places_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Google's construction only: no server that speaks its protocol is at hand here."""
    monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
    monkeypatch.setitem(fsspec.config.conf, "gcs", {"token": "anon"})
    for name in ("gs", "gcs"):
        assert str(Store(f"{name}://bucket/some/folder/").root) == "gs://bucket/some/folder"
    assert resolve_place(f"file://{tmp_path}") == tmp_path
    store = Store("memory://quick/test")
    ref = classes(store, "cat")
    record(store, 1, ref)
    publish(store)
    with open_snapshot(store.root / "wca.duckdb") as connection:
        assert connection.execute("SELECT class_name FROM classes").fetchall() == [("cat",)]
