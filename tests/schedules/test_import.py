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


def became(crontab, *, system=False):
    """What becomes of the lines of a crontab, a user's without system."""
    settings = Settings(system, "batch", "UTC", True, {"batch": "/", "root": "/root"}.get, NOW)
    return import_crontab("crontab", crontab, settings, set())


def lines_of(crontab):
    return became(crontab).lines


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


@pytest.mark.parametrize(
    ("line", "command", "stdin"),
    [
        (r"0 1 * * * date +\%F", "date +%F", None),
        (r"0 1 * * * a \\%b", "a \\\\", "b\n"),
        (r"0 1 * * * a \\\%b", r"a \\%b", None),
        (r"0 1 * * * a%b \\% \n%c", "a", "b \\% \\n\nc\n"),
        ("0 1 * * * a%b  ", "a", "b  \n"),
        ("0 1 * * * a \\", "a \\", None),
    ],
)
def test_a_backslash_escapes_a_percent_sign_as_cronie_has_it(line, command, stdin):
    [found] = lines_of(line + "\n")

    assert (command, stdin) == (found.entry.command, found.entry.stdin)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("A=b c ", "b c"),
        ('A="b c "\t', "b c "),
        ("A='b\"c'", 'b"c'),
        ("'A' = b", "b"),
        ("A=", ""),
        ("A = ", ""),
        ('A=""', ""),
        ("A=$HOME/b # c", "$HOME/b # c"),
        ("A=b'c'", "b'c'"),
        ("A=b\r", "b"),
    ],
)
def test_a_setting_is_read_as_cron_reads_it(setting, expected):
    [found] = lines_of(f"{setting}\n0 1 * * * /opt/a\n")

    assert expected == found.job["environment"]["A"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('A="b" c', "quotes are around the whole value"),
        ('A="b', "quotes are around the whole value"),
        ("A.B=c", "'A.B' is not a variable's name"),
        ("A=caf\udce9", "not UTF-8"),
        ("0 1 * * * caf\udce9", "not UTF-8"),
        ("* * * * *", "five fields and a command"),
        ("0 1 * * * %in", "no command before its %"),
        ("0 0 1 * * * /opt/a", "'*' after five fields"),
        ("@monthly 45 cron.monthly run-parts /etc/cron.monthly", "'45' after a nickname"),
        ("0\xa01 * * * /opt/a b", "cannot be read"),
        ("0 1 * * * -x /opt/a", "its command begins with '-'"),
        ("0 1 * * * *", "'*' after five fields"),
        ("0 1 * * * *x", "its command begins with '*'"),
    ],
)
def test_what_cron_would_not_run_so_is_refused_and_can_be_printed(line, reason):
    found = became(f"{line}\n0 2 * * * /opt/good\n")

    [refused] = found.refusals
    assert reason in refused.reason
    assert f"{refused.line}{refused.reason}".isprintable()
    assert ["good"] == [line.schedule.job for line in found.lines]


def test_a_user_column_is_asked_for_and_asked_about():
    [refused] = became("0 1 * * * /opt/a\n0 2 * * * root /opt/b\n", system=True).refusals
    assert "'/opt/a' is not a user's name" in refused.reason
    [line] = lines_of("0 2 * * * root /opt/b\n")
    assert any("(--system)" in note for note in line.notes)


def test_lines_end_where_cron_ends_them():
    one, two = lines_of("0 1 * * * /opt/a\x0cb\r\n0 2 * * * /opt/c")

    assert "/opt/a\x0cb" == one.entry.command
    assert ["CR LF" in note for note in one.notes] == [True]
    assert ["ends without a newline" in note for note in two.notes] == [True]


@pytest.mark.parametrize(
    ("command", "left"),
    [
        ("/opt/a >/dev/null 2>&1", "/opt/a"),
        ("/opt/a 1>/dev/null 2>&1", "/opt/a"),
        ("/opt/a>/dev/null", "/opt/a"),
        ("/opt/a 2>>/dev/null", "/opt/a"),
        ("/opt/a > /dev/null 2> /dev/null", "/opt/a"),
        ("/opt/a &>/dev/null", "/opt/a"),
        ("/opt/a 2>&1 >/dev/null", "/opt/a"),
        ("/opt/a2>/dev/null", "/opt/a2>/dev/null"),
        ("/opt/a 3>/dev/null", "/opt/a 3>/dev/null"),
        ("/opt/a >/var/log/a 2>&1", "/opt/a >/var/log/a 2>&1"),
        ("/opt/a >/dev/nullify", "/opt/a >/dev/nullify"),
    ],
)
def test_what_silences_a_command_is_dropped_and_nothing_of_the_command(command, left):
    [line] = lines_of(f"0 1 * * * {command}\n")

    assert left == (line.job.get("shell") or " ".join(line.job["command"]))


@pytest.mark.parametrize(
    ("comments", "expected"),
    [
        ("# The billing", "The billing"),
        ("# The billing\n# of all customers", "The billing of all customers"),
        ("# m h  dom mon dow   command", ""),
        ("# For details see man 4 crontabs\n# |  |  |  |  |\n# The billing", "The billing"),
        ("# Of another\n\n# The billing", "The billing"),
        ("# Of another\n#\n# The billing", "The billing"),
        ("# The billing\n# 0 1 * * * /opt/old", "The billing"),
        ("# ---- Nightly ----", ""),
    ],
)
def test_the_comment_right_above_a_line_describes_it(comments, expected):
    [line] = lines_of(f"{comments}\n0 1 * * * /opt/a\n")

    assert expected == line.schedule.description


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("/var/spool/cron/crontabs/alice", "alice"),
        ("/var/spool/cron/tabs/alice", "alice"),
        ("/var/spool/cron/alice", "alice"),
        ("/etc/crontab", "root"),
    ],
)
def test_a_crontab_is_its_owner_s(tmp_path, name, owner):
    line = "0 1 * * * /opt/a" if owner == "alice" else "0 1 * * * root /opt/a"
    show.import_crontabs(
        [(name, line + "\n")],
        system=False, user=None, timezone="UTC", like_cron=True, out=tmp_path, now=NOW,
    )  # fmt: skip

    assert f'user = "{owner}"' in (tmp_path / "jobs.d" / "a.toml").read_text()
