"""What Prefect's form sends means what somebody changed in it."""

from itertools import groupby

import pytest

from flows.settings.benchmark import BenchmarkConfig, BenchmarkSettings
from flows.settings.classify import ClassifySettings
from flows.settings.describe import DescribeSettings
from flows.settings.inbox import InboxConfig
from flows.settings.reproduce import ReproduceConfig, ReproduceSettings
from flows.settings.run import Settings
from flows.settings.sweep import SweepConfig
from tasks.describe.llm.settings import LanguageModelSettings
from tasks.embed.crops import CropParameters


def as_a_form_sends(config: Settings, **changed: object) -> dict[str, object]:
    unset = {name: getattr(config, name) for name in type(config).model_fields}
    return {**unset, **config.model_dump(mode="json"), **changed}


def test_a_preset_holds_where_a_form_shows_the_default() -> None:
    form = as_a_form_sends(BenchmarkConfig(), data="cub", pool=7)
    config = BenchmarkConfig.model_validate(form).with_preset({"alpha": 0.7, "pool": 50})
    assert (config.alpha, config.pool) == (0.7, 7)
    assert BenchmarkConfig(alpha=0.5).with_preset({"alpha": 0.7}).alpha == 0.5


def test_areas_of_random_resized_crops_are_neither_a_forms_default_nor_a_presets() -> None:
    form = as_a_form_sends(BenchmarkConfig(), data="cub", crop_strategy="random_resized")
    config = BenchmarkConfig.model_validate(form).with_preset({"alpha": 0.7, "beta": 0.9})
    assert (config.alpha, config.beta) == (0.08, 1.0)
    assert config.part(CropParameters) == CropParameters(crop_strategy="random_resized")


def test_a_form_of_a_grid_is_no_setting_of_one_benchmark() -> None:
    assert ReproduceConfig.model_validate(as_a_form_sends(ReproduceConfig())) == ReproduceConfig()
    with pytest.raises(ValueError, match="--encoder belongs to one benchmark"):
        ReproduceConfig.model_validate(as_a_form_sends(ReproduceConfig(), encoder="ViT-B-32/x"))


def test_the_form_begins_with_what_most_people_set_and_explains_every_field() -> None:
    forms = (BenchmarkConfig, "data"), (InboxConfig, "folder"), (SweepConfig, "data")
    for config, first in (*forms, (ReproduceConfig, "table")):
        fields = config.model_json_schema()["properties"]
        assert next(iter(fields)) == first
        assert [field["position"] for field in fields.values()] == list(range(len(fields)))
        titles = [field["title"] for field in fields.values()]
        headings = [title.partition(": ")[0] for title in titles[10:]]
        assert not any(":" in title for title in titles[:10])
        assert [heading for heading, _ in groupby(headings)] == list(dict.fromkeys(headings))
        assert set(headings) >= {"Encoder", "Crops", "Scores", "Language model", "Engine"}
        assert fields.keys() == config.model_fields.keys()
        assert all(field["description"] for field in fields.values())
    fields = BenchmarkConfig.model_json_schema()["properties"]
    assert "enum" in fields["precision"]
    assert "wca" in fields["methods"]["items"]["enum"]
    assert fields["pool"]["maximum"] == 1000


@pytest.mark.parametrize(
    "settings", [BenchmarkSettings, ClassifySettings, DescribeSettings, ReproduceSettings]
)
def test_names_are_separated_by_commas_whichever_flow_is_told(
    settings: type[LanguageModelSettings],
) -> None:
    given = {
        "questions": ("cupl,clip-d",),
        "clean": ("refusal, numbering",),
        "methods": ("clip, wca", "cupl"),
        "datasets": ("cub,dtd ",),
        "encoders": ("photo-lite, a/b",),
    }
    known = {name: value for name, value in given.items() if name in settings.model_fields}
    found = settings.model_validate(known).model_dump(include=set(known))
    expected = {
        "questions": ("cupl", "clip-d"),
        "clean": ("numbering", "refusal"),  # in the order of their use
        "methods": ("clip", "wca", "cupl"),
        "datasets": ("cub", "dtd"),
        "encoders": ("photo-lite", "a/b"),
    }
    assert found == {name: expected[name] for name in known}
