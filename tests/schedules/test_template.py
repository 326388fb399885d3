"""schedules.toml as CloudFormation: within its limits, and the same ids for the same names."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from string import ascii_lowercase

import pytest

from observerd.schedules.conversion import CannotConvert
from observerd.schedules.cron import read_cron
from observerd.schedules.schedule import Schedule, Schedules
from observerd.schedules.template import logical_id, render

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def schedules(number, line="30 2 * * *", **keys):
    cron = read_cron(line)
    names = [f"job-{first}{second}" for first in ascii_lowercase for second in ascii_lowercase]
    return tuple(Schedule(name, name, "Europe/Berlin", cron=cron, **keys) for name in names[:number])


def resources(texts):
    return [json.loads(text)["Resources"] for text in texts]


@pytest.mark.parametrize("keys", [{"missed_after_h": 0}, {"payload": {"text": "x" * 9_000}}, {}])
def test_templates_are_split_before_the_limits_and_nothing_is_lost(keys):
    texts = render(Schedules(schedules(90, **keys), ("ops@example.org",)), NOW)

    assert len(texts) > 1
    assert max(len(text.encode()) for text in texts) <= 51_200
    found = resources(texts)
    assert max(map(len, found)) <= 500
    names = [name for each in found for name in each]
    assert len(set(names)) == len(names)
    assert {logical_id(each.name) for each in schedules(90)} <= set(names)
    for each in found:
        # The parts of a line, and the alarm of a job, stay together.
        assert {name.removesuffix("DstMar01") for name in each if name.endswith("DstMar01")} <= set(each)


def test_a_changed_line_changes_its_own_resources_alone():
    entries = schedules(3)
    moved = replace(entries[1], cron=read_cron("45 2 * * *"))
    [before], [after] = (
        resources(render(Schedules(each), NOW)) for each in (entries, (entries[0], moved, entries[2]))
    )

    assert before.keys() == after.keys()
    assert {"JobAb", "JobAbDstMar01"} == {name for name in before if before[name] != after[name]}


def test_no_two_names_have_one_logical_id():
    names = ["a-b", "a.b", "aB", "A-b", "a_b", "ab", "a-B", "b-1", "b1", "B1"]
    ids = [logical_id(name) for name in names]

    assert len(set(ids)) == len(names)
    assert all(re.fullmatch("[A-Za-z0-9]+", each) for each in ids)
    assert "AB" == logical_id("a-b")


def test_a_schedule_that_fits_into_no_template_is_refused_in_one_line():
    [large] = schedules(1, payload="x" * 60_000)

    with pytest.raises(CannotConvert, match="JobAa alone is more than the 51,200 bytes") as refused:
        render(Schedules((large,)), NOW)
    assert "\n" not in str(refused.value)


def test_a_description_is_cut_where_scheduler_takes_no_more():
    [described] = schedules(1, description="ü" * 600)
    [found] = resources(render(Schedules((described,)), NOW))

    assert 512 == len(found["JobAa"]["Properties"]["Description"])
