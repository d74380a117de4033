"""What the model behind the server answers, and in which styles it writes."""

import hashlib
import json
from typing import Any

STYLES = ("schema", "lines", "bullets", "fenced", "list", "no-schema")


def answer(question: str, key: str) -> str:
    """The answer of the model: a sentence with the question, different for each key."""
    mark = hashlib.sha256(f"{question}/{key}".encode()).hexdigest()[:8]
    return f"It is round and red, number {mark}, says {key} to: {question}"


def read_question(body: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The question, and the keys of the answers wanted, of the schema or else of the text."""
    text = body["messages"][-1]["content"]
    question, _, wish = text.partition("\n\n")
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema", {})
    if keys := tuple(schema.get("properties", ())):
        return question, keys
    numbers = wish.partition("numbered ")[2].partition(":")[0].split(", ")
    if numbers == [""]:
        return question, (wish.rpartition(" ")[2].rstrip("."),)
    return question, tuple(f"answer_{number}" for number in numbers)


def style_answers(answers: dict[str, str], style: str) -> str:
    """The text of a reply with these answers."""
    numbers = {key: key.rpartition("_")[2] for key in answers}
    match style:
        case "lines":
            lines = [f"{numbers[key]}. {text}" for key, text in answers.items()]
            return "Here you are:\n\n" + "\n".join(lines) + "\n\nI hope this helps!"
        case "bullets":
            return "\n".join(f"- {text}" for text in answers.values())
        case "fenced":
            return f"```json\n{json.dumps(answers)}\n```"
        case "list":
            return json.dumps(list(answers.values()))
        case "no-schema":
            return "\n".join(f"{numbers[key]}) {text}" for key, text in answers.items())
        case "escaped":
            return json.dumps(answers).replace("sk-", "\\u0073k-")
        case "raw":
            return json.dumps(answers, ensure_ascii=False)
        case _:
            return json.dumps(answers)
