"""The demo: the story as it happens, what it has left behind, how long it took, whether all of it is true."""

import json
import os
import queue
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

from botocore.exceptions import BotoCoreError, ClientError

from demo.cloud import Cloud, CloudFault
from demo.events import Event
from demo.evidence import BUCKET, KEY, Check, Evidence, Reader, checks, of_interest, scrape, why
from demo.fleet import Fleet, Image, toml
from demo.interrupt import Interrupt
from demo.keep import WakeAlarm, commands, write_environment
from demo.screen import Screen, wants_colours
from demo.stack import Producer, Stack, deploy, schedule_event
from demo.story import HOPS, Line, Names, Story

STACK, JOB = "demo", "nightly-feed"
# AWS answers an empty receive after 20 s, and a worker waits two minutes for more to do.
LONG_POLL_S, IDLE_S = 1, 1
# To play with: time enough to look at a worker that has nothing to do.
IDLE_WHEN_KEPT_S = 15
# The demo ends by itself in less than a minute, whatever happens: this, and the time to clean up.
LIMIT_S = 45.0
# A daemon's helpers end a moment after it does.
LEAVING_S = 3.0
ALARM_PERIOD_S = 1.0


def show(interrupt: Interrupt, out: TextIO, *, keep: bool) -> int:
    """Run the demo; the exit status. Raises Interrupted, when everything has been cleaned up."""
    began_at = time.monotonic()
    screen = Screen(out, colours=wants_colours(out))
    _introduce(screen)
    screen.event(Line(began_at, "demo", "starts the emulated AWS"))
    cloud = Cloud(long_poll_s=LONG_POLL_S, waiting=interrupt.heeded)
    try:
        with cloud:
            made = _Demo(cloud, screen, interrupt, began_at + LIMIT_S).run(keep=keep)
            cloud.keep_files = not all(check.holds for check in made)
    except CloudFault as fault:
        screen.verdict(f"FAILED: {fault}", good=False)
        return 1
    left = _left_behind(cloud)
    screen.check(left)
    return _conclude(screen, cloud, [*made, left], time.monotonic() - began_at)


def _introduce(screen: Screen) -> None:
    screen.heading("observerd: a schedule fires, a message waits, a worker comes, works and goes")
    screen.text()
    screen.table(
        (
            ("real", "cloudformation/observerd.yaml, the Lambda source in it, the daemon (a process,"),
            ("", "configured by the user data of its instance), and its job (a command)"),
            (
                "emulated",
                f"AWS, by moto {version('moto')} and demo/emulator.py; a machine is a directory, and",
            ),
            ("", "what Scheduler, Lambda and Auto Scaling would start, the demo starts"),
            ("compressed", f"the schedule fires now; an empty receive takes {LONG_POLL_S} s instead of 20,"),
            ("", f"and a worker counts as idle after {IDLE_S} s instead of 120 s"),
        ),
        width=10,
    )
    screen.text()


def _left_behind(cloud: Cloud) -> Check:
    files = [str(cloud.directory)] if cloud.directory.exists() and not cloud.keep_files else []
    return Check("no process and no file is left behind", ([], []), (cloud.leftovers(LEAVING_S), files))


def _conclude(screen: Screen, cloud: Cloud, made: list[Check], took_s: float) -> int:
    failed = sum(not check.holds for check in made)
    if not failed:
        screen.verdict(f"All {len(made)} checks hold. {took_s:.1f} s in all.", good=True)
        return 0
    screen.verdict(f"FAILED: {failed} of {len(made)} checks, {took_s:.1f} s in all. The logs:", good=False)
    for path in sorted(cloud.directory.rglob("*.log")):
        screen.text(f"  {path}")
    return 1


class _Demo:
    """One showing, in a cloud that is up."""

    def __init__(self, cloud: Cloud, screen: Screen, interrupt: Interrupt, deadline: float) -> None:
        self._cloud = cloud
        self._screen = screen
        self._interrupt = interrupt
        self._deadline = deadline
        self._inbox: queue.SimpleQueue[tuple[Event, float]] = queue.SimpleQueue()
        self._metrics: dict[str, float] = {}

    def run(self, *, keep: bool) -> list[Check]:
        """Raises Interrupted."""
        try:
            with self._interrupt.heeded():
                stack = self._prepare()
                reader = Reader(self._cloud, stack)
                producer = Producer(self._cloud, stack)
                fleet = self._fleet(stack)
            # Ending a process is never cut short: only what is inside is interrupted.
            with fleet, self._interrupt.heeded():
                made = self._play(stack, producer, reader)
                if keep:
                    self._keep(stack, fleet)
        except (CloudFault, ClientError, BotoCoreError) as fault:
            made = [Check("the demo could be shown to its end", "it could", str(fault))]
            self._screen.check(made[0])
        return made

    def _prepare(self) -> Stack:
        self._say(f"emulated AWS is up on {self._cloud.endpoint}")
        self._cloud.client("s3").create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": self._cloud.region}
        )
        stack = deploy(self._cloud, STACK, {"JobName": JOB, "Payload": '{"feed": "dummy"}'})
        self._say(f"cloudformation/observerd.yaml deployed; moto has made {stack.resources} resources of it")
        return stack

    def _fleet(self, stack: Stack) -> Fleet:
        image = Image(self._cloud.directory / "image", {f"{JOB}.toml": job_file(self._cloud)})
        settings = {
            "idle_timeout": f"{IDLE_S}s",
            "log_format": "json",  # The timeline reads it.
            "metrics_listen": "127.0.0.1:0",
        }
        return Fleet(self._cloud, stack.outputs["AutoScalingGroupName"], image, settings)

    def _play(self, stack: Stack, producer: Producer, reader: Reader) -> list[Check]:
        story = Story(names_in(stack), reader.capacity())
        self._cloud.listen(lambda event: self._inbox.put((event, time.monotonic())))
        event = schedule_event(stack, datetime.now(UTC))
        self._show(story.fired(event, time.monotonic()))
        answer = producer.invoke(event, self._left_s())
        self._follow(story)
        evidence = reader.evidence(story.run.get("log_stream"))
        self._show_evidence(story, evidence)
        self._show_hops(story)
        self._show_why(stack, story)
        self._screen.heading("What must be true")
        made = list(checks(story, evidence, self._metrics, stack, answer))
        for check in made:
            self._screen.check(check)
        return made

    def _follow(self, story: Story) -> None:
        """Show what happens until the daemon has left, or it is clear that it will not."""
        while not story.is_over:
            try:
                event, at = self._inbox.get(timeout=self._left_s())
            except queue.Empty:
                self._say(f"gave up after {LIMIT_S:g} s, waiting for {story.awaited}", bad=True)
                return
            self._interrupt.check()
            self._show(story.told(event, at))
            if story.run and story.metrics_address and not self._metrics:
                self._metrics = scrape(story.metrics_address)

    def _show_evidence(self, story: Story, evidence: Evidence) -> None:
        screen = self._screen
        screen.heading("What is left of it, read back")
        screen.table([("CloudWatch Logs", story.run.get("log_stream", "no stream"))])
        screen.quote(evidence.lines)
        screen.table([("S3", f"s3://{BUCKET}/{KEY}, {len(evidence.stored)} bytes")])
        screen.quote([evidence.stored.decode(errors="replace")])
        capacities = " -> ".join(str(each) for each in story.capacities)
        screen.table(
            [
                ("queue", _counted(evidence.queue)),
                ("dead-letter queue", _counted(evidence.dead_letters)),
                ("desired capacity", f"{capacities}, and now {evidence.capacity}"),
                ("/metrics", "scraped when the run had ended"),
            ]
        )
        screen.quote(f"{series} {value:g}" for series, value in of_interest(self._metrics).items())

    def _show_hops(self, story: Story) -> None:
        self._screen.heading("How long it took")
        took = {hop.what: story.took_s(hop) for hop in HOPS}
        longest_s = max((each for each in took.values() if each is not None), default=0.0)
        for what, took_s in took.items():
            self._screen.hop(what, took_s, longest_s)

    def _show_why(self, stack: Stack, story: Story) -> None:
        """The same, as an operator would see it of a real stack."""
        if not (run_id := story.run.get("run_id")):
            return
        self._screen.heading(f"observerd why {run_id} --stack {stack.name}")
        self._screen.quote(why(self._cloud, stack, run_id, self._left_s()))

    def _keep(self, stack: Stack, fleet: Fleet) -> None:
        """Show what happens until interrupted."""
        fleet.settings["idle_timeout"] = f"{IDLE_WHEN_KEPT_S}s"
        environment = write_environment(self._cloud, stack, fleet.image.configuration)
        self._screen.heading("It all stays up until Ctrl-C. To play with it, from a second terminal here:")
        self._screen.commands(commands(environment, stack.name))
        self._screen.text()
        story = Story(names_in(stack), 0)
        alarm, look_at = WakeAlarm(self._cloud, stack), time.monotonic()
        while True:
            self._show_next(story, look_at)
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + ALARM_PERIOD_S
                if alarm.look():
                    self._say("the Wake alarm rings: a message waits, and there is no worker")

    def _show_next(self, story: Story, until: float) -> None:
        try:
            event, at = self._inbox.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            return
        finally:
            self._interrupt.check()
        self._show(story.told(event, at))
        if story.broke is not None:
            raise CloudFault(story.broke)

    def _left_s(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _show(self, lines: list[Line]) -> None:
        for line in lines:
            self._screen.event(line)

    def _say(self, text: str, *, bad: bool = False) -> None:
        self._screen.event(Line(time.monotonic(), "demo", text, bad))


def names_in(stack: Stack) -> Names:
    return Names(stack.outputs["QueueUrl"], stack.outputs["DeadLetterQueueUrl"], f"PUT /{BUCKET}/{KEY}")


def job_file(cloud: Cloud) -> str:
    """jobs.d/nightly-feed.toml, as it would be on the AMI but for where the command and AWS are."""
    command = [sys.executable, str(Path(__file__).with_name("nightly_feed.py")), "--bucket", BUCKET]
    # Nobody has made the user `observerd` here, so root's jobs run as root.
    user = {"user": "root"} if os.geteuid() == 0 else {}
    environment = {**cloud.environment("JOB"), "DEMO_DIRECTORY": str(cloud.directory)}
    rules = {"timeout": "1m", "grace": "2s", "attempts": 3, "backoff": "2s", "environment": environment}
    return f"[job.{JOB}]\n" + toml({"command": command, **user, **rules})


def _counted(counts: object) -> str:
    return json.dumps(counts).strip("{}").replace('"', "")
