"""The templates deployed, updated and deleted by the AWS CLI, and seen through each service's own API."""

import json
import re
import tomllib
import uuid
import warnings
from base64 import b64decode

import boto3
import pytest
import yaml
from botocore.exceptions import ClientError, WaiterError
from moto import mock_aws

from cloudformation.template import HERE, load
from tests.cloudformation.emulator import LACKING

# The first of these tests makes the emulator's environment, if the lock has changed.
pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("emulator")]

# moto 5.2.5 reports success and makes nothing of these. The demo lives with that; the list may only shrink.
SKIPPED_BY_MOTO = {
    "AWS::AutoScaling::ScalingPolicy",
    "AWS::CloudWatch::Alarm",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::SNS::Subscription",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::Scheduler::Schedule",
    "AWS::Scheduler::ScheduleGroup",
}
JOB_POLICIES = [
    "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess",
    "arn:aws:iam::aws:policy/AmazonSQSReadOnlyAccess",
]
BOUNDARY = "arn:aws:iam::aws:policy/PowerUserAccess"


def lacking(what):
    """For what the emulator leaves out without a word. Once it does not, the test fails and this goes."""
    return pytest.mark.xfail(strict=True, raises=AssertionError, reason=f"ministack 1.5.33 {what}")


@pytest.fixture(scope="module")
def stack(emulator):
    """The outputs of a stack with everything on."""
    emulator.deploy(
        "cron",
        "observerd.yaml",
        **emulator.network(),
        JobName="nightly-feed",
        Payload='{"feed": "eu"}',
        ScheduleTimezone="Asia/Tokyo",
        AlertEmail="on-call@example.org",
        SystemsManagerAccess="true",
        JobPolicyArns=",".join(JOB_POLICIES),
        PermissionsBoundary=BOUNDARY,
    )
    return emulator.outputs("cron")


def group(emulator, name):
    found = emulator.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[name])
    return found["AutoScalingGroups"]


def attributes(emulator, url):
    return emulator.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]


def test_the_queue_is_there_as_designed(emulator, stack):
    found = attributes(emulator, stack["QueueUrl"])
    expected = {
        "FifoQueue": "true",
        "VisibilityTimeout": "120",
        "ReceiveMessageWaitTimeSeconds": "20",
        "MessageRetentionPeriod": "86400",
        "SqsManagedSseEnabled": "true",
    }
    assert {key: found[key] for key in expected} == expected
    dead = attributes(emulator, stack["DeadLetterQueueUrl"])
    assert json.loads(found["RedrivePolicy"]) == {
        "deadLetterTargetArn": dead["QueueArn"],
        "maxReceiveCount": 10,
    }
    assert json.loads(dead["RedriveAllowPolicy"])["sourceQueueArns"] == [found["QueueArn"]]


def test_all_three_queues_refuse_plain_http(emulator, stack):
    urls = emulator.client("sqs").list_queues(QueueNamePrefix="cron-")["QueueUrls"]
    found = [attributes(emulator, url) for url in urls]
    denied = [json.loads(it["Policy"])["Statement"][0] for it in found if it["QueueArn"].split(":")[-1]]
    assert len(denied) == 3
    assert all(it["QueueArn"] in statement["Resource"] for it, statement in zip(found, denied, strict=True))


def test_the_group_is_empty_and_may_grow(emulator, stack):
    [found] = group(emulator, stack["AutoScalingGroupName"])
    assert (found["MinSize"], found["MaxSize"]) == (0, 3)
    assert len(found["VPCZoneIdentifier"].split(",")) == 2


def test_user_data_become_a_configuration_with_the_stacks_own_names(emulator, stack):
    [found] = group(emulator, stack["AutoScalingGroupName"])
    versions = emulator.client("ec2").describe_launch_template_versions(
        LaunchTemplateId=found["LaunchTemplate"]["LaunchTemplateId"]
    )
    user_data = b64decode(versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]["UserData"])
    [file] = yaml.safe_load(user_data)["write_files"]
    assert (file["path"], file["permissions"]) == ("/etc/observerd/conf.d/50-stack.toml", "0640")
    assert tomllib.loads(file["content"]) == {
        "queue_url": stack["QueueUrl"],
        "dead_letter_queue_url": stack["DeadLetterQueueUrl"],
        "region": "us-east-1",
        "stack": "cron",
        "log_group": stack["JobLogGroup"],
        "notify_topic": stack["AlertTopicArn"],
        "lifecycle_hook": "drain",
        "slots": 4,
        "visibility_timeout": "120s",
        "idle_timeout": "120s",
        "drain_timeout": "900s",
    }


@lacking("drops the time zone")
def test_the_schedule_has_its_time_zone(emulator, stack):
    found = emulator.client("scheduler").get_schedule(GroupName="cron", Name="nightly-feed")
    assert found["ScheduleExpressionTimezone"] == "Asia/Tokyo"


@lacking("drops hooks that are part of a group")
def test_the_group_has_the_hook_that_the_daemon_is_told_of(emulator, stack):
    found = emulator.client("autoscaling").describe_lifecycle_hooks(AutoScalingGroupName="cron-workers")
    assert [it["LifecycleHookName"] for it in found["LifecycleHooks"]] == ["drain"]


@lacking("publishes no metrics of groups")
def test_the_group_publishes_the_metrics_that_the_alarms_look_at(emulator, stack):
    [found] = group(emulator, "cron-workers")
    assert {"GroupDesiredCapacity", "GroupInServiceInstances"} <= {
        it["Metric"] for it in found.get("EnabledMetrics", [])
    }


def test_the_schedule_calls_the_producer(emulator, stack):
    found = emulator.client("scheduler").get_schedule(GroupName="cron", Name="nightly-feed")
    assert found["ScheduleExpression"] == "cron(0 3 * * ? *)"
    assert (found["Target"]["Arn"], found["Target"]["RoleArn"]) == (
        stack["ProducerArn"],
        stack["SchedulerRoleArn"],
    )
    assert json.loads(found["Target"]["Input"]) == {
        "job": "nightly-feed",
        "schedule": "nightly-feed",
        "scheduled_time": "<aws.scheduler.scheduled-time>",
        "max_lateness": "21600s",
        "overlap": "queue",
        "payload": {"feed": "eu"},
    }


def test_alarms_reach_the_topic_and_the_topic_the_address(emulator, stack):
    alarms = emulator.client("cloudwatch").describe_alarms(AlarmNamePrefix="cron-")["MetricAlarms"]
    assert {it["AlarmName"].split("-")[1] for it in alarms} == {"DeadLetterAlarm", "UndeliveredAlarm"}
    assert all(it["AlarmActions"] == [stack["AlertTopicArn"]] for it in alarms)
    subscriptions = emulator.client("sns").list_subscriptions_by_topic(TopicArn=stack["AlertTopicArn"])
    assert [it["Endpoint"] for it in subscriptions["Subscriptions"]] == ["on-call@example.org"]


def test_the_workers_role_has_the_policies_of_the_jobs(emulator, stack):
    role = stack["WorkerRoleArn"].rpartition("/")[2]
    attached = emulator.client("iam").list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    assert sorted(it["PolicyArn"] for it in attached) == JOB_POLICIES


@lacking("drops boundaries")
def test_the_workers_role_has_the_boundary(emulator, stack):
    role = emulator.client("iam").get_role(RoleName=stack["WorkerRoleArn"].rpartition("/")[2])["Role"]
    assert role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn") == BOUNDARY


def test_the_group_has_its_three_policies(emulator, stack):
    found = emulator.client("autoscaling").describe_policies(
        AutoScalingGroupName=stack["AutoScalingGroupName"]
    )
    assert sorted(
        (it["PolicyName"].split("-")[1], it["AdjustmentType"]) for it in found["ScalingPolicies"]
    ) == [
        ("GrowPolicy", "ChangeInCapacity"),
        ("LeakPolicy", "ExactCapacity"),
        ("WakePolicy", "ExactCapacity"),
    ]


def test_the_deployed_function_sends_once_and_wakes_the_group(emulator):
    """The inline code in the emulator's Lambda, called by hand through the CLI."""
    emulator.deploy("fired", "observerd.yaml", **emulator.network())
    stack = emulator.outputs("fired")
    event = json.dumps({"job": "nightly-feed", "scheduled_time": "2026-11-23T18:00:00Z"})
    invoke = ("lambda", "invoke", "--function-name", stack["ProducerArn"], "--payload", event, "/dev/stdout")
    answers = [json.JSONDecoder().raw_decode(emulator.aws(*invoke).stdout)[0] for _ in range(2)]
    assert [it["woken"] for it in answers] == [True, False]
    assert attributes(emulator, stack["QueueUrl"])["ApproximateNumberOfMessages"] == "1"
    assert group(emulator, "fired-workers")[0]["DesiredCapacity"] == 1


def updated(emulator, stack, **parameters):
    """The group of a stack that had two workers when it was deployed again with these parameters."""
    network = emulator.network()
    emulator.deploy(stack, "observerd.yaml", **network)
    name = f"{stack}-workers"
    emulator.client("autoscaling").set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=2)
    emulator.deploy(stack, "observerd.yaml", **network, **parameters)
    return group(emulator, name)[0]


def test_an_update_leaves_the_desired_capacity_alone(emulator):
    found = updated(emulator, "kept", RetentionSeconds="7200")
    assert found["DesiredCapacity"] == 2
    assert attributes(emulator, emulator.outputs("kept")["QueueUrl"])["MessageRetentionPeriod"] == "7200"


@lacking("updates a group by making a new one")
def test_an_update_of_the_group_leaves_its_desired_capacity_alone(emulator):
    found = updated(emulator, "grown", MaxSize="7")
    assert (found["MaxSize"], found["DesiredCapacity"]) == (7, 2)


def test_a_deletion_keeps_the_queues_and_the_jobs_logs_and_nothing_else(emulator):
    emulator.deploy("ended", "observerd.yaml", **emulator.network(), JobName="nightly-feed")
    stack = emulator.outputs("ended")
    emulator.aws("cloudformation", "delete-stack", "--stack-name", "ended")
    emulator.aws("cloudformation", "wait", "stack-delete-complete", "--stack-name", "ended")
    assert group(emulator, "ended-workers") == []
    queues = emulator.client("sqs").list_queues(QueueNamePrefix="ended-")["QueueUrls"]
    assert {stack["QueueUrl"], stack["DeadLetterQueueUrl"]} < set(queues)
    assert len(queues) == 3
    logs = emulator.client("logs").describe_log_groups(logGroupNamePrefix="/observerd/ended/")
    assert [it["logGroupName"] for it in logs["logGroups"]] == [stack["JobLogGroup"]]
    functions = emulator.client("lambda").list_functions()["Functions"]
    assert not [it for it in functions if it["FunctionName"].startswith("ended-")]


def test_a_stack_of_the_same_name_can_be_made_again_beside_what_is_left(emulator):
    for _ in range(2):
        emulator.deploy("again", "observerd.yaml", **emulator.network())
        emulator.aws("cloudformation", "delete-stack", "--stack-name", "again")
        emulator.aws("cloudformation", "wait", "stack-delete-complete", "--stack-name", "again")
    assert len(emulator.client("sqs").list_queues(QueueNamePrefix="again-jobs-")["QueueUrls"]) == 2


def test_a_further_schedule_is_a_stack_of_its_own(emulator, stack):
    emulator.deploy(
        "cron-weekly",
        "schedule.yaml",
        Stack="cron",
        JobName="weekly-report",
        ScheduleExpression="cron(0 8 ? * MON *)",
        Overlap="allow",
        MissedAfterHours="0",
    )
    found = emulator.client("scheduler").get_schedule(GroupName="cron", Name="cron-weekly")
    assert found["Target"]["Arn"] == stack["ProducerArn"]
    event = json.loads(found["Target"]["Input"])
    assert (event["job"], event["schedule"], event["overlap"]) == ("weekly-report", "cron-weekly", "allow")


@pytest.mark.usefixtures("stack")
def test_a_stack_that_schedules_rest_on_cannot_be_deleted_under_them(emulator):
    every_hour = {"JobName": "sync", "ScheduleExpression": "rate(1 hour)"}
    emulator.deploy("cron-hourly", "schedule.yaml", Stack="cron", **every_hour)
    emulator.aws("cloudformation", "delete-stack", "--stack-name", "cron", check=False)
    assert emulator.outputs("cron")["QueueUrl"]


def test_two_targets_for_alarms_are_refused(emulator):
    both = {"AlertEmail": "on-call@example.org", "AlertTopicArn": "arn:aws:sns:us-east-1:1:on-call"}
    with pytest.raises(AssertionError, match="AlertEmail or AlertTopicArn, not both"):
        emulator.deploy("both", "observerd.yaml", **emulator.network(), **both)


@pytest.mark.usefixtures("stack")
def test_endpoints_let_the_workers_in(emulator):
    network = emulator.network()
    emulator.deploy(
        "cron-endpoints", "vpc-endpoints.yaml", Stack="cron", **network, RouteTableIds="rtb-00000001"
    )
    found = emulator.client("ec2").describe_vpc_endpoints()["VpcEndpoints"]
    assert {it["ServiceName"].rpartition(".")[2] for it in found} == {
        "sqs",
        "logs",
        "autoscaling",
        "sns",
        "s3",
    }


def test_of_the_image_pipeline_the_emulator_makes_the_roles_and_logs(emulator):
    parameters = {"Version": "1.0.0", "Bucket": "packages", "RpmKey": "observerd.rpm", "RpmSha256": "0" * 64}
    emulator.deploy("image", "image.yaml", **parameters)
    logs = emulator.client("logs").describe_log_groups(logGroupNamePrefix="/aws/imagebuilder/")
    assert [it["logGroupName"] for it in logs["logGroups"]] == ["/aws/imagebuilder/image"]


@pytest.mark.parametrize(
    ("name", "logical_id"), [(name, it) for name, lacking in LACKING.items() for it in sorted(lacking)]
)
def test_what_is_left_out_for_the_emulator_it_still_cannot_make(emulator, name, logical_id):
    resource = load(name)["Resources"][logical_id]
    template = {"Resources": {"It": {"Type": resource["Type"], "Properties": plain(resource["Properties"])}}}
    said = refusal(emulator.client("cloudformation"), f"lacks-{uuid.uuid4().hex}", json.dumps(template))
    assert "not supported" in said or "Unrecognized resource types" in said


def refusal(cloudformation, stack, template):
    """Why the stack could not be made."""
    try:
        cloudformation.create_stack(StackName=stack, TemplateBody=template)
        waiter = cloudformation.get_waiter("stack_create_complete")
        waiter.wait(StackName=stack, WaiterConfig={"Delay": 0.1})
    except ClientError as error:
        return str(error)
    except WaiterError:
        events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
        return " ".join(it.get("ResourceStatusReason", "") for it in events)
    return "made"


def plain(node):
    """Properties without references: only whether the type can be made is the question."""
    match node:
        case {"Ref": _} | {"Fn::Sub": _} | {"Fn::GetAtt": _} | {"Fn::If": _} | {"Fn::ImportValue": _}:
            return "1"
        case dict():
            return {key: plain(value) for key, value in node.items()}
        case list():
            return [plain(it) for it in node]
    return node


def in_moto(**parameters):
    """The whole template as the demo deploys it: the stack, its group, and what moto made nothing of."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        ec2 = boto3.client("ec2", "us-east-1")
        parameters["VpcId"] = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        parameters["SubnetIds"] = ",".join([it["SubnetId"] for it in ec2.describe_subnets()["Subnets"]][:2])
        cloudformation = boto3.client("cloudformation", "us-east-1")
        cloudformation.create_stack(
            StackName="cron",
            TemplateBody=(HERE / "observerd.yaml").read_text(),
            Parameters=[{"ParameterKey": key, "ParameterValue": it} for key, it in parameters.items()],
        )
        [stack] = cloudformation.describe_stacks(StackName="cron")["Stacks"]
    [found] = boto3.client("autoscaling", "us-east-1").describe_auto_scaling_groups()["AutoScalingGroups"]
    return (
        stack,
        found,
        {it for one in warned for it in re.findall(r"parse (AWS::\S+) but", str(one.message))},
    )


@mock_aws
def test_moto_makes_all_but_what_it_is_known_to_skip():
    stack, _, skipped = in_moto(JobName="nightly-feed", AlertEmail="on-call@example.org")
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    assert skipped == SKIPPED_BY_MOTO


@mock_aws
def test_on_spot_the_group_has_three_types_to_choose_from():
    _, found, _ = in_moto(SpotInstanceTypes="t4g.small,t4g.medium,m6g.medium")
    policy = found["MixedInstancesPolicy"]
    types = [it["InstanceType"] for it in policy["LaunchTemplate"]["Overrides"]]
    assert types == ["t4g.small", "t4g.medium", "m6g.medium"]
    assert policy["InstancesDistribution"]["OnDemandPercentageAboveBaseCapacity"] == 0


@mock_aws
def test_a_topic_of_ones_own_takes_the_place_of_the_one_made_here():
    topic = boto3.client("sns", "us-east-1").create_topic(Name="on-call")["TopicArn"]
    stack, *_ = in_moto(AlertTopicArn=topic)
    outputs = {it["OutputKey"]: it["OutputValue"] for it in stack["Outputs"]}
    assert outputs["AlertTopicArn"] == topic
    assert len(boto3.client("sns", "us-east-1").list_topics()["Topics"]) == 1
