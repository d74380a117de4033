"""The time as tables and records write it."""

from datetime import UTC, datetime


def now() -> str:
    """The time in UTC, to the millisecond (ISO 8601)."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
