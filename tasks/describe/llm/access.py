"""Where a language model is and what opens it; nothing of it is ever written or shown."""

import os
import re
from typing import NamedTuple

import httpx2
from pydantic import SecretStr

from tasks.describe.llm.parse import CONTROL
from tasks.runtime.errors import InputError

# Keys as OpenAI writes them, whole or with stars in the middle, as servers quote them in errors.
_KEY_LIKE = re.compile(r"\bsk-[\w*-]{16,}")
# Local servers take any key: "none" is a word and no secret.
_SHORTEST_SECRET = 8


class Access(NamedTuple):
    """The key and the address; `base_url` None is OpenAI itself."""

    key: SecretStr
    base_url: str | None

    @property
    def is_openai(self) -> bool:
        """Whether OpenAI itself is asked, or its models at Azure, by whatever address."""
        host = httpx2.URL(self.base_url or "https://api.openai.com").host
        return host.endswith((".openai.com", ".openai.azure.com"))

    def redact(self, text: str) -> str:
        """A text from outside without the key, what looks like one, and what steers terminals."""
        text = CONTROL.sub("", text)
        key = self.key.get_secret_value()
        if len(key) >= _SHORTEST_SECRET:
            text = text.replace(key, "***")
        return _KEY_LIKE.sub("***", text)


def find_access(stored_key: SecretStr | None = None) -> Access:
    """The key and address of the environment; a server of one's own needs no key.

    stored_key: used where the environment has no key. Raises InputError where there is neither key
    nor address, or one of them cannot be sent.
    """
    base_url = _address(os.environ.get("OPENAI_BASE_URL", "").strip())
    stored = stored_key.get_secret_value() if stored_key else ""
    key = (os.environ.get("OPENAI_API_KEY") or stored).strip()
    if not key and base_url is None:
        raise InputError(
            "There is no key for a language model: set OPENAI_API_KEY, or OPENAI_BASE_URL for a "
            "server of your own, or bring texts with --descriptions."
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise InputError(
            "The key in OPENAI_API_KEY or the Secret block holds a space or a character that no "
            "key has: copy it again."
        )
    return Access(SecretStr(key or "none"), base_url)


def _address(given: str) -> str | None:
    """A base URL, checked; what it says may be secret, so no error repeats it."""
    if not given:
        return None
    try:
        url = httpx2.URL(given)
    except httpx2.InvalidURL:
        url = None
    if url is None or url.scheme not in ("http", "https") or not url.host:
        raise InputError(
            "OPENAI_BASE_URL is no address: write it like http://localhost:8000/v1."
        ) from None
    if url.userinfo:
        raise InputError(
            "OPENAI_BASE_URL holds a password, which would be logged: give it as OPENAI_API_KEY."
        )
    return given
