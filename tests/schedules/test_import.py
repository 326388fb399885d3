"""A crontab imported, checked by the daemon's own reader, and rendered."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cloudformation.template import HERE
from observerd.cli import main
from observerd.config import load
from observerd.schedules import show
from observerd.schedules.conversion import convert
from observerd.schedules.fields import AWS_WEEKDAY, aws_text
from observerd.schedules.importing import Settings, import_crontab
from observerd.schedules.schedule import load as read_schedules

NOW = datetime(2026, 11, 24, tzinfo=UTC)
CRONTAB = """\
MAILTO=ops@example.org
# The nightly billing run
30 2 * * * billing flock -n /var/lock/b nice -n 5 timeout 2h /opt/billing/run --all >/dev/null 2>&1
0 22 * * 1-5 joe mail -s "10pm" joe%Joe,%Where?
0 0 13 * 5 root /usr/local/bin/friday
@reboot root /usr/local/bin/start
"""


def imported_to(out, text, name="crontab", **keys):
    """The answer of the command for one crontab."""
    given = {"system": False, "user": None, "timezone": "Europe/Berlin", "like_cron": True, "now": NOW}
    return show.import_crontabs([(name, text)], out=out, **(given | keys))


@pytest.fixture
def imported(tmp_path):
    return imported_to(tmp_path, CRONTAB, system=True), tmp_path


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
    return import_crontab("crontab", crontab, settings, {})


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


@pytest.mark.parametrize(
    ("crontab", "reason"),
    [
        ("HOME=work\n0 1 * * * /opt/a\n", "HOME=work is no absolute path"),
        ("SHELL=/usr/bin/fish\n0 1 * * * cat%one\n", "SHELL=/usr/bin/fish may have none"),
        ("CRON_TZ=JST-9\n0 1 * * * /opt/a\n", "not a time zone: 'JST-9'"),
        ("HOME=\x1b[2J\n0 1 * * * /opt/a\x1b[2J\n", "is no absolute path"),
    ],
)
def test_what_a_setting_makes_impossible_is_refused(crontab, reason):
    [refused] = became(crontab).refusals
    assert reason in refused.reason
    assert f"{refused.line}{refused.reason}".isprintable()


@pytest.mark.parametrize(
    ("shell", "command"),
    [
        ("/bin/bash", ["/opt/a", "b"]),
        ('""', ["/opt/a", "b"]),
        ("/usr/bin/python3", ["/usr/bin/python3", "-c", "/opt/a b"]),
    ],
)
def test_a_shell_is_left_out_only_where_it_would_start_that_command(shell, command):
    [line] = lines_of(f"SHELL={shell}\n0 1 * * * /opt/a b\n")

    assert command == line.job["command"]


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
    imported_to(tmp_path, line + "\n", name)

    assert f'user = "{owner}"' in (tmp_path / "jobs.d" / "a.toml").read_text()


def files_of(directory):
    return {path: path.read_text() for path in directory.rglob("*") if path.is_file()}


def test_an_import_at_another_time_of_the_year_writes_the_same(tmp_path):
    """A run of 0 */6 is five hours after the one before, in the night when clocks are put forward."""
    crontab = "0 */6 * * * /opt/a\n*/20 * * * * /opt/b\nCRON_TZ=America/New_York\n30 2 * * * /opt/c\n"
    imported_to(tmp_path, crontab)
    before = files_of(tmp_path)
    imported_to(tmp_path, crontab, now=datetime(2027, 3, 20, tzinfo=UTC))

    assert before == files_of(tmp_path)
    assert {"a.toml", "b.toml", "c.toml", "schedules.toml"} == {path.name for path in before}


def test_what_is_there_and_says_something_else_is_kept_and_nothing_is_written_beside_it(tmp_path):
    imported_to(tmp_path, "0 1 * * * /opt/a\n")
    before = files_of(tmp_path)
    with pytest.raises(show.NotPossible, match=r"schedules\.toml; nothing is written") as refused:
        imported_to(tmp_path, "0 2 * * * /opt/a\n0 3 * * * /opt/b\n")

    assert 73 == refused.value.status
    assert before == files_of(tmp_path)


def test_jobs_of_one_program_are_told_apart_by_their_arguments_then_by_numbers():
    commands = ["sync --site=eu >/dev/null 2>&1", "sync --site=us", "sync --site=eu", "sync --site=us"]
    names = [line.schedule.job for line in lines_of("".join(f"0 1 * * * /opt/{each}\n" for each in commands))]

    assert ["sync", "sync-us", "sync-2", "sync-3"] == names


def test_a_directory_is_its_files_and_names_that_cron_does_not_read_are_told(tmp_path, capsys):
    directory = tmp_path / "cron.d"
    directory.mkdir()
    for name in ("b", "a.rpmsave", "c.d", "d\n[job.evil]"):
        (directory / name).write_bytes(b"0 1 * * * root /opt/a\n")
    (directory / "deeper").mkdir()
    out = tmp_path / "out"
    arguments = ["import-crontab", "--system", "--timezone", "UTC", "--out", str(out), str(directory)]

    assert 0 == main(arguments)
    said = capsys.readouterr().out
    assert ["a", "a-2", "a-3", "a-4"] == sorted(path.stem for path in (out / "jobs.d").iterdir())
    assert 1 == said.count("no cron reads a file of this name")
    assert 2 == said.count("Debian's cron does not read a file of this name")
    assert "\n[job.evil]" not in said + (out / "jobs.d" / "a-4.toml").read_text()


def test_a_file_there_that_is_not_even_text_is_kept(tmp_path):
    (tmp_path / "schedules.toml").write_bytes(b"\xff")
    with pytest.raises(show.NotPossible, match="nothing is written"):
        imported_to(tmp_path, "0 1 * * * /opt/a\n")
    assert b"\xff" == (tmp_path / "schedules.toml").read_bytes()


def test_a_long_name_stays_one_that_schedules_may_have():
    lines = lines_of(f"0 1 * * * /opt/{'x' * 200} {'y' * 60}\n" * 2)

    assert [54, 56] == [len(line.schedule.name) for line in lines]


def test_under_cron_tz_a_line_follows_the_clock_of_its_zone_as_cronie_has_it(tmp_path):
    answer = imported_to(tmp_path, "CRON_TZ=America/New_York\n30 1,2 * * * /opt/a\n")
    [schedule] = read_schedules(tmp_path / "schedules.toml").entries

    assert ("America/New_York", "cron_tz") == (schedule.timezone, schedule.clock_changes)
    # Nothing for 02:30 in March, which is skipped; 01:30 a second time in November.
    assert ["cron(30 1,2 * * ? *)", "cron(30 6 ? 11 1#1 *)"] == [
        part.expression for part in schedule.parts(NOW.date())
    ]
    assert "clocks are put back by 60 minutes" in answer.text
    assert "clocks are put forward" not in answer.text
    assert "identical" in answer.text


def test_a_note_is_told_once_for_all_its_lines(tmp_path):
    answer = imported_to(
        tmp_path, "".join(f"{minute} 2 * * * /opt/a >/dev/null 2>&1\n" for minute in range(9))
    )

    assert 1 == answer.text.count("clocks are put forward")
    assert 2 == answer.text.count("lines 1, 2, 3, 4, 5, 6 and 3 more: ")
    assert "--clock-changes eventbridge" in answer.text


def test_differences_that_were_chosen_are_no_failure(tmp_path):
    answer = imported_to(tmp_path, "30 2 * * * /opt/a\n", like_cron=False)

    assert 0 == answer.status
    assert "differences, all where clocks are changed" in answer.text
    assert 0 == show.prove(tmp_path / "schedules.toml", 2, NOW).status


def test_a_conversion_that_is_wrong_fails_the_import_and_the_proof(tmp_path, monkeypatch):
    """Mondays taken for 1, as public stacks do."""
    monkeypatch.setattr("observerd.schedules.conversion.aws_text", wrong_weekdays)
    convert.cache_clear()
    answer = imported_to(tmp_path, "30 5 * * 1 /opt/a\n")
    proved = show.prove(tmp_path / "schedules.toml", 2, NOW)
    convert.cache_clear()

    assert [1, 1] == [answer.status, proved.status]
    assert "Mon 2026-11-30 05:30 CET  cron alone: no change of clocks is near" in answer.text
    assert "Sun 2026-11-29 05:30 CET  EventBridge alone" in proved.text


def wrong_weekdays(field, values):
    return aws_text(
        field, {each - 1 for each in values} if field is AWS_WEEKDAY and len(values) < 7 else values
    )


def test_the_page_on_migration_shows_what_is_really_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = (HERE.parent / "docs" / "migrating-from-cron.md").read_text().split("```")[1::2]
    crontab, imported, notes, proved = (block.strip("\n").splitlines() for block in blocks[:4])
    now = datetime(2026, 11, 28, 20, 37, tzinfo=UTC)
    answer = imported_to(Path("cron"), "\n".join([*crontab, ""]), "crontab.txt", user="billing", now=now)

    assert "$ observerd import-crontab crontab.txt --user billing" in imported[0]
    said = answer.text.splitlines()
    assert [line for line in [*imported[1:], *notes] if line not in said] == []
    assert "$ observerd prove cron/schedules.toml" == proved[0]
    assert proved[1:] == show.prove(Path("cron/schedules.toml"), None, now).text.splitlines()


def test_nothing_of_a_crontab_acts_on_the_terminal(tmp_path):
    crontab = (
        "MAILTO=a\x1b[2J@example.org,\x1b]0;x\nTZ=\x1b[2J\n# \x1b[2J\n0 1 * * * /opt/a\x1b[2J b\n\x1b[2J\n"
    )
    answer = imported_to(tmp_path, crontab)

    assert all(line.isprintable() for line in answer.text.splitlines())
