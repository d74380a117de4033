"""The address and the key of a language model's server; no text that is kept or shown has them."""

import os
import re
from typing import NamedTuple

import httpx2
from pydantic import SecretStr

from tasks.describe.llm.parse import CONTROL
from tasks.runtime.errors import InputError

# OpenAI's keys, whole or with stars in the middle, as servers quote them in errors.
_KEY_PATTERN = re.compile(r"\bsk-[\w*-]{16,}")
# Local servers take any key: "none" is a word and no secret.
_SHORTEST_SECRET = 8
# So many characters in a row as in the key are a part of it; some servers shorten what they quote.
_PART_CHARS = 8
# Letters, digits, - and _ that JSON escapes, which would hide a key.
_ESCAPED = re.compile(r"\\u00(2[dD]|3\d|4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aA])")
_FIELD_CHARS, _QUOTE_CHARS = 200, 300


class Access(NamedTuple):
    """The key and the address of a server; `base_url` None is OpenAI itself."""

    key: SecretStr
    base_url: str | None

    @property
    def is_openai(self) -> bool:
        """Whether the server is OpenAI's, or Azure's with OpenAI's models."""
        host = httpx2.URL(self.base_url or "https://api.openai.com").host
        return host.endswith((".openai.com", ".openai.azure.com"))

    def redact(self, text: str) -> str:
        """Remove the key, its parts, what looks like a key, and control characters from a text."""
        text = CONTROL.sub("", text)
        if "\\u00" in text:
            text = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
        key = self.key.get_secret_value()
        if len(key) >= _SHORTEST_SECRET:
            text = text.replace(key, "***")
        text = _KEY_PATTERN.sub("***", text)
        # every part of almost twice the length contains one of these
        for start in range(0, len(key) - _PART_CHARS + 1, _PART_CHARS):
            text = _remove_part(text, key, start)
        return text

    def shorten(self, text: str) -> str:
        """The start of a server's text, for a column; secrets go first, lest one is cut in two."""
        return self.redact(text)[:_FIELD_CHARS]

    def quote(self, text: str) -> str:
        """Shorten a server's text to one line without secrets, for the end of a sentence."""
        return self.redact(" ".join(text.split()))[:_QUOTE_CHARS].rstrip(".")


def _remove_part(text: str, key: str, start: int) -> str:
    """Remove what a text shares with a key around the part of the key that begins at `start`."""
    part = key[start : start + _PART_CHARS]
    while (first := text.find(part)) >= 0:
        end, before = first + len(part), start
        for char in key[start + len(part) :]:
            if text[end : end + 1] != char:
                break
            end += 1
        while first and before and text[first - 1] == key[before - 1]:
            first, before = first - 1, before - 1
        text = f"{text[:first]}***{text[end:]}"
    return text


def find_access(stored_key: SecretStr | None = None) -> Access:
    """Read the key and the address from the environment; a server of your own needs no key.

    stored_key: used where the environment has no key. Raises InputError where both the key and the
    address are missing, or where one of them cannot be used.
    """
    base_url = _check_address(os.environ.get("OPENAI_BASE_URL", "").strip())
    stored = stored_key.get_secret_value() if stored_key else ""
    key = (os.environ.get("OPENAI_API_KEY") or stored).strip()
    if not key and base_url is None:
        raise InputError(
            "There is no key for a language model: set OPENAI_API_KEY, or set OPENAI_BASE_URL to "
            "use a server of your own, or give your own texts with --descriptions."
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise InputError(
            "The key in OPENAI_API_KEY or in the Secret block contains a space or a character that "
            "no key contains: copy the key again."
        )
    return Access(SecretStr(key or "none"), base_url)


def _check_address(address: str) -> str | None:
    """Check a base URL; no error repeats it, because it may contain a secret."""
    if not address:
        return None
    try:
        url = httpx2.URL(address)
    except httpx2.InvalidURL:
        url = None
    if url is None or url.scheme not in ("http", "https") or not url.host:
        raise InputError(
            "OPENAI_BASE_URL is not an address: write it like http://localhost:8000/v1."
        ) from None
    if url.userinfo:
        raise InputError(
            "OPENAI_BASE_URL contains a password, which would be logged: set it as OPENAI_API_KEY."
        )
    return address
