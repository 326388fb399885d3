"""Every number that the world takes from AWS, each with the page it comes from.

What is ours (timeouts, alarms, thresholds) is in stack.py, and a test holds it against the template.
"""

from dataclasses import Field, dataclass, field, fields, replace
from math import inf
from typing import Any


def _figure(value: float, source: str) -> Any:
    return field(default=value, metadata={"source": source})


@dataclass(frozen=True, slots=True)
class Figures:
    """Times in seconds, prices in US dollars, shares between 0 and 1. low and high bound an even spread."""

    scheduler_precision_s: float = _figure(
        60.0, "EventBridge Scheduler guide, schedule types: 1:00 means between 1:00:00 and 1:00:59"
    )
    scheduler_twice_share: float = _figure(
        0.002, "EventBridge delivers at least once (no rate is published; this one is assumed)"
    )
    lambda_start_low_s: float = _figure(0.1, "Lambda cold start and import of boto3, measured by many")
    lambda_start_high_s: float = _figure(1.5, "as lambda_start_low_s")
    lambda_retry_s: float = _figure(
        60.0, "Lambda guide, asynchronous invocation: a minute before the first retry, two before the second"
    )
    call_low_s: float = _figure(0.005, "one call to SQS or Auto Scaling within a region, measured by many")
    call_high_s: float = _figure(0.08, "as call_low_s")
    queue_sleeps_after_s: float = _figure(
        21_600.0, "SQS guide, CloudWatch metrics: a queue is active for up to six hours"
    )
    metric_delay_s: float = _figure(
        900.0, "SQS guide, CloudWatch metrics: up to 15 minutes when a queue becomes active"
    )
    metric_lag_s: float = _figure(
        60.0, "CloudWatch guide: the newest minute is often not there yet (no figure is published)"
    )
    deduplication_s: float = _figure(300.0, "SQS guide, FIFO deduplication: five minutes")
    visibility_limit_s: float = _figure(43_200.0, "SQS guide, visibility timeout: twelve hours in all")
    false_empty_share: float = _figure(
        0.1, "SQS guide, short polling asks a subset of servers (no rate is published; this one is assumed)"
    )
    group_reacts_low_s: float = _figure(
        2.0, "elastic-ci-stack-for-aws issue 731: what is left of 45 s beside the boot"
    )
    group_reacts_high_s: float = _figure(12.0, "as group_reacts_low_s")
    launch_low_s: float = _figure(
        20.0, "brevdev/ec2-coldboot-research: 4.8 s of API and 17.8 s from pending to running"
    )
    launch_high_s: float = _figure(30.0, "as launch_low_s")
    boot_low_s: float = _figure(3.0, "brevdev/ec2-coldboot-research: 3.2 s of boot on Amazon Linux 2023")
    boot_high_s: float = _figure(10.0, "as boot_low_s, with a slow disk")
    reboot_low_s: float = _figure(
        2.0, "crond starts late in a boot and runs its @reboot lines then (the seed's way)"
    )
    reboot_high_s: float = _figure(30.0, "as reboot_low_s")
    in_service_low_s: float = _figure(1.0, "from running to InService, which no hook of ours delays")
    in_service_high_s: float = _figure(20.0, "as in_service_low_s")
    shutdown_low_s: float = _figure(5.0, "from the end of the hook to the end of the machine")
    shutdown_high_s: float = _figure(40.0, "as shutdown_low_s")
    health_check_low_s: float = _figure(
        30.0, "Auto Scaling guide, health checks: EC2 status checks come every minute"
    )
    health_check_high_s: float = _figure(150.0, "as health_check_low_s, and the group's own turn")
    metadata_lag_s: float = _figure(
        10.0,
        "from a change in Auto Scaling to instance metadata (not published; assumed)",
    )
    spot_notice_s: float = _figure(120.0, "EC2 guide, Spot interruption notices: two minutes")
    billed_at_least_s: float = _figure(60.0, "EC2 prices: by the second, a minute at least")
    instance_price_h: float = _figure(0.0168, "EC2 prices, t4g.small On-Demand in us-east-1")
    address_price_h: float = _figure(0.005, "VPC prices, a public IPv4 address in use")
    alarm_metric_price_month: float = _figure(0.10, "CloudWatch prices, one metric of a standard alarm")


def changed(figures: Figures, assignments: list[str]) -> Figures:
    """Figures with each NAME=VALUE put in. Raises ValueError, in one line."""
    known = {each.name for each in fields(Figures)}
    values = {}
    for text in assignments:
        name, _, number = text.partition("=")
        if name not in known:
            raise ValueError(f"no figure {name!r} (`observerd simulate --figures` lists them)")
        values[name] = _number(name, number)
    return replace(figures, **values)


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < inf:
        raise ValueError(f"{name}: not a number of 0 or more: {text!r}")
    return value


def table(figures: Figures) -> str:
    """One line a figure: name, value and source."""
    return "\n".join(_line(each, figures) for each in fields(Figures))


def _line(each: "Field[Any]", figures: Figures) -> str:
    return f"{each.name:26} {getattr(figures, each.name):>9g}  {each.metadata['source']}"
