"""Giving the instance up: every answer that Auto Scaling may give, by botocore's own stubs."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from botocore.stub import Stubber

from observerd.aws import is_ec2
from observerd.core.events import GiveUpAnswer, Held, Hold
from observerd.instance import Imds, Instance, NoMetadata

TERMINATE = "terminate_instance_in_auto_scaling_group"
ACTIVITY = {
    "Activity": {
        "ActivityId": "a",
        "AutoScalingGroupName": "g",
        "Cause": "c",
        "StatusCode": "InProgress",
        "StartTime": 0,
    }
}
WITH_DECREMENT = {"InstanceId": "i-1", "ShouldDecrementDesiredCapacity": True}
WITHOUT = {"InstanceId": "i-1", "ShouldDecrementDesiredCapacity": False}


class KnownMetadata:
    def instance_id(self):
        return "i-1"

    def group(self):
        return "from-tags"


class DeadMetadata:
    def instance_id(self):
        raise NoMetadata("instance metadata: timed out")

    def group(self):
        raise NoMetadata("instance metadata: timed out")


@pytest.fixture
def auto_scaling():
    client = boto3.client("autoscaling", region_name="us-east-1")
    with Stubber(client) as stub:
        yield client, stub
        stub.assert_no_pending_responses()


def instance(auto_scaling, metadata=None, group="workers", hook="drain"):
    return Instance(lambda: auto_scaling[0], metadata or KnownMetadata(), group, hook)


def test_an_instance_is_given_up_with_decrement(auto_scaling):
    auto_scaling[1].add_response(TERMINATE, ACTIVITY, WITH_DECREMENT)

    assert GiveUpAnswer.TERMINATING is instance(auto_scaling).give_up().answer


def _below_minimum(auto_scaling, minimum):
    _, stub = auto_scaling
    text = "Currently, desiredSize equals minSize (0). Terminating would violate group's min size constraint."
    stub.add_client_error(TERMINATE, "ValidationError", text, expected_params=WITH_DECREMENT)
    stub.add_response(
        "describe_auto_scaling_instances",
        {
            "AutoScalingInstances": [
                {
                    "InstanceId": "i-1",
                    "AutoScalingGroupName": "workers",
                    "AvailabilityZone": "a",
                    "LifecycleState": "InService",
                    "HealthStatus": "HEALTHY",
                    "ProtectedFromScaleIn": False,
                }
            ]
        },
        {"InstanceIds": ["i-1"]},
    )
    group = {
        "AutoScalingGroupName": "workers",
        "MinSize": minimum,
        "MaxSize": 1,
        "DesiredCapacity": minimum,
        "DefaultCooldown": 0,
        "AvailabilityZones": ["a"],
        "HealthCheckType": "EC2",
        "CreatedTime": 0,
    }
    stub.add_response(
        "describe_auto_scaling_groups",
        {"AutoScalingGroups": [group]},
        {"AutoScalingGroupNames": ["workers"]},
    )


def test_with_desired_at_zero_already_it_goes_without_decrement(auto_scaling):
    _below_minimum(auto_scaling, 0)
    auto_scaling[1].add_response(TERMINATE, ACTIVITY, WITHOUT)

    assert GiveUpAnswer.TERMINATING is instance(auto_scaling).give_up().answer


def test_a_group_with_a_minimum_keeps_it(auto_scaling):
    _below_minimum(auto_scaling, 1)

    gave_up = instance(auto_scaling).give_up()

    assert (GiveUpAnswer.KEPT, "the group's minimum size is 1") == (gave_up.answer, gave_up.detail)


def test_an_instance_of_no_group_may_leave(auto_scaling):
    text = "Instance Id not found - No managed instance found for instance ID: i-1"
    auto_scaling[1].add_client_error(TERMINATE, "ValidationError", text)

    assert GiveUpAnswer.TERMINATING is instance(auto_scaling).give_up().answer


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("AccessDenied", GiveUpAnswer.KEPT),
        ("AccessDeniedException", GiveUpAnswer.KEPT),
        ("ScalingActivityInProgress", GiveUpAnswer.FAILED),
        ("ResourceContention", GiveUpAnswer.FAILED),
        ("Throttling", GiveUpAnswer.FAILED),
    ],
)
def test_what_keeps_it_from_leaving_is_told_apart(code, answer, auto_scaling):
    client, stub = auto_scaling
    client.meta.config.retries = {"total_max_attempts": 1}
    for _ in range(5 if code == "Throttling" else 1):
        stub.add_client_error(TERMINATE, code, "no")
    try:
        assert answer is instance(auto_scaling).give_up().answer
    finally:
        stub._queue.clear()


def test_without_metadata_it_asks_again_later(auto_scaling):
    assert GiveUpAnswer.FAILED is instance(auto_scaling, DeadMetadata()).give_up().answer


@pytest.mark.parametrize(("given", "used"), [("workers", "workers"), (None, "from-tags")])
def test_the_lifecycle_action_is_completed(given, used, auto_scaling):
    expected = {
        "LifecycleHookName": "drain",
        "AutoScalingGroupName": used,
        "LifecycleActionResult": "CONTINUE",
        "InstanceId": "i-1",
    }
    auto_scaling[1].add_response("complete_lifecycle_action", {}, expected)

    assert instance(auto_scaling, group=given).complete() is None


def test_the_lifecycle_hook_is_held(auto_scaling):
    expected = {"LifecycleHookName": "drain", "AutoScalingGroupName": "workers", "InstanceId": "i-1"}
    auto_scaling[1].add_response("record_lifecycle_action_heartbeat", {}, expected)

    assert Held() == instance(auto_scaling).carry_out(Hold())


def test_a_hook_that_is_gone_is_told_in_one_line(auto_scaling):
    auto_scaling[1].add_client_error("complete_lifecycle_action", "ValidationError", "No active\nhook")

    assert "No active hook" in instance(auto_scaling).complete()


def test_without_a_hook_nothing_is_completed(auto_scaling):
    assert instance(auto_scaling, hook=None).complete() is None


def test_imds_is_asked_where_the_environment_says(imds):
    metadata = Imds({"AWS_EC2_METADATA_SERVICE_ENDPOINT": imds})

    assert ("i-0123", "workers") == (metadata.instance_id(), metadata.group())


def test_imds_that_does_not_answer_is_one_line():
    with pytest.raises(NoMetadata, match="instance metadata: "):
        Imds({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}).instance_id()


def test_a_metadata_endpoint_means_ec2():
    assert is_ec2({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"})
    assert not is_ec2({})


@pytest.fixture
def imds():
    answers = {
        "/latest/api/token": "token",
        "/latest/meta-data/instance-id": "i-0123",
        "/latest/meta-data/tags/instance/": "aws:autoscaling:groupName",
        "/latest/meta-data/tags/instance": "aws:autoscaling:groupName",
        "/latest/meta-data/tags/instance/aws:autoscaling:groupName": "workers",
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = answers.get(self.path)
            if self.command == "GET" and self.headers.get("X-aws-ec2-metadata-token") != "token":
                body = None
            self.send_response(200 if body else 404)
            self.end_headers()
            self.wfile.write((body or "").encode())

        do_PUT = do_GET  # noqa: N815 the name that http.server looks for

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(5)
