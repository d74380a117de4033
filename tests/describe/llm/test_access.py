import pytest
from pydantic import SecretStr

from tasks.describe.llm.access import Access, find_access
from tasks.describe.llm.chat_format import request_body
from tasks.describe.llm.dialect import Dialect
from tasks.describe.llm.questions import Prompt
from tasks.describe.llm.replies import Call
from tasks.describe.llm.settings import ModelSettings
from tasks.runtime.errors import InputError


def find_with(monkeypatch: pytest.MonkeyPatch, key: str, url: str, stored: str = "") -> Access:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    return find_access(SecretStr(stored) if stored else None)


def test_the_environment_goes_before_the_secret_block(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_with(monkeypatch, " sk-one\n", "", "sk-two").key.get_secret_value() == "sk-one"
    assert find_with(monkeypatch, "", "", "sk-two\n").key.get_secret_value() == "sk-two"
    own = find_with(monkeypatch, "", "http://localhost:11434/v1")
    assert own == Access(SecretStr("none"), "http://localhost:11434/v1")
    assert "sk-one" not in repr(find_with(monkeypatch, "sk-one", ""))


@pytest.mark.parametrize("key", ["sk-caf\u00e9", "sk-a b", "\u201csk-a\u201d", "sk-a\nb"])
def test_a_key_that_cannot_be_sent_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    with pytest.raises(InputError, match="copy the key again") as caught:
        find_with(monkeypatch, key, "")
    assert key not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/v1", "http://", "http://x:port/v1"])
def test_what_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    with pytest.raises(InputError, match="OPENAI_BASE_URL is not an address"):
        find_with(monkeypatch, "sk-a", url)


def test_a_password_in_the_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="contains a password") as caught:
        find_with(monkeypatch, "", "http://user:s3cret@localhost/v1")
    assert "s3cret" not in str(caught.value)


def test_keys_are_taken_out_of_texts() -> None:
    access = Access(SecretStr("my-own-key-1234"), None)
    assert access.redact("my-own-key-1234 is wrong") == "*** is wrong"
    assert access.redact("provided: sk-proj-********************abcd.") == "provided: ***."
    assert access.redact("a sk-shaped thing") == "a sk-shaped thing"
    assert Access(SecretStr("none"), "http://x").redact("none of it") == "none of it"
    assert access.redact("\x1b[2Jmy-own-\x00key-1234 is\nit") == "[2J*** is\nit"


def test_no_part_of_a_key_is_left_where_a_text_is_cut() -> None:
    key = "".join(chr(ord("a") + i * 7 % 26) + str(i % 10) for i in range(28))
    access = Access(SecretStr(key), None)
    for start in range(190 - len(key), 210):
        shown = access.shorten("." * start + key + "." * 50)
        assert not any(key[i : i + 4] in shown for i in range(len(key) - 3))
    assert access.redact(f"{key[5:40]} and {key[:20]}, {key[-16:]}!") == "*** and ***, ***!"
    escaped = "".join(f"\\u{ord(char):04x}" for char in key)
    assert access.redact(f'{{"a": "{escaped}"}}') == '{"a": "***"}'


@pytest.mark.parametrize(
    ("url", "is_openai"),
    [
        (None, True),
        ("https://api.openai.com/v1", True),
        ("https://eu.api.openai.com/v1", True),
        ("https://mine.openai.azure.com/openai/v1", True),
        ("http://localhost:8000/v1", False),
        ("https://openai.com.example/v1", False),
    ],
)
def test_openai_limits_tokens_by_its_own_name_at_every_address(
    url: str | None, is_openai: bool
) -> None:
    model = ModelSettings(llm="gpt-5", temperature=1, max_tokens=7, answers_per_call=10)
    prompt = Prompt("cat", "own", "look", "description", "", "What is a cat?", 10)
    dialect = Dialect.of(Access(SecretStr("none"), url))
    body = request_body(Call(prompt, "0", 0, (0,)), model, dialect)
    name = "max_completion_tokens" if is_openai else "max_tokens"
    assert {key: body[key] for key in body if key.startswith("max_")} == {name: 7}
