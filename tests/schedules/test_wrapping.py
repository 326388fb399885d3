"""What stands around commands becomes settings, and nothing of the commands is lost."""

import pytest

from observerd.schedules.wrapping import name_of, unwrap
from tests.schedules.test_import import lines_of


def settings_of(command):
    found = unwrap(command)
    each = {"nice": found.nice, "timeout": found.timeout_s, "grace": found.grace_s, "waits": found.waits_s}
    return found.command, {key: value for key, value in each.items() if value is not None}


@pytest.mark.parametrize(
    ("command", "left", "settings"),
    [
        ("flock -n /l /opt/a --x 'y z'", "/opt/a --x 'y z'", {}),
        ("/usr/bin/flock -xn /l -c '/opt/a; /opt/b'", "/opt/a; /opt/b", {}),
        ("flock -n /l sh -c 'a && b'", "sh -c 'a && b'", {}),
        ("flock -n '/var/lock/a b' /opt/a", "/opt/a", {}),
        ("flock -w 10 /l /opt/a", "/opt/a", {"waits": 10}),
        ("flock --timeout=10 /l /opt/a", "/opt/a", {"waits": 10}),
        ("timeout 30 /opt/a", "/opt/a", {"timeout": 30}),
        ("timeout -k 10 1.5h /opt/a", "/opt/a", {"timeout": 5400, "grace": 10}),
        ("timeout\t5m\t/opt/a", "/opt/a", {"timeout": 300}),
        ("nice /opt/a", "/opt/a", {"nice": 10}),
        ("nice -19 /opt/a", "/opt/a", {"nice": 19}),
        ("nice -n -5 /opt/a", "/opt/a", {"nice": -5}),
        ("nice --adjustment=7 /opt/a", "/opt/a", {"nice": 7}),
        ("chronic /opt/a", "/opt/a", {}),
        ("run-one /opt/a", "/opt/a", {}),
        ("nice -n 5 flock -n /l timeout 5m /opt/a >/dev/null 2>&1", "/opt/a", {"nice": 5, "timeout": 300}),
        ("nice -n 5 /opt/a > /var/log/a 2>&1", "/opt/a > /var/log/a 2>&1", {"nice": 5}),
    ],
)
def test_a_wrapper_around_the_whole_command_becomes_a_setting(command, left, settings):
    assert (left, settings) == settings_of(command)


@pytest.mark.parametrize(
    "command",
    [
        "flock -n -E 0 /l /opt/a",
        "flock -s /l /opt/a",
        "flock -n 9 /opt/a",
        "flock -n /l",
        "flock -n /l /opt/a && /opt/b",
        "flock -n /l /opt/a | logger",
        "cd /srv && flock -n /l /opt/a",
        "A=b flock -n /l /opt/a",
        "timeout -s KILL 5m /opt/a",
        "timeout 1d /opt/a",
        "timeout 0 /opt/a",
        "timeout 5m",
        "nice -n 5",
        "nice",
        "chronic -e /opt/a",
        "chronic",
        "run-one",
    ],
)
def test_a_wrapper_that_says_more_is_kept_as_it_is(command):
    assert (command, {}) == settings_of(command)
    assert [command] == [line.entry.command for line in lines_of(f"0 1 * * * {command}\n")]


def test_a_lock_that_other_lines_take_too_is_kept_wherever_it_is_taken():
    lines = ("flock -n /l /opt/a", "cd /srv; flock -w 5 /l ./b", "nice flock /other /opt/c")
    a, b, c = lines_of("".join(f"0 1 * * * {line}\n" for line in lines))

    assert ["flock", "-n", "/l", "/opt/a"] == a.job["command"]
    assert ["other lines take /l too" in " ".join(line.notes) for line in (a, b, c)] == [True, True, False]
    assert ["/opt/c"] == c.job["command"]


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/opt/billing/run --all", "billing-run"),
        ("test -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.daily; }", "cron.daily"),
        ("cd /srv/app && /usr/bin/php artisan schedule:run", "artisan-schedule-run"),
        (". $HOME/.profile; export A=b; sleep 20; /opt/b.sh", "b"),
        ("sudo -H -u postgres /usr/bin/vacuumdb -a", "vacuumdb"),
        ("A=b nice -n 5 python3 -u /opt/etl.py", "etl"),
        ("[ $(date +%u) = 1 ] && /opt/first-monday", "first-monday"),
        ("~/bin/feed | mail -s feed me", "feed"),
        ("((", "job"),
    ],
)
def test_a_job_is_named_after_the_program_that_does_the_work(command, name):
    assert name == name_of(command)
