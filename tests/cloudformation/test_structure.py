"""What every template promises, asserted over its parsed form."""

import json
import re
import shlex
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name

from cloudformation.document import DOCUMENT, documented
from cloudformation.template import HERE, load

TEMPLATES = sorted(path.name for path in HERE.glob("*.yaml"))
MODELS = botocore.session.get_session()
STACKS = [(name, load(name)) for name in TEMPLATES]


def resources(kind, only=TEMPLATES):
    """(template: logical id, resource) of every resource of a type."""
    return [
        pytest.param(resource, id=f"{name}:{logical_id}")
        for name, template in STACKS
        if name in only
        for logical_id, resource in template["Resources"].items()
        if resource["Type"] == kind
    ]


def every(kind, only=TEMPLATES):
    return pytest.mark.parametrize("resource", resources(kind, only))


def walk(node):
    """Every mapping in a tree."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(child)


def statements(template):
    return [node for node in walk(template["Resources"]) if "Effect" in node]


def actions(statement):
    found = statement["Action"]
    return found if isinstance(found, list) else [found]


def test_the_files_are_those_that_the_documentation_names():
    assert TEMPLATES == ["image.yaml", "observerd.yaml", "schedule.yaml", "vpc-endpoints.yaml"]


@pytest.mark.parametrize("name", TEMPLATES)
def test_it_can_be_deployed_without_a_bucket(name):
    """CloudFormation takes 51,200 bytes of template body; the rest is for what is still to come."""
    assert len((HERE / name).read_bytes()) < 47_000


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_partition_region_or_account_is_written_down(name):
    text = (HERE / name).read_text()
    assert not re.search(r"arn:aws|[a-z]{2}-[a-z]+-[0-9]\b|\b[0-9]{12}\b|amazonaws\.com\.cn", text)


@pytest.mark.parametrize(("name", "template"), STACKS)
def test_there_is_neither_transform_nor_custom_resource_nor_mapping(name, template):
    kinds = {resource["Type"] for resource in template["Resources"].values()}
    assert "Transform" not in template
    assert "Mappings" not in template
    assert not {kind for kind in kinds if kind.startswith("Custom::") or "CustomResource" in kind}


def test_only_the_network_must_be_given():
    parameters = load("observerd.yaml")["Parameters"]
    assert [name for name, it in parameters.items() if "Default" not in it] == ["VpcId", "SubnetIds"]


@pytest.mark.parametrize(("name", "template"), STACKS)
def test_every_parameter_is_described_and_bounded(name, template):
    """By its type, its values, a pattern or a range; free text is what only its user can judge."""
    free = {"ScheduleTimezone", "Payload", "JobPolicyArns", "RouteTableIds"}
    bounds = {"AllowedValues", "AllowedPattern", "MinValue"}
    for parameter, it in template["Parameters"].items():
        assert it["Description"].endswith("."), parameter
        assert bounds & set(it) or "AWS::EC2" in it["Type"] or parameter in free, parameter


@pytest.mark.parametrize(("name", "template"), [it for it in STACKS if it[0] != "vpc-endpoints.yaml"])
def test_the_console_groups_every_parameter(name, template):
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(it for group in groups for it in group["Parameters"]) == sorted(template["Parameters"])


@pytest.mark.parametrize(("name", "template"), STACKS)
def test_every_output_is_exported_under_its_own_name(name, template):
    for key, output in template.get("Outputs", {}).items():
        assert output["Export"] == {"Name": {"Fn::Sub": f"${{AWS::StackName}}-{key}"}}


def test_what_other_stacks_import_is_exported():
    exported = {f"${{Stack}}-{key}" for key in load("observerd.yaml")["Outputs"]}
    imported = {
        node["Fn::ImportValue"]["Fn::Sub"]
        for _, it in STACKS
        for node in walk(it)
        if "Fn::ImportValue" in node
    }
    assert imported
    assert imported <= exported


@every("AWS::SQS::Queue")
def test_every_queue_is_encrypted_and_outlives_its_stack(resource):
    assert resource["Properties"]["SqsManagedSseEnabled"] is True
    assert "MessageRetentionPeriod" in resource["Properties"]
    assert resource["DeletionPolicy"] == "RetainExceptOnCreate"
    assert resource["UpdateReplacePolicy"] == "Retain"


def test_every_queue_and_topic_refuses_plain_http():
    template = load("observerd.yaml")
    plain = {"Bool": {"aws:SecureTransport": "false"}}
    refused = [
        policy
        for policy in template["Resources"].values()
        if policy["Type"] in {"AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy"}
        for it in policy["Properties"]["PolicyDocument"]["Statement"]
        if it["Effect"] == "Deny" and it.get("Condition") == plain and it["Principal"] == "*"
    ]
    covered = {
        ref["Ref"] for it in refused for ref in it["Properties"].get("Queues", it["Properties"].get("Topics"))
    }
    queues_and_topics = {
        name
        for name, it in template["Resources"].items()
        if it["Type"] in {"AWS::SQS::Queue", "AWS::SNS::Topic"}
    }
    assert covered == queues_and_topics


def test_the_dead_letters_of_a_fifo_queue_go_to_a_fifo_queue_and_those_of_services_to_a_standard_one():
    queues = {
        name: it["Properties"] for name, it in load("observerd.yaml")["Resources"].items() if "Queue" in name
    }
    assert [
        queues[it].get("FifoQueue", False) for it in ("Queue", "DeadLetterQueue", "UndeliveredQueue")
    ] == [
        True,
        True,
        False,
    ]
    assert queues["DeadLetterQueue"]["MessageRetentionPeriod"] == 14 * 86400


@every("AWS::CloudWatch::Alarm")
def test_every_alarm_says_what_happened_what_to_do_and_which_command_to_paste(resource):
    description = json.dumps(resource["Properties"]["AlarmDescription"])
    said, *commands = description.split("aws --region ${AWS::Region} ")
    assert len(said.split()) > 10
    assert commands
    assert len(description) < 800  # CloudWatch allows 1,024 characters, with names in place of references.


def commands():
    """Every command that an alarm tells its reader to paste."""
    for _, template in STACKS:
        for it in template["Resources"].values():
            if it["Type"] == "AWS::CloudWatch::Alarm":
                said = it["Properties"]["AlarmDescription"]["Fn::Sub"]
                text = said if isinstance(said, str) else said[0]
                yield from re.findall(r"aws --region (?:(?! \|\| |$).)+", text.strip())


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_every_command_of_an_alarm_names_an_operation_and_parameters_that_there_are(command):
    """The AWS CLI's version 2, which they are for, is no Python package; it is made from the same models."""
    _, _, _, service, name, *arguments = shlex.split(command)
    options = {it for it in arguments if it.startswith("--")}
    if (service, name) == ("logs", "tail"):
        assert options <= {"--since", "--filter-pattern"}
        return
    operations = {xform_name(it, "-"): it for it in MODELS.get_service_model(service).operation_names}
    members = MODELS.get_service_model(service).operation_model(operations[name]).input_shape.members
    assert options <= {f"--{xform_name(it, '-')}" for it in members} | {"--output", "--cli-binary-format"}


@every("AWS::CloudWatch::Alarm")
def test_every_alarm_acts_and_knows_what_missing_data_mean(resource):
    """INSUFFICIENT_DATA is nobody's news: a queue that sleeps has no data."""
    assert resource["Properties"]["AlarmActions"]
    assert resource["Properties"]["TreatMissingData"] in {"notBreaching", "breaching"}


@every("AWS::CloudWatch::Alarm")
def test_only_a_dead_mans_switch_rings_for_missing_data(resource):
    breaching = resource["Properties"]["TreatMissingData"] == "breaching"
    assert breaching == ("successes" in json.dumps(resource["Properties"].get("Metrics", [])))


@every("AWS::IAM::Role")
def test_every_role_takes_the_boundary(resource):
    boundary = {"Fn::If": ["HasBoundary", {"Ref": "PermissionsBoundary"}, {"Ref": "AWS::NoValue"}]}
    assert resource["Properties"]["PermissionsBoundary"] == boundary


@every("AWS::IAM::Role")
def test_no_role_has_a_name_so_that_capability_iam_is_enough(resource):
    assert "RoleName" not in resource["Properties"]


@pytest.mark.parametrize(("name", "template"), STACKS)
def test_a_wildcard_resource_stands_only_where_the_api_knows_no_narrower_one(name, template):
    wide = {
        it
        for statement in statements(template)
        if statement.get("Resource") == "*"
        for it in actions(statement)
    }
    assert wide <= {
        "autoscaling:DescribeAutoScalingGroups",
        "autoscaling:DescribeAutoScalingInstances",
        "ssm:UpdateInstanceInformation",
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
    }


@pytest.mark.parametrize(("name", "template"), STACKS)
def test_nothing_is_allowed_by_a_wildcard_action(name, template):
    allowed = [
        it
        for statement in statements(template)
        if statement["Effect"] == "Allow"
        for it in actions(statement)
    ]
    assert not [it for it in allowed if "*" in it]


def test_the_worker_may_do_what_the_daemon_does_and_no_more():
    policy = load("observerd.yaml")["Resources"]["WorkerRole"]["Properties"]["Policies"]
    allowed = {it for statement in statements({"Resources": policy}) for it in actions(statement)}
    assert allowed == {
        "autoscaling:CompleteLifecycleAction",
        "autoscaling:DescribeAutoScalingGroups",
        "autoscaling:DescribeAutoScalingInstances",
        "autoscaling:RecordLifecycleActionHeartbeat",
        "autoscaling:SetInstanceProtection",
        "autoscaling:TerminateInstanceInAutoScalingGroup",
        "logs:CreateLogStream",
        "logs:FilterLogEvents",
        "logs:PutLogEvents",
        "sns:Publish",
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:GetQueueUrl",
        "sqs:ReceiveMessage",
        "sqs:SendMessage",
    }


def test_nothing_that_a_leaving_worker_needs_is_deleted_before_its_group():
    """CloudFormation deletes what refers to the group first: the role must name it, not refer to it."""
    role = load("observerd.yaml")["Resources"]["WorkerRole"]
    assert "${Workers}" not in json.dumps(role)
    assert "${AWS::StackName}-workers" in json.dumps(role)


@every("AWS::Logs::LogGroup")
def test_every_log_group_forgets(resource):
    assert resource["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionInDays"}


@every("AWS::AutoScaling::AutoScalingGroup")
def test_a_deploy_cannot_touch_the_desired_capacity_or_cut_a_job(resource):
    assert "DesiredCapacity" not in resource["Properties"]
    assert resource["UpdatePolicy"] == {
        "AutoScalingScheduledAction": {"IgnoreUnmodifiedGroupSizeProperties": True},
    }


@every("AWS::AutoScaling::AutoScalingGroup")
def test_a_group_keeps_a_leaving_worker_and_protects_no_new_one(resource):
    """Protected from birth, a worker that never came up would hang the stack's deletion."""
    [hook] = resource["Properties"]["LifecycleHookSpecificationList"]
    assert hook["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_TERMINATING"
    # AWS ends the wait after a hundred timeouts. The last look may take DrainSeconds, two hours at most, and
    # a job that it finds then, twelve.
    assert 100 * hook["HeartbeatTimeout"] > 43_200 + 7_200
    assert resource["Properties"]["NewInstancesProtectedFromScaleIn"] is False


def test_user_data_write_the_daemons_file_and_nothing_else():
    template = load("observerd.yaml")["Resources"]["WorkerTemplate"]["Properties"]["LaunchTemplateData"]
    text, _ = template["UserData"]["Fn::Base64"]["Fn::Sub"]
    header, body = text.split("\n", 1)
    assert header == "#cloud-config"
    assert re.findall(r"^\w+:", body, re.MULTILINE) == ["write_files:"]
    assert re.findall(r"^ +(\w+) =", body, re.MULTILINE) == [
        "queue_url",
        "dead_letter_queue_url",
        "region",
        "stack",
        "log_group",
        "notify_topic",
        "lifecycle_hook",
        "slots",
        "visibility_timeout",
        "idle_timeout",
        "drain_timeout",
    ]


def test_the_daemon_is_told_the_hook_and_the_visibility_timeout_that_the_stack_really_has():
    resources = load("observerd.yaml")["Resources"]
    text, _ = resources["WorkerTemplate"]["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"][
        "Fn::Sub"
    ]
    [hook] = resources["Workers"]["Properties"]["LifecycleHookSpecificationList"]
    assert f'lifecycle_hook = "{hook["LifecycleHookName"]}"' in text
    assert f'visibility_timeout = "{resources["Queue"]["Properties"]["VisibilityTimeout"]}s"' in text


@every("AWS::EC2::LaunchTemplate")
def test_workers_have_imds_version_2_encrypted_disks_and_no_way_in(resource):
    data = resource["Properties"]["LaunchTemplateData"]
    assert data["MetadataOptions"] == {
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 1,
        "InstanceMetadataTags": "enabled",
    }
    assert [it["Ebs"]["Encrypted"] for it in data["BlockDeviceMappings"]] == [True]
    assert (
        "SecurityGroupIngress" not in load("observerd.yaml")["Resources"]["WorkerSecurityGroup"]["Properties"]
    )


@every("AWS::Scheduler::Schedule")
def test_the_input_of_a_schedule_is_an_event_of_the_producer(resource):
    text = resource["Properties"]["Target"]["Input"]["Fn::Sub"]
    event = json.loads(text.replace("${Payload}", '{"feed": "eu"}'))
    assert set(event) == {"job", "schedule", "scheduled_time", "max_lateness", "overlap", "payload"}
    assert event["scheduled_time"] == "<aws.scheduler.scheduled-time>"


@every("AWS::Scheduler::Schedule")
def test_a_schedule_tries_as_long_as_the_run_may_be_late_and_then_says_so(resource):
    target = resource["Properties"]["Target"]
    assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] == {"Ref": "MaxLatenessSeconds"}
    assert "Undelivered" in json.dumps(target["DeadLetterConfig"])


def test_both_templates_watch_a_job_alike():
    """The names of the metric stand in two files, because a template cannot include another."""
    here, there = (
        load(it)["Resources"]["MissedAlarm"]["Properties"] for it in ("observerd.yaml", "schedule.yaml")
    )
    alike = json.dumps(there["Metrics"]).replace('{"Ref": "Stack"}', '{"Ref": "AWS::StackName"}')
    assert alike == json.dumps(here["Metrics"])
    assert [there[it] for it in ("Threshold", "EvaluationPeriods", "ComparisonOperator")] == [
        here[it] for it in ("Threshold", "EvaluationPeriods", "ComparisonOperator")
    ]


def test_the_dashboard_is_json_and_shows_the_six_things():
    body = load("observerd.yaml")["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    widgets = json.loads(body)["widgets"]
    assert [it["properties"]["title"] for it in widgets] == [
        "Queue",
        "Workers",
        "Producer",
        "Outcomes",
        "Start delay in seconds",
        "Last failures",
    ]
    assert all(it["properties"]["region"] == "${AWS::Region}" for it in widgets)


def test_the_stack_policy_guards_all_that_would_lose_work():
    policy = json.loads((HERE / "stack-policy.json").read_text())
    [denied] = [it for it in policy["Statement"] if it["Effect"] == "Deny"]
    kept = {
        name
        for name, it in load("observerd.yaml")["Resources"].items()
        if it.get("DeletionPolicy") == "RetainExceptOnCreate"
    }
    assert {it.removeprefix("LogicalResourceId/") for it in denied["Resource"]} == kept | {"Workers"}


@pytest.mark.parametrize("phase", ["build", "validate", "test"])
def test_every_shell_script_of_the_image_stops_at_its_first_error(phase):
    """Image Builder looks at the last exit code only. A `!` before a command would be exempt from set -e."""
    documents = [
        it["Properties"]["Data"]["Fn::Sub"]
        for it in load("image.yaml")["Resources"].values()
        if "Data" in it.get("Properties", {})
    ]
    scripts = [script for it in documents for script in re.findall(r"commands:\n((?: +- .*\n)+)", it)]
    assert phase in documents[0]
    for script in scripts:
        assert script.split("\n")[0].strip() == "- set -euo pipefail"
        assert "- '!" not in script


def test_what_the_image_installs_is_checked_by_its_sum_before():
    for component, name in (("Observerd", "Rpm"), ("Jobs", "Jobs")):
        text = load("image.yaml")["Resources"][component]["Properties"]["Data"]["Fn::Sub"]
        check = text.index(f"${{{name}Sha256}}")
        assert check < (text.find("dnf install") if component == "Observerd" else text.find("tar --extract"))


def test_embedding_changes_nothing_so_the_template_holds_exactly_the_producers_source():
    inline = load("observerd.yaml")["Resources"]["Producer"]["Properties"]["Code"]["ZipFile"]
    assert inline == (HERE / "producer" / "index.py").read_text()


def test_paths_of_the_templates_own_comments_exist():
    text = "".join((HERE / name).read_text() for name in TEMPLATES)
    for path in re.findall(r"docs/[\w-]+\.md", text):
        assert (Path(HERE).parent / path).exists(), path


def test_the_tables_of_parameters_are_those_of_the_templates():
    """python -m cloudformation.document makes them."""
    text = DOCUMENT.read_text()
    assert documented(text) == text
    assert set(re.findall(r"<!-- parameters of (\S+) -->", text)) == set(TEMPLATES)


def test_every_alarm_and_every_template_is_documented():
    text = DOCUMENT.read_text()
    alarms = {
        name for _, it in STACKS for name, one in it["Resources"].items() if one["Type"].endswith("::Alarm")
    }
    rows = set(re.findall(r"^\| (\w+)", text, re.MULTILINE))
    assert {it.removesuffix("Alarm") for it in alarms} <= rows
    assert all(f"`{it}`" in text for it in TEMPLATES)
