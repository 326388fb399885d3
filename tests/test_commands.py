"""What check-config, show-config and jobs print."""

import json
from pathlib import Path

import pytest

from observerd.commands import check_config, jobs, show_config
from observerd.config import Loaded
from observerd.core.job import Job
from observerd.keys import Config, config_keys

FEED = Job(
    "nightly-feed",
    ("/usr/local/bin/nightly-feed", "--bucket", "feed store"),
    user="batch",
    timeout_s=7_200.0,
    environment={"FEED": "dummy", "API_TOKEN": "hunter2"},
)
TIDY = Job("tidy", ("/bin/sh", "-c", "cd /tmp\nrm -f old"), attempts=10, max_lateness_s=90.0)


def loaded(*defined, warnings=(), files=(), origins=(), **settings):
    return Loaded(
        config=Config(**settings),
        jobs={job.name: job for job in defined},
        origins={
            **dict.fromkeys(config_keys(), "default"),
            **{f"job.{job.name}": "jobs.d/a.toml" for job in defined},
            **dict(origins),
        },
        warnings=tuple(warnings),
        files=tuple(files),
    )


def test_a_good_configuration_is_ok_in_one_line():
    read = loaded(FEED, TIDY, queue_url="https://host/jobs", files=[Path("a"), Path("b"), Path("c")])

    assert check_config(read) == "ok: 2 jobs, 3 files"


def test_warnings_follow_and_numbers_are_grammatical():
    read = loaded(FEED, queue_url="https://host/jobs", files=[Path("a")], warnings=["one thing", "another\n"])

    assert check_config(read) == "ok: 1 job, 1 file\nwarning: one thing\nwarning: another\\n"


def test_a_missing_queue_is_noted():
    assert check_config(loaded(FEED)) == (
        "ok: 1 job, 0 files\nnote: queue_url is not set, which `observerd run` needs"
    )


def test_the_configuration_is_an_aligned_table_with_origins():
    read = loaded(
        queue_url="https://host/jobs",
        idle_timeout_s=5_400.0,
        metrics_listen="",
        job_environment={"TZ": "UTC"},
        origins={
            "queue_url": "conf.d/50-stack.toml",
            "idle_timeout": "OBSERVERD_IDLE_TIMEOUT",
            "metrics_listen": "--metrics-listen",
            "job_environment": "observerd.toml",
        },
    )

    assert show_config(read, as_json=False) == (
        "KEY                         VALUE              FROM\n"
        "queue_url                   https://host/jobs  conf.d/50-stack.toml\n"
        "dead_letter_queue_url       -                  default\n"
        "region                      -                  default\n"
        "slots                       1                  default\n"
        "visibility_timeout          2m                 default\n"
        "idle_timeout                1h30m              OBSERVERD_IDLE_TIMEOUT\n"
        "max_uptime                  -                  default\n"
        "drain_timeout               1h                 default\n"
        "exit_action                 auto               default\n"
        "auto_scaling_group          -                  default\n"
        "lifecycle_hook              -                  default\n"
        "log_group                   -                  default\n"
        "stack                       -                  default\n"
        "notify_topic                -                  default\n"
        "cloudwatch_metrics          job                default\n"
        "log_level                   info               default\n"
        "log_format                  auto               default\n"
        'metrics_listen              ""                 --metrics-listen\n'
        'metrics_hosts               ""                 default\n'
        "metrics_tls_certificate     -                  default\n"
        "metrics_tls_key             -                  default\n"
        "metrics_tls_client_ca       -                  default\n"
        "metrics_textfile_directory  -                  default\n"
        "metrics_push_url            -                  default\n"
        "status_output               show               default\n"
        "executor                    auto               default\n"
        "default_user                observerd          default\n"
        "job_environment.TZ          UTC                observerd.toml\n"
        "flush_timeout               5s                 default"
    )


def test_no_environment_is_one_row():
    rows = show_config(loaded(), as_json=False).splitlines()

    assert [row.split() for row in rows if row.startswith("job_environment")] == [
        ["job_environment", "-", "default"]
    ]


def test_the_configuration_as_json_has_each_value_as_a_file_would():
    shown = json.loads(show_config(loaded(slots=4, origins={"slots": "--slots"}), as_json=True))

    assert list(shown) == list(config_keys())
    assert shown["slots"] == {"value": 4, "origin": "--slots"}
    assert shown["idle_timeout"] == {"value": "2m", "origin": "default"}
    assert shown["log_group"] == {"value": None, "origin": "default"}
    assert shown["job_environment"] == {"value": {}, "origin": "default"}


@pytest.mark.parametrize(
    "name",
    [
        "DB_PASSWORD",
        "passwd",
        "PGPASS",
        "DB_PWD",
        "CLIENT_SECRET",
        "API_TOKEN",
        "AWS_ACCESS_KEY_ID",
        "BASIC_AUTH",
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_secret_is_masked(name, as_json):
    environment = {name: "hunter2", "PLAIN": "seen"}
    read = loaded(Job("a", ("true",), environment=environment), job_environment=environment)

    shown = show_config(read, as_json=as_json) + jobs(read, as_json=as_json, width=None)

    assert "hunter2" not in shown
    assert "********" in shown
    assert "seen" in shown


@pytest.mark.parametrize(
    "text",
    [
        "postgres://me:hunter2@db:5432/bills",
        "--password=hunter2",
        "PGPASSWORD=hunter2 psql",
        "curl --header 'X' --api-key='hunter2 and more' https://seen",
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_secret_within_a_text_is_masked(text, as_json):
    environment = {"WHERE": text}
    read = loaded(Job("a", ("seen", text), environment=environment), job_environment=environment)

    shown = show_config(read, as_json=as_json) + jobs(read, as_json=as_json, width=None)

    assert "hunter2" not in shown
    assert "seen" in shown


@pytest.mark.parametrize("url", ["https://hc-ping.com:8443/0b2a/x?y=z", "https://hc-ping.com"])
def test_of_a_monitors_address_the_host_is_shown(url):
    (shown,) = json.loads(jobs(loaded(Job("a", ("true",), ping_url=url)), as_json=True, width=None))

    assert "/".join([*url.split("/")[:3], "********"]) == shown["ping_url"]


@pytest.mark.parametrize(
    "text", ["http://host:8080/a", "--since=yesterday", "a:b@c", "mailto:me@example.com"]
)
def test_what_is_no_secret_is_shown(text):
    assert text in jobs(loaded(Job("a", (text,))), as_json=True, width=None)


def test_a_value_cannot_break_its_line():
    rows = show_config(loaded(job_environment={"A": "x\ny\x1b[2J"}), as_json=False).splitlines()

    assert any("x\\ny\\x1b[2J" in row for row in rows)


def test_jobs_are_a_table_in_order_of_their_names():
    assert jobs(loaded(TIDY, FEED), as_json=False, width=None) == (
        "NAME          USER       TIMEOUT  ATTEMPTS  COMMAND\n"
        "nightly-feed  batch      2h       3         /usr/local/bin/nightly-feed --bucket 'feed store'\n"
        "tidy          (default)  1h       10        /bin/sh -c 'cd /tmp\\nrm -f old'"
    )


def test_on_a_terminal_no_line_is_longer_than_it():
    lines = jobs(loaded(TIDY, FEED), as_json=False, width=72).splitlines()

    assert max(map(len, lines)) == 72
    assert lines[1].endswith(" /usr/local/bin/nightly-feed…")


def test_a_command_that_just_fits_is_whole():
    whole = jobs(loaded(FEED), as_json=False, width=None)

    assert jobs(loaded(FEED), as_json=False, width=len(whole.splitlines()[1])) == whole


def test_a_narrow_terminal_still_shows_what_runs():
    lines = jobs(loaded(FEED), as_json=False, width=10).splitlines()

    assert lines[1].endswith(" /usr/local/bin/nigh…")


def test_jobs_as_json_have_every_key_and_their_file():
    (shown,) = json.loads(jobs(loaded(TIDY), as_json=True, width=20))

    assert shown == {
        "name": "tidy",
        "command": ["/bin/sh", "-c", "cd /tmp\nrm -f old"],
        "user": None,
        "working_directory": "/",
        "environment": {},
        "timeout": "1h",
        "grace": "30s",
        "attempts": 10,
        "backoff": "1m",
        "max_lateness": "1m30s",
        "success_exit_codes": [0],
        "no_retry_exit_codes": [64, 65, 78],
        "nice": 0,
        "description": "",
        "ping_url": None,
        "memory_max": None,
        "tasks_max": None,
        "cpu_quota": None,
        "cpu_weight": None,
        "io_weight": None,
        "sandbox": True,
        "metadata_access": False,
        "file": "jobs.d/a.toml",
    }


def test_no_job_is_said_and_is_an_empty_list():
    assert jobs(loaded(), as_json=False, width=80) == "no job is defined"
    assert json.loads(jobs(loaded(), as_json=True, width=80)) == []
