"""The demo as a person runs it, and the emulated world that it is made of."""

import os
import queue
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

import demo.fleet
from demo.cloud import REPOSITORY, Cloud, CloudFault
from demo.events import Booted, Called, Left, Said
from demo.evidence import Check
from demo.fleet import Fleet, Image, run_user_data, toml
from demo.interrupt import Interrupt, Interrupted
from demo.screen import Screen
from demo.show import job_file
from demo.stack import Producer, deploy, schedule_event
from demo.story import Line, Names, Story
from tests.support import eventually, is_running

# One demo takes ten seconds, and several times that where eight others run beside it.
pytestmark = pytest.mark.timeout(300)
PATIENCE_S = 120.0
COMPLETE = "CompleteLifecycleAction"


class Showing:
    """A demo in a process of its own, with a directory of its own for temporary files."""

    def __init__(self, tmp_path, *arguments, code=None):
        self.directory = tmp_path
        what = ["-c", code] if code else ["-m", "demo"]
        self._process = subprocess.Popen(
            [sys.executable, *what, *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.text = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)

    def wait_for(self, phrase):
        """Read on until a line holds the phrase."""
        for line in self._process.stdout:
            self.text += line
            if phrase in line:
                return
        pytest.fail(f"never said {phrase!r}:\n{self.text}")

    def signal(self, number):
        self._process.send_signal(number)

    def end(self):
        """Read to the end; the exit status."""
        self.text += self._process.stdout.read()
        return self._process.wait()

    def processes(self):
        """Whatever still runs that this demo has started: all of it knows the demo's directory."""
        mark = f"DEMO_DIRECTORY={self.directory}".encode()
        return [int(each.name) for each in Path("/proc").glob("[0-9]*") if mark in environment_of(each)]


def environment_of(process):
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def showing(tmp_path):
    """showing(*arguments) starts a demo; no process of it outlives the test."""
    shown = []

    def start(*arguments, **named):
        shown.append(Showing(tmp_path, *arguments, **named))
        return shown[0]

    yield start
    for each in shown:
        with each:
            pass


def assert_nothing_is_left(demo):
    eventually(lambda: not demo.processes())
    assert list(demo.directory.iterdir()) == []


# ---- the demo as a whole


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A demo that has been left alone to its end, and its exit status."""
    with Showing(tmp_path_factory.mktemp("demo")) as demo:
        yield demo, demo.end()


def test_the_demo_shows_the_whole_way_and_everything_it_claims_holds(finished):
    demo, status = finished

    assert status == 0, demo.text
    assert "FAILED" not in demo.text
    claimed = int(re.search(r"All (\d+) checks hold", demo.text)[1])
    assert demo.text.count("\n  ok  ") == claimed >= 15
    hops = (
        "schedule   fires: job nightly-feed",
        "producer   message sent to demo-jobs-",
        "group      desired capacity 0 -> 1",
        "machine    boots",
        "worker     message received",
        "worker     job started: nightly-feed",
        "logs       | put s3://feed-store/dummy-feed",
        "worker     message deleted",
        "worker     gives this instance up",
        "group      desired capacity 1 -> 0",
        "worker     last look: the queue is empty",
        "worker     lifecycle action completed: CONTINUE",
        "machine    daemon ended with status 0",
        "queue               visible: 0, in flight: 0, delayed: 0",
        'observerd_job_runs_total{job_name="nightly-feed",outcome="succeeded"} 1',
        "schedule fires to message sent",
        "observerd why ",
        "  woken  ",
        "  worker left  ",
    )
    positions = [demo.text.find(each) for each in hops]
    assert -1 not in positions, hops[positions.index(-1)]
    assert positions == sorted(positions)
    assert [] == [line for line in demo.text.splitlines() if line != line.rstrip()]


def test_a_whole_demo_leaves_no_process_and_no_file_behind(finished):
    demo, _ = finished
    assert_nothing_is_left(demo)


@pytest.mark.parametrize(
    ("phrase", "number"),
    [
        ("starts the emulated AWS", signal.SIGINT),
        ("emulated AWS is up", signal.SIGTERM),
        ("daemon up", signal.SIGINT),
        ("gives this instance up", signal.SIGINT),
    ],
)
def test_a_signal_at_any_moment_ends_the_demo_and_all_of_it(showing, phrase, number):
    demo = showing()
    demo.wait_for(phrase)
    demo.signal(number)

    assert demo.end() == 128 + number, demo.text
    assert "Traceback" not in demo.text
    assert_nothing_is_left(demo)


def test_a_second_ctrl_c_does_not_cut_the_cleaning_up_short(showing):
    demo = showing()
    demo.wait_for("job started")
    for _ in range(5):
        demo.signal(signal.SIGINT)
        time.sleep(0.02)

    assert demo.end() == 130, demo.text
    assert_nothing_is_left(demo)


def test_what_is_kept_runs_a_message_that_was_sent_by_hand(showing):
    demo = showing("--keep")
    demo.wait_for("source /")
    environment = demo.text.rsplit("source ", 1)[1].strip()
    observerd = Path(sys.executable).with_name("observerd")
    command = f". {environment} && exec {observerd} send nightly-feed"
    sent = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert sent.returncode == 0, sent.stderr

    demo.wait_for("the Wake alarm rings")
    demo.wait_for("job ended: succeeded")
    demo.signal(signal.SIGINT)
    assert demo.end() == 130, demo.text
    assert_nothing_is_left(demo)


# The image of this one defines another job than the schedule names.
WITHOUT_THE_JOB = """
import sys
from demo import show
from demo.interrupt import Interrupt
show.job_file = lambda cloud: '[job.other]\\ncommand = ["/bin/true"]\\n'
sys.exit(show.show(Interrupt(), sys.stdout, keep=False))
"""


def test_a_demo_that_is_not_true_says_what_it_saw_and_keeps_the_logs(showing):
    demo = showing(code=WITHOUT_THE_JOB)

    assert demo.end() == 1, demo.text
    assert "no job 'nightly-feed' is defined on this machine" in demo.text
    assert re.search(
        r"FAILED  the job succeeded at the first attempt\n +expected .*\n +but saw  \['rejected'", demo.text
    )
    assert "FAILED  the dead-letter queue is empty" in demo.text
    logs = re.findall(r"^ +(/.*daemon\.log)$", demo.text, re.MULTILINE)
    assert "run ended" in Path(logs[0]).read_text()
    assert demo.processes() == []


# The producer's message never comes to a worker: nobody watches the group.
WITHOUT_MACHINES = """
import sys
from demo import fleet, show
from demo.interrupt import Interrupt
patience = iter([60.0])  # The producer's. Then half a second for each event.
show._Demo._left_s = lambda self: next(patience, 0.5)
fleet.Fleet._hear = lambda self, event: None
sys.exit(show.show(Interrupt(), sys.stdout, keep=False))
"""


def test_a_demo_that_waits_in_vain_says_what_for(showing):
    demo = showing(code=WITHOUT_MACHINES)

    assert demo.end() == 1, demo.text
    assert "waiting for an instance in the group" in demo.text, demo.text
    assert demo.processes() == []


# ---- the emulated world


@pytest.fixture(scope="module")
def cloud():
    with Cloud(long_poll_s=1) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def stack(cloud):
    return deploy(
        cloud, "test", {"JobName": "nightly-feed", "Payload": '{"feed": "dummy"}', "IdleSeconds": "60"}
    )


@pytest.fixture
def events(cloud):
    """What happens in the cloud from now on."""
    inbox = queue.SimpleQueue()
    cloud.listen(inbox.put)
    return inbox


def until(events, wanted, timeout_s=PATIENCE_S):
    """The next event that is wanted, and no sooner."""
    deadline = time.monotonic() + timeout_s
    while True:
        event = events.get(timeout=max(0.0, deadline - time.monotonic()))
        if wanted(event):
            return event


@pytest.fixture
def instance_id(cloud, stack):
    """An instance of the group that nothing runs on."""
    auto_scaling, group = cloud.client("autoscaling"), stack.outputs["AutoScalingGroupName"]
    auto_scaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=1)
    found = auto_scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"][0]
    yield found["Instances"][0]["InstanceId"]
    auto_scaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=0)


def imds(cloud, instance_id, path, token=None):
    headers = {"X-aws-ec2-metadata-token": token} if token else {}
    request = urllib.request.Request(f"{cloud.imds(instance_id)}/latest/{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()


def imds_token(cloud, instance_id):
    headers = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    url = f"{cloud.imds(instance_id)}/latest/api/token"
    with urllib.request.urlopen(
        urllib.request.Request(url, method="PUT", headers=headers), timeout=30
    ) as answer:
        return answer.read().decode()


def terminate(cloud, instance_id):
    cloud.client("autoscaling").terminate_instance_in_auto_scaling_group(
        InstanceId=instance_id, ShouldDecrementDesiredCapacity=True
    )


def test_instance_metadata_speaks_version_2_only(cloud, instance_id):
    with pytest.raises(urllib.error.HTTPError) as refused:
        imds(cloud, instance_id, "meta-data/instance-id")
    assert refused.value.code == 401
    refused.value.close()
    assert imds(cloud, instance_id, "meta-data/instance-id", imds_token(cloud, instance_id)) == instance_id


def test_instance_metadata_announces_no_spot_interruption(cloud, instance_id):
    with pytest.raises(urllib.error.HTTPError) as missing:
        imds(cloud, instance_id, "meta-data/spot/instance-action", imds_token(cloud, instance_id))
    assert missing.value.code == 404
    missing.value.close()


def test_an_instance_in_termination_still_knows_its_group(cloud, stack, instance_id):
    token = imds_token(cloud, instance_id)
    state = "meta-data/autoscaling/target-lifecycle-state"
    assert imds(cloud, instance_id, state, token) == "InService"
    terminate(cloud, instance_id)

    assert imds(cloud, instance_id, state, token) == "Terminated"
    group = imds(cloud, instance_id, "meta-data/tags/instance/aws:autoscaling:groupName", token)
    assert group == stack.outputs["AutoScalingGroupName"]


def test_a_lifecycle_action_is_completed_once_and_only_for_an_instance_in_termination(
    cloud, stack, instance_id
):
    auto_scaling = cloud.client("autoscaling")
    hook = {
        "LifecycleHookName": "drain",
        "AutoScalingGroupName": stack.outputs["AutoScalingGroupName"],
        "InstanceId": instance_id,
    }
    with pytest.raises(ClientError, match="No active Lifecycle Action"):
        auto_scaling.complete_lifecycle_action(**hook, LifecycleActionResult="CONTINUE")
    terminate(cloud, instance_id)
    auto_scaling.record_lifecycle_action_heartbeat(**hook)
    auto_scaling.complete_lifecycle_action(**hook, LifecycleActionResult="CONTINUE")
    with pytest.raises(ClientError, match="No active Lifecycle Action"):
        auto_scaling.complete_lifecycle_action(**hook, LifecycleActionResult="CONTINUE")


def test_every_call_is_told_with_who_made_it_and_what_came_of_it(cloud, events):
    sqs = cloud.client("sqs", "SOMEBODY")
    url = sqs.create_queue(QueueName="told")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="hello")

    call = until(events, lambda event: isinstance(event, Called) and event.action == "SendMessage")
    assert (call.service, call.caller, call.status) == ("sqs", "SOMEBODY", 200)
    assert call.parameters == {"QueueUrl": url, "MessageBody": "hello"}
    assert call.answer["MessageId"]


def test_a_long_poll_is_cut_to_what_was_asked_for(cloud, events):
    sqs = cloud.client("sqs")
    url = sqs.create_queue(QueueName="polled")["QueueUrl"]
    sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20)

    call = until(events, lambda event: isinstance(event, Called) and event.action == "ReceiveMessage")
    assert call.ended_at - call.began_at < 20


def test_a_cloud_knows_nothing_of_its_users_account(cloud, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with Cloud() as other:
        assert other.client("sqs").list_queues().get("QueueUrls", []) == []
    assert not any(name.startswith("AWS_PROFILE") for name in cloud.environment("JOB"))


IN_A_CLOUD = """
import time
from demo.cloud import Cloud
with Cloud():
    print("up")
    time.sleep(600)
"""


def test_the_emulator_does_not_outlive_whoever_started_it(showing):
    demo = showing(code=IN_A_CLOUD)
    demo.wait_for("up")
    (emulator,) = demo.processes()
    demo.signal(signal.SIGKILL)

    eventually(lambda: not is_running(emulator))


def test_an_emulator_that_does_not_start_is_a_fault_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(CloudFault, match="did not start"), Cloud(region="--no-such-option"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_schedules_event_is_the_templates_own(stack):
    event = schedule_event(stack, datetime(2026, 11, 23, 18, tzinfo=UTC))

    assert event == {
        "job": "nightly-feed",
        "schedule": "nightly-feed",
        "scheduled_time": "2026-11-23T18:00:00Z",
        "max_lateness": "21600s",
        "overlap": "queue",
        "payload": {"feed": "dummy"},
    }


def test_the_producer_that_raises_is_a_fault_in_its_own_words(cloud, stack):
    with pytest.raises(CloudFault, match="bad event: job: not a job's name"):
        Producer(cloud, stack).invoke({"job": "../etc"}, timeout_s=PATIENCE_S)


# ---- its machines


@pytest.fixture
def image(cloud, tmp_path):
    return Image(tmp_path / "image", {"nightly-feed.toml": job_file(cloud)})


@pytest.fixture
def settings():
    return {"log_format": "json", "metrics_listen": "", "idle_timeout": "1h"}


def test_a_daemon_whose_machine_is_taken_away_leaves_before_its_hook_is_over(
    cloud, stack, events, image, settings
):
    group = stack.outputs["AutoScalingGroupName"]
    auto_scaling = cloud.client("autoscaling")
    with Fleet(cloud, group, image, settings, hook_s=PATIENCE_S):
        auto_scaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=1)
        up = until(events, lambda event: isinstance(event, Said) and event.message == "serving")
        assert up.facts["queue"] == stack.outputs["QueueUrl"]
        auto_scaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=0)

        completed = until(events, lambda event: isinstance(event, Called) and event.action == COMPLETE)
        assert (up.instance_id, 200) == (completed.parameters["InstanceId"], completed.status)
        left = until(events, lambda event: isinstance(event, Left))
        assert left == Left(up.instance_id, 0, told=False)


def test_a_machine_that_hangs_is_switched_off_when_its_hook_is_over(
    cloud, stack, events, image, settings, monkeypatch
):
    monkeypatch.setattr(demo.fleet, "OFF_S", 1.0)
    group = stack.outputs["AutoScalingGroupName"]
    auto_scaling = cloud.client("autoscaling")
    with Fleet(cloud, group, image, settings, hook_s=1.0):
        auto_scaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=1)
        booted = until(events, lambda event: isinstance(event, Booted))
        os.kill(booted.pid, signal.SIGSTOP)
        auto_scaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=0)

        left = until(events, lambda event: isinstance(event, Left))
        assert left == Left(booted.instance_id, -signal.SIGKILL, told=True)


def test_a_fleet_ends_the_daemons_it_has_started(cloud, stack, events, image, settings):
    group = stack.outputs["AutoScalingGroupName"]
    auto_scaling = cloud.client("autoscaling")
    with Fleet(cloud, group, image, settings):
        auto_scaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=1)
        until(events, lambda event: isinstance(event, Said) and event.message == "serving")
    auto_scaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=0)

    left = until(events, lambda event: isinstance(event, Left), timeout_s=0.0)
    assert left.told


def test_user_data_lands_below_the_machines_directory(tmp_path):
    target = tmp_path / "etc" / "observerd"
    target.mkdir(parents=True)
    user_data = """#cloud-config
write_files:
  - path: /etc/observerd/50-stack.toml
    permissions: '0640'
    content: |
      slots = 4
"""
    run_user_data(user_data, tmp_path)

    written = target / "50-stack.toml"
    assert written.read_text() == "slots = 4\n"
    assert written.stat().st_mode & 0o777 == 0o640


def test_settings_become_toml():
    settings = {"slots": 4, "command": ["a", 'b"c'], "job_environment": {"A": "1"}}
    assert toml(settings) == 'slots = 4\ncommand = ["a", "b\\"c"]\njob_environment = { A = "1" }\n'


# ---- the story, told without a world

NAMES = Names("https://queue", "https://dead", "PUT /feed-store/dummy-feed")


def called(action, parameters=None, *, answer=None, status=200, began_at=0.0, ended_at=0.0):
    return Called("aws", action, "WORKER", parameters or {}, status, answer, began_at, ended_at)


@pytest.fixture
def story():
    return Story(NAMES, 0)


def test_a_receive_that_was_under_way_when_the_instance_was_given_up_is_no_last_look(story):
    story.told(called("TerminateInstanceInAutoScalingGroup", ended_at=10.0), 10.0)
    story.told(called("ReceiveMessage", answer={}, began_at=9.0, ended_at=11.0), 11.0)
    assert not story.looked_again
    story.told(called("ReceiveMessage", answer={}, began_at=11.0, ended_at=12.0), 12.0)
    assert story.looked_again


def test_a_call_that_was_refused_is_shown_and_proves_nothing(story):
    (line,) = story.told(called("DeleteMessage", status=500), 1.0)
    assert (line.text, line.bad) == ("DeleteMessage answered 500", True)
    assert story.deletions == 0


def test_a_batch_deletes_as_many_as_its_answer_says(story):
    story.told(called("DeleteMessage", answer={}), 1.0)
    story.told(called("DeleteMessageBatch", answer={"Successful": [{"Id": "0"}, {"Id": "1"}]}), 2.0)
    assert story.deletions == 3


def test_what_the_daemon_complains_of_is_shown_whole(story):
    (line,) = story.told(Said("i-1", "observerd: queue_url: not set", {}), 1.0)
    assert (line.text, line.bad) == ("observerd: queue_url: not set", True)


def test_what_the_daemon_says_in_passing_is_not_shown(story):
    assert story.told(Said("i-1", "stop requested", {"level": "info"}), 1.0) == []


def test_a_story_waits_for_what_should_have_happened_next(story):
    assert story.awaited == "the producer's message"
    story.told(called("SendMessage", {"QueueUrl": "https://queue"}), 1.0)
    assert story.awaited == "an instance in the group"


def test_a_daemon_that_is_killed_ends_the_story_badly(story):
    (line,) = story.told(Left("i-1", -9, told=False), 1.0)
    assert (line.text, line.bad, story.is_over) == ("daemon ended with signal 9", True, True)


def test_the_screen_has_no_colours_unless_asked():
    out = StringIO()
    screen = Screen(out, colours=False)
    screen.event(Line(5.0, "worker", "x" * 200))
    screen.check(Check("this is so", 1, 2))

    assert "\x1b" not in out.getvalue()
    first, *rest = out.getvalue().splitlines()
    assert (len(first), first[:25]) == (96, "    0.00 s  worker     xx")
    assert rest == ["  FAILED  this is so", "          expected 1", "          but saw  2"]


def test_an_interrupt_that_comes_at_a_bad_time_is_heeded_at_the_next_good_one():
    interrupt = Interrupt()
    before = signal.signal(signal.SIGUSR1, interrupt._on_signal)
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        with pytest.raises(Interrupted) as interrupted, interrupt.heeded():
            pytest.fail("went on")
        assert interrupted.value.status == 128 + signal.SIGUSR1
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_an_interrupt_is_raised_once():
    interrupt = Interrupt()
    before = signal.signal(signal.SIGUSR1, interrupt._on_signal)
    try:
        with pytest.raises(Interrupted), interrupt.heeded():
            os.kill(os.getpid(), signal.SIGUSR1)
        # Cleaning up goes on, however often the key is pressed.
        os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
