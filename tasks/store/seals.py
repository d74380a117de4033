"""Sealed records: JSON files that say whether they were altered since they were written."""

import json
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from tasks.runtime.errors import first_validation_error, one_line
from tasks.store.digest import digest_of

SEAL = "seal"
Record = TypeVar("Record", bound=BaseModel)


class DamagedRecord(Exception):
    """A record is missing or altered; the message says so of its file, as a predicate."""


def seal(record: BaseModel) -> str:
    """The text of a record's file: its fields, and `seal`, the digest of them all."""
    fields = record.model_dump(mode="json")
    sealed = {**fields, SEAL: digest_of(fields)}
    return json.dumps(sealed, indent=1, ensure_ascii=False) + "\n"


def unseal(kind: type[Record], text: bytes) -> Record:
    """Read a record; DamagedRecord where the text is none, or its fields are not those sealed.

    A record of an earlier version has no seal.
    """
    if not text:
        raise DamagedRecord("is empty")
    try:
        fields = json.loads(text)
    except ValueError as error:  # also where it is not UTF-8
        raise DamagedRecord(f"is truncated or altered: {one_line(error)}") from None
    try:
        record = kind.model_validate(fields)
        expected = fields.pop(SEAL, None)
        if expected is not None and expected != digest_of(fields):
            raise DamagedRecord("was altered after it was written: it does not match its seal")
    except ValidationError as error:
        where, message = first_validation_error(error)
        raise DamagedRecord(f"is not a record of a run: {where}: {message}") from None
    except (TypeError, ValueError, RecursionError) as error:  # NaN has no digest
        raise DamagedRecord(f"is not a record of a run: {one_line(error)}") from None
    return record
