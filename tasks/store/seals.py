"""Seals: records, lines and pages that say whether they were altered since they were written."""

import json
import re
import zlib
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from tasks.runtime.errors import first_validation_error, one_line
from tasks.store.digest import bytes_digest, digest_of

SEAL = "seal"
_LINE_START, _LINE_END = b',"seal":"', b'"}}\n'
_PNG = b"\x89PNG\r\n\x1a\n"
# The last line of a page, and that of an earlier version, which only its writer could check.
_PAGE_SEAL = re.compile(r"<!-- (?P<made_of>[0-9a-f]{64}|none) (?P<digest>[0-9a-f]{64}) -->")
_EARLIER_END = re.compile(r"<!-- [0-9a-f]{64} -->|.*</html>")
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
        name = SEAL if SEAL in fields else next(reversed(fields), SEAL)
        is_match = fields.pop(name, None) == digest_of(fields)
        if is_match != (name == SEAL):  # or the name of the seal was altered
            raise DamagedRecord("was altered after it was written: it does not match its seal")
    except ValidationError as error:
        where, message = first_validation_error(error)
        raise DamagedRecord(f"is not a record of a run: {where}: {message}") from None
    except (TypeError, ValueError, RecursionError) as error:  # NaN has no digest
        raise DamagedRecord(f"is not a record of a run: {one_line(error)}") from None
    return record


def seal_line(line: bytes) -> bytes:
    """A line of JSON, which ends with an object in an object, with its digest in the inner one."""
    body = line.removesuffix(b"}}\n")
    return body + _LINE_START + bytes_digest(body).encode() + _LINE_END


def is_line_whole(line: bytes) -> bool:
    """Whether a line is as it was written; one of an earlier version, without a seal, is JSON."""
    length = len(_LINE_START) + 64 + len(_LINE_END)
    body, found = line[:-length], line[-length:]
    digest = bytes_digest(body).encode()
    if found.startswith(_LINE_START) or digest in found:
        return found == _LINE_START + digest + _LINE_END
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def seal_page(page: str, made_of: str = "") -> str:
    """A page with its last line; made_of: the digest of what decides it."""
    page, made_of = page.rstrip(), made_of or "none"
    return f"{page}\n<!-- {made_of} {bytes_digest(f'{made_of}{page}'.encode())} -->\n"


def find_page_damage(data: bytes) -> str | None:
    """What is wrong with a page, as a predicate of its file; None if it is as it was written."""
    try:
        page, _, last = data.decode("utf-8").rstrip().rpartition("\n")
    except UnicodeDecodeError:
        return "was altered after it was written"
    if found := _PAGE_SEAL.fullmatch(last):
        is_whole = seal_page(page, found["made_of"]).rstrip().endswith(last)
        return None if is_whole else "was altered after it was written"
    return None if _EARLIER_END.fullmatch(last) else "was truncated or altered"


def find_picture_damage(data: bytes) -> str | None:
    """What is wrong with a PNG picture, whose chunks have checksums; None if it is whole."""
    at, kind = len(_PNG), b""
    while data.startswith(_PNG) and at < len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        kind = data[at + 4 : at + 8]
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4]):
            break
        at = end + 4
    return None if (at, kind) == (len(data), b"IEND") else "was truncated or altered"
