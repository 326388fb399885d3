"""An emulated AWS for the real AWS CLI, and what it cannot make of our templates."""

import json
import os
import socket
import subprocess
import time
from urllib.error import URLError
from urllib.request import urlopen

import boto3
import yaml

from cloudformation.template import load
from tests.cloudformation.tools import environment

# ministack 1.5.33 refuses an alarm over metric math, and all of Image Builder. A test deploys each of these
# to see that this is still so: the list may only shrink.
LACKING = {
    "observerd.yaml": {
        "WakeAlarm",
        "GrowAlarm",
        "LeakAlarm",
        "StalledAlarm",
        "ProducerAlarm",
        "LaunchAlarm",
        "MissedAlarm",
    },
    "schedule.yaml": {"MissedAlarm"},
    "image.yaml": {"Observerd", "Jobs", "Recipe", "Infrastructure", "Distribution", "Pipeline"},
    "vpc-endpoints.yaml": set(),
}


class Emulator:
    """ministack on a port of its own, with the AWS CLI and boto3 pointed at it."""

    def __init__(self, directory):
        self.directory, self._bin = directory, environment("aws")
        self._deployed_s = 0
        self.url = f"http://127.0.0.1:{_free_port()}"
        self._environment = {
            "PATH": f"{self._bin}:{os.environ['PATH']}",
            "HOME": str(directory),
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_PAGER": "",
        }

    def __enter__(self):
        port = self.url.rpartition(":")[2]
        where = {"GATEWAY_PORT": port, "BIND_HOST": "127.0.0.1", "MINISTACK_HOST": "127.0.0.1"}
        self._log = (self.directory / "ministack.log").open("w")
        self._process = subprocess.Popen(
            [self._bin / "ministack"],
            env=self._environment | where,
            cwd=self.directory,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        _wait_until(self._answers, 30)
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(30)
        self._log.close()

    def _answers(self):
        if self._process.poll() is not None:
            raise RuntimeError((self.directory / "ministack.log").read_text())
        try:
            with urlopen(self.url) as answer:
                return answer.status < 500
        except URLError:
            return False

    def aws(self, *arguments, check=True):
        """The AWS CLI's run. Raises CalledProcessError with its words when it fails and should not."""
        command = [self._bin / "aws", *arguments]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"aws {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done

    def json(self, *arguments):
        return json.loads(self.aws(*arguments, "--output", "json").stdout or "{}")

    def client(self, service):
        return boto3.client(
            service,
            "us-east-1",
            endpoint_url=self.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def deploy(self, stack, name, **parameters):
        """`aws cloudformation deploy`, of the template less what is lacking here."""
        path = self.directory / f"{stack}.yaml"
        path.write_text(without(name, LACKING[name]))
        self.deploy_file(stack, path, **parameters)

    def deploy_file(self, stack, path, **parameters):
        """`aws cloudformation deploy` of that very file; what it said."""
        overrides = [f"{key}={value}" for key, value in parameters.items()]
        # The CLI names a change set by the second in which it makes it.
        _wait_until(lambda: int(time.time()) > self._deployed_s, 5)
        done = self.aws(
            *("cloudformation", "deploy", "--stack-name", stack, "--template-file", str(path)),
            *("--no-fail-on-empty-changeset", "--capabilities", "CAPABILITY_IAM"),
            *("--parameter-overrides", *overrides),
        )
        self._deployed_s = int(time.time())
        return done.stdout

    def outputs(self, stack):
        [found] = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        return {it["OutputKey"]: it["OutputValue"] for it in found["Outputs"]}

    def network(self):
        ec2 = self.client("ec2")
        subnets = [it["SubnetId"] for it in ec2.describe_subnets()["Subnets"]][:2]
        return {"VpcId": ec2.describe_vpcs()["Vpcs"][0]["VpcId"], "SubnetIds": ",".join(subnets)}


def without(name, lacking):
    """A template as text, less these resources and the outputs that are about them."""
    template = load(name)
    for logical_id in lacking:
        del template["Resources"][logical_id]
    outputs = template.get("Outputs", {})
    template["Outputs"] = {key: it for key, it in outputs.items() if it["Value"].get("Ref") not in lacking}
    return yaml.safe_dump(template)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{condition.__name__} not within {seconds} s")
        time.sleep(0.05)
