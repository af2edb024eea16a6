import json
from fractions import Fraction

import pytest

from latentsync.pipelines.job import LOOPS, TAILS
from latentsync.service.errors import Refusal
from latentsync.service.options import MAX_SEED, JobOptions, pipeline_settings, read_options
from scripts import inference


def test_defaults_are_those_of_the_command():
    flags = vars(inference.parser().parse_args([]))
    assert JobOptions().model_dump() == {name: flags[name] for name in JobOptions.model_fields}
    assert read_options("") == read_options("{}") == JobOptions()


def test_choices_and_ranges_are_those_of_the_command():
    properties = JobOptions.model_json_schema()["properties"]
    assert (tuple(properties["loop"]["enum"]), tuple(properties["tail"]["enum"])) == (LOOPS, TAILS)
    assert MAX_SEED == inference.MAX_SEED


@pytest.mark.parametrize("fps, text", [(25, "25"), (23.976, "23.976"), ("30000/1001", "30000/1001")])
def test_a_rate_may_be_written_in_several_ways(fps, text):
    options = read_options(json.dumps({"fps": fps}))
    assert options.fps == text
    assert pipeline_settings(options.model_dump())["video_fps"] == inference.parse_rate(text)


def test_settings_of_the_pipeline():
    given = read_options('{"inference_steps": 7, "fps": "source", "face": "1", "guidance_scale": 2}').model_dump()
    assert pipeline_settings(given) == {
        "num_inference_steps": 7,
        "guidance_scale": 2.0,
        "video_fps": None,
        "face": "1",
        "loop": "pingpong",
        "tail": "cut",
        "crf": 18,
    }
    assert pipeline_settings({"fps": "30"}) == {"video_fps": Fraction(30)}


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", "options: expected a JSON object with any of guidance_scale, inference_steps"),
        ("[]", "options: expected a JSON object"),
        ('{"gidance": 1}', "options: 'gidance' is not known; expected any of guidance_scale"),
        ('{"guidance_scale": 0.5}', "options: guidance_scale: input should be greater than or equal to 1, got '0.5'"),
        ('{"guidance_scale": 3.5}', "options: guidance_scale: input should be less than or equal to 3, got '3.5'"),
        ('{"guidance_scale": NaN}', "options: "),
        ('{"inference_steps": 0}', "options: inference_steps: "),
        ('{"inference_steps": "20"}', "options: inference_steps: input should be a valid integer, got '20'"),
        ('{"inference_steps": true}', "options: inference_steps: "),
        ('{"seed": -2}', "options: seed: "),
        ('{"seed": 18446744073709551616}', "options: seed: "),
        ('{"face": "left"}', "options: face: expected largest, an index counted from the left, or x,y in pixels"),
        ('{"fps": 0}', "options: fps: expected source or a rate from 1 to 240"),
        ('{"fps": "1/0"}', "options: fps: expected source"),
        ('{"fps": "1e999999999"}', "options: fps: expected source"),
        ('{"fps": true}', "options: fps: "),
        ('{"loop": "twice"}', "options: loop: input should be 'pingpong', 'loop', 'freeze' or 'cut', got 'twice'"),
        ('{"tail": null}', "options: tail: "),
        ('{"crf": 52}', "options: crf: input should be less than or equal to 51, got '52'"),
    ],
)
def test_a_mistake_is_one_clear_sentence(text, words):
    with pytest.raises(Refusal) as caught:
        read_options(text)
    assert caught.value.status == 422
    assert caught.value.sentence.startswith(words) and "\n" not in caught.value.sentence
