"""Replies as servers write them: JSON, JSON in a fence, lists, lines, fragments, and anything."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.describe.llm.parse import MAX_ANSWER_CHARS, answer_schema, parse_answers

ASKED = (4, 5, 6)
THREE = {4: "It has wings.", 5: "It is brown.", 6: "It is small."}
AS_JSON = json.dumps({f"answer_{i + 1}": text for i, text in THREE.items()})


def test_the_schema_names_each_answer() -> None:
    schema = answer_schema((2, 9))
    assert schema["required"] == list(schema["properties"]) == ["answer_3", "answer_10"]
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    "content",
    [
        AS_JSON,
        f"```json\n{AS_JSON}\n```",
        f"```\n{AS_JSON}```",
        f"<think>\nThree of them.\n</think>\n{AS_JSON}",
        json.dumps(list(THREE.values())),
        json.dumps({"answers": list(THREE.values())}),
        json.dumps({"first": "It has wings.", "second": "It is brown.", "third": "It is small."}),
        f"Here you are:\n{AS_JSON}\nI hope this helps!",
        f"Here is the JSON:\n```json\n{AS_JSON}\n```\nAnything else?",
        f"The JSON: {AS_JSON}",
        json.dumps(json.loads(AS_JSON), indent=2),
        f"Three answers, thought I.\n</think>\n\n{AS_JSON}",
        AS_JSON.replace("answer_5", "answer_1")
        .replace("answer_6", "answer_2")
        .replace("answer_7", "answer_3"),
        "5. It has wings.\n6. It is brown.\n7. It is small.",
        "5.It has wings.\n6.It is brown.\n7.It is small.",
        "5\u3001It has wings.\n\uff16\uff0eIt is brown.\n7\uff09 It is small.",
        "**5.** It has wings.\n**6**. It is brown.\n**7)** It is small.",
        "**answer_5**: It has wings.\n**Answer 6:** It is brown.\n**answer_7**: It is small.",
        "5) It has wings.\n\n7) It is small.\n\n6) It is brown.\n",
        "1. It has wings.\n2. It is brown.\n3. It is small.",
        "Here they are:\n\n1. It has wings.\n2. It is brown.\n3. It is small.\n\nAnything else?",
        "answer_5: It has wings.\nanswer_6: It is brown.\nanswer_7: It is small.",
        "Sure:\n- It has wings.\n- It is brown.\n- It is small.\nDone.",
        AS_JSON.replace("}", ", }"),
        "```json\n" + json.dumps(list(THREE.values())).replace("]", ",\n]") + "\n```",
        AS_JSON.replace('"', "'"),
        str(list(THREE.values())),
        json.dumps([{"number": 5, "text": text} for text in THREE.values()]),
        json.dumps([{"id": f"answer_{i + 1}", "text": text} for i, text in THREE.items()]),
        json.dumps({"answers": [[text] for text in THREE.values()]}),
        json.dumps({f"answer_{i + 1}": {"sentence": text} for i, text in THREE.items()}),
        json.dumps({"answers": json.loads(AS_JSON)}),
        "\n".join(json.dumps({f"answer_{i + 1}": text}) for i, text in THREE.items()),
        "\n".join(json.dumps({"text": text}) for text in THREE.values()),
        ",\n".join(json.dumps({"text": text}) for text in THREE.values()),
        "\n".join(json.dumps([text]) for text in THREE.values()),
        json.dumps(AS_JSON),
        json.dumps({"answers": AS_JSON}),
        json.dumps(json.dumps(list(THREE.values()))),
        "\n".join(f"### Answer {i + 1}\n\n{text}" for i, text in THREE.items()),
        "\n".join(f"**Answer {i + 1}:**\n{text}" for i, text in THREE.items()),
        "\n".join(f"#### {i + 1}. {text}" for i, text in THREE.items()),
        "\n".join(f"[{i + 1}] {text}" for i, text in THREE.items()),
        "\n".join(f"{i + 1} - {text}" for i, text in THREE.items()),
        "| No. | Answer |\n|---|:---|\n"
        + "\n".join(f"| {i + 1} | {text} |" for i, text in THREE.items()),
        "\n".join(f"| {text} |" for text in THREE.values()),
        "```text\nIt has wings.\nIt is brown.\nIt is small.\n```",
        "It has wings.\nIt is brown.\nIt is small.",
        "Answers:\nIt has wings.\nIt is brown.\nIt is small.\nIt is too much.",
    ],
)
def test_three_answers_in_every_shape(content: str) -> None:
    assert parse_answers(content, ASKED, is_cut=False) == THREE


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", {}),
        ("{}", {}),
        ("\x1f\n` \x1f", {}),
        ("null", {4: "null"}),  # a word, as far as anyone can tell
        ('{"answers": 3, "note": [1, 2]}', {}),
        ('{"answer_5": 1, "answer_6": null, "answer_7": ["x"]}', {6: "x"}),
        ('{"answer_5": ["x", "y"], "answer_6": {"a": "x", "b": "y"}}', {}),
        (
            "{'answer_5': 'It's a \\'red\\' one.', 'answer_6': 'A \"blue\" one.',}",
            {
                4: "It's a 'red' one.",
                5: 'A "blue" one.',
            },
        ),
        (
            '{"answer_5": "It is "very" red.", "answer_6": "It is blue, not red."}',
            {
                4: 'It is "very" red.',
                5: "It is blue, not red.",
            },
        ),
        ('{"answer_5": "It is red."}\n{"answer_6": "It is bl', {4: "It is red."}),
        ("[Note: they differ]\n5. It is red.", {4: "It is red."}),
        ("7 - 9 spots on each wing.", {4: "7 - 9 spots on each wing."}),
        ('"' + "[" * 5000, {}),
        ('{"answer_1": "of another call"}', {}),
        ('{"answer_5": "", "answer_6": "  ", "answer_7": "Here."}', {6: "Here."}),
        ('{"answer_5": "Same.", "answer_6": "Same.", "answer_7": " Same. "}', {4: "Same."}),
        ('{"answer_5": "One."', {}),
        ('Here you are:\n{"answer_5": "One.",\n"answer_6": "Tw', {}),
        ("<think>\nOkay, three answers.\nFirst", {}),
        ("1.5 m long.\nOn **4** legs.", {4: "1.5 m long.", 5: "On **4** legs."}),
        ('{"answer_5": "It has\nwings."}', {4: "It has\nwings."}),
        ('"It is red."\n"It is blue."', {4: '"It is red."', 5: '"It is blue."'}),
        ("[" * 100_000, {}),
        (json.dumps({"answer_5": "x" * (MAX_ANSWER_CHARS + 1)}), {}),
        ('{"answer_5": "a\\u0000b\\ud800c"}', {4: "ab?c"}),
    ],
)
def test_what_is_no_answer_is_left_open(content: str, found: dict[int, str]) -> None:
    assert parse_answers(content, ASKED, is_cut=False) == found


def test_of_a_cut_reply_the_whole_answers_are_kept() -> None:
    cut = AS_JSON[: AS_JSON.index("brown")]
    assert parse_answers(cut, ASKED, is_cut=True) == {4: "It has wings."}
    assert parse_answers(cut, ASKED, is_cut=False) == {}
    for text in (
        "5. It has wings.\n6. It is br",
        '{"answer_5": "It has wings."}\n{"answer_6": "It is br',
        "{'answer_5': 'It has wings.', 'answer_6': 'It is br",
        "| 5 | It has wings. |\n| 6 | It is br",
    ):
        assert parse_answers(text, ASKED, is_cut=True) == {4: "It has wings."}


@given(st.text(), st.booleans())
def test_any_text_is_read_without_an_error(content: str, is_cut: bool) -> None:
    for index, answer in parse_answers(content, ASKED, is_cut).items():
        assert index in ASKED
        assert answer == answer.strip() != ""
        answer.encode()


def test_long_texts_of_quotes_and_brackets_are_read_in_linear_time() -> None:
    for mark in ("'", '"', "[", "{'", "{", "[1] ", "| ", "# ", "', ", "\\"):
        parse_answers("{" + mark * 200_000, ASKED, is_cut=False)
        parse_answers(mark * 200_000, ASKED, is_cut=True)


KEYS = st.sampled_from(["answer_5", "answer_6", "answers", "x"])


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(KEYS, v)
    )
)
def test_any_json_is_read_without_an_error(value: object) -> None:
    assert set(parse_answers(json.dumps(value), ASKED, is_cut=False)) <= set(ASKED)
