"""Each trap is found, and how to mend it is said; a stack without one is healthy."""

import copy
import json
import threading
from datetime import UTC, datetime

import pytest

from observerd.operations.checkups import ALARMS, CHECKS, GROUP_METRICS
from observerd.operations.doctor import examine, report
from observerd.operations.patient import Level, Patient
from observerd.operations.screen import Screen
from tests.operations.cloud import AT, JOBS, PLACE, PRODUCER, Cloud, refused

ARN = "arn:aws:sqs:eu-west-1:123456789012:"

# What AWS answers for a healthy stack, as much of it as the checks look at.
HEALTHY = {
    "queue": {
        "QueueArn": f"{ARN}cron-jobs-1.fifo",
        "VisibilityTimeout": "120",
        "MessageRetentionPeriod": "86400",
        "RedrivePolicy": json.dumps({"deadLetterTargetArn": f"{ARN}cron-dead-1.fifo", "maxReceiveCount": 10}),
    },
    "dead": {
        "QueueArn": f"{ARN}cron-dead-1.fifo",
        "MessageRetentionPeriod": "1209600",
        "RedriveAllowPolicy": json.dumps(
            {"redrivePermission": "byQueue", "sourceQueueArns": [f"{ARN}cron-jobs-1.fifo"]}
        ),
    },
    "undelivered": {},
    "group": {
        "AutoScalingGroupName": "cron-workers",
        "AutoScalingGroupARN": "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:x:cron-workers",
        "MinSize": 0,
        "MaxSize": 3,
        "DesiredCapacity": 0,
        "AvailabilityZones": ["eu-west-1a", "eu-west-1b"],
        "HealthCheckGracePeriod": 120,
        "NewInstancesProtectedFromScaleIn": False,
        "EnabledMetrics": [{"Metric": name} for name in GROUP_METRICS],
        "Instances": [],
        "LaunchTemplate": {"LaunchTemplateId": "lt-1", "Version": "3"},
    },
    "templates": {("lt-1", "3"): "ami-1", ("lt-2", "$Default"): "ami-2"},
    "images": {"ami-1": {"State": "available"}, "ami-2": {"State": "available"}},
    "hooks": [
        {
            "LifecycleHookName": "drain",
            "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
            "HeartbeatTimeout": 300,
        }
    ],
    "policies": [
        {
            "PolicyName": "wake",
            "AdjustmentType": "ExactCapacity",
            "StepAdjustments": [{"ScalingAdjustment": 1}],
        },
        {
            "PolicyName": "leak",
            "PolicyARN": "arn:leak",
            "AdjustmentType": "ExactCapacity",
            "StepAdjustments": [{"ScalingAdjustment": 0}],
        },
    ],
    "actions": [],
    "activities": [],
    "alarms": [
        {"AlarmName": f"cron-{name}", "ActionsEnabled": True, "AlarmActions": ["arn:x"], "StateValue": "OK"}
        for name in sorted(ALARMS)
    ],
    "alarm_names": sorted(ALARMS),
    "topic": {},
    "subscriptions": [{"SubscriptionArn": "arn:aws:sns:eu-west-1:123456789012:alerts:1"}],
    "points": [{"Timestamp": datetime.fromtimestamp(AT - 120, UTC), "Minimum": 0.0}],
    "metrics": [{"MetricName": "JobSucceeded"}],
    "log_groups": [{"logGroupName": name, "retentionInDays": 90} for name in (JOBS, PRODUCER)],
    "reserved": None,
    "destinations": [{"DestinationConfig": {"OnFailure": {"Destination": f"{ARN}cron-undelivered"}}}],
    "denied": [],
    "roles": ["WorkerRole", "ProducerRole", "SchedulerRole"],
}


class Ward(Cloud):
    """Every client of one stack, answering out of facts."""

    def __init__(self):
        super().__init__()
        self.facts = copy.deepcopy(HEALTHY)
        self.scheduler.add("feed", "cron(0 18 * * ? *)")
        self.scheduler.schedules["feed"]["Target"]["DeadLetterConfig"] = {"Arn": "arn:x"}
        self.faults, self.hooks = {}, {}

    def client(self, service, _endpoint=None):
        return {"logs": _Logs(self), "scheduler": self.scheduler}.get(service) or _Client(self)

    region = "eu-west-1"

    def examined(self):
        return examine(Patient(self, PLACE, {}, AT))

    def found(self, check):
        return [(each.level, each.text, each.mend) for each in self.examined().findings[check]]


class _Client:
    def __init__(self, ward):
        self.ward, self.facts = ward, ward.facts

    def __getattr__(self, name):
        def call(**request):
            if name in self.ward.hooks:
                self.ward.hooks[name](request)
            if name in self.ward.faults:
                raise self.ward.faults[name]
            return getattr(self, f"_{name}")(request)

        return call

    def _get_queue_attributes(self, request):
        name = request["QueueUrl"].rsplit("/", 1)[1]
        kind = next(
            kind for word, kind in (("jobs", "queue"), ("dead", "dead"), ("", "undelivered")) if word in name
        )
        return {"Attributes": self.facts[kind]}

    def _describe_stacks(self, _):
        outputs = {
            "UndeliveredQueueArn": f"{ARN}cron-undelivered",
            "AlertTopicArn": "arn:aws:sns:eu-west-1:123456789012:alerts",
            "ProducerArn": "arn:aws:lambda:eu-west-1:123456789012:function:cron-producer",
        }
        return {"Stacks": [{"Outputs": [{"OutputKey": k, "OutputValue": v} for k, v in outputs.items()]}]}

    def _list_stack_resources(self, request):
        """In two pages."""
        if "NextToken" in request:
            policy = {"LogicalResourceId": "LeakPolicy", "PhysicalResourceId": "arn:leak"}
            return {"StackResourceSummaries": [policy | {"ResourceType": "AWS::AutoScaling::ScalingPolicy"}]}
        alarms = [
            {
                "ResourceType": "AWS::CloudWatch::Alarm",
                "LogicalResourceId": name,
                "PhysicalResourceId": f"cron-{name}",
            }
            for name in self.facts["alarm_names"]
        ]
        roles = [
            {
                "ResourceType": "AWS::IAM::Role",
                "LogicalResourceId": name,
                "PhysicalResourceId": f"cron-{name}",
            }
            for name in self.facts["roles"]
        ]
        return {"StackResourceSummaries": [*alarms, *roles], "NextToken": "more"}

    def _describe_auto_scaling_groups(self, _):
        return {"AutoScalingGroups": [self.facts["group"]] if self.facts["group"] else []}

    def _describe_launch_template_versions(self, request):
        assert request["ResolveAlias"]
        [version] = request["Versions"]
        data = {"ImageId": self.facts["templates"][request["LaunchTemplateId"], version]}
        return {"LaunchTemplateVersions": [{"LaunchTemplateData": data}]}

    def _describe_images(self, request):
        """EC2 shows neither deprecated nor disabled ones to those who do not ask for them."""
        assert request["IncludeDeprecated"]
        assert request["IncludeDisabled"]
        images = self.facts["images"]
        return {"Images": [images[each] for each in request["ImageIds"] if each in images]}

    def _describe_lifecycle_hooks(self, _):
        return {"LifecycleHooks": self.facts["hooks"]}

    def _describe_policies(self, _):
        return {"ScalingPolicies": self.facts["policies"]}

    def _describe_scheduled_actions(self, _):
        return {"ScheduledUpdateGroupActions": self.facts["actions"]}

    def _describe_scaling_activities(self, _):
        return {"Activities": self.facts["activities"]}

    def _describe_alarms(self, request):
        return {
            "MetricAlarms": [
                each for each in self.facts["alarms"] if each["AlarmName"] in request["AlarmNames"]
            ]
        }

    def _get_topic_attributes(self, _):
        return {"Attributes": self.facts["topic"]}

    def _list_subscriptions_by_topic(self, _):
        return {"Subscriptions": self.facts["subscriptions"]}

    def _get_metric_statistics(self, _):
        return {"Datapoints": self.facts["points"]}

    def _list_metrics(self, _):
        return {"Metrics": self.facts["metrics"]}

    def _get_function_concurrency(self, _):
        reserved = self.facts["reserved"]
        return {} if reserved is None else {"ReservedConcurrentExecutions": reserved}

    def _list_function_event_invoke_configs(self, _):
        return {"FunctionEventInvokeConfigs": self.facts["destinations"]}

    def _simulate_principal_policy(self, request):
        denied = self.facts["denied"]
        return {
            "EvaluationResults": [
                {"EvalActionName": name, "EvalDecision": "implicitDeny" if name in denied else "allowed"}
                for name in request["ActionNames"]
            ]
        }


class _Logs:
    def __init__(self, ward):
        self._ward = ward
        self.filter_log_events = ward.logs.filter_log_events

    def describe_log_groups(self, *, logGroupNamePrefix):  # noqa: N803 boto3's
        every = self._ward.facts["log_groups"]
        return {"logGroups": [each for each in every if each["logGroupName"].startswith(logGroupNamePrefix)]}


@pytest.fixture
def ward():
    return Ward()


def test_a_healthy_stack_is_healthy(ward):
    diagnosis = ward.examined()

    assert {"ok"} == {each["level"] for each in diagnosis.values()}, diagnosis.values()
    assert (0, list(CHECKS)) == (diagnosis.status, list(diagnosis.findings))


WORKER = {"InstanceId": "i-0abc", "LifecycleState": "InService", "ProtectedFromScaleIn": True}
FAILED = {"StatusCode": "Failed", "StatusMessage": "no capacity"}


FEW = json.dumps({"deadLetterTargetArn": f"{ARN}cron-dead-1.fifo", "maxReceiveCount": 3})
LAUNCHING = {"LifecycleHookName": "up", "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING"}
TO_ZERO = {"AdjustmentType": "ExactCapacity", "StepAdjustments": [{"ScalingAdjustment": 0}]}
PENDING = [{"SubscriptionArn": "PendingConfirmation"}]


@pytest.mark.parametrize(
    ("check", "fact", "change", "text", "mend"),
    [
        ("queue", "queue", {"DelaySeconds": "5"}, "messages are delayed", "DelaySeconds=0"),
        ("queue", "queue", {"VisibilityTimeout": "43200"}, "stays hidden for 12h", "VisibilityTimeout=120"),
        (
            "queue", "queue", {"MessageRetentionPeriod": "10800"},
            "lost after 3h, even one whose job still runs", "MessageRetentionPeriod=86400",
        ),
        ("queue", "queue", {"RedrivePolicy": None}, "no dead-letter queue", None),
        (
            "queue", "queue",
            {"RedrivePolicy": FEW},
            "gives up after 3 receives", "maxReceiveCount",
        ),
        (
            "dead letters", "dead", {"MessageRetentionPeriod": "86400"},
            "lost after 1d", "MessageRetentionPeriod=1209600",
        ),
        (
            "dead letters", "dead", {"RedriveAllowPolicy": '{"redrivePermission": "denyAll"}'},
            "does not let the queue", None,
        ),
        (
            "dead letters", "dead",
            {"RedriveAllowPolicy": '{"redrivePermission": "byQueue", "sourceQueueArns": ["arn:x"]}'},
            "does not let the queue", None,
        ),
        ("dead letters", "dead", {"ApproximateNumberOfMessages": "2"}, "2 runs have failed", "dlq list"),
        (
            "undelivered", "undelivered", {"ApproximateNumberOfMessages": "1"},
            "1 event of schedules became no message", "receive-message",
        ),
        ("group", "group", {"MaxSize": 0}, "nothing is run", "--max-size 1"),
        ("group", "group", {"AvailabilityZones": ["eu-west-1a"]}, "one Availability Zone", None),
        ("group", "group", {"HealthCheckGracePeriod": 0}, "before a machine has booted", "grace-period 120"),
        ("group", "group", {"NewInstancesProtectedFromScaleIn": True}, "Leak alarm", "--no-new-instances"),
        ("group", "group", {"EnabledMetrics": []}, "the alarms are blind", "enable-metrics-collection"),
        (
            "group", "queue", {"ApproximateNumberOfMessages": "2"},
            "2 messages wait and no worker is wanted", "--desired-capacity 1",
        ),
        (
            "group", "group",
            {"SuspendedProcesses": [{"ProcessName": "Launch", "SuspensionReason": "admin"}]},
            "Launch is suspended (admin)", "--scaling-processes Launch",
        ),
        ("image", "images", {"ami-1": None}, "ami-1 is not there", "ImageId"),
        ("image", "images", {"ami-1": {"State": "disabled"}}, "ami-1 is disabled", "enable-image --image-id"),
        ("image", "images", {"ami-1": {"State": "failed"}}, "ami-1 is failed: nothing can be", None),
        ("hook", "hooks", [], "none called drain", "put-lifecycle-hook"),
        (
            "hook", "hooks", [HEALTHY["hooks"][0] | {"HeartbeatTimeout": 30}],
            "waits for 30s", "--heartbeat-timeout 600",
        ),
        (
            "hook", "hooks", [*HEALTHY["hooks"], HEALTHY["hooks"][0] | {"LifecycleHookName": "old"}],
            "nobody completes old", None,
        ),
        (
            "hook", "hooks",
            [*HEALTHY["hooks"], LAUNCHING],
            "delays every launch", None,
        ),
        (
            "scaling", "policies",
            [{"PolicyName": "shrink", "AdjustmentType": "ChangeInCapacity", "ScalingAdjustment": -1}],
            "policy shrink scales in", "delete-policy",
        ),
        (
            "scaling", "policies",
            [TO_ZERO | {"PolicyName": "to zero; reboot"}],
            "policy to zero; reboot scales in", "--policy-name 'to zero; reboot'",
        ),
        (
            "scaling", "policies", [{"PolicyName": "track", "PolicyType": "TargetTrackingScaling"}],
            "policy track scales in", "delete-policy",
        ),
        ("scaling", "actions", [{"ScheduledActionName": "night"}], "night sets", "delete-scheduled-action"),
        ("alarms", "alarms", HEALTHY["alarms"][:-1], "cron-WakeAlarm is gone", "deploy"),
        ("alarms", "alarm_names", sorted(ALARMS)[:-1], "has no WakeAlarm: a message whose wake", "deploy"),
        (
            "topic", "topic", {"KmsMasterKeyId": "alias/aws/sns"},
            "may not use the topic's key", "--attribute-name KmsMasterKeyId",
        ),
        (
            "group", "group", {"HealthCheckType": "EC2,ELB"},
            "may replace a worker in the middle", "--health-check-type EC2",
        ),
        ("topic", "subscriptions", [], "nobody has subscribed", "sns subscribe"),
        ("topic", "subscriptions", PENDING, "waits for the click", "subscribe"),
        ("metrics", "points", [], "none for three hours", None),
        (
            "metrics", "points", [{"Timestamp": datetime.fromtimestamp(AT - 1_200, UTC)}],
            "the last is 20m 00s old", None,
        ),
        ("log groups", "log_groups", [HEALTHY["log_groups"][0]], f"{PRODUCER} is gone", "create-log-group"),
        ("producer", "reserved", 0, "switched off", "delete-function-concurrency"),
        ("producer", "destinations", [], "no OnFailure destination", None),
        ("permissions", "denied", ["sqs:DeleteMessage"], "WorkerRole may not sqs:DeleteMessage", None),
        (
            "permissions", "denied", ["autoscaling:SetDesiredCapacity"],
            "ProducerRole may not autoscaling:SetDesiredCapacity", None,
        ),
        ("permissions", "denied", ["lambda:InvokeFunction"], "SchedulerRole may not", None),
        ("permissions", "roles", ["WorkerRole", "ProducerRole"], "SchedulerRole is not in the stack", None),
    ],
)  # fmt: skip
def test_a_trap_is_found_and_how_to_mend_it(check, fact, change, text, mend, ward):
    _change(ward.facts, fact, change)
    found = ward.found(check)

    assert [Level.WRONG] == [level for level, *_ in found], found
    assert (True, mend is None) == (text in found[0][1], found[0][2] is None), found
    assert (mend or "") in (found[0][2] or "")
    assert 1 == ward.examined().status


def _change(facts, name, change):
    if isinstance(change, dict):
        facts[name] = {key: value for key, value in (facts[name] | change).items() if value is not None}
    else:
        facts[name] = change


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"ActionsEnabled": False}, "switched off"),
        ({"AlarmActions": []}, "tells nobody"),
        ({"AlarmActions": ["arn:aws:autoscaling:x:y:scalingPolicy:gone"]}, "its policy is gone"),
        ({"StateValue": "INSUFFICIENT_DATA"}, "has no data"),
    ],
)
def test_an_alarm_that_is_not_armed_is_found(change, text, ward):
    ward.facts["alarms"][1] |= change

    assert text in ward.found("alarms")[0][1]


def test_a_ringing_alarm_says_what_it_means(ward):
    ward.facts["alarms"][1] |= {
        "StateValue": "ALARM",
        "AlarmDescription": "Messages have waited for 20 minutes",
    }

    assert "cron-LaunchAlarm rings: Messages have waited" in ward.found("alarms")[0][1]


@pytest.mark.parametrize(
    ("check", "fact", "change"),
    [
        ("group", "group", {"MinSize": 1}),
        ("group", "group", {"WarmPoolConfiguration": {"MinSize": 1}}),
        ("group", "group", {"SuspendedProcesses": [{"ProcessName": "AZRebalance"}]}),
        ("group", "group", {"Instances": [WORKER | {"ProtectedFromScaleIn": False}]}),
        (
            "image", "images",
            {"ami-1": {"State": "available", "DeprecationTime": "2020-01-01T00:00:00.000Z"}},
        ),
        ("log groups", "log_groups", [{"logGroupName": JOBS}, HEALTHY["log_groups"][1]]),
        (
            "topic", "subscriptions", [*HEALTHY["subscriptions"], *PENDING],
        ),
    ],
)  # fmt: skip
def test_what_may_be_meant_so_is_noted(check, fact, change, ward):
    _change(ward.facts, fact, change)

    assert ([Level.NOTE], 0) == ([level for level, *_ in ward.found(check)], ward.examined().status)


MIXED = {
    "LaunchTemplate": {
        "LaunchTemplateSpecification": {"LaunchTemplateId": "lt-1", "Version": "3"},
        "Overrides": [
            {"InstanceType": "m7i.large"},
            {"InstanceType": "m7g.large", "LaunchTemplateSpecification": {"LaunchTemplateId": "lt-2"}},
        ],
    }
}


def test_each_image_of_a_group_of_mixed_instances_is_looked_for(ward):
    _change(ward.facts, "group", {"LaunchTemplate": None, "MixedInstancesPolicy": MIXED})
    assert [Level.OK] == [level for level, *_ in ward.found("image")]

    del ward.facts["images"]["ami-2"]
    assert ["ami-2"] == [text.split()[0] for level, text, _ in ward.found("image") if level is Level.WRONG]


def test_an_image_that_was_deregistered_long_ago_is_an_error_of_ec2(ward):
    ward.faults["describe_images"] = refused("InvalidAMIID.NotFound")
    assert [Level.WRONG] == [level for level, *_ in ward.found("image")]

    ward.faults["describe_images"] = refused("UnauthorizedOperation")
    assert [Level.UNKNOWN] == [level for level, *_ in ward.found("image")]


def test_an_image_that_will_be_deprecated_one_day_is_healthy(ward):
    ward.facts["images"]["ami-1"]["DeprecationTime"] = "2100-01-01T00:00:00.000Z"

    assert [Level.OK] == [level for level, *_ in ward.found("image")]


def test_a_group_that_launches_what_is_wanted_is_healthy(ward):
    ward.facts["group"] |= {"DesiredCapacity": 1, "Instances": [WORKER]}
    ward.facts["activities"] = [FAILED]

    assert [Level.OK] == [level for level, *_ in ward.found("group")]


def test_a_group_that_cannot_launch_says_why(ward):
    ward.facts["group"] |= {"DesiredCapacity": 1}
    ward.facts["activities"] = [FAILED]

    assert "its last launch failed: no capacity" == ward.found("group")[0][1]


def test_a_group_that_is_gone_is_wrong(ward):
    ward.facts["group"] = None

    assert (Level.WRONG, "there is no Auto Scaling group cron-workers", None) == ward.found("group")[0]


def test_a_schedule_may_be_no_later_than_messages_are_kept(ward):
    event = {"job": "feed", "scheduled_time": "<aws.scheduler.scheduled-time>", "max_lateness": "2d"}
    ward.scheduler.schedules["feed"]["Target"]["Input"] = json.dumps(event)

    [(level, text, mend)] = ward.found("queue")
    assert (Level.WRONG, True) == (level, "lost after 1d, and schedule feed may be 2d late" in text)
    assert mend.endswith("MessageRetentionPeriod=345600")


def test_a_schedule_without_a_net_is_wrong_and_one_switched_off_is_noted(ward):
    ward.scheduler.add("tidy", "rate(1 hour)", state="DISABLED")

    assert [(Level.NOTE, "tidy is switched off: tidy does not run"), Level.WRONG] == [
        (level, text) if level is Level.NOTE else level for level, text, _ in ward.found("schedules")
    ]


def test_runs_that_nobody_counted_are_found(ward):
    ward.facts["metrics"] = []
    ward.logs.worker("ended", AT - 40_000, run_id="x", job="feed", outcome="succeeded")

    assert "CloudWatch has counted none" in ward.found("metrics")[0][1]


def test_what_may_not_be_asked_is_told_and_is_not_healthy(ward):
    ward.faults["simulate_principal_policy"] = refused("AccessDenied", "not authorized: iam:Simulate")
    diagnosis = ward.examined()

    assert (77, 1) == (diagnosis.status, diagnosis.count(Level.UNKNOWN))
    assert "not checked: " in ward.found("permissions")[0][1]


def test_what_was_found_before_a_question_failed_is_kept(ward):
    ward.facts["group"] |= {"DesiredCapacity": 1, "MaxSize": 0}
    ward.faults["describe_scaling_activities"] = refused("Throttling")

    assert [Level.WRONG, Level.UNKNOWN] == [level for level, *_ in ward.found("group")]


def test_a_service_that_does_not_answer_is_waited_for_once_and_by_nobody_else(ward):
    """The other checks have ended before it has: each asks on a thread of its own."""
    others = threading.Event()
    asked = []

    def hang(_):
        asked.append("stack")
        assert others.wait(30)
        raise refused("RequestTimeout", "no answer")

    ward.hooks["describe_stacks"] = hang
    ward.hooks["describe_lifecycle_hooks"] = lambda _: others.set()
    diagnosis = ward.examined()

    assert ["stack"] == asked
    assert (Level.OK, Level.UNKNOWN) == (
        diagnosis.findings["hook"][0].level, diagnosis.findings["undelivered"][0].level,
    )  # fmt: skip


def test_a_check_that_breaks_is_no_check_that_hangs(ward):
    ward.faults["describe_lifecycle_hooks"] = RuntimeError("what is this?")

    assert [(Level.UNKNOWN, "not checked: what is this?", None)] == ward.found("hook")


def test_the_report_fits_the_terminal_but_never_cuts_a_command(ward):
    ward.facts["hooks"] = []
    text = report(ward.examined(), Patient(ward, PLACE, {}, AT), Screen(width=80))
    long = [line for line in text.splitlines() if len(line) > 80]

    assert (["cron in eu-west-1", "1 thing is wrong."], True) == (
        [text.splitlines()[0], text.splitlines()[-1]],
        all("mend: aws" in line for line in long),
    )
    assert "  ok     queue         It takes messages" in text
