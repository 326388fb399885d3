"""The AWS that a machine of these tests talks to, on the host's loopback, with real HTTP.

The queue is tests/fake_sqs.py. CloudWatch Logs, Auto Scaling and instance metadata are here: what a worker
asks of them and no more, all of it written down.
"""

import json
import threading
from collections import defaultdict
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl

from tests.fake_sqs import FakeSqs
from tests.support import eventually

INSTANCE = "i-0123456789abcdef0"
GROUP = "cron-workers"
LOG_GROUP = "/observerd/cron/jobs"
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
    """with Cloud() as cloud: cloud.sqs, and what was asked of the rest."""

    def __init__(self):
        self.sqs = ShortPolls("jobs", "dead")
        self.streams = defaultdict(list)
        """The lines of each log stream."""
        self.scaling = []
        """(action, parameters) of each call of Auto Scaling."""
        self.metadata = {
            "meta-data/instance-id": INSTANCE,
            "meta-data/placement/region": "eu-west-1",
            "meta-data/tags/instance/": "aws:autoscaling:groupName",
            "meta-data/tags/instance/aws:autoscaling:groupName": GROUP,
            "meta-data/autoscaling/target-lifecycle-state": "InService",
            "meta-data/iam/security-credentials/": "worker",
            "meta-data/iam/security-credentials/worker": json.dumps(KEYS),
        }

    def __enter__(self):
        with ExitStack() as undo:
            undo.enter_context(self.sqs)
            server = undo.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), _handler(self)))
            server.daemon_threads = True
            self.endpoint = f"http://127.0.0.1:{server.server_port}"
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            undo.callback(server.shutdown)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_):
        self._undo.close()

    def configure(self, machine, jobs, **settings):
        """What user data and the image's own files say on a worker."""
        stack = {
            "queue_url": self.sqs.url(),
            "region": "eu-west-1",
            "log_group": LOG_GROUP,
            "lifecycle_hook": "drain",
            "idle_timeout": "1h",
            **settings,
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in stack.items()]
        machine.write("/etc/observerd/conf.d/50-stack.toml", "\n".join(lines) + "\n", 0o640)
        machine.write("/etc/observerd/jobs.d/jobs.toml", jobs)
        machine.write(
            "/etc/sysconfig/observerd",
            f"AWS_ENDPOINT_URL_CLOUDWATCH_LOGS={self.endpoint}\nAWS_ENDPOINT_URL_AUTO_SCALING={self.endpoint}\n"
            f"AWS_EC2_METADATA_SERVICE_ENDPOINT={self.endpoint}\n",
        )

    def asked(self, action):
        """The parameters of each such call of Auto Scaling."""
        return [parameters for each, parameters in self.scaling if each == action]

    def wait_for_line(self, line):
        """Wait until the line is in CloudWatch Logs; the name of its stream."""
        found = []
        eventually(
            lambda: found.extend(name for name, lines in self.streams.items() if line in lines) or found
        )
        return found[0]

    def call(self, action, parameters):
        """Answer one call of CloudWatch Logs (JSON) or Auto Scaling (XML)."""
        match action:
            case "CreateLogStream":
                self.streams[parameters["logStreamName"]] = []
                return {}
            case "PutLogEvents":
                lines = self.streams[parameters["logStreamName"]]
                lines += [event["message"] for event in parameters["logEvents"]]
                return {}
            case _:
                self.scaling.append((action, parameters))
                return f"<{action}Response><{action}Result/></{action}Response>"


def _handler(cloud):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_PUT(self):
            self._answer(200, "token")

        def do_GET(self):
            found = cloud.metadata.get(self.path.removeprefix("/latest/"))
            self._answer(200 if found is not None else 404, found or "")

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if target := self.headers["X-Amz-Target"]:
                self._answer(200, json.dumps(cloud.call(target.rpartition(".")[2], json.loads(body))))
            else:
                form = dict(parse_qsl(body.decode()))
                self._answer(200, cloud.call(form.pop("Action"), form))

        def _answer(self, status, text):
            self.send_response_only(status)
            # The metadata service gives its token with the time it lasts.
            self.send_header("X-aws-ec2-metadata-token-ttl-seconds", "21600")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    return Handler
