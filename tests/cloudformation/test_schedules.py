"""A crontab imported, rendered and deployed by the AWS CLI, then changed and deployed again."""

import json
from datetime import UTC, datetime

import pytest

from observerd.schedules import show
from observerd.schedules.schedule import load
from tests.cloudformation.emulator import LACKING

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("emulator")]

NOW = datetime(2026, 11, 24, tzinfo=UTC)
CRONTAB = """\
MAILTO=ops@example.org
# The nightly billing run
30 2 * * * flock -n /var/lock/billing /opt/billing
0 6 1 * mon /opt/report "of the month"
*/7 8-18 * * 1-5 /opt/poll
"""


@pytest.fixture(scope="module")
def imported(emulator):
    """The stack that schedules rest on."""
    emulator.deploy("imported", "observerd.yaml", **emulator.network())
    return emulator.outputs("imported")


def rendered(out, crontab):
    """The template of the crontab, less the alarms over metric math that the emulator does not make."""
    imported_to(out, crontab)
    template = json.loads(show.render(out / "schedules.toml", None, NOW).text)
    alarms = [name for name, it in template["Resources"].items() if it["Type"] == "AWS::CloudWatch::Alarm"]
    assert LACKING["schedule.yaml"] == {"MissedAlarm"}
    assert alarms
    for name in alarms:
        del template["Resources"][name]
    path = out / "schedules.json"
    path.write_text(json.dumps(template))
    return path


def imported_to(out, crontab):
    given = {"system": False, "user": "billing", "timezone": "Europe/Berlin", "like_cron": True, "now": NOW}
    show.import_crontabs([("crontab", crontab)], out=out, **given)


def schedules(emulator, stack):
    """The stack's schedules, as Scheduler has them, by logical id."""
    client = emulator.client("scheduler")
    found = emulator.client("cloudformation").describe_stack_resources(StackName=stack)["StackResources"]
    names = {
        it["LogicalResourceId"]: it["PhysicalResourceId"].rpartition("/")[2]
        for it in found
        if it["ResourceType"] == "AWS::Scheduler::Schedule"
    }
    return {key: client.get_schedule(GroupName="imported", Name=name) for key, name in names.items()}


def test_a_crontab_becomes_schedules_and_a_changed_line_an_update_of_its_own(emulator, imported, tmp_path):
    emulator.deploy_file("tab", rendered(tmp_path / "one", CRONTAB), Stack="imported")
    before = schedules(emulator, "tab")
    changed = (
        CRONTAB.replace("30 2 * * *", "45 2 * * *").replace("*/7 8-18", "*/7 8-17") + "@daily /opt/new\n"
    )
    emulator.deploy_file("tab", rendered(tmp_path / "two", changed), Stack="imported")
    after = schedules(emulator, "tab")

    assert {key: it["ScheduleExpression"] for key, it in before.items()} == {
        "Billing": "cron(30 2 * * ? *)",
        "BillingDstMar01": "cron(0 1 ? 3 1L *)",
        "Report": "cron(0 6 1 * ? *)",
        "ReportWeekday": "cron(0 6 ? * MON *)",
        "Poll": "cron(0/7 8-18 ? * MON-FRI *)",
    }
    assert {"New"} == after.keys() - before.keys()
    assert all(it["Name"] == after[key]["Name"] for key, it in before.items())
    differ = {
        key for key, it in before.items() if it["ScheduleExpression"] != after[key]["ScheduleExpression"]
    }
    assert {"Billing", "Poll"} == differ
    assert all(it["Target"]["Arn"] == imported["ProducerArn"] for it in after.values())
    assert json.loads(after["BillingDstMar01"]["Target"]["Input"]) == {
        "job": "billing",
        "schedule": "billing",
        "scheduled_time": "<aws.scheduler.scheduled-time>",
        "max_lateness": "21600s",
        "overlap": "queue",
    }


@pytest.mark.usefixtures("imported")
def test_what_did_not_change_is_no_change_and_the_address_hears_of_alarms(emulator, tmp_path):
    path = rendered(tmp_path, CRONTAB)
    emulator.deploy_file("same", path, Stack="imported")
    assert "No changes to deploy" in emulator.deploy_file("same", path, Stack="imported")
    topic = emulator.outputs("imported")["AlertTopicArn"]
    subscribed = emulator.client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert "ops@example.org" in {it["Endpoint"] for it in subscribed}


@pytest.mark.usefixtures("imported")
def test_a_line_that_goes_takes_its_schedules_with_it_and_going_back_is_a_deletion(emulator, tmp_path):
    emulator.deploy_file("gone", rendered(tmp_path / "one", CRONTAB), Stack="imported")
    less = "".join(line for line in CRONTAB.splitlines(keepends=True) if "report" not in line)
    emulator.deploy_file("gone", rendered(tmp_path / "two", less), Stack="imported")
    assert {"Billing", "BillingDstMar01", "Poll"} == schedules(emulator, "gone").keys()
    names = {it["Name"] for it in schedules(emulator, "gone").values()}
    emulator.aws("cloudformation", "delete-stack", "--stack-name", "gone")
    emulator.aws("cloudformation", "wait", "stack-delete-complete", "--stack-name", "gone")
    left = emulator.client("scheduler").list_schedules(GroupName="imported", MaxResults=100)["Schedules"]
    assert not names & {it["Name"] for it in left}


@pytest.mark.usefixtures("imported")
def test_templates_past_the_limit_are_stacks_that_the_cli_takes_as_they_are(emulator, tmp_path):
    """`aws cloudformation deploy` refuses a file of more than 51,200 bytes without a bucket."""
    imported_to(tmp_path, "".join(f"{n % 60} {n // 60} * * * /opt/job-{n}\n" for n in range(120)))
    text = (tmp_path / "schedules.toml").read_text()
    (tmp_path / "schedules.toml").write_text(text.replace("\ncron = ", '\nmissed_after = "0h"\ncron = '))
    files = show.render(tmp_path / "schedules.toml", tmp_path / "stacks", NOW).text.splitlines()
    assert len(files) > 1
    deployed = {}
    for number, file in enumerate(files, 1):
        emulator.deploy_file(f"many-{number}", file, Stack="imported")
        deployed |= schedules(emulator, f"many-{number}")
    parts = [part for it in load(tmp_path / "schedules.toml").entries for part in it.parts(NOW.date())]
    assert sorted(part.expression for part in parts) == sorted(
        it["ScheduleExpression"] for it in deployed.values()
    )
