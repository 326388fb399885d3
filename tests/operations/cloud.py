"""An account for the commands: clients by hand, that keep what the commands rely on and nothing else."""

import json
import re
from collections import defaultdict
from datetime import UTC, datetime

from botocore.exceptions import ClientError

from observerd.core.request import run_id_of
from observerd.operations.place import Place

AT = 1_795_456_800.0  # 2026-11-23T18:00:00Z
DUE = "2026-11-23T18:00:00Z"
RUN = run_id_of("feed", DUE)
JOBS, PRODUCER = "/observerd/cron/jobs-1", "/observerd/cron/producer"
WORKER = "ip-10-0-0-7/2026-11-23T18-00-30Z-812"
PLACE = Place(
    region="eu-west-1",
    stack="cron",
    queue_url="https://sqs.eu-west-1.amazonaws.com/123456789012/cron-jobs-1.fifo",
    dead_letter_queue_url="https://sqs.eu-west-1.amazonaws.com/123456789012/cron-dead-1.fifo",
    job_logs=JOBS,
    producer_logs=PRODUCER,
    group="cron-workers",
)


def refused(code, text="so it is", operation="AnyCall"):
    return ClientError({"Error": {"Code": code, "Message": text}}, operation)


def time_of(at):
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Account:
    """Hands out the fakes it was given, by service."""

    region = "eu-west-1"

    def __init__(self, **clients):
        self.clients = clients

    def client(self, service, _endpoint=None):
        return self.clients[service.replace("-", "_")]


class Logs:
    """FilterLogEvents and GetLogEvents, two events a page."""

    def __init__(self):
        self.groups = {JOBS: defaultdict(list), PRODUCER: defaultdict(list)}
        self.kept = {}
        self.fault = None
        self.filters = True
        """An emulator may not: then everything of the time asked for is answered."""

    def put(self, group, stream, at, message):
        self.groups[group][stream].append({"timestamp": int(at * 1000), "message": message})

    def worker(self, event, at, worker=WORKER, **facts):
        line = json.dumps({"at": time_of(at), "event": event, "worker": worker, **facts})
        self.put(JOBS, f"_events/{worker}", at, line)

    def producer(self, event, at, **facts):
        self.put(PRODUCER, "2026/11/23/[$LATEST]1", at, json.dumps({"event": event, **facts}))

    def filter_log_events(
        self,
        *,
        logGroupName,
        filterPattern,
        startTime,
        endTime=None,
        nextToken="0",
        **which,
    ):
        if self.fault:
            raise self.fault
        if logGroupName not in self.groups:
            raise refused("ResourceNotFoundException", "The specified log group does not exist.")
        assert startTime >= 0, "CloudWatch Logs knows no time before 1970"
        names, prefix = which.get("logStreamNames"), which.get("logStreamNamePrefix", "")
        meets = _condition(filterPattern)
        found = [
            each
            for name, events in self.groups[logGroupName].items()
            if (name in names if names else name.startswith(prefix))
            for each in events
            if startTime <= each["timestamp"] <= (endTime or float("inf"))
            and (not self.filters or meets(each["message"]))
        ]
        first = int(nextToken)
        page = {"events": found[first : first + 2]}
        return page | ({"nextToken": str(first + 2)} if first + 2 < len(found) else {})

    def describe_log_groups(self, *, logGroupNamePrefix):
        """Those whose names begin so; "kept" has what is known of each."""
        names = [name for name in self.groups if name.startswith(logGroupNamePrefix)]
        return {"logGroups": [{"logGroupName": name, **self.kept.get(name, {})} for name in names]}

    def get_log_events(
        self,
        *,
        logGroupName,
        logStreamName,
        startFromHead,
        limit=2,
        nextToken=None,
    ):
        if logStreamName not in self.groups[logGroupName]:
            raise refused("ResourceNotFoundException", "The specified log stream does not exist.")
        events = self.groups[logGroupName][logStreamName]
        if not startFromHead:
            return {"events": events[-limit:]}
        first = int(nextToken or 0)
        page = events[first : first + limit]
        return {"events": page, "nextForwardToken": str(first + len(page))}


def _condition(pattern):
    """The filter pattern as a function of a line: comparisons of texts with = and !=, && and ||."""
    inside = re.fullmatch(r"\{ (.*) \}", pattern)[1]
    # Of what lies deeper no test asks.
    inside = re.sub(r'\$\.\w+\.\w+ = "[^"]*"', "False", inside)
    code = re.sub(r"\$\.(\w+)", r"line.get('\1')", inside)
    code = re.sub(r'(line\.get\S+) = "([^"]*)\*"', r"(\1 or '').startswith('\2')", code)
    code = re.sub(r"(?<!!)=", "==", code).replace("&&", "and").replace("||", "or")

    def meets(message):
        try:
            line = json.loads(message)
        except ValueError:
            return False
        return isinstance(line, dict) and eval(code, {"line": line})

    return meets


class AutoScaling:
    """The group's activities, and its capacity."""

    def __init__(self, desired=0):
        self.activities = []
        self.desired = desired
        self.asked = 0

    def launched(self, at, instance_id="i-0abc", fault=None):
        described = (
            f"Launching a new EC2 instance: {instance_id}" if not fault else "Launching a new EC2 instance"
        )
        self.activities.append(
            {
                "Description": f"{described}.  Status Reason: x" if fault else described,
                "StartTime": datetime.fromtimestamp(at, UTC),
                "StatusCode": "Failed" if fault else "Successful",
                "StatusMessage": fault or "",
            }
        )

    def ended(self, at, instance_id="i-0abc", cause="an instance was taken out of service"):
        self.activities.append(
            {
                "Description": f"Terminating EC2 instance: {instance_id}",
                "Cause": f"At {time_of(at)} {cause}. At {time_of(at + 1)} it was over.",
                "StartTime": datetime.fromtimestamp(at, UTC),
                "StatusCode": "Successful",
            }
        )

    def describe_scaling_activities(self, *, AutoScalingGroupName, NextToken="0"):
        """The newest first, two a page."""
        newest = sorted(self.activities, key=lambda each: each["StartTime"], reverse=True)
        first = int(NextToken)
        self.asked += 1
        more = {"NextToken": str(first + 2)} if first + 2 < len(newest) else {}
        return {"Activities": newest[first : first + 2], **more}


class Scheduler:
    """The schedules of a group. add() one a job."""

    def __init__(self):
        self.schedules = {}
        self.fault = None

    def add(self, job, expression, changed_at=0.0, state="ENABLED", zone="UTC"):
        event = {"job": job, "scheduled_time": "<aws.scheduler.scheduled-time>"}
        self.schedules[job] = {
            "Name": job,
            "ScheduleExpression": expression,
            "ScheduleExpressionTimezone": zone,
            "State": state,
            "LastModificationDate": datetime.fromtimestamp(changed_at, UTC),
            "Target": {"Input": json.dumps(event)},
        }

    def list_schedules(self, *, GroupName, NextToken="0"):
        if self.fault:
            raise self.fault
        names, first = sorted(self.schedules), int(NextToken)
        more = {"NextToken": str(first + 1)} if first + 1 < len(names) else {}
        return {"Schedules": [{"Name": name} for name in names[first : first + 1]], **more}

    def get_schedule(self, *, GroupName, Name):
        return self.schedules[Name]


class Cloud:
    """One stack's logs, group and schedules, and whole runs to put there."""

    def __init__(self):
        self.logs, self.autoscaling, self.scheduler = Logs(), AutoScaling(), Scheduler()
        self.account = Account(logs=self.logs, autoscaling=self.autoscaling, scheduler=self.scheduler)

    def sent(self, at=AT + 3, job="feed", due=DUE, woken=True):
        run = {"run_id": run_id_of(job, due), "job": job, "scheduled_time": due, "message_id": "m-1"}
        self.logs.producer("sent", at, **run)
        self.logs.producer("woken", at + 0.4, **run, woken=woken)
        return run

    def worker_up(self, at=AT + 60, booted_at=AT + 30, worker=WORKER, **facts):
        self.autoscaling.launched(AT + 10)
        facts = {"booted_at": time_of(booted_at), "instance_id": "i-0abc", **facts}
        self.logs.worker("worker_up", at, worker, **facts)

    def received(self, run, at=AT + 60.5, attempt=1, worker=WORKER):
        self.logs.worker("received", at, worker, **run, attempt=attempt, sent_at=time_of(AT + 3))

    def started(self, run, at=AT + 60.6, attempt=1, worker=WORKER):
        stream = f"{run['job']}/x/{run['run_id']}-{attempt}"
        self.logs.worker(
            "started", at, worker, **run, attempt=attempt, log_stream=stream, start_delay_s=at - AT
        )
        self.logs.put(JOBS, stream, at, f"line of attempt {attempt}")
        return stream

    def ended(self, run, at, outcome="succeeded", settled="deleted", attempt=1, worker=WORKER, **facts):
        back_in_s = facts.pop("back_in_s", None)
        self.logs.worker("ended", at, worker, **run, attempt=attempt, outcome=outcome, **facts)
        back = {} if back_in_s is None else {"back_in_s": back_in_s}
        self.logs.worker("settled", at + 0.3, worker, **run, attempt=attempt, settled=settled, **back)

    def good_run(self, job="feed", due=DUE):
        run = self.sent(job=job, due=due)
        self.worker_up()
        self.received(run)
        self.started(run)
        self.ended(run, AT + 160.6, duration_s=100.0, exit_code=0)
        self.logs.worker("given_up", AT + 281)
        return run
