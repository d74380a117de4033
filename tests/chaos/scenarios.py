"""The commands that the campaign disturbs, on tiny data, and the stores that they begin with."""

from typing import NamedTuple


class Scenario(NamedTuple):
    """Commands, one after the other; `{...}` stands for what `World.places` has.

    begins_with: the scenario with whose finished store it begins; empty: with none.
    is_dated: its tables hold when a language model answered, so that their names differ each time.
    weight: how often it is disturbed in a round.
    """

    commands: tuple[tuple[str, ...], ...]
    begins_with: str = ""
    is_remote: bool = False
    is_dated: bool = False
    weight: int = 1


_ENCODER = ("--encoder", "local-dir:{encoder}", "--precision", "fp32", "--device", "cpu")
_SMALL = (*_ENCODER, "--pool", "6", "--crops", "4", "--runs", "3", "--shard-size", "5")
_LABELLED = ("folder:{photos}", "--descriptions", "{texts}")
_BENCHMARK = ("benchmark", *_LABELLED, *_SMALL, "--store", "{store}")
_CLASSIFY = (
    *("classify", "{photos}", "--classes", "{texts}", "--descriptions", "{texts}"),
    *(*_ENCODER, "--pool", "6", "--shard-size", "5"),
)
_TO_STORE = ("--store", "{store}")
_INBOX = (
    '{{"folder": "{photos}", "classes": ["cat", "cup", "dog"], "settle_sec": 0, "shard_size": 5, '
    '"encoder": "local-dir:{encoder}", "precision": "fp32", "store": "{store}"}}'
)
_SEEDS = tuple((*_BENCHMARK, "--methods", "clip,wca", "--seed", seed) for seed in "01")
SCENARIOS = {
    "benchmark": Scenario((_BENCHMARK,), weight=2),
    "adaptive": Scenario(
        (
            (
                *("benchmark", *_LABELLED, *_ENCODER, "--runs", "3", "--shard-size", "5"),
                *("--pool", "24", "--crops", "auto", "--agreement", "0.8", *_TO_STORE),
            ),
        ),
        weight=2,
    ),
    "two seeds": Scenario(_SEEDS),
    "classify": Scenario(((*_CLASSIFY, "--output", "{output}/rows.csv", *_TO_STORE),)),
    "sweep": Scenario(
        (("sweep", *_LABELLED, *_SMALL, "--methods", "wca", "--over", "crops=2,4", *_TO_STORE),)
    ),
    "describe": Scenario(
        (("describe", "cat,owl,emu", "--questions", "clip-d,cupl", *_TO_STORE),),
        is_dated=True,
        weight=2,
    ),
    "inbox": Scenario((("inbox", _INBOX),), weight=2),
    "publish": Scenario((("report", *_TO_STORE),), "two seeds"),
    "prune": Scenario(
        (("store", "prune", "--keep", "1", "--grace-days", "0", *_TO_STORE),), "two seeds", weight=2
    ),
    "maintain": Scenario(
        (("maintain", '{{"keep": 1, "grace_days": 0, "store": "{store}"}}'),), "two seeds"
    ),
    "verify": Scenario((("store", "verify", *_TO_STORE),), "classify"),
    "dask": Scenario(((*_CLASSIFY, "--engine", "dask", "--workers", "2", *_TO_STORE),)),
    "ray": Scenario(((*_CLASSIFY, "--engine", "ray", "--workers", "2", *_TO_STORE),)),
    "bucket": Scenario(((*_CLASSIFY, *_TO_STORE),), is_remote=True),
}
