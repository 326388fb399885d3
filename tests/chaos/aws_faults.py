"""AWS's own errors, as AWS words them: microburst, a proxy that answers in its place when it is told to."""

import json
import socket
import subprocess
import sys
import urllib.request

from tests.support import eventually


class AwsFaults:
    """with AwsFaults(port) as faults: faults.port leads to port, or to the error that was asked for."""

    def __init__(self, upstream_port):
        self._upstream = f"http://127.0.0.1:{upstream_port}"

    def __enter__(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        options = ("--upstream", self._upstream, "--host", "127.0.0.1", "--port", str(self.port))
        self._process = subprocess.Popen(
            (sys.executable, "-m", "microburst", *options),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(self._is_up)
        return self

    def __exit__(self, *_):
        # Asked politely, it would wait for every long poll to end.
        self._process.kill()
        self._process.wait()

    def answer_with(self, code, probability=1.0):
        """From now on, in place of so many of SQS's answers."""
        self._tell([{"service": "sqs", "probability": probability, "error": {"code": code}}])

    def mend(self):
        self._tell([])

    def count(self):
        """How many requests were answered with an error."""
        return self._ask("stats")["requests"]["faulted"]

    def _is_up(self):
        try:
            return self._ask("health")["status"] == "ok"
        except OSError:
            return False

    def _tell(self, rules):
        self._ask("rules", json.dumps(rules).encode())

    def _ask(self, what, body=None):
        url = f"http://127.0.0.1:{self.port}/_microburst/{what}"
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, body, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())
