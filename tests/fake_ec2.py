"""An EC2 instance as it is told of itself, and its Auto Scaling group, on loopback: IMDSv2 and six calls."""

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

INSTANCE, GROUP, HOOK = "i-0123", "workers", "drain"
_XML = '<{0}Response xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><{0}Result>{1}</{0}Result></{0}Response>'
_ERROR = (
    "<ErrorResponse><Error><Type>Sender</Type><Code>{}</Code><Message>{}</Message></Error></ErrorResponse>"
)


class FakeEc2:
    """with FakeEc2() as ec2: a machine in a group that wants one. What it was asked is in calls.

    With a state of None it is in no group.
    """

    def __init__(self, minimum=0, state="InService"):
        self.minimum, self.desired, self.state = minimum, 1, state
        self.protected = False
        self.calls = []
        self.answers = {}
        """By action: an error (code, text), "hang", or "lost": carried out, not answered."""
        self.metadata = {
            "instance-id": INSTANCE,
            "instance-life-cycle": "on-demand",
            "tags/instance/aws:autoscaling:groupName": GROUP,
            "/latest/dynamic/instance-identity/document": json.dumps({"pendingTime": "2026-11-24T12:00:00Z"}),
        }
        self.imds_works = True
        self.on_call = lambda _: None
        """Told of every call before it is answered."""
        self._over = threading.Event()

    def __enter__(self):
        handler = type("Handler", (_Handler,), {"ec2": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def environ(self):
        url = f"http://127.0.0.1:{self._server.server_port}"
        return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": url, "AWS_ENDPOINT_URL_AUTO_SCALING": url}

    def count(self, action):
        return [name for name, _ in self.calls].count(action)

    def takes_back(self, in_s=120.0):
        """EC2 gives notice that it takes this Spot instance back."""
        at = datetime.now(UTC) + timedelta(seconds=in_s)
        notice = {"action": "terminate", "time": at.strftime("%Y-%m-%dT%H:%M:%SZ")}
        self.metadata["spot/instance-action"] = json.dumps(notice)

    # ---- instance metadata

    def read(self, path):
        if path == "autoscaling/target-lifecycle-state":
            return "Terminated" if self.state.startswith("Terminating") else self.state
        return self.metadata.get(path)

    # ---- Auto Scaling

    def act(self, action, asked):
        """The body of an answer, or an error's (code, text), or None: no answer at all."""
        self.calls.append((action, asked))
        self.on_call(action)
        planned = self.answers.get(action)
        if planned == "hang":
            self._over.wait(60)
            return None
        if isinstance(planned, tuple):
            return planned
        answer = getattr(self, f"_{action}")(asked)
        return None if planned == "lost" else answer

    def _TerminateInstanceInAutoScalingGroup(self, asked):  # noqa: N802 the API's name
        decrement = asked["ShouldDecrementDesiredCapacity"] == "true"
        if decrement and self.desired <= self.minimum:
            return "ValidationError", (
                f"Currently, desiredSize equals minSize ({self.minimum}). Terminating instance without "
                "replacement will violate group's min size constraint."
            )
        self.desired -= decrement
        self.state = "Terminating:Wait"
        return (
            "<Activity><ActivityId>1</ActivityId><AutoScalingGroupName>g</AutoScalingGroupName><Cause>c</Cause>"
            "<StartTime>2026-11-24T00:00:00Z</StartTime><StatusCode>InProgress</StatusCode></Activity>"
        )

    def _SetInstanceProtection(self, asked):  # noqa: N802 the API's name
        if self.state != "InService":
            return "ValidationError", f"The instance {INSTANCE} is not in InService or Standby."
        self.protected = asked["ProtectedFromScaleIn"] == "true"
        return ""

    def _RecordLifecycleActionHeartbeat(self, asked):  # noqa: N802 the API's name
        return self._at_hook(asked)

    def _CompleteLifecycleAction(self, asked):  # noqa: N802 the API's name
        if isinstance(answer := self._at_hook(asked), str):
            self.state = "Terminated"
        return answer

    def _at_hook(self, asked):
        if self.state != "Terminating:Wait" or asked["LifecycleHookName"] != HOOK:
            return "ValidationError", f"No active Lifecycle Action found with instance ID {INSTANCE}"
        return ""

    def _DescribeAutoScalingInstances(self, _):  # noqa: N802 the API's name
        if self.state is None:
            return "<AutoScalingInstances/>"
        return (
            f"<AutoScalingInstances><member><InstanceId>{INSTANCE}</InstanceId>"
            f"<AutoScalingGroupName>{GROUP}</AutoScalingGroupName><LifecycleState>{self.state}</LifecycleState>"
            "</member></AutoScalingInstances>"
        )

    def _DescribeAutoScalingGroups(self, _):  # noqa: N802 the API's name
        return (
            f"<AutoScalingGroups><member><AutoScalingGroupName>{GROUP}</AutoScalingGroupName>"
            f"<MinSize>{self.minimum}</MinSize><DesiredCapacity>{self.desired}</DesiredCapacity></member>"
            "</AutoScalingGroups>"
        )


class _Handler(BaseHTTPRequestHandler):
    ec2 = None
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        self._answer(200 if self.path == "/latest/api/token" else 404, "token")

    def do_GET(self):
        if self.headers.get("X-aws-ec2-metadata-token") != "token" or not self.ec2.imds_works:
            self._answer(401, "")
            return
        text = self.ec2.read(self.path.removeprefix("/latest/meta-data/"))
        self._answer(200 if text is not None else 404, text or "")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        asked = {name: values[0] for name, values in parse_qs(body).items()}
        action = asked["Action"]
        answer = self.ec2.act(action, asked)
        if answer is None:
            self.close_connection = True
        elif isinstance(answer, tuple):
            self._answer(400, _ERROR.format(*answer))
        else:
            self._answer(200, _XML.format(action, answer))

    def _answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass
