"""What a stack is asked, and what is found: questions are put once, however many checks want the answer."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from observerd.aws import Account, Unanswered, ask, endpoint_of
from observerd.operations import due
from observerd.operations.place import Place, outputs_of
from observerd.operations.trouble import Trouble, asked, trouble_of


class Level(Enum):
    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"
    UNKNOWN = "?"


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    text: str
    mend: str | None = None
    """A command to paste, or what to do."""


def wrong(text: str, mend: str | None = None) -> Finding:
    return Finding(Level.WRONG, text, mend)


def note(text: str, mend: str | None = None) -> Finding:
    return Finding(Level.NOTE, text, mend)


@dataclass(slots=True)
class _Question:
    """Asked by the first thread that wants to know; the others wait for the answer."""

    turn: threading.Lock = field(default_factory=threading.Lock)
    is_asked: bool = False
    answer: Any = None
    fault: Trouble | None = None


@dataclass(slots=True)
class Patient:
    """A stack, and what was asked of it once, from any thread. What is not answered raises Trouble."""

    account: Account
    place: Place
    environ: Mapping[str, str]
    now: float
    _questions: dict[str, _Question] = field(default_factory=dict)
    _making: threading.Lock = field(default_factory=threading.Lock)

    def client(self, service: str, endpoint: str | None = None) -> Any:
        with self._making:
            return self.account.client(service, endpoint)

    @property
    def sqs(self) -> Any:
        return self.client("sqs", endpoint_of(self.place.queue_url, self.environ))

    def once(self, name: str, ask_it: Callable[[], Any]) -> Any:
        question = self._questions.setdefault(name, _Question())
        with question.turn:
            if not question.is_asked:
                try:
                    question.answer = ask_it()
                except Trouble as fault:
                    # A service that hangs is waited for once.
                    question.fault = fault
                question.is_asked = True
        if question.fault is not None:
            raise question.fault
        return question.answer

    @property
    def aws(self) -> str:
        return f"aws --region {self.place.region}"

    @property
    def stack(self) -> str:
        if self.place.stack is None:
            raise Trouble("the stack's name is not known (give --stack)")
        return self.place.stack

    @property
    def outputs(self) -> dict[str, str]:
        client = self.client("cloudformation")
        answer: dict[str, str] = self.once(
            "outputs", lambda: outputs_of(client, self.stack, self.place.region)
        )
        return answer

    def attributes(self, url: str) -> dict[str, str]:
        answer: dict[str, str] = self.once(
            url,
            lambda: asked(self.sqs.get_queue_attributes, QueueUrl=url, AttributeNames=["All"])["Attributes"],
        )
        return answer

    @property
    def group(self) -> Any:
        return self.once("group", self._group)

    def _group(self) -> Any:
        name = self.place.group
        if name is None:
            raise Trouble("the group's name is not known (give --stack)")
        client = self.client("autoscaling")
        found = asked(client.describe_auto_scaling_groups, AutoScalingGroupNames=[name])["AutoScalingGroups"]
        if not found:
            raise Missing(f"there is no Auto Scaling group {name}")
        return found[0]

    def launched_from(self, template: Any) -> Any:
        """What a launch template's version says, with an image's id where it names a parameter."""
        answer = asked(
            self.client("ec2").describe_launch_template_versions,
            LaunchTemplateId=template["LaunchTemplateId"],
            Versions=[template.get("Version", "$Default")],
            ResolveAlias=True,
        )
        return answer["LaunchTemplateVersions"][0]["LaunchTemplateData"]

    def image(self, image_id: str) -> Any:
        """None: there is none that this account may use."""
        # One that was deregistered lately is an empty answer, and an error later (EC2 API Reference).
        try:
            found = ask(
                self.client("ec2").describe_images,
                ImageIds=[image_id],
                IncludeDeprecated=True,
                IncludeDisabled=True,
            )["Images"]
        except Unanswered as fault:
            if fault.code.startswith("InvalidAMIID"):
                return None
            raise trouble_of(fault) from None
        return next(iter(found), None)

    @property
    def policies(self) -> list[Any]:
        """The group's."""
        name, client = self.group["AutoScalingGroupName"], self.client("autoscaling")
        answer: list[Any] = self.once(
            "policies",
            lambda: asked(client.describe_policies, AutoScalingGroupName=name)["ScalingPolicies"],
        )
        return answer

    @property
    def schedules(self) -> list[due.Schedule]:
        answer: list[due.Schedule] = self.once(
            "schedules", lambda: due.schedules(self.client("scheduler"), self.stack)
        )
        return answer

    def resources(self, kind: str) -> list[Any]:
        """The stack's resources of that type."""
        every = self.once("resources", self._resources)
        return [each for each in every if each["ResourceType"] == kind]

    def _resources(self) -> list[Any]:
        client, found, request = self.client("cloudformation"), [], {"StackName": self.stack}
        while True:
            answer = asked(client.list_stack_resources, **request)
            found += answer["StackResourceSummaries"]
            if not (token := answer.get("NextToken")):
                return found
            request["NextToken"] = token


class Missing(Trouble):
    """What the stack cannot do without is not there."""
