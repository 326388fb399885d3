"""The AWS that a machine of these tests talks to, on the host's loopback, with real HTTP."""

import json
from contextlib import ExitStack

from tests.fake_ec2 import HOOK, FakeEc2
from tests.fake_logs import GROUP, LogsServer
from tests.fake_sqs import FakeSqs
from tests.support import eventually

# Of the instance's role, which its metadata service hands out.
KEYS = {
    "Code": "Success",
    "Type": "AWS-HMAC",
    "LastUpdated": "2026-11-23T00:00:00Z",
    "Expiration": "2099-01-01T00:00:00Z",
    "AccessKeyId": "role",
    "SecretAccessKey": "emulated",
    "Token": "emulated",
}


class ShortPolls(FakeSqs):
    """A long poll that finds nothing takes one second: the last look of a worker would take twenty."""

    def _ReceiveMessage(self, request):  # noqa: N802
        return super()._ReceiveMessage({**request, "WaitTimeSeconds": 1})


class Cloud:
    """with Cloud() as cloud: cloud.sqs, cloud.ec2, and what is in CloudWatch Logs."""

    def __init__(self):
        self.sqs = ShortPolls("jobs", "dead")
        self.ec2 = FakeEc2()
        self.ec2.metadata |= {
            "placement/region": "eu-west-1",
            "iam/security-credentials/": "worker",
            "iam/security-credentials/worker": json.dumps(KEYS),
        }
        self._logs = LogsServer()

    def __enter__(self):
        with ExitStack() as undo:
            for each in (self.sqs, self.ec2, self._logs):
                undo.enter_context(each)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_):
        self._undo.close()

    def configure(self, machine, jobs, **settings):
        """What user data and the image's own files say on a worker."""
        stack = {
            "queue_url": self.sqs.url(),
            "region": "eu-west-1",
            "log_group": GROUP,
            "lifecycle_hook": HOOK,
            "idle_timeout": "1h",
            **settings,
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in stack.items()]
        machine.write("/etc/observerd/conf.d/50-stack.toml", "\n".join(lines) + "\n", 0o640)
        machine.write("/etc/observerd/jobs.d/jobs.toml", jobs)
        environ = {**self.ec2.environ, "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": self._logs.url}
        machine.write("/etc/sysconfig/observerd", "".join(f"{name}={environ[name]}\n" for name in environ))

    @property
    def streams(self):
        """{name: the lines} of each log stream."""
        return {name: self._logs.logs.lines(name) for name in list(self._logs.logs.streams)}

    def asked(self, action):
        """The parameters of each such call of Auto Scaling."""
        return [parameters for each, parameters in self.ec2.calls if each == action]

    def wait_for_line(self, line):
        """Wait until the line is in CloudWatch Logs; the name of its stream."""
        found = []
        eventually(
            lambda: found.extend(name for name, lines in self.streams.items() if line in lines) or found
        )
        return found[0]
