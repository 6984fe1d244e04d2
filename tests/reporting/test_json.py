"""report.json against its schema, and against the record."""

import json
from dataclasses import replace

import jsonschema
import pytest

from bamsearch.records.runs import Finalist
from bamsearch.reporting.as_json import json_value, schema_text
from bamsearch.reporting.content import make_report
from bamsearch.reporting.documents import RunDocument


@pytest.fixture(scope="module")
def validator():
    schema = json.loads(schema_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_every_report_keeps_the_schema(validator, record, trained, empty):
    timed = Finalist(record.best.design, 11.0, 10.5, 11.5, kept=True, base_ms=10.0)
    latency = {"device": "cpu", "batch_size": 1, "dtype": "float32", "mode": "eager"}
    run = replace(record.run, latency=latency, objectives=("score", "params"))
    near = replace(trained.evidence.differences[0], low=-0.1, equivalent=True)
    equal = replace(trained, evidence=replace(trained.evidence, differences=(near,), margin=0.5))
    assert json_value(make_report(equal, "x"))["answer"]["verdict"] == "equivalent"
    for content in (record, trained, equal, empty, replace(record, run=run, finalists=(timed,))):
        validator.validate(json_value(make_report(content, "net-001")))


def test_the_schema_is_closed(validator, record):
    """A key that is missing or added breaks it: the schema is not satisfied by anything."""
    value = json_value(make_report(record, "net-001"))
    for broken in (
        {key: schema for key, schema in value.items() if key != "answer"},
        value | {"more": 1},
        value | {"found": value["found"] | {"params": "many"}},
        value | {"comparison": [value["comparison"][0] | {"role": "boss"}]},
    ):
        assert not validator.is_valid(json.loads(json.dumps(broken)))


def test_its_numbers_are_those_of_the_record(record):
    value = json_value(make_report(record, "net-001"))
    assert value["budget"] == {"gflops": 120_000}
    assert value["found"]["design"] == {"layer2": [4, 2]}
    assert value["found"]["score"] == 9.0
    assert value["best_so_far"] == {"search": [5.0, 5.0, 9.0, 9.0], "random": [2.0, 8.0]}
    assert value["comparison"][3]["design"] == {"layer3": [4, 1]}
    assert value["answer"]["verdict"] == "unknown"
    assert value["health"]["reasons"] == [{"reason": "out of luck", "times": 1}]
    assert value["provenance"]["seed"] == 7


def test_the_same_record_gives_the_same_bytes(record):
    first, second = (RunDocument(make_report(record, "a")).text("json") for _ in range(2))
    assert first == second
