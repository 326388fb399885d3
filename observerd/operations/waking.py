"""Asks for a worker, as the producer does: without it a message waits for the Wake alarm."""

from observerd.aws import Account, Unanswered, ask


def wake(account: Account, group: str | None) -> tuple[str, str | None]:
    """Whether a worker was asked for, in words, and what kept us from it. Never lowers the capacity."""
    if group is None:
        return "no group is known to be woken", None
    client = account.client("autoscaling")
    try:
        found = ask(client.describe_auto_scaling_groups, AutoScalingGroupNames=[group])["AutoScalingGroups"]
        if not found:
            return "not woken", f"there is no Auto Scaling group {group}"
        if found[0]["DesiredCapacity"] > 0:
            return "a worker is there", None
        ask(client.set_desired_capacity, AutoScalingGroupName=group, DesiredCapacity=1, HonorCooldown=False)
    except Unanswered as fault:
        return "not woken", f"the Wake alarm will ask for a worker within minutes: {fault}"
    return "a worker was asked for", None
