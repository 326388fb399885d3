"""What a worker leaves of its metrics, and that nobody can hold it up while it does."""

import contextlib
import errno
import http.server
import os
import socket
import threading
from types import SimpleNamespace

import pytest

from observerd import lasting
from observerd.core.events import Outcome, Report
from observerd.lasting import leave
from observerd.metrics import Metrics


@pytest.fixture
def metrics():
    return Metrics(["feed", "bill", "never"], 2)


def ended(metrics, job, outcome=Outcome.SUCCEEDED, exit_code=0, duration_s=2.0):
    metrics.ended(job, outcome, Report(job=job, exit_code=exit_code, duration_s=duration_s))


def written(path):
    lines = path.read_text().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_each_job_that_ended_leaves_its_last_run(metrics, tmp_path):
    ended(metrics, "feed", exit_code=0, duration_s=41.0)
    ended(metrics, "bill", Outcome.FAILED, exit_code=3)

    leave(metrics, str(tmp_path), None, None)

    names = ["observerd-run-bill.prom", "observerd-run-feed.prom", "observerd-success-feed.prom"]
    assert names == sorted(path.name for path in tmp_path.iterdir())
    feed = written(tmp_path / "observerd-run-feed.prom")
    assert "41.0" == feed['observerd_job_last_duration_seconds{job_name="feed"}']
    assert "3.0" == written(tmp_path / names[0])['observerd_job_last_exit_code{job_name="bill"}']
    assert not any("bill" in series for series in feed)


def test_a_later_life_takes_nothing_away(metrics, tmp_path):
    ended(metrics, "feed")
    leave(metrics, str(tmp_path), None, None)
    success = (tmp_path / "observerd-success-feed.prom").read_text()

    later = Metrics(["feed"], 2)
    ended(later, "feed", Outcome.FAILED, exit_code=1)
    leave(later, str(tmp_path), None, None)

    assert success == (tmp_path / "observerd-success-feed.prom").read_text()
    run = written(tmp_path / "observerd-run-feed.prom")
    assert "1.0" == run['observerd_job_last_exit_code{job_name="feed"}']


def test_the_exporter_may_read_what_a_tight_umask_wrote(metrics, tmp_path):
    ended(metrics, "feed")
    before = os.umask(0o077)
    try:
        leave(metrics, str(tmp_path), None, None)
    finally:
        os.umask(before)

    assert {0o644} == {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}


# {pid}: what its tests are named by must be the same in each of pytest's processes.
@pytest.mark.parametrize("pattern", ["observerd-run-feed.prom", "observerd-run-feed.prom.{pid}"])
def test_a_link_in_the_exporters_directory_leads_root_nowhere(pattern, metrics, tmp_path, monkeypatch):
    """The directory may be another user's: what lies there in wait must be neither written nor opened."""
    name = pattern.format(pid=os.getpid())
    shadow, directory = tmp_path / "shadow", tmp_path / "textfiles"
    shadow.write_text("root's own")
    shadow.chmod(0o600)
    directory.mkdir()
    ended(metrics, "feed")
    monkeypatch.setattr(threading, "current_thread", lambda: SimpleNamespace(ident=1))
    for link in (name, f"{name}.1"):
        (directory / link).symlink_to(shadow)

    metrics.write_files(directory)

    assert ("root's own", 0o600) == (shadow.read_text(), shadow.stat().st_mode & 0o777)
    assert "observerd_job_last_run" in (directory / "observerd-run-feed.prom").read_text()


def test_a_full_disk_leaves_no_half_file(metrics, tmp_path, monkeypatch):
    ended(metrics, "feed")
    leave(metrics, str(tmp_path), None, None)
    before = {path: path.read_text() for path in tmp_path.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fchmod", full)
    leave(metrics, str(tmp_path), None, None)

    assert before == {path: path.read_text() for path in tmp_path.iterdir()}


@pytest.fixture
def gateway():
    """What a push gateway was told: [(method, path, body)], at .url; .status is what it answers."""
    told = SimpleNamespace(requests=[], status=202)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            told.requests.append((self.command, self.path, body))
            self.send_response(told.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        told.url = f"http://127.0.0.1:{server.server_port}"
        yield told
        server.shutdown()
        thread.join(10)


def test_a_gateway_is_told_in_a_group_for_each_job_and_never_for_an_instance(metrics, gateway):
    ended(metrics, "feed")
    ended(metrics, "bill", Outcome.FAILED, exit_code=3)

    leave(metrics, None, gateway.url, "cron")

    group = "/metrics/job/observerd/job_name/{}/stack/cron"
    # A PUT, which would take away what others told, is not answered here.
    assert [("POST", group.format(job)) for job in ("bill", "feed", "feed")] == sorted(
        (method, path) for method, path, _ in gateway.requests
    )
    bodies = "".join(body for _, _, body in gateway.requests)
    assert 'observerd_job_last_exit_code{job_name="bill"} 3.0' in bodies
    # A process that is gone is in no state, and its counters do not go on.
    assert "observerd_state" not in bodies
    assert "_total" not in bodies


def test_a_gateway_that_refuses_costs_one_line(metrics, gateway, caplog):
    ended(metrics, "feed")
    gateway.status = 400

    leave(metrics, None, gateway.url, None)

    assert ["metrics not left behind"] == [record.getMessage() for record in caplog.records]
    assert gateway.url == caplog.records[0].to


def test_a_gateway_that_hangs_does_not_hold_up_the_way_out(metrics, caplog, monkeypatch, tmp_path):
    ended(metrics, "feed")
    monkeypatch.setattr(lasting, "LEAVE_S", 0.1)
    monkeypatch.setattr(lasting, "ANSWER_S", 20.0)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        leave(metrics, str(tmp_path), f"http://127.0.0.1:{silent.getsockname()[1]}", None)

        assert [("metrics not left behind", "no answer in time")] == [
            (record.getMessage(), record.fault) for record in caplog.records
        ]
    assert (tmp_path / "observerd-run-feed.prom").exists()


def test_a_directory_that_is_not_there_costs_one_line(metrics, caplog):
    ended(metrics, "feed")

    leave(metrics, "/no-such-directory", None, None)

    assert ["metrics not left behind"] == [record.getMessage() for record in caplog.records]
