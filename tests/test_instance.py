"""The instance in its group: every answer that Auto Scaling may give, by botocore's own stubs."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ReadTimeoutError
from botocore.stub import Stubber

from observerd.core.events import GiveUpAnswer, Held, Hold, Protect, ProtectAnswer, Protected, Shrink
from observerd.instance import Instance
from observerd.metadata import NoMetadata

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
    # One attempt, as aws.Clients has it.
    config = Config(retries={"total_max_attempts": 1})
    client = boto3.client("autoscaling", region_name="us-east-1", config=config)
    with Stubber(client) as stub:
        yield client, stub
        stub.assert_no_pending_responses()


def instance(auto_scaling, metadata=None, group="workers", hook="drain"):
    return Instance(lambda: auto_scaling[0], metadata or KnownMetadata(), group, hook)


def test_an_instance_is_given_up_with_decrement(auto_scaling):
    _described(auto_scaling[1], "InService")
    auto_scaling[1].add_response(TERMINATE, ACTIVITY, WITH_DECREMENT)

    assert GiveUpAnswer.TERMINATING is instance(auto_scaling).give_up().answer


def _described(stub, *states):
    details = [
        {
            "InstanceId": "i-1",
            "AutoScalingGroupName": "workers",
            "AvailabilityZone": "a",
            "LifecycleState": state,
            "HealthStatus": "HEALTHY",
            "ProtectedFromScaleIn": False,
        }
        for state in states
    ]
    stub.add_response(
        "describe_auto_scaling_instances", {"AutoScalingInstances": details}, {"InstanceIds": ["i-1"]}
    )


def _below_minimum(auto_scaling, minimum):
    _, stub = auto_scaling
    _described(stub, "InService")
    text = "Currently, desiredSize equals minSize (0). Terminating would violate group's min size constraint."
    stub.add_client_error(TERMINATE, "ValidationError", text, expected_params=WITH_DECREMENT)
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


def test_with_a_minimum_it_is_replaced_where_that_is_allowed(auto_scaling):
    _below_minimum(auto_scaling, 1)
    auto_scaling[1].add_response(TERMINATE, ACTIVITY, WITHOUT)

    assert GiveUpAnswer.TERMINATING is instance(auto_scaling).give_up(Shrink.IF_ALLOWED).answer


def test_what_is_in_standby_is_not_counted_and_goes_without_decrement(auto_scaling):
    _described(auto_scaling[1], "Standby")
    auto_scaling[1].add_response(TERMINATE, ACTIVITY, WITHOUT)

    assert GiveUpAnswer.TERMINATING is instance(auto_scaling).give_up().answer


def test_it_is_replaced_without_decrement_where_that_is_asked_for(auto_scaling):
    _described(auto_scaling[1], "InService")
    auto_scaling[1].add_response(TERMINATE, ACTIVITY, WITHOUT)

    assert GiveUpAnswer.TERMINATING is instance(auto_scaling).give_up(Shrink.NEVER).answer


def test_a_refusal_that_only_sounds_like_the_minimum_is_not_taken_for_it(auto_scaling):
    _described(auto_scaling[1], "InService")
    auto_scaling[1].add_client_error(TERMINATE, "ValidationError", "The instance is terminating", 400)

    assert GiveUpAnswer.FAILED is instance(auto_scaling).give_up().answer


@pytest.fixture(
    params=[(200, b"<html>Welcome</html>"), (200, b"null"), (502, b"\xff\xfe")],
    ids=["html", "null", "binary"],
)
def stranger(request):
    """A client of something that stands in Auto Scaling's place, and what that says to everybody."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            status, body = request.param
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        session = boto3.Session("test", "test", region_name="us-east-1")
        yield session.client(
            "autoscaling",
            endpoint_url=f"http://127.0.0.1:{server.server_port}",
            config=Config(retries={"total_max_attempts": 1}),
        )
        server.shutdown()


def test_an_answer_that_makes_no_sense_is_a_failure(stranger):
    one = Instance(lambda: stranger, KnownMetadata(), "workers", "drain")

    assert GiveUpAnswer.FAILED is one.give_up().answer
    assert ProtectAnswer.FAILED is one.protect().answer
    assert "\n" not in one.hold()


class Silent:
    """A client whose first request to terminate is carried out, and its answer lost."""

    def __init__(self, client):
        self._client, self.asked = client, 0

    def __getattr__(self, name):
        return getattr(self._client, name)

    def terminate_instance_in_auto_scaling_group(self, **asked):
        self.asked += 1
        if self.asked == 1:
            raise ReadTimeoutError(endpoint_url="https://autoscaling")
        return self._client.terminate_instance_in_auto_scaling_group(**asked)


@pytest.mark.parametrize("state", ["Terminating", "Terminating:Wait", "Terminated"])
def test_an_attempt_whose_answer_was_lost_is_not_made_twice(state, auto_scaling):
    silent = Silent(auto_scaling[0])
    one = Instance(lambda: silent, KnownMetadata(), "workers", "drain")

    _described(auto_scaling[1], "InService")
    assert GiveUpAnswer.FAILED is one.give_up().answer
    _described(auto_scaling[1], state)
    assert (GiveUpAnswer.TERMINATING, 1) == (one.give_up().answer, silent.asked)


def test_an_attempt_that_never_arrived_is_made_again(auto_scaling):
    silent = Silent(auto_scaling[0])
    one = Instance(lambda: silent, KnownMetadata(), "workers", "drain")

    _described(auto_scaling[1], "InService")
    assert GiveUpAnswer.FAILED is one.give_up().answer
    _described(auto_scaling[1], "InService")
    auto_scaling[1].add_response(TERMINATE, ACTIVITY, WITH_DECREMENT)
    assert (GiveUpAnswer.TERMINATING, 2) == (one.give_up().answer, silent.asked)


def test_an_instance_of_no_group_may_leave(auto_scaling):
    _described(auto_scaling[1])

    gave_up = instance(auto_scaling).give_up()

    assert (GiveUpAnswer.TERMINATING, "i-1 is in no Auto Scaling group") == (gave_up.answer, gave_up.detail)


def test_what_somebody_else_ends_already_is_not_ended_again(auto_scaling):
    """`observerd terminate` and the daemon may ask at once: the group shrinks by one."""
    _described(auto_scaling[1], "Terminating:Wait")

    assert GiveUpAnswer.TERMINATING is instance(auto_scaling).give_up().answer


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("AccessDenied", GiveUpAnswer.DENIED),
        ("AccessDeniedException", GiveUpAnswer.DENIED),
        ("ScalingActivityInProgress", GiveUpAnswer.FAILED),
        ("ResourceContention", GiveUpAnswer.FAILED),
        ("Throttling", GiveUpAnswer.FAILED),
    ],
)
@pytest.mark.parametrize("call", ["describe_auto_scaling_instances", TERMINATE])
def test_what_keeps_it_from_leaving_is_told_apart(call, code, answer, auto_scaling):
    _, stub = auto_scaling
    if call == TERMINATE:
        _described(stub, "InService")
    stub.add_client_error(call, code, "no")

    assert answer is instance(auto_scaling).give_up().answer


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

    assert instance(auto_scaling, group=given).complete(0) is None


def test_the_lifecycle_hook_is_held(auto_scaling):
    expected = {"LifecycleHookName": "drain", "AutoScalingGroupName": "workers", "InstanceId": "i-1"}
    auto_scaling[1].add_response("record_lifecycle_action_heartbeat", {}, expected)

    assert Held() == instance(auto_scaling).carry_out(Hold())


def test_a_hook_that_does_not_wait_yet_is_completed_once_it_does(auto_scaling):
    call, pauses = "complete_lifecycle_action", []
    auto_scaling[1].add_client_error(call, "ValidationError", "No active Lifecycle Action found")
    auto_scaling[1].add_response(call, {})

    assert instance(auto_scaling).complete(30, pauses.append) is None
    assert [2] == pauses


def test_a_hook_that_never_waits_is_tried_for_so_long_and_no_longer(auto_scaling):
    pauses = []
    for _ in range(3):
        auto_scaling[1].add_client_error("complete_lifecycle_action", "ValidationError", "No active hook")

    assert "No active hook" in instance(auto_scaling).complete(4, pauses.append)
    assert [2, 2] == pauses


def test_calls_that_hang_do_not_make_it_longer(auto_scaling):
    """A client waits five seconds for each answer."""
    call, moments, pauses = "complete_lifecycle_action", iter([0.0, 5.0, 12.0]), []
    for _ in range(2):
        auto_scaling[1].add_client_error(call, "RequestTimeout", "no answer")

    assert "no answer" in instance(auto_scaling).complete(10, pauses.append, lambda: next(moments))
    assert [2] == pauses


PROTECTION = {"InstanceIds": ["i-1"], "AutoScalingGroupName": "workers", "ProtectedFromScaleIn": True}


def test_it_is_protected_from_scale_in(auto_scaling):
    auto_scaling[1].add_response("set_instance_protection", {}, PROTECTION)

    expected = Protected(ProtectAnswer.PROTECTED, "i-1")
    assert expected == instance(auto_scaling).carry_out(Protect())


class NoTags(KnownMetadata):
    def group(self):
        return None


def test_without_tags_in_the_metadata_the_group_is_asked_for(auto_scaling):
    _described(auto_scaling[1], "InService")
    auto_scaling[1].add_response("set_instance_protection", {}, PROTECTION)

    answer = instance(auto_scaling, NoTags(), group=None).protect().answer
    assert ProtectAnswer.PROTECTED is answer


def test_in_no_group_there_is_nothing_to_be_protected_from(auto_scaling):
    _described(auto_scaling[1])

    answer = instance(auto_scaling, NoTags(), group=None).protect().answer
    assert ProtectAnswer.NEEDLESS is answer


@pytest.mark.parametrize(
    ("code", "text", "answer"),
    [
        (
            "ValidationError",
            "The instance i-1 is not in InService or EnteringStandby or Standby.",
            ProtectAnswer.NOT_YET,
        ),
        ("AccessDenied", "no", ProtectAnswer.FAILED),
        ("ResourceContention", "busy", ProtectAnswer.FAILED),
    ],
)
def test_what_keeps_it_from_being_protected_is_told_apart(code, text, answer, auto_scaling):
    auto_scaling[1].add_client_error("set_instance_protection", code, text)

    assert answer is instance(auto_scaling).protect().answer


def test_a_hook_that_is_gone_is_told_in_one_line(auto_scaling):
    auto_scaling[1].add_client_error("complete_lifecycle_action", "ValidationError", "No active\nhook")

    assert "No active hook" in instance(auto_scaling).complete(0)


def test_without_a_hook_nothing_is_completed(auto_scaling):
    assert instance(auto_scaling, hook=None).complete(0) is None
