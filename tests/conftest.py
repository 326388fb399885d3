import os

import pytest

from observerd.aws import Clients
from observerd.sqs import Queue
from tests.fake_sqs import FakeSqs

# Why a test may be skipped where CI runs. Any other skip there is a failure: nobody reads "1 skipped".
LISTED_SKIPS = ("root may read everything",)


def pytest_terminal_summary(terminalreporter):
    unlisted = _unlisted(terminalreporter)
    for report in unlisted:
        terminalreporter.write_line(f"SKIPPED WITHOUT A LISTED REASON: {report.nodeid}: {report.longrepr}")


def pytest_sessionfinish(session):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and session.exitstatus == 0 and _unlisted(reporter):
        session.exitstatus = 1


def _unlisted(reporter):
    return [
        report
        for report in reporter.stats.get("skipped", ())
        if not any(reason in str(report.longrepr) for reason in LISTED_SKIPS)
    ]


@pytest.fixture(autouse=True)
def _nobodys_account(monkeypatch):
    """No test may find a real account, or a real region, in the environment of whoever runs it."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")


@pytest.fixture
def sqs():
    with FakeSqs() as fake:
        yield fake


@pytest.fixture
def make_queue(sqs):
    """make_queue() is the product's Queue on the fake SQS, with its real clients."""

    def make(name="jobs", visibility_timeout_s=120.0, dead_letter_url=None):
        clients = Clients(sqs.url(name), "us-east-1")
        queue = Queue(sqs.url(name), visibility_timeout_s, clients.poller(), dead_letter_url)
        queue.equip(clients.settler(2), clients.extender(visibility_timeout_s), slots=2)
        return queue

    return make
