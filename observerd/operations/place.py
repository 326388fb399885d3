"""Where the parts of a stack are: by this machine's configuration, or by the stack's outputs."""

from dataclasses import dataclass
from typing import Any

from observerd.aws import Account, Unanswered, ask
from observerd.keys import Config
from observerd.operations.trouble import Trouble, trouble_of

# sysexits.h
EX_NOINPUT, EX_CONFIG = 66, 78


@dataclass(frozen=True, slots=True)
class Place:
    """One stack. What is None is not known here."""

    region: str
    stack: str | None
    queue_url: str
    dead_letter_queue_url: str | None
    job_logs: str | None
    producer_logs: str | None
    group: str | None

    def logs(self) -> str:
        """The log group of the jobs and the events. Raises Trouble where there is none."""
        if self.job_logs is None:
            raise Trouble(
                "log_group is not set: without it no run is on record (or give --stack NAME)", EX_CONFIG
            )
        return self.job_logs


def find(account: Account, config: Config, stack: str | None) -> Place:
    """The stack of that name, else the one that the configuration describes or names. Raises Trouble."""
    if stack is None and config.queue_url:
        return _configured(account, config)
    name = stack or config.stack
    if name is None:
        raise Trouble(
            "which stack? (give --stack NAME, or set OBSERVERD_STACK or OBSERVERD_QUEUE_URL)", EX_CONFIG
        )
    return _deployed(account, name)


def _configured(account: Account, config: Config) -> Place:
    stack = config.stack
    return Place(
        region=account.region,
        stack=stack,
        queue_url=config.queue_url,
        dead_letter_queue_url=config.dead_letter_queue_url,
        job_logs=config.log_group,
        producer_logs=_producer_logs(stack) if stack else None,
        group=config.auto_scaling_group or (f"{stack}-workers" if stack else None),
    )


def _deployed(account: Account, name: str) -> Place:
    outputs = outputs_of(account.client("cloudformation"), name, account.region)
    try:
        return Place(
            region=account.region,
            stack=name,
            queue_url=outputs["QueueUrl"],
            dead_letter_queue_url=outputs["DeadLetterQueueUrl"],
            job_logs=outputs["JobLogGroup"],
            producer_logs=_producer_logs(name),
            group=outputs["AutoScalingGroupName"],
        )
    except KeyError as missing:
        raise Trouble(f"stack {name} has no output {missing}: is it observerd's?", EX_NOINPUT) from None


def outputs_of(client: Any, stack: str, region: str) -> dict[str, str]:
    """The stack's outputs by their keys. client is boto3's for CloudFormation. Raises Trouble."""
    try:
        found = ask(client.describe_stacks, StackName=stack)["Stacks"][0]
    except Unanswered as fault:
        if "does not exist" in str(fault):
            text = f"there is no stack {stack} in {region} (another --region, or another --stack?)"
            raise Trouble(text, EX_NOINPUT) from None
        raise trouble_of(fault) from None
    return {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", ())}


def _producer_logs(stack: str) -> str:
    return f"/observerd/{stack}/producer"
