"""A crontab imported, checked by the daemon's own reader, and rendered."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cloudformation.template import HERE
from observerd.config import load
from observerd.schedules import show
from observerd.schedules.importing import Settings, import_crontab

NOW = datetime(2026, 11, 24, tzinfo=UTC)
CRONTAB = """\
MAILTO=ops@example.org
# The nightly billing run
30 2 * * * billing flock -n /var/lock/b nice -n 5 timeout 2h /opt/billing/run --all >/dev/null 2>&1
0 22 * * 1-5 joe mail -s "10pm" joe%Joe,%Where?
0 0 13 * 5 root /usr/local/bin/friday
@reboot root /usr/local/bin/start
"""


@pytest.fixture
def imported(tmp_path):
    answer = show.import_crontabs(
        [("crontab", CRONTAB)],
        system=True, user=None, timezone="Europe/Berlin", like_cron=True, out=tmp_path, now=NOW,
    )  # fmt: skip
    return answer, tmp_path


def test_a_refused_line_is_told_with_its_reason_and_the_rest_is_proved(imported):
    answer, _ = imported

    assert 65 == answer.status
    assert "line 6: @reboot root" in answer.text
    assert answer.text.count("identical") == 1


def test_the_daemon_reads_the_jobs_and_wrappers_are_settings(imported):
    _, out = imported
    jobs = load(out / "observerd.toml", {}, {}, need_queue=False, jobs_only=True).jobs

    assert {"billing-run", "mail", "friday"} == set(jobs)
    job = jobs["billing-run"]
    assert (("/opt/billing/run", "--all"), 7_200.0, 5, 1) == (
        job.command,
        job.timeout_s,
        job.nice,
        job.attempts,
    )
    assert "exec <<'END'\nJoe,\nWhere?\nEND\nmail" in jobs["mail"].command[-1]


def test_the_template_is_clean_and_imports_what_schedule_yaml_imports(imported):
    _, out = imported
    text = show.render(out / "schedules.toml", None, NOW).text
    (out / "schedules.json").write_text(text)
    pattern = r"\$\{Stack\}-(\w+)"

    assert set(re.findall(pattern, (HERE / "schedule.yaml").read_text())) == set(re.findall(pattern, text))
    assert {"BillingRun", "BillingRunDstMar01", "Friday", "FridayWeekday"} <= set(
        json.loads(text)["Resources"]
    )
    lint = [Path(sys.executable).parent / "cfn-lint", "--template", out / "schedules.json"]
    done = subprocess.run(lint, cwd=out, capture_output=True, text=True, check=False)
    assert ("", 0) == (done.stdout, done.returncode)


def lines_of(crontab):
    """What becomes of the lines of a user's crontab: their jobs and notes."""
    settings = Settings(False, "batch", "UTC", True, lambda _user: "/", NOW)
    return import_crontab("crontab", crontab, settings, set()).lines


@pytest.mark.parametrize(
    ("command", "leaves"),
    [
        ("/opt/daily &", True),
        ("/opt/daily&", True),
        ("/opt/a & /opt/b", True),
        ("/opt/a & /opt/b & wait", False),
        ("/opt/a && /opt/b", False),
        ("/opt/a > /var/log/a 2>&1 && /opt/b", False),
        ("/opt/a &>/dev/null", False),
        ("echo 'a & b'", False),
    ],
)
def test_a_command_that_leaves_a_process_behind_is_noted(command, leaves):
    [line] = lines_of(f"0 1 * * * {command}\n")

    assert leaves == any("leaves a process behind" in note for note in line.notes)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 1 * * * cat%one%two", "one\ntwo\n"),
        ("0 1 * * * cat%one%", "one\n"),
        ("0 1 * * * cat%", ""),
        (r"0 1 * * * cat%100\% sure", "100% sure\n"),
        (r"0 1 * * * date +\%F", None),
    ],
)
def test_what_follows_a_percent_sign_is_standard_input_as_cron_has_it(line, expected):
    [found] = lines_of(line + "\n")

    assert expected == found.entry.stdin
    if expected is not None:
        done = subprocess.run(("sh", "-c", found.job["shell"]), capture_output=True, text=True, check=True)
        assert expected == done.stdout
