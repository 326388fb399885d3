"""The real daemon as a real process, on the fake SQS."""

import json
import os
import pwd
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

from tests.support import eventually

ROOT = Path(__file__).parent.parent


class Daemon:
    """with Daemon(sqs, tmp_path, jobs=..., **config) as daemon: a started `observerd run`.

    within: a command that runs it.
    """

    def __init__(self, sqs, directory, jobs="", arguments=(), environ=None, within=(), **config):
        self.directory = directory
        self.ledger = directory / "ledger"
        (directory / "jobs.d").mkdir(exist_ok=True)
        settings = {
            "queue_url": sqs.url(),
            "idle_timeout": "1h",
            "metrics_listen": "127.0.0.1:0",
            "default_user": _me(),
            "log_format": "json",
            **config,
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        (directory / "observerd.toml").write_text("\n".join(lines) + "\n")
        (directory / "jobs.d" / "jobs.toml").write_text(jobs.replace("LEDGER", str(self.ledger)))
        self.within, self.arguments = within, arguments
        self.environ = {
            "PATH": os.environ["PATH"],
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            **(environ or {}),
        }
        self.lines = []

    def __enter__(self):
        command = (sys.executable, "-m", "observerd", "run", "--config", self.config, *self.arguments)
        self.process = subprocess.Popen(
            (*self.within, *command),
            cwd=ROOT,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(30)
        self._reader.join(30)
        self.process.stdout.close()

    @property
    def config(self):
        return str(self.directory / "observerd.toml")

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def said(self, phrase):
        """The facts of every log line with this phrase."""
        found = []
        for line in list(self.lines):
            if line.startswith("{"):
                record = json.loads(line)
                if record["message"] == phrase:
                    found.append(record)
        return found

    def wait_for(self, phrase, count=1):
        try:
            eventually(lambda: len(self.said(phrase)) >= count)
        except AssertionError:
            raise AssertionError(
                f"{phrase!r} was not said {count} times:\n" + "\n".join(self.lines)
            ) from None
        return self.said(phrase)[count - 1]

    def wait_for_ledger(self, text, count=1):
        eventually(lambda: self.ledger.exists() and self.ledger.read_text().count(text) >= count)

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def status(self):
        """The exit status, once it has one."""
        status = self.process.wait(60)
        self._reader.join(30)
        return status

    def metrics(self):
        address = self.wait_for("metrics served")["address"]
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def metric(self, name):
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.metrics(), re.MULTILINE)
        assert found, f"no {name} in:\n{self.metrics()}"
        return float(found[1])


def _me():
    return pwd.getpwuid(os.geteuid()).pw_name
