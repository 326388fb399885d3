"""The stack in the emulated AWS: the repository's own template, its schedule's event, its Lambda source."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # No stubs are locked.
from botocore.exceptions import BotoCoreError, ClientError

from demo.cloud import REPOSITORY, Cloud, CloudFault

TEMPLATE = REPOSITORY / "cloudformation" / "observerd.yaml"
RUNTIME = Path(__file__).with_name("lambda_runtime.py")
LOG_STREAM = "demo"
# A line of the function's log, as the runtime hands it on.
LOG_LINE = re.compile(r"^(\d{13}) (.*)$", re.MULTILINE)
# What Scheduler puts into a target's input ("Adding context attributes", EventBridge Scheduler User Guide).
SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"


class Template(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # As above.
    """Reads a template; a short intrinsic function (!Ref x) becomes its long form ({"Ref": x})."""


def _intrinsic(loader: Template, tag: str, node: yaml.Node) -> dict[str, Any]:
    name = tag if tag in ("Ref", "Condition") else f"Fn::{tag}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


Template.add_multi_constructor("!", _intrinsic)


@dataclass(frozen=True, slots=True)
class Stack:
    name: str
    template: Mapping[str, Any]
    """As deployed: read back from CloudFormation."""
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]
    resources: int
    """How many of the template's resources the emulator has made."""

    def properties(self, logical_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.template["Resources"][logical_id]["Properties"]
        return found


def deploy(cloud: Cloud, name: str, parameters: Mapping[str, str]) -> Stack:
    """Create the stack in the default VPC and all its subnets. Raises CloudFault."""
    try:
        return _deploy(cloud, name, {**_network(cloud.client("ec2")), **parameters})
    except (ClientError, BotoCoreError) as error:
        raise CloudFault(f"stack {name} was not deployed: {error}") from error


def _network(ec2: Any) -> dict[str, str]:
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
    return {"VpcId": vpc, "SubnetIds": ",".join(each["SubnetId"] for each in subnets)}


def _deploy(cloud: Cloud, name: str, parameters: Mapping[str, str]) -> Stack:
    formation = cloud.client("cloudformation")
    formation.create_stack(
        StackName=name,
        TemplateBody=TEMPLATE.read_text(),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    found = formation.describe_stacks(StackName=name)["Stacks"][0]
    if found["StackStatus"] != "CREATE_COMPLETE":
        raise CloudFault(f"stack {name} is {found['StackStatus']}: {found.get('StackStatusReason', '')}")
    made = formation.describe_stack_resources(StackName=name)["StackResources"]
    return Stack(
        name=name,
        template=yaml.load(formation.get_template(StackName=name)["TemplateBody"], Template),
        parameters={each["ParameterKey"]: each["ParameterValue"] for each in found["Parameters"]},
        outputs={each["OutputKey"]: each["OutputValue"] for each in found["Outputs"]},
        # What moto has no support for it lists without a name.
        resources=sum("LogicalResourceId" in each for each in made),
    )


def schedule_event(stack: Stack, scheduled_at: datetime) -> dict[str, Any]:
    """What EventBridge Scheduler would hand to the function at that moment: the template's own Input."""
    text = stack.properties("Schedule")["Target"]["Input"]["Fn::Sub"]
    for name, value in stack.parameters.items():
        text = text.replace(f"${{{name}}}", value)
    event: dict[str, Any] = json.loads(
        text.replace(SCHEDULED_TIME, scheduled_at.strftime("%Y-%m-%dT%H:%M:%SZ"))
    )
    return event


class Producer:
    """The stack's Lambda function, run as the Lambda service would: its source, in a process of its own."""

    def __init__(self, cloud: Cloud, stack: Stack) -> None:
        self._cloud = cloud
        configuration = cloud.client("lambda").get_function_configuration(
            FunctionName=stack.outputs["ProducerArn"]
        )
        self._logs = cloud.client("logs")
        self._log_group = stack.properties("ProducerLogs")["LogGroupName"]["Fn::Sub"].replace(
            "${AWS::StackName}", stack.name
        )
        self._logs.create_log_stream(logGroupName=self._log_group, logStreamName=LOG_STREAM)
        self._handler = configuration["Handler"]
        self._timeout_s = float(configuration["Timeout"])
        self._variables = configuration["Environment"]["Variables"]
        self._task = cloud.directory / "function"
        self._task.mkdir()
        source = stack.properties("Producer")["Code"]["ZipFile"]
        (self._task / "index.py").write_text(source)

    def invoke(self, event: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """What the function returned. Raises CloudFault when it raised, or did not end in time."""
        environment = {
            **self._cloud.base_environment, **self._cloud.environment("PRODUCER"), **self._variables,
        }  # fmt: skip
        try:
            ended = subprocess.run(
                [sys.executable, "-I", str(RUNTIME), str(self._task), self._handler],
                input=json.dumps(event).encode(),
                capture_output=True,
                env=environment,
                timeout=min(timeout_s, self._timeout_s),
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired as expired:
            raise CloudFault(f"the producer did not end within {expired.timeout:g} s") from None
        with (self._cloud.directory / "producer.log").open("ab") as log:
            log.write(ended.stderr)
        self._log(ended.stderr.decode(errors="replace"))
        if ended.returncode != 0:
            raise CloudFault(f"the producer failed: {ended.stderr.decode(errors='replace').strip()}")
        answer: dict[str, Any] = json.loads(ended.stdout)
        return answer

    def _log(self, said: str) -> None:
        """As the Lambda service does with what its functions print."""
        events = [{"timestamp": int(at), "message": line} for at, line in LOG_LINE.findall(said)]
        if events:
            self._logs.put_log_events(
                logGroupName=self._log_group, logStreamName=LOG_STREAM, logEvents=events
            )
