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
_QUOTE_CHARS = 300


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
        """Remove the key, what looks like a key, and control characters from a server's text."""
        text = CONTROL.sub("", text)
        key = self.key.get_secret_value()
        if len(key) >= _SHORTEST_SECRET:
            text = text.replace(key, "***")
        return _KEY_PATTERN.sub("***", text)

    def quote(self, text: str) -> str:
        """Shorten a server's text to one line without secrets, for the end of a sentence."""
        return self.redact(" ".join(text.split()))[:_QUOTE_CHARS].rstrip(".")


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
