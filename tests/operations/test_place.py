"""Where a stack's parts are found."""

import pytest

from observerd.keys import Config
from observerd.operations.place import find
from observerd.operations.trouble import Trouble
from tests.operations.cloud import JOBS, PLACE, PRODUCER, Account, refused

OUTPUTS = {
    "QueueUrl": PLACE.queue_url,
    "DeadLetterQueueUrl": PLACE.dead_letter_queue_url,
    "JobLogGroup": JOBS,
    "AutoScalingGroupName": "cron-workers",
}


class CloudFormation:
    def __init__(self, outputs):
        self.outputs = outputs

    def describe_stacks(self, *, StackName):  # noqa: N803 boto3's
        if StackName != "cron":
            raise refused("ValidationError", f"Stack with id {StackName} does not exist")
        outputs = [{"OutputKey": key, "OutputValue": value} for key, value in self.outputs.items()]
        return {"Stacks": [{"Outputs": outputs}]}


def account(outputs=OUTPUTS):
    return Account(cloudformation=CloudFormation(outputs))


@pytest.mark.parametrize(("stack", "config"), [("cron", Config()), (None, Config(stack="cron"))])
def test_a_named_stack_is_found_by_its_outputs(stack, config):
    assert PLACE == find(account(), config, stack)


def test_a_name_that_is_given_outweighs_the_configuration():
    config = Config(queue_url="https://sqs.eu-west-1.amazonaws.com/1/other", stack="other")

    assert PLACE == find(account(), config, "cron")


def test_a_worker_needs_to_ask_nobody():
    config = Config(
        queue_url=PLACE.queue_url,
        dead_letter_queue_url=PLACE.dead_letter_queue_url,
        log_group=JOBS,
        stack="cron",
    )

    assert PLACE == find(Account(), config, None)
    assert PRODUCER == find(Account(), config, None).producer_logs


def test_a_queue_without_a_stack_has_neither_producer_nor_group():
    place = find(Account(), Config(queue_url=PLACE.queue_url), None)

    assert (None, None, None) == (place.producer_logs, place.group, place.job_logs)
    with pytest.raises(Trouble, match="log_group is not set"):
        place.logs()


@pytest.mark.parametrize(
    ("stack", "outputs", "text"),
    [
        (None, OUTPUTS, "which stack"),
        ("corn", OUTPUTS, r"there is no stack corn in eu-west-1 \(another --region"),
        ("cron", {"QueueUrl": "x"}, "has no output 'DeadLetterQueueUrl'"),
    ],
)
def test_what_is_no_stack_of_ours_is_one_line(stack, outputs, text):
    with pytest.raises(Trouble, match=text):
        find(account(outputs), Config(), stack)
