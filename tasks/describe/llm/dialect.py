"""The parts of a request that servers differ in, learned from their refusals."""

import re
from dataclasses import dataclass, replace

from tasks.describe.llm.access import Access
from tasks.describe.llm.settings import ModelSettings

# How servers name the schema of a reply when they refuse it; local ones answer with status 500.
_SCHEMA_WORDS = re.compile(
    r"response.?format|json.?schema|structured|guided|grammar|outlines|schema", re.I
)
_SYSTEM_WORDS = re.compile(
    r"system.{0,20}(?:role|message|prompt|instruction)|role.{0,40}system|roles must alternate"
    r"|developer instruction",
    re.I | re.S,
)
_TOKENS_WORDS = re.compile(r"max_(?:completion_)?tokens", re.I)
# What every server uses where a request names no temperature.
_DEFAULT_TEMPERATURE = 1.0
_REFUSED, _REFUSED_IN_WORDS = (400, 422), (400, 415, 422, 500, 501)


@dataclass(frozen=True)
class Dialect:
    """What a server accepts; `tokens_name` is its name for the most tokens of a reply."""

    tokens_name: str
    has_schema: bool = True
    has_temperature: bool = True
    has_system: bool = True
    is_tokens_name_changed: bool = False

    @classmethod
    def of(cls, access: Access) -> "Dialect":
        """The dialect to begin with."""
        # OpenAI's reasoning models accept only the new name, most other servers only the old one
        return cls("max_completion_tokens" if access.is_openai else "max_tokens")

    def after_refusal(
        self, status: int, text: str, settings: ModelSettings, *, was_accepted: bool
    ) -> "Dialect | None":
        """The dialect to try after an error; None: another one would not help.

        was_accepted: whether the server has answered a request in this dialect. Before that, a
        schema is left out on any refusal: servers that do not know it have many ways to say so.
        """
        if status not in _REFUSED_IN_WORDS:
            return None
        if settings.max_tokens and not self.is_tokens_name_changed and _TOKENS_WORDS.search(text):
            names = {"max_tokens", "max_completion_tokens"} - {self.tokens_name}
            return replace(self, tokens_name=names.pop(), is_tokens_name_changed=True)
        if (
            self.has_temperature
            and settings.temperature == _DEFAULT_TEMPERATURE  # any other one decides the answers
            and "temperature" in text.lower()
        ):
            return replace(self, has_temperature=False)
        if self.has_system and _SYSTEM_WORDS.search(text):
            return replace(self, has_system=False)
        if self.has_schema and (
            _SCHEMA_WORDS.search(text) or (status in _REFUSED and not was_accepted)
        ):
            return replace(self, has_schema=False)
        return None
