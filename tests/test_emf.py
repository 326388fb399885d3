"""Metrics as CloudWatch finds them in log lines, and whether the stack looks for the same."""

import re

import pytest

from cloudformation.template import load
from observerd import emf
from observerd.core.events import Outcome
from observerd.emf import Emf

METRICS = {emf.JOB_SUCCEEDED, emf.JOB_FAILED, emf.JOB_MISSED, emf.JOB_DURATION, emf.START_DELAY}


def line(outcome=Outcome.SUCCEEDED, job="feed", duration_s=2.5, start_delay_s=31.0, **options):
    return Emf("cron", **options).of_run(outcome, job, duration_s, start_delay_s, 1_795_456_800.25)


def series(made):
    [found] = made["_aws"]["CloudWatchMetrics"]
    return found


def test_a_run_is_one_line_with_all_its_metrics():
    assert line() == {
        "_aws": {
            "Timestamp": 1_795_456_800_250,
            "CloudWatchMetrics": [
                {
                    "Namespace": "Observerd",
                    "Dimensions": (("Stack", "JobName"),),
                    "Metrics": [
                        {"Name": "JobSucceeded", "Unit": "Count"},
                        {"Name": "JobDuration", "Unit": "Seconds"},
                        {"Name": "StartDelay", "Unit": "Seconds"},
                    ],
                }
            ],
        },
        "Stack": "cron",
        "JobName": "feed",
        "JobSucceeded": 1,
        "JobDuration": 2.5,
        "StartDelay": 31.0,
    }


@pytest.mark.parametrize(
    ("outcome", "counted"),
    [
        (Outcome.SUCCEEDED, {"JobSucceeded"}),
        (Outcome.FAILED, {"JobFailed"}),
        (Outcome.TIMED_OUT, {"JobFailed"}),
        (Outcome.OUT_OF_MEMORY, {"JobFailed"}),
        (Outcome.CRASHED, {"JobFailed"}),
        (Outcome.REJECTED, {"JobFailed"}),
        (Outcome.MISSED, {"JobMissed"}),
        (Outcome.INTERRUPTED, set()),
        (Outcome.LOST, set()),
        (Outcome.DUPLICATE, set()),
    ],
)
def test_each_outcome_counts_once_or_where_the_run_goes_on_elsewhere_not(outcome, counted):
    assert counted == line(outcome).keys() & {"JobSucceeded", "JobFailed", "JobMissed"}


def test_what_is_not_known_is_no_metric():
    made = line(Outcome.MISSED, duration_s=None, start_delay_s=None)

    assert [{"Name": "JobMissed", "Unit": "Count"}] == series(made)["Metrics"]
    assert made.keys().isdisjoint({"JobDuration", "StartDelay"})


def test_a_name_that_no_job_has_makes_no_new_metric():
    assert "_unknown" == line(Outcome.REJECTED, job="a-strangers-idea")["JobName"]


def test_a_message_that_names_no_job_makes_none():
    assert {} == line(Outcome.REJECTED, job=None)


@pytest.mark.parametrize(
    ("dimensions", "expected"),
    [("job", [{"Stack", "JobName"}]), ("stack", [{"Stack"}]), ("both", [{"Stack", "JobName"}, {"Stack"}])],
)
def test_the_dimensions_can_be_chosen(dimensions, expected):
    made = line(dimensions=dimensions)

    assert expected == [set(each) for each in series(made)["Dimensions"]]
    assert all(isinstance(made[name], str) for each in series(made)["Dimensions"] for name in each)


@pytest.mark.parametrize("none", [Emf(None), Emf("cron", "off")])
def test_without_a_stack_or_switched_off_there_are_no_metrics(none):
    assert {} == none.of_run(Outcome.SUCCEEDED, "feed", 1.0, 1.0, 0.0) == none.of_worker(1.0, 0.0)


def test_a_worker_tells_how_long_it_lived():
    made = Emf("cron").of_worker(612.5, 0.0)

    assert (("Stack",),) == series(made)["Dimensions"]
    assert ("cron", 612.5) == (made["Stack"], made["WorkerSeconds"])


# ---- the contract with the stack


def alarms_on_our_metrics(template):
    for logical_id, resource in load(template)["Resources"].items():
        for each in resource.get("Properties", {}).get("Metrics", ()):
            watched = each.get("MetricStat", {}).get("Metric", {}) if isinstance(each, dict) else {}
            if watched.get("Namespace") == "Observerd":
                yield logical_id, watched


@pytest.mark.parametrize("template", ["observerd.yaml", "schedule.yaml"])
def test_the_missed_alarm_watches_what_a_successful_run_writes(template):
    [watched] = [
        found for logical_id, found in alarms_on_our_metrics(template) if logical_id == "MissedAlarm"
    ]
    made = line(Outcome.SUCCEEDED)

    assert watched["Namespace"] == series(made)["Namespace"]
    assert {"Name": watched["MetricName"], "Unit": "Count"} in series(made)["Metrics"]
    assert [tuple(each["Name"] for each in watched["Dimensions"])] == list(series(made)["Dimensions"])
    assert made[watched["MetricName"]] == 1  # The alarm sums it, and rings below 1.


def test_the_dashboard_shows_only_what_is_written():
    body = load("observerd.yaml")["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    searched = re.findall(r"SEARCH\('\{([^}]*)\} MetricName=([^']*) Stack=", body)
    made = line(Outcome.SUCCEEDED)

    assert ["Observerd,Stack,JobName"] * 2 == [dimensions for dimensions, _ in searched]
    assert ",".join(("Observerd", *series(made)["Dimensions"][0])) == searched[0][0]
    assert {"JobSucceeded", "JobFailed", "StartDelay"} == {
        name for _, names in searched for name in re.findall(r"\w+", names) if name != "OR"
    } & METRICS


def test_a_failure_has_what_the_dashboards_table_filters_by():
    body = load("observerd.yaml")["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    [(metric, columns)] = re.findall(r"filter (\w+) > 0 .* display ([^\"]*)", body)

    assert line(Outcome.FAILED)[metric] > 0
    assert "JobName" in columns
