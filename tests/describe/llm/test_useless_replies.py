"""Replies without a usable answer: what they may cost, and how errors explain them."""

from pathlib import Path

import pytest

from tasks.runtime.errors import BudgetExceeded, PermanentFailure
from tests.describe.llm.server import ModelServer
from tests.describe.llm.stage import CLASSES, KEY, DescribeStage


@pytest.mark.parametrize("concurrency", [1, 16])
def test_a_class_whose_every_question_is_refused_costs_only_that_class(
    server: ModelServer, tmp_path: Path, concurrency: int
) -> None:
    server.behaviour.refused = "thing 3"
    tally = DescribeStage(server, tmp_path, concurrency=concurrency).ask()
    assert (tally.answer_count, tally.missing_count) == (550, 50)
    server.behaviour.refused = "thing"  # and of later runs every call that is left
    wanting = DescribeStage(server, tmp_path, concurrency=concurrency, accept_missing=True)
    assert wanting.ask([*CLASSES, *(f"thing {i}" for i in range(20, 30))]).missing_count == 550


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        (
            {"choices": [{"finish_reason": "length", "message": {"content": ""}}]},
            "ended with 'length': --max-tokens sets how long",
        ),
        (
            {"choices": [{"message": {"content": None, "refusal": f"I refuse {KEY}."}}]},
            "the last says 'I refuse [*]{3}.' and ended with ''",
        ),
        (
            {"choices": None, "error": {"message": f"No such path, {KEY}.", "code": 404}},
            "not chat completions: No such path, [*]{3}[)]",
        ),
        ({"choices": None, "error": "Odd."}, "not chat completions: Odd[)]"),
    ],
)
def test_a_model_that_answers_nothing_is_not_paid_for_every_class(
    server: ModelServer, tmp_path: Path, replaced: dict[str, object], message: str
) -> None:
    server.behaviour.replaced = replaced
    names = [f"thing {i}" for i in range(40)]
    with pytest.raises(PermanentFailure, match=rf"5 classes in a row get no answer .*{message}"):
        DescribeStage(server, tmp_path, max_tokens=400, concurrency=4).ask(names)
    assert len(server.requests) < 150  # 25 calls, four times each, and those under way


def test_of_a_reply_that_a_filter_cut_off_whole_answers_are_kept(
    server: ModelServer, tmp_path: Path
) -> None:
    content = '{"answer_1": "It has wings.", "answer_2": "It is'
    choice = {"finish_reason": "content_filter", "message": {"content": content}}
    server.behaviour.replaced = {"choices": [choice]}
    stage = DescribeStage(server, tmp_path, questions=("clip-d",))
    assert stage.ask(["cat"]).answer_count == 1
    assert "It has wings." in stage.table(["cat"])["answer"].to_pylist()


def test_calls_go_alone_until_one_shows_what_it_costs(server: ModelServer, tmp_path: Path) -> None:
    server.behaviour.refused, server.behaviour.tokens_per_answer = "thing 0", 10_000  # $0.06 a call
    server.behaviour.delay_sec = 0.05
    stage = DescribeStage(server, tmp_path, budget_usd=0.1)
    with pytest.raises(BudgetExceeded, match=r"\(\$0.0600 spent\)"):
        stage.ask()
    assert server.most_in_flight == 1


@pytest.mark.parametrize("concurrency", [1, 8])
def test_replies_without_a_choice_are_paid_for(
    server: ModelServer, tmp_path: Path, concurrency: int
) -> None:
    server.behaviour.faults, server.behaviour.faults_per_question = ("no-choice",), 1000
    server.behaviour.tokens_per_answer = 5000  # $0.03 a call
    stage = DescribeStage(server, tmp_path, budget_usd=0.1, concurrency=concurrency)
    with pytest.raises(BudgetExceeded):
        stage.ask()
    stored = stage.stored()
    tokens = [(reply.prompt_tokens, reply.completion_tokens) for reply in stored]
    assert sorted(tokens) == sorted(server.charged)
    assert 0.05 < sum(reply.cost_usd or 0.0 for reply in stored) <= 0.1


@pytest.mark.parametrize("fault", ["cut", "slow"])
def test_what_a_lost_reply_may_have_cost_stays_reserved(
    server: ModelServer, tmp_path: Path, fault: str
) -> None:
    server.behaviour.faults, server.behaviour.faults_per_question = (fault,), 1000
    stage = DescribeStage(server, tmp_path, budget_usd=0.001, max_tokens=400, reply_timeout_sec=0.3)
    with pytest.raises(BudgetExceeded):
        stage.ask()
    assert len(server.requests) == 3  # each may have cost $0.00026


def test_tokens_that_only_the_total_counts_are_paid_for(
    server: ModelServer, tmp_path: Path
) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 1150}
    server.behaviour.replaced = {"usage": usage}
    tally = DescribeStage(server, tmp_path).ask(["cat"])
    assert (tally.prompt_tokens, tally.completion_tokens) == (500, 5250)


def test_tokens_counted_as_none_are_estimated(server: ModelServer, tmp_path: Path) -> None:
    server.behaviour.replaced = {"usage": {"prompt_tokens": 0, "completion_tokens": 0}}
    tally = DescribeStage(server, tmp_path).ask(["cat"])
    assert tally.completion_tokens > 500
    assert 0.0003 < (tally.cost_usd or 0) < 0.01
