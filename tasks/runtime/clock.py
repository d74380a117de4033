"""The time in the format of tables and records."""

from datetime import UTC, datetime


def now() -> str:
    """The current time in UTC, in milliseconds (ISO 8601)."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
