"""The keys of the configuration and of a job's table: name, kind, default and what each is for."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import attrs

from observerd import kinds
from observerd.core.job import BACKOFF_CAP_S, TIMEOUT_LIMIT_S, VISIBILITY_LIMIT_S
from observerd.kinds import Kind

_TOPIC = "arn:aws:sns:eu-west-1:123456789012:alerts"


def _key(kind: Kind, default: Any, help_: str) -> Any:
    """A key of the file. Its name there is the attribute's without the unit."""
    return attrs.field(default=default, metadata={"kind": kind, "help": help_})


# Nothing compares configurations; each method not generated is time saved at every start.
@attrs.frozen(eq=False)
class Config:
    """observerd's own settings. Attributes that end in _s are seconds."""

    queue_url: str = _key(kinds.QUEUE_URL, "", "The queue to serve. `run` and `send` need it.")
    dead_letter_queue_url: str | None = _key(
        kinds.optional(kinds.QUEUE_URL),
        None,
        "Where failed messages go. Default: as the queue's redrive policy says.",
    )
    region: str | None = _key(
        kinds.optional(kinds.text("region", r"[a-z0-9-]+", "eu-west-1")),
        None,
        "The AWS region. Default: taken from the queue's URL, or as the AWS tools find it.",
    )
    slots: int = _key(kinds.whole(1, 256), 1, "How many jobs may run at once.")
    visibility_timeout_s: float = _key(
        kinds.duration(3, VISIBILITY_LIMIT_S, "SQS hides a message for 12 hours at most"),
        120.0,
        "How long a message stays hidden after the last sign of life. Renewed at every third of it.",
    )
    idle_timeout_s: float = _key(
        kinds.duration(0, 604_800, 'exit_action = "stay" never leaves'),
        120.0,
        "With nothing to do for this long, leave.",
    )
    max_uptime_s: float | None = _key(
        kinds.optional(kinds.duration(60, 2_592_000)),
        None,
        "Older than this, leave as soon as there is nothing to do. Default: age does not matter.",
    )
    drain_timeout_s: float = _key(
        kinds.duration(0, VISIBILITY_LIMIT_S, "no job runs longer than SQS lends its message"),
        3_600.0,
        "How long running jobs may go on after a request to stop. Then they get TERM.",
    )
    exit_action: str = _key(
        kinds.choice("auto", "terminate", "exit", "poweroff", "stay"),
        "auto",
        "What leaving means: `terminate` this instance and shrink its group, `exit` the daemon, `poweroff`"
        " the machine, or `stay` and never leave for idleness. `auto` terminates on EC2 and exits elsewhere.",
    )
    auto_scaling_group: str | None = _key(
        kinds.optional(kinds.text("group name", r".{1,255}", "cron-workers")),
        None,
        "The group this instance is in. Default: asked of the instance metadata.",
    )
    lifecycle_hook: str | None = _key(
        kinds.optional(kinds.text("hook name", r"[A-Za-z0-9_/-]{1,255}", "drain")),
        None,
        "The group's terminating lifecycle hook, completed on the way out.",
    )
    log_group: str | None = _key(
        kinds.optional(kinds.text("log group name", r"[.\-_/#A-Za-z0-9]{1,512}", "/observerd/jobs")),
        None,
        "The CloudWatch Logs group for the jobs' output. Default: the journal only.",
    )
    stack: str | None = _key(
        kinds.optional(kinds.text("stack name", r"[A-Za-z][A-Za-z0-9-]{0,127}", "cron")),
        None,
        "The name that this system's CloudWatch metrics bear as Stack. Default: it has none of them.",
    )
    notify_topic: str | None = _key(
        kinds.optional(
            kinds.text("topic's ARN", r"arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_.-]{1,261}", _TOPIC)
        ),
        None,
        "The SNS topic that is told when a run has failed for good, and when its job succeeds again.",
    )
    cloudwatch_metrics: str = _key(
        kinds.choice("job", "stack", "both", "off"),
        "job",
        "What CloudWatch's metrics of runs are kept for: each `job` of the stack, the `stack`, or `both`"
        " (each costs by the month). Missed-run alarms need `job`.",
    )
    log_level: str = _key(
        kinds.choice("debug", "info", "warning", "error"), "info", "What observerd logs of itself."
    )
    log_format: str = _key(
        kinds.choice("auto", "text", "json"),
        "auto",
        "How observerd's own lines look. `auto` is text, with priorities where the journal reads them.",
    )
    metrics_listen: str = _key(
        kinds.LISTEN,
        "127.0.0.1:9748",
        "Where Prometheus metrics and the status page are served. Empty: nowhere.",
    )
    metrics_hosts: str = _key(
        kinds.text("list of host names", r"[A-Za-z0-9. -]*", "worker-1.example.com proxy.example.com"),
        "",
        "Names, separated by spaces, by which browsers and Prometheus may ask for them. IP addresses,"
        " `localhost` and the machine's own name always work.",
    )
    metrics_tls_certificate: str | None = _key(
        kinds.optional(kinds.FILE),
        None,
        "PEM file with a certificate, and its chain, for HTTPS. Default: plain HTTP.",
    )
    metrics_tls_key: str | None = _key(
        kinds.optional(kinds.FILE), None, "PEM file with that certificate's key."
    )
    metrics_tls_client_ca: str | None = _key(
        kinds.optional(kinds.FILE),
        None,
        "PEM file with the authorities whose client certificates are let in, and no others.",
    )
    metrics_textfile_directory: str | None = _key(
        kinds.optional(kinds.DIRECTORY),
        None,
        "Where to leave, at exit, files for node_exporter's textfile collector. Default: nowhere.",
    )
    metrics_push_url: str | None = _key(
        kinds.optional(kinds.PUSH_URL),
        None,
        "The push gateway to leave metrics with at exit. Default: none.",
    )
    status_output: str = _key(
        kinds.choice("show", "hide"),
        "show",
        "Whether the status page has the last lines of runs that failed.",
    )
    executor: str = _key(
        kinds.choice("auto", "direct", "systemd", "shadow"),
        "auto",
        "How jobs are started: each in a unit by `systemd`, or as children of the daemon by `direct`."
        " `auto` is `systemd` where that is PID 1 and observerd is root. `shadow` does everything but start"
        " them.",
    )
    default_user: str = _key(
        kinds.USER, "observerd", "Whom a job runs as that names no user, where the daemon is root."
    )
    job_environment: Mapping[str, str] = _key(
        kinds.ENVIRONMENT,
        attrs.Factory(lambda: MappingProxyType({})),
        "Variables that every job gets. A later table replaces an earlier one.",
    )
    flush_timeout_s: float = _key(
        kinds.duration(0, 300),
        5.0,
        "How long the end of a run waits for CloudWatch Logs to take its last lines.",
    )


class JobKey(NamedTuple):
    kind: Kind
    help: str
    enforced: bool = True
    """Whether the direct executor does what it says."""


JOB_KEYS: Mapping[str, JobKey] = {
    "command": JobKey(
        kinds.COMMAND,
        "The program, by path or by a name in PATH, and its arguments.",
    ),
    "shell": JobKey(kinds.SHELL, "A line for /bin/sh instead of `command`."),
    "user": JobKey(kinds.USER, "Whom it runs as. Default: `default_user`."),
    "working_directory": JobKey(kinds.DIRECTORY, "Where it starts."),
    "environment": JobKey(kinds.ENVIRONMENT, "Variables on top of `job_environment`."),
    "timeout": JobKey(
        kinds.duration(
            0.1,
            TIMEOUT_LIMIT_S,
            "SQS takes a message back 12 hours after it was received, and the end of a run needs a little",
        ),
        "How long it may run. Then its processes get TERM.",
    ),
    "grace": JobKey(kinds.duration(0, 600), "Time between TERM and KILL."),
    "attempts": JobKey(
        kinds.whole(1, 10, "the queue itself gives up after 10 receives"),
        "How often it is started at most. Then its message goes to the dead-letter queue.",
    ),
    "backoff": JobKey(
        kinds.duration(0, BACKOFF_CAP_S),
        "Wait before the second attempt. Doubles with each, up to 15 minutes.",
    ),
    "max_lateness": JobKey(
        kinds.duration(0, 1_209_600, "SQS keeps a message for 14 days at most"),
        "Later than this it is recorded as missed and not run. Default: any lateness will do.",
    ),
    "success_exit_codes": JobKey(kinds.SOME_EXIT_CODES, "Exit codes that mean success."),
    "no_retry_exit_codes": JobKey(kinds.EXIT_CODES, "Exit codes after which another attempt is pointless."),
    "nice": JobKey(kinds.whole(-20, 19), "Scheduling priority, as nice(1) counts."),
    "description": JobKey(kinds.text("line of text", r".{0,200}", "Feeds the store"), "For people."),
    "ping_url": JobKey(
        kinds.optional(kinds.PING_URL),
        "A monitor to be told of start, success and failure, in the form of healthchecks.",
    ),
    "memory_max": JobKey(kinds.SIZE, "The most memory it may use, e.g. 512M.", enforced=False),
    "tasks_max": JobKey(
        kinds.whole(1, 4_194_304), "The most processes and threads it may have.", enforced=False
    ),
    "cpu_quota": JobKey(
        kinds.text("percentage", r"[1-9][0-9]{0,4}%", "50%"), "The most CPU time, of one CPU.", enforced=False
    ),
    "cpu_weight": JobKey(
        kinds.whole(1, 10_000), "Its share of the CPUs where they are short; others have 100.", enforced=False
    ),
    "io_weight": JobKey(
        kinds.whole(1, 10_000),
        "Its share of the disks where they are short; others have 100.",
        enforced=False,
    ),
    "sandbox": JobKey(
        kinds.SWITCH, "Whether it gets a /tmp of its own and less of a view of the system.", enforced=False
    ),
    "metadata_access": JobKey(
        kinds.SWITCH,
        "Whether it may reach the instance metadata service, and so use the instance's role.",
        enforced=False,
    ),
}


def key_of(attribute: str) -> str:
    """The key of a Config's or Job's attribute: keys bear no unit."""
    return attribute.removesuffix("_s")


def config_keys() -> dict[str, "attrs.Attribute[Any]"]:
    """Config's attributes by their keys; metadata holds "kind" and "help"."""
    return {key_of(each.name): each for each in attrs.fields(Config)}
