"""What `doctor` looks at: each check asks AWS a few questions and yields what is wrong, with how to mend it.

The traps are those that scaling to zero by a queue has: see docs/operations.md, "Doctor".
"""

import json
from collections.abc import Callable, Container, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from shlex import quote
from typing import Any

from observerd.core.units import duration_text
from observerd.operations.patient import Finding, Patient, note, wrong
from observerd.operations.reading import Events
from observerd.operations.runs import span
from observerd.operations.trouble import Trouble, asked

HOOK = "drain"
TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"
GROUP_METRICS = (
    "GroupDesiredCapacity",
    "GroupPendingInstances",
    "GroupInServiceInstances",
    "GroupTerminatingInstances",
)
# An interrupted run is received again, and a job may have ten attempts: the queue itself must give up later.
LEAST_RECEIVES = 10
# Longer than this a dead worker's message is a late run.
LONGEST_VISIBILITY_S = 900
LEAST_GRACE_S = 60
HOOK_S = (60, 3_600)
# Of one minute's resolution, published within some more.
FRESH_S = 600.0
ZONES = 2
# So long may a message be in flight (SQS quotas); one that expires meanwhile is gone.
LEAST_RETENTION_S = 43_200
# What else than EC2 itself may call an instance ill.
OWN_HEALTH = frozenset({"EC2", "EBS"})
# What happens without each of the stack's alarms. Grow is for many, and Missed is of a schedule.
ALARMS = {
    "WakeAlarm": "a message whose wake was lost waits for ever",
    "LeakAlarm": "an instance that never came up is paid for, for ever",
    "DeadLetterAlarm": "nobody hears of a run that failed for good",
    "UndeliveredAlarm": "nobody hears of an event that became no message",
    "StalledAlarm": "nobody hears that messages wait and no worker comes",
    "ProducerAlarm": "nobody hears of a producer that fails",
    "LaunchAlarm": "nobody hears of instances that cannot be launched",
}


# ---- queues


def queue(patient: Patient) -> Iterator[Finding]:
    """It takes messages, keeps them long enough, and gives up late enough."""
    url = patient.place.queue_url
    found = patient.attributes(url)
    setting = f"{patient.aws} sqs set-queue-attributes --queue-url {url} --attributes"
    if int(found.get("DelaySeconds", 0)):
        text = "messages are delayed: a worker that takes its last look cannot see them, and leaves"
        yield wrong(text, f"{setting} DelaySeconds=0")
    if (visibility_s := int(found["VisibilityTimeout"])) > LONGEST_VISIBILITY_S:
        text = f"a dead worker's message stays hidden for {duration_text(visibility_s)}"
        yield wrong(text, f"{setting} VisibilityTimeout=120")
    yield from _retention(patient, int(found["MessageRetentionPeriod"]), setting)
    yield from _redrive(patient, found)


def _retention(patient: Patient, kept_s: int, setting: str) -> Iterator[Finding]:
    if kept_s < LEAST_RETENTION_S:
        text = f"a message is lost after {duration_text(kept_s)}, even one whose job still runs"
        yield wrong(text, f"{setting} MessageRetentionPeriod=86400")
    try:
        allowed = [(each.max_lateness_s, each.name) for each in patient.schedules if each.max_lateness_s]
    except Trouble:
        return
    if allowed and kept_s < max(allowed)[0]:
        lateness_s, name = max(allowed)
        text = (
            f"a message is lost after {duration_text(kept_s)}, and schedule {name} may be"
            f" {duration_text(lateness_s)} late"
        )
        yield wrong(text, f"{setting} MessageRetentionPeriod={int(lateness_s) * 2}")


def _redrive(patient: Patient, found: Mapping[str, str]) -> Iterator[Finding]:
    if "RedrivePolicy" not in found:
        yield wrong("it has no dead-letter queue: a message that kills its workers comes for ever")
        return
    policy = json.loads(found["RedrivePolicy"])
    if int(policy["maxReceiveCount"]) < LEAST_RECEIVES:
        yield wrong(
            f"SQS gives up after {policy['maxReceiveCount']} receives: interruptions count, and a job may"
            f" have {LEAST_RECEIVES} attempts",
            "set maxReceiveCount to 10 in its RedrivePolicy",
        )
    dead = patient.place.dead_letter_queue_url
    if dead and dead.rsplit("/", 1)[1] != policy["deadLetterTargetArn"].rsplit(":", 1)[1]:
        yield note("workers bury messages in another queue than SQS itself does")


def dead_letter_queue(patient: Patient) -> Iterator[Finding]:
    """It is there, takes what the queue gives it, keeps it longer, and is empty."""
    url = patient.place.dead_letter_queue_url
    if url is None:
        raise Trouble("its URL is not known (give --stack, or set dead_letter_queue_url)")
    source, found = patient.attributes(patient.place.queue_url), patient.attributes(url)
    if url.endswith(".fifo") != patient.place.queue_url.endswith(".fifo"):
        yield wrong(
            "one of the two queues is FIFO and the other is not: SQS moves nothing from one to the other"
        )
    if int(found["MessageRetentionPeriod"]) <= int(source["MessageRetentionPeriod"]):
        yield wrong(
            f"dead letters, too, are lost after {duration_text(int(found['MessageRetentionPeriod']))}",
            f"{patient.aws} sqs set-queue-attributes --queue-url {url}"
            " --attributes MessageRetentionPeriod=1209600",
        )
    allow = json.loads(found.get("RedriveAllowPolicy", "{}"))
    listed = allow.get("sourceQueueArns", ())
    if allow.get("redrivePermission") == "denyAll" or (listed and source["QueueArn"] not in listed):
        yield wrong("it does not let the queue put messages here (RedriveAllowPolicy)")
    if count := int(found.get("ApproximateNumberOfMessages", 0)):
        text = f"{_count(count, 'run has', 'runs have')} failed for good"
        yield wrong(text, f"observerd dlq list --stack {patient.place.stack}")


def undelivered(patient: Patient) -> Iterator[Finding]:
    """Every event has become a message."""
    name = patient.outputs["UndeliveredQueueArn"].rsplit(":", 1)[1]
    url = f"{patient.place.queue_url.rsplit('/', 1)[0]}/{name}"
    if count := int(patient.attributes(url).get("ApproximateNumberOfMessages", 0)):
        yield wrong(
            f"{_count(count, 'event', 'events')} of schedules became no message: those runs never were",
            f"{patient.aws} sqs receive-message --queue-url {url} --visibility-timeout 0"
            " --message-attribute-names All",
        )


# ---- group


def group(patient: Patient) -> Iterator[Finding]:
    """It may grow, launches what is wanted, and tells its metrics."""
    found = patient.group
    named = f"--auto-scaling-group-name {patient.place.group}"
    update = f"{patient.aws} autoscaling update-auto-scaling-group {named}"
    if found["MaxSize"] == 0:
        yield wrong("its MaxSize is 0: nothing is run", f"{update} --max-size 1")
    if found["MinSize"] > 0:
        yield note(f"its MinSize is {found['MinSize']}: so many workers never leave")
    if len(found.get("AvailabilityZones", ())) < ZONES:
        yield wrong("it is in one Availability Zone: when that fails, nothing is run")
    if found.get("HealthCheckGracePeriod", 0) < LEAST_GRACE_S:
        text = "its health check begins before a machine has booted, and ends it"
        yield wrong(text, f"{update} --health-check-grace-period 120")
    if not OWN_HEALTH.issuperset(found.get("HealthCheckType", "EC2").split(",")):
        text = "somebody else's health check may replace a worker in the middle of its jobs"
        yield wrong(text, f"{update} --health-check-type EC2")
    if found.get("NewInstancesProtectedFromScaleIn"):
        text = (
            "new instances are protected: one whose daemon never comes up cannot be removed by the Leak alarm"
        )
        yield wrong(text, f"{update} --no-new-instances-protected-from-scale-in")
    if found.get("WarmPoolConfiguration"):
        yield note("it has a warm pool: its instances cost, and take no message there")
    yield from _unwoken(patient, found)
    yield from _suspended(patient, found)
    yield from _unmeasured(patient, found)
    yield from _instances(patient, found)


def _unwoken(patient: Patient, found: Any) -> Iterator[Finding]:
    waiting = int(patient.attributes(patient.place.queue_url).get("ApproximateNumberOfMessages", 0))
    if waiting and not found["DesiredCapacity"]:
        yield wrong(
            f"{_count(waiting, 'message waits', 'messages wait')} and no worker is wanted",
            f"{patient.aws} autoscaling set-desired-capacity"
            f" --auto-scaling-group-name {patient.place.group} --desired-capacity 1",
        )


def _suspended(patient: Patient, found: Any) -> Iterator[Finding]:
    for each in found.get("SuspendedProcesses", ()):
        name = each["ProcessName"]
        text = f"its process {name} is suspended ({each.get('SuspensionReason', 'no reason is given')})"
        mend = (
            f"{patient.aws} autoscaling resume-processes --auto-scaling-group-name {patient.place.group}"
            f" --scaling-processes {name}"
        )
        # AZRebalance is suspended by many on purpose, and so are the others that end instances.
        yield (wrong if name in ("Launch", "Terminate", "AlarmNotification") else note)(text, mend)


def _unmeasured(patient: Patient, found: Any) -> Iterator[Finding]:
    enabled = {each["Metric"] for each in found.get("EnabledMetrics", ())}
    if lacking := [name for name in GROUP_METRICS if name not in enabled]:
        yield wrong(
            f"it does not tell {', '.join(lacking)}: the alarms are blind",
            f"{patient.aws} autoscaling enable-metrics-collection"
            f" --auto-scaling-group-name {patient.place.group} --granularity 1Minute"
            f" --metrics {' '.join(lacking)}",
        )


def _instances(patient: Patient, found: Any) -> Iterator[Finding]:
    there = found.get("Instances", ())
    serving = [each for each in there if each["LifecycleState"] == "InService"]
    for each in serving:
        if not each.get("ProtectedFromScaleIn"):
            text = f"{each['InstanceId']} is in service and not protected: scaling in would end its jobs"
            yield note(f"{text} (a worker protects itself when it is up)")
    if found["DesiredCapacity"] > len(serving):
        client = patient.client("autoscaling")
        activities = asked(
            client.describe_scaling_activities, AutoScalingGroupName=patient.place.group, MaxRecords=1
        )["Activities"]
        if activities and activities[0]["StatusCode"] == "Failed":
            yield wrong(
                f"its last launch failed: {activities[0].get('StatusMessage', 'no reason was given')}"
            )


def image(patient: Patient) -> Iterator[Finding]:
    """What an instance would be made from is there."""
    images = {patient.launched_from(each)["ImageId"] for each in _templates(patient.group)}
    for image_id in sorted(images):
        yield from _image(patient, image_id)


def _image(patient: Patient, image_id: str) -> Iterator[Finding]:
    found = patient.image(image_id)
    if found is None:
        text = f"{image_id} is not there (deregistered, or not shared any more): nothing can be launched"
        yield wrong(text, "deploy the stack again with an ImageId that is there")
        return
    state, deprecated_at = found.get("State", "available"), found.get("DeprecationTime")
    if state != "available":
        mend = f"{patient.aws} ec2 enable-image --image-id {image_id}" if state == "disabled" else None
        yield wrong(f"{image_id} is {state}: nothing can be launched", mend)
    if deprecated_at and datetime.fromisoformat(deprecated_at).timestamp() <= patient.now:
        yield note(f"{image_id} is deprecated since {deprecated_at[:10]}: nobody is to rely on it any more")


def _templates(found: Any) -> Iterator[Any]:
    """The launch templates of a group: one, or with mixed instances perhaps one more for some types."""
    if "LaunchTemplate" in found:
        yield found["LaunchTemplate"]
        return
    mixed = found["MixedInstancesPolicy"]["LaunchTemplate"]
    yield mixed["LaunchTemplateSpecification"]
    for each in mixed.get("Overrides", ()):
        if own := each.get("LaunchTemplateSpecification"):
            yield own


def hook(patient: Patient) -> Iterator[Finding]:
    """It keeps a leaving instance until the daemon is done."""
    name = patient.group["AutoScalingGroupName"]
    client = patient.client("autoscaling")
    found = asked(client.describe_lifecycle_hooks, AutoScalingGroupName=name)["LifecycleHooks"]
    put = (
        f"{patient.aws} autoscaling put-lifecycle-hook --auto-scaling-group-name {name}"
        f" --lifecycle-hook-name {HOOK} --lifecycle-transition {TERMINATING} --heartbeat-timeout 600"
        " --default-result CONTINUE"
    )
    ours = [each for each in found if each["LifecycleTransition"] == TERMINATING]
    if not any(each["LifecycleHookName"] == HOOK for each in ours):
        text = f"there is none called {HOOK}: a leaving instance ends before its last look and lines"
        yield wrong(text, put)
    for each in ours:
        held_s = each.get("HeartbeatTimeout", 3_600)
        if not HOOK_S[0] <= held_s <= HOOK_S[1]:
            text = f"{each['LifecycleHookName']} waits for {duration_text(held_s)}, not for 1m to 1h"
            yield wrong(text, put)
        if each["LifecycleHookName"] != HOOK:
            yield wrong(
                f"nobody completes {each['LifecycleHookName']}: every end waits for {duration_text(held_s)}"
            )
    for each in found:
        if each["LifecycleTransition"] != TERMINATING:
            yield wrong(f"nobody completes {each['LifecycleHookName']}: it delays every launch")


def scaling(patient: Patient) -> Iterator[Finding]:
    """Nothing but the workers lowers the capacity."""
    name = patient.group["AutoScalingGroupName"]
    client = patient.client("autoscaling")
    leak = {each["PhysicalResourceId"] for each in _leak_policies(patient)}
    for each in patient.policies:
        if each.get("PolicyARN") not in leak and _lowers(each):
            yield wrong(
                f"policy {each['PolicyName']} scales in: it does not know which worker works",
                f"{patient.aws} autoscaling delete-policy --auto-scaling-group-name {name}"
                f" --policy-name {quote(each['PolicyName'])}",
            )
    actions = asked(client.describe_scheduled_actions, AutoScalingGroupName=name)[
        "ScheduledUpdateGroupActions"
    ]
    for each in actions:
        yield wrong(
            f"scheduled action {each['ScheduledActionName']} sets the capacity: that is for the producer,"
            " which raises it, and for each worker, which lowers it",
            f"{patient.aws} autoscaling delete-scheduled-action --auto-scaling-group-name {name}"
            f" --scheduled-action-name {quote(each['ScheduledActionName'])}",
        )


def _leak_policies(patient: Patient) -> list[Any]:
    """Of the alarm that mends leaks: the one policy that may lower the capacity."""
    if patient.place.stack is None:
        return []
    policies = patient.resources("AWS::AutoScaling::ScalingPolicy")
    return [each for each in policies if each["LogicalResourceId"] == "LeakPolicy"]


def _lowers(policy: Any) -> bool:
    if policy.get("PolicyType") in ("TargetTrackingScaling", "PredictiveScaling"):
        return not policy.get("TargetTrackingConfiguration", {}).get("DisableScaleIn", False)
    steps = [each["ScalingAdjustment"] for each in policy.get("StepAdjustments", ())]
    least = min(
        [*steps, *([policy["ScalingAdjustment"]] if "ScalingAdjustment" in policy else [])], default=1
    )
    return bool(least < (1 if policy.get("AdjustmentType") == "ExactCapacity" else 0))


# ---- what watches


def alarms(patient: Patient) -> Iterator[Finding]:
    """They are there, armed, and green."""
    there = {
        each["LogicalResourceId"]: each["PhysicalResourceId"]
        for each in patient.resources("AWS::CloudWatch::Alarm")
    }
    for name in sorted(ALARMS.keys() - there.keys()):
        yield wrong(f"the stack has no {name}: {ALARMS[name]}", "deploy the stack again")
    client, names = patient.client("cloudwatch"), sorted(there.values())
    found = asked(client.describe_alarms, AlarmNames=names)["MetricAlarms"] if names else []
    for name in sorted(set(names) - {each["AlarmName"] for each in found}):
        yield wrong(f"{name} is gone", "deploy the stack again, or give it back by hand")
    policies = {each.get("PolicyARN") for each in patient.policies}
    for each in found:
        yield from _unarmed(patient, each, policies)


def _unarmed(patient: Patient, alarm: Any, policies: Container[str]) -> Iterator[Finding]:
    name, actions = alarm["AlarmName"], alarm.get("AlarmActions", ())
    if not alarm.get("ActionsEnabled", True):
        mend = f"{patient.aws} cloudwatch enable-alarm-actions --alarm-names {quote(name)}"
        yield wrong(f"{name}: its actions are switched off", mend)
    if not actions:
        yield wrong(f"{name} tells nobody")
    if any(":scalingPolicy:" in action and action not in policies for action in actions):
        yield wrong(f"{name}: its policy is gone, so it changes nothing", "deploy the stack again")
    if alarm.get("StateValue") == "ALARM":
        yield wrong(f"{name} rings: {alarm.get('AlarmDescription', '')}")
    if alarm.get("StateValue") == "INSUFFICIENT_DATA":
        yield note(f"{name} has no data: in its first minutes, or for good")


def topic(patient: Patient) -> Iterator[Finding]:
    """Somebody hears the alarms."""
    arn = patient.outputs["AlertTopicArn"]
    told = asked(patient.client("sns").get_topic_attributes, TopicArn=arn)["Attributes"]
    if told.get("KmsMasterKeyId") == "alias/aws/sns":
        # AWS's own key has no policy that lets CloudWatch use it, and nothing tells of the lost notices.
        text = "alarms reach nobody: CloudWatch may not use the topic's key, alias/aws/sns"
        change = "--attribute-name KmsMasterKeyId --attribute-value ''"
        yield wrong(text, f"{patient.aws} sns set-topic-attributes --topic-arn {arn} {change}")
    found = asked(patient.client("sns").list_subscriptions_by_topic, TopicArn=arn)["Subscriptions"]
    pending = [each for each in found if each["SubscriptionArn"] == "PendingConfirmation"]
    if len(pending) == len(found):
        what = "its one subscription waits" if len(found) == 1 else "its subscriptions wait"
        text = f"{what} for the click in the mail" if found else "nobody has subscribed to it"
        yield wrong(
            f"alarms reach nobody: {text}",
            f"{patient.aws} sns subscribe --topic-arn {arn} --protocol email --notification-endpoint ADDRESS",
        )
    elif pending:
        yield note(
            f"{_count(len(pending), 'subscription waits', 'subscriptions wait')} for the click in the mail"
        )


def metrics(patient: Patient) -> Iterator[Finding]:
    """What the alarms look at is fresh."""
    client = patient.client("cloudwatch")
    at = datetime.fromtimestamp(patient.now, UTC)
    points = asked(
        client.get_metric_statistics,
        Namespace="AWS/AutoScaling",
        MetricName="GroupDesiredCapacity",
        Dimensions=[{"Name": "AutoScalingGroupName", "Value": patient.group["AutoScalingGroupName"]}],
        StartTime=at - timedelta(hours=3),
        EndTime=at,
        Period=60,
        Statistics=["Minimum"],
    )["Datapoints"]
    last = max((each["Timestamp"].timestamp() for each in points), default=None)
    if last is None or patient.now - last > FRESH_S:
        age = "none for three hours" if last is None else f"the last is {span(patient.now - last)} old"
        yield wrong(f"points of GroupDesiredCapacity: {age}; the Wake alarm is blind")
    # Within two weeks, ListMetrics knows it; an hour is more than CloudWatch takes to count a line.
    ended = Events(patient.client("logs"), patient.place).of_workers(
        '$.event = "ended"', patient.now - 86_400, patient.now - 3_600
    )
    counted = asked(
        client.list_metrics, Namespace="Observerd", Dimensions=[{"Name": "Stack", "Value": patient.stack}]
    )["Metrics"]
    if ended and not counted:
        yield wrong(
            "runs have ended, and CloudWatch has counted none: the missed-run alarms ring without a cause",
            "look for stack and cloudwatch_metrics in `observerd show-config` on a worker",
        )


def log_groups(patient: Patient) -> Iterator[Finding]:
    """They are there, and forget in time."""
    client = patient.client("logs")
    for name in (patient.place.job_logs, patient.place.producer_logs):
        if name is None:
            continue
        found = asked(client.describe_log_groups, logGroupNamePrefix=name)["logGroups"]
        exact = [each for each in found if each["logGroupName"] == name]
        if not exact:
            yield wrong(
                f"{name} is gone: nothing is on record",
                f"{patient.aws} logs create-log-group --log-group-name {name}",
            )
        elif not exact[0].get("retentionInDays"):
            yield note(
                f"{name} is kept, and paid for, for ever",
                f"{patient.aws} logs put-retention-policy --log-group-name {name} --retention-in-days 90",
            )


# ---- schedules, producer, permissions


def schedules(patient: Patient) -> Iterator[Finding]:
    """They are switched on."""
    if not patient.schedules:
        yield note("there is none that names a job")
    for each in patient.schedules:
        if not each.enabled:
            yield note(f"{each.name} is switched off: {each.job} does not run")
        if not each.has_dead_letters:
            yield wrong(
                f"{each.name} has no dead-letter queue: what Scheduler cannot deliver is lost silently"
            )


def producer(patient: Patient) -> Iterator[Finding]:
    """It may run, and what it fails at is kept."""
    name = patient.outputs["ProducerArn"].rsplit(":", 1)[1]
    client = patient.client("lambda")
    reserved = asked(client.get_function_concurrency, FunctionName=name).get("ReservedConcurrentExecutions")
    if reserved == 0:
        text = "its reserved concurrency is 0: it is switched off, and no schedule becomes a message"
        yield wrong(text, f"{patient.aws} lambda delete-function-concurrency --function-name {name}")
    found = asked(client.list_function_event_invoke_configs, FunctionName=name)["FunctionEventInvokeConfigs"]
    if not any(each.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination") for each in found):
        # Scheduler's own queue never sees an error of the function: it calls asynchronously.
        yield wrong("it has no OnFailure destination: an event that it fails at is lost silently")


def permissions(patient: Patient) -> Iterator[Finding]:
    """The roles may do what they must, as IAM simulates it."""
    queue_arn = patient.attributes(patient.place.queue_url)["QueueArn"]
    _, partition, _, _, account, _ = queue_arn.split(":")
    roles = {
        each["LogicalResourceId"]: each["PhysicalResourceId"] for each in patient.resources("AWS::IAM::Role")
    }
    for role, resource, actions in _needs(patient, queue_arn):
        if role in roles:
            arn = f"arn:{partition}:iam::{account}:role/{roles[role]}"
            yield from _denied(patient, role, arn, resource, actions)
        else:
            yield wrong(f"{role} is not in the stack")


def _needs(patient: Patient, queue_arn: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Roles, resources, and what the roles must be allowed to do with them."""
    _, partition, _, region, account, _ = queue_arn.split(":")
    group_arn = patient.group["AutoScalingGroupARN"]
    dead_url = patient.place.dead_letter_queue_url or patient.place.queue_url
    log_group = f"arn:{partition}:logs:{region}:{account}:log-group:{patient.place.logs()}:*"
    taking = ("ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes")
    yield "WorkerRole", queue_arn, tuple(f"sqs:{action}" for action in taking)
    yield "WorkerRole", patient.attributes(dead_url)["QueueArn"], ("sqs:SendMessage",)
    yield "WorkerRole", log_group, ("logs:CreateLogStream", "logs:PutLogEvents", "logs:FilterLogEvents")
    if topic_arn := patient.outputs.get("AlertTopicArn"):
        yield "WorkerRole", topic_arn, ("sns:Publish",)
    leaving = ("TerminateInstanceInAutoScalingGroup", "SetInstanceProtection")
    at_hook = ("CompleteLifecycleAction", "RecordLifecycleActionHeartbeat")
    yield "WorkerRole", group_arn, tuple(f"autoscaling:{action}" for action in (*leaving, *at_hook))
    knowing = ("DescribeAutoScalingGroups", "DescribeAutoScalingInstances")
    yield "WorkerRole", "*", tuple(f"autoscaling:{action}" for action in knowing)
    yield "ProducerRole", queue_arn, ("sqs:SendMessage",)
    yield "ProducerRole", group_arn, ("autoscaling:SetDesiredCapacity",)
    yield "ProducerRole", "*", ("autoscaling:DescribeAutoScalingGroups",)
    yield "SchedulerRole", patient.outputs["ProducerArn"], ("lambda:InvokeFunction",)


def _denied(
    patient: Patient, role: str, arn: str, resource: str, actions: tuple[str, ...]
) -> Iterator[Finding]:
    answer = asked(
        patient.client("iam").simulate_principal_policy,
        PolicySourceArn=arn,
        ActionNames=list(actions),
        ResourceArns=[resource],
    )
    for each in answer["EvaluationResults"]:
        if each["EvalDecision"] != "allowed":
            where = "" if resource == "*" else f" on {resource.rsplit(':', 1)[-1]}"
            yield wrong(f"{role} may not {each['EvalActionName']}{where} ({each['EvalDecision']})")


CHECKS: dict[str, Callable[[Patient], Iterator[Finding]]] = {
    "queue": queue,
    "dead letters": dead_letter_queue,
    "undelivered": undelivered,
    "group": group,
    "image": image,
    "hook": hook,
    "scaling": scaling,
    "alarms": alarms,
    "topic": topic,
    "metrics": metrics,
    "log groups": log_groups,
    "schedules": schedules,
    "producer": producer,
    "permissions": permissions,
}


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
