"""The configuration: layers, jobs, and every fault of theirs.

Run as a program, this writes the tables of docs/configuration.md.
"""

import dataclasses
import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observerd import config, kinds
from observerd.config import BadConfig, load
from observerd.core.job import TIMEOUT_LIMIT_S, Job
from observerd.keys import JOB_KEYS, config_keys, key_of

DOCS = Path(__file__).parent.parent / "docs"
URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs.fifo"


class Etc:
    """A configuration directory with the owner and the modes that a machine image gives it."""

    def __init__(self, base):
        self.base = base
        self.file = base / "observerd.toml"

    def write(self, name, content, mode=0o644):
        file = self.base / name
        file.parent.mkdir(exist_ok=True)
        file.parent.chmod(0o755)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        file.chmod(mode)
        return file

    def load(self, environ=(), flags=(), *, need_queue=False, jobs_only=False):
        if not os.path.lexists(self.file):
            self.write("observerd.toml", "")
        return load(self.file, dict(environ), dict(flags), need_queue=need_queue, jobs_only=jobs_only)

    def faults(self, environ=(), flags=(), **options):
        """Each fault, without the directory that every path begins with."""
        with pytest.raises(BadConfig) as bad:
            self.load(environ, flags, **options)
        return [fault.replace(f"{self.base}/", "") for fault in bad.value.faults]


@pytest.fixture
def etc(tmp_path):
    return Etc(tmp_path)


# ---- layers


def test_a_machine_without_any_file_has_the_defaults(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "DEFAULT_FILE", tmp_path / "observerd.toml")

    loaded = load(None, {}, {}, need_queue=False)

    assert loaded.config.visibility_timeout_s == 120.0
    assert loaded.config.metrics_listen == "127.0.0.1:9748"
    assert set(loaded.origins.values()) == {"default"}
    assert loaded.files == ()
    assert loaded.warnings == (f"no job is defined in {tmp_path}/jobs.d",)


def test_a_file_that_was_named_must_be_there(tmp_path):
    with pytest.raises(BadConfig) as bad:
        load(tmp_path / "other.toml", {}, {}, need_queue=False)

    assert bad.value.faults == (f"{tmp_path}/other.toml: cannot be read: No such file or directory",)


def test_a_default_file_that_is_a_link_to_nothing_is_a_fault(tmp_path, monkeypatch):
    file = tmp_path / "observerd.toml"
    file.symlink_to("nowhere")
    monkeypatch.setattr(config, "DEFAULT_FILE", file)

    with pytest.raises(BadConfig) as bad:
        load(None, {}, {}, need_queue=False)

    assert bad.value.faults == (f"{file}: cannot be read: No such file or directory",)


LAYERS = [
    ("observerd.toml", "observerd.toml"),
    ("conf.d/10-image.toml", "conf.d/10-image.toml"),
    ("conf.d/50-stack.toml", "conf.d/50-stack.toml"),
    ("environment", "OBSERVERD_LOG_GROUP"),
    ("flag", "--log-group"),
]


@pytest.mark.parametrize("count", range(1, len(LAYERS) + 1))
def test_the_last_layer_wins_and_is_named(etc, count):
    environ, flags = {}, {}
    for place, _ in LAYERS[:count]:
        if place == "environment":
            environ["OBSERVERD_LOG_GROUP"] = place
        elif place == "flag":
            flags["log_group"] = place
        else:
            etc.write(place, f'log_group = "{place}"')

    loaded = etc.load(environ, flags)

    assert (loaded.config.log_group, loaded.origins["log_group"]) == LAYERS[count - 1]


def test_conf_d_is_read_in_lexical_order(etc):
    etc.write("conf.d/9.toml", "slots = 9")
    etc.write("conf.d/10.toml", "slots = 10")

    assert etc.load().config.slots == 9


def test_a_layer_changes_only_the_keys_it_has(etc):
    etc.write("observerd.toml", 'slots = 4\nregion = "eu-west-1"')
    etc.write("conf.d/a.toml", "slots = 5")

    loaded = etc.load()

    assert (loaded.config.slots, loaded.config.region) == (5, "eu-west-1")
    assert loaded.origins["region"] == "observerd.toml"


def test_an_empty_value_takes_back_an_earlier_one(etc):
    etc.write("observerd.toml", 'log_group = "jobs"')

    loaded = etc.load({"OBSERVERD_LOG_GROUP": ""})

    assert loaded.config.log_group is None
    assert loaded.origins["log_group"] == "OBSERVERD_LOG_GROUP"


def test_a_flag_that_was_not_given_is_no_layer(etc):
    assert etc.load(flags={"slots": None}).origins["slots"] == "default"


def test_the_environment_gives_numbers_durations_and_text(etc):
    loaded = etc.load(
        {
            "OBSERVERD_QUEUE_URL": URL,
            "OBSERVERD_SLOTS": "8",
            "OBSERVERD_IDLE_TIMEOUT": "90s",
            "OBSERVERD_DRAIN_TIMEOUT": "600",
            "OBSERVERD_LOG_GROUP": "2026",
        }
    ).config

    assert (loaded.queue_url, loaded.slots, loaded.idle_timeout_s) == (URL, 8, 90.0)
    assert (loaded.drain_timeout_s, loaded.log_group) == (600.0, "2026")


def test_what_a_job_or_kubernetes_sets_is_no_setting(etc):
    theirs = [f"OBSERVERD_{name}" for name in ("SERVICE_HOST", "SERVICE_PORT_HTTP", "PORT_80_TCP_ADDR")]

    etc.load(dict.fromkeys([*kinds.JOB_VARIABLES, *theirs], "x"))


def test_the_jobs_own_variables_are_those_that_a_run_is_given():
    package = Path(config.__file__).parent
    given = (package / "core" / "run.py").read_text() + (package / "warden.py").read_text()

    assert all(f'"{name}"' in given for name in kinds.JOB_VARIABLES)
    assert len(kinds.JOB_VARIABLES) == 10


@pytest.mark.parametrize(
    ("text", "attribute", "value"),
    [
        ("idle_timeout = 90", "idle_timeout_s", 90.0),
        ("idle_timeout = 0.5", "idle_timeout_s", 0.5),
        ('idle_timeout = "1h30m"', "idle_timeout_s", 5_400.0),
        ('visibility_timeout = "12h"', "visibility_timeout_s", 43_200.0),
        ("slots = 256", "slots", 256),
        ('metrics_listen = ""', "metrics_listen", ""),
        ('metrics_listen = "[::1]:0"', "metrics_listen", "[::1]:0"),
        ('metrics_textfile_directory = "/var/lib/node"', "metrics_textfile_directory", "/var/lib/node"),
        ('metrics_push_url = "http://gateway:9091"', "metrics_push_url", "http://gateway:9091"),
        ('queue_url = "http://127.0.0.1:4566/000000000000/jobs"', "queue_url", "http://127.0.0.1:4566/000000000000/jobs"),
        ('job_environment = { TZ = "Asia/Tokyo" }', "job_environment", {"TZ": "Asia/Tokyo"}),
        ('exit_action = "stay"', "exit_action", "stay"),
    ],
)  # fmt: skip
def test_a_good_value_is_read(etc, text, attribute, value):
    etc.write("observerd.toml", text)

    assert getattr(etc.load().config, attribute) == value


# ---- faults of the settings


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('queue_url = "jobs"', "queue_url: not a URL: 'jobs' (write https://sqs.REGION.amazonaws.com/ACCOUNT/NAME)"),
        ('queue_url = ""', "queue_url: not a URL: '' (write"),
        ('queue_url = "ftp://host/jobs"', "queue_url: not a URL: 'ftp://host/jobs' (write"),
        ('queue_url = "http://host:99999/jobs"', "queue_url: not a URL: 'http://host:99999/jobs' (write"),
        ('queue_url = "http://[::1/jobs"', "queue_url: not a URL: 'http://[::1/jobs' (write"),
        ('queue_url = "https://"', "queue_url: not a URL: 'https://' (write"),
        ('queue_url = "https://host/a b"', "queue_url: not a URL: 'https://host/a b' (write"),
        ("queue_url = 5", "queue_url: not a URL: 5 (write"),
        ("slots = true", "slots: must be a whole number: true (write 1 to 256)"),
        ('slots = "4"', "slots: must be a whole number: '4' (write 1 to 256)"),
        ("slots = 4.0", "slots: must be a whole number: 4.0 (write 1 to 256)"),
        ("slots = 0", "slots: must be 1 to 256: 0"),
        ("slots = 257", "slots: must be 1 to 256: 257"),
        ('idle_timeout = "5 minutes"', "idle_timeout: not a duration: '5 minutes' (write \"90s\""),
        ("idle_timeout = true", "idle_timeout: not a duration: true (write"),
        ('idle_timeout = "-5s"', "idle_timeout: not a duration: '-5s' (write"),
        ("idle_timeout = -5", 'idle_timeout: must be 0s to 7d: -5 (exit_action = "stay" never leaves)'),
        ("idle_timeout = nan", "idle_timeout: must be 0s to 7d: nan ("),
        ("idle_timeout = inf", "idle_timeout: must be 0s to 7d: inf ("),
        ("idle_timeout = 2026-11-23", "idle_timeout: not a duration: datetime.date("),
        ('visibility_timeout = "2s"', "visibility_timeout: must be 3s to 12h: '2s' (SQS hides a message"),
        ('visibility_timeout = "12h1s"', "visibility_timeout: must be 3s to 12h: '12h1s' ("),
        ('drain_timeout = "13h"', "drain_timeout: must be 0s to 12h: '13h' ("),
        ('exit_action = "reboot"', "exit_action: not known: 'reboot' (write auto, terminate, exit, "),
        ('log_level = "INFO"', "log_level: not known: 'INFO' (write debug, info, warning or error)"),
        ("log_level = []", "log_level: not known: [] (write"),
        ('log_group = "a group"', "log_group: not a log group name: 'a group' (write it like"),
        ('region = "Tokyo"', "region: not a region: 'Tokyo' (write it like 'eu-west-1')"),
        ('metrics_listen = "9748"', "metrics_listen: not an address to listen on: '9748' (write '127"),
        ('metrics_listen = "h:65536"', "metrics_listen: not an address to listen on: 'h:65536' ("),
        ('metrics_push_url = "http://me:hunter2@gw"', "metrics_push_url: holds a user or a password, which"),
        ('metrics_push_url = "gateway"', "metrics_push_url: not a URL: 'gateway' (write http://pushgateway"),
        ('metrics_textfile_directory = "x"', "metrics_textfile_directory: not"),
        ('metrics_hosts = "a/b"', "metrics_hosts: not a list of host names: 'a/b' (write it like"),
        ('metrics_tls_certificate = "x.pem"', "metrics_tls_certificate: not a file's path: 'x.pem' (write"),
        ('metrics_tls_key = "/x.key"', "metrics_tls_certificate: not set (HTTPS needs metrics_tls_certif"),
        ('metrics_tls_certificate = "/x.pem"', "metrics_tls_key: not set (HTTPS needs metrics_tls_certif"),
        ("metrics_listen = 9748", "metrics_listen: not an address to listen on: 9748 ("),
        ('default_user = ""', "default_user: not a user name: '' (write it like 'batch')"),
        ('job_environment = "TZ=UTC"', "job_environment: must be a table of strings (write { N"),
        ("job_environment = { N = 1 }", "job_environment: N must be a string without a NUL"),
        ('job_environment."A=B" = "x"', "job_environment: not a variable's name: 'A=B' (letters, digits"),
        ('job_environment = { A = "\\u0000" }', "job_environment: A must be a string without a NUL"),
        ('job_environment.OBSERVERD_JOB = ""', "job_environment: cannot be set: 'OBSERVERD_JOB' (observerd"),
        ("slot = 4", "slot: unknown key (did you mean 'slots'?)"),
        ("idle_timeout_s = 4", "idle_timeout_s: unknown key (did you mean 'idle_timeout'?)"),
        ("zzz = 4", "zzz: unknown key (known: queue_url, dead_letter_queue_url, region,"),
        ('job.a.shell = "true"', "job: unknown key (jobs are defined in jobs.d/*.toml)"),
    ],
)  # fmt: skip
def test_a_bad_value_is_one_fault_that_names_file_key_and_value(etc, text, fault):
    etc.write("observerd.toml", text)

    (found,) = etc.faults()

    assert found.startswith(f"observerd.toml: {fault}")


def test_a_value_that_a_later_layer_overrules_is_checked_too(etc):
    etc.write("observerd.toml", "slots = 0")

    assert etc.faults({"OBSERVERD_SLOTS": "4"}) == ["observerd.toml: slots: must be 1 to 256: 0"]


def test_faults_of_environment_and_flags_are_spelled_as_they_were_given(etc):
    assert etc.faults({"OBSERVERD_SLOTS": "many"}, {"log_level": "loud"}) == [
        "command line: --log-level: not known: 'loud' (write debug, info, warning or error)",
        "environment: OBSERVERD_SLOTS: must be a whole number: 'many' (write 1 to 256)",
    ]


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("OBSERVERD_SLOT", "did you mean 'OBSERVERD_SLOTS'?"),
        ("OBSERVERD_slots", "did you mean 'OBSERVERD_SLOTS'?"),
        ("OBSERVERD_ZZZ", "known: OBSERVERD_QUEUE_URL, OBSERVERD_DEAD_LETTER_QUEUE_URL,"),
    ],
)
def test_an_unknown_variable_is_a_fault(etc, variable, hint):
    (fault,) = etc.faults({variable: "1"})

    assert fault.startswith(f"environment: {variable}: unknown key ({hint}")


def test_the_queue_is_needed_only_where_it_is_said_to_be(etc):
    assert etc.load(need_queue=False).config.queue_url == ""
    assert etc.faults(need_queue=True) == [
        "observerd.toml: queue_url: not set (set it there or in OBSERVERD_QUEUE_URL)"
    ]
    assert etc.load({"OBSERVERD_QUEUE_URL": URL}, need_queue=True).config.queue_url == URL


def test_every_fault_of_every_layer_is_told_at_once_in_order(etc):
    etc.write("observerd.toml", 'slots = 0\nlog_level = "loud"\nzzz = 1')
    etc.write("conf.d/a.toml", "x = [")
    etc.write("jobs.d/a.toml", '[job.a]\nshell = "true"\nnice = 20\ntimout = "1h"\n[job.b]')

    with pytest.raises(BadConfig) as bad:
        etc.load({"OBSERVERD_SLOT": "1"}, {"exit_action": "explode"}, need_queue=True)

    faults = bad.value.faults
    assert list(faults) == sorted(faults)
    assert [fault.replace(f"{etc.base}/", "").split(": ")[:2] for fault in faults] == [
        ["conf.d/a.toml", "not TOML"],
        ["jobs.d/a.toml", "job.a.nice"],
        ["jobs.d/a.toml", "job.a.timout"],
        ["jobs.d/a.toml", "job.b.command"],
        ["observerd.toml", "log_level"],
        ["observerd.toml", "queue_url"],
        ["observerd.toml", "slots"],
        ["observerd.toml", "zzz"],
        ["command line", "--exit-action"],
        ["environment", "OBSERVERD_SLOT"],
    ]


# ---- files


def test_a_syntax_fault_names_the_line(etc):
    etc.write("observerd.toml", "slots = 1\nidle_timeout = 2m\n")

    (fault,) = etc.faults()

    assert fault.startswith("observerd.toml: not TOML: ")
    assert "line 2" in fault


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b'region = "\xff"', "not UTF-8: byte 10 (save it as UTF-8)"),
        (b"# " + b"x" * (1 << 20), "cannot be read: larger than 1 MiB"),
        (b"a = " + b"[" * 100_000, "not TOML: nested too deeply"),
        (b"slots = " + b"9" * 5_000, "not TOML: Exceeds the limit"),
    ],
)
def test_a_file_that_cannot_be_understood_is_a_fault(etc, content, fault):
    etc.write("observerd.toml", content)

    (found,) = etc.faults()

    assert found.startswith(f"observerd.toml: {fault}")


def test_a_file_of_just_one_mebibyte_is_read(etc):
    etc.write("observerd.toml", b"slots = 7\n" + b"#" * ((1 << 20) - 10))

    assert etc.load().config.slots == 7


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (Path.mkdir, "Is a directory"),
        (os.mkfifo, "not a regular file"),
        (lambda path: path.symlink_to("nowhere"), "No such file or directory"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    ],
    ids=["directory", "fifo", "dangling", "loop"],
)
@pytest.mark.parametrize("name", ["observerd.toml", "conf.d/x.toml", "jobs.d/x.toml"])
def test_what_is_no_file_is_a_fault(etc, make, what, name):
    etc.write("jobs.d/good.toml", '[job.good]\nshell = "true"')
    etc.write("conf.d/good.toml", "")
    make(etc.base / name)

    assert etc.faults() == [f"{name}: cannot be read: {what}"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_a_fault(etc):
    etc.write("conf.d/a.toml", "", mode=0)

    assert etc.faults() == ["conf.d/a.toml: cannot be read: Permission denied"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("name", ["conf.d/a.toml", "jobs.d/a.toml"])
def test_whose_a_file_is_that_root_without_capabilities_cannot_read(etc, name):
    """So the unit has it: only what is root's own is read."""
    etc.write("observerd.toml", "")
    etc.write(name, "", mode=0o600)
    path = etc.base / name
    os.chown(path, 1001, 0)
    check = (sys.executable, "-m", "observerd", "check-config", "--config", etc.base / "observerd.toml")
    done = subprocess.run(
        ("setpriv", "--bounding-set=-all", *check),
        cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip

    mend = f"owned by user 1001 (run: chown root {path})"
    told = f"observerd: {path}: cannot be read: Permission denied, {mend}\n"
    assert (78, told) == (done.returncode, done.stderr)


def test_a_person_who_may_not_read_what_is_root_s_is_told_to_be_root(tmp_path, monkeypatch):
    reading = config._Reading(tmp_path, 1000)
    monkeypatch.setattr(Path, "stat", lambda _: SimpleNamespace(st_uid=0))

    reading._unreadable(tmp_path / "a.toml", PermissionError(errno.EACCES, "Permission denied"))

    told = "cannot be read: Permission denied, owned by user 0 (run as root)"
    assert [f"{tmp_path}/a.toml: {told}"] == reading.faults


def test_a_directory_of_files_that_is_a_file_is_a_fault(etc):
    etc.write("jobs.d", "")

    assert etc.faults() == [f"{etc.base}/jobs.d: cannot be read: Not a directory".replace(f"{etc.base}/", "")]


@pytest.mark.parametrize(
    "name", [".a.toml", "a.toml~", "a.toml.rpmsave", "a.toml.rpmnew", ".a.toml.swp", "README"]
)
@pytest.mark.parametrize("directory", ["conf.d", "jobs.d"])
def test_what_editors_and_packages_leave_behind_is_not_read(etc, directory, name):
    etc.write(f"{directory}/{name}", "this is not TOML", mode=0o666)

    etc.load()


def test_a_link_is_followed(etc):
    etc.write("real.txt", "slots = 3")
    etc.write("conf.d/other.toml", "")
    (etc.base / "conf.d" / "a.toml").symlink_to("../real.txt")

    assert etc.load().config.slots == 3


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
@pytest.mark.parametrize("name", ["observerd.toml", "conf.d/a.toml", "jobs.d/a.toml"])
def test_a_file_that_others_may_write_is_refused(etc, name, mode):
    etc.write(name, "", mode)

    assert etc.faults() == [f"{name}: writable by group or others: mode {mode:04o} (run: chmod go-w {name})"]


@pytest.mark.parametrize("name", ["conf.d", "jobs.d"])
def test_a_directory_that_others_may_write_is_refused(etc, name):
    etc.write(f"{name}/a.toml", "")
    (etc.base / name).chmod(0o775)

    assert etc.faults() == [f"{name}: writable by group or others: mode 0775 (run: chmod go-w {name})"]


def test_a_link_to_a_file_that_others_may_write_is_refused(etc):
    target = etc.write("real.txt", "", mode=0o666)
    etc.write("jobs.d/other.toml", "")
    (etc.base / "jobs.d" / "a.toml").symlink_to(target)

    (fault,) = etc.faults()

    assert fault.startswith("jobs.d/a.toml: writable by group or others")


@pytest.fixture
def open_directory(tmp_path):
    """Not in Etc's own directory; everybody may rename what is in it."""
    found = tmp_path / "open"
    found.mkdir()
    found.chmod(0o777)
    return found


def its_fault(directory):
    return f"{directory}: writable by group or others: mode 0777 (run: chmod go-w {directory})"


@pytest.mark.parametrize("name", ["observerd.toml", "conf.d/a.toml", "jobs.d/a.toml"])
def test_above_what_is_read_nobody_else_may_write(name, open_directory):
    """Or jobs.d is renamed, and a link to some other directory of root's takes its place."""
    etc = Etc(open_directory / "etc")
    etc.base.mkdir(mode=0o755)
    etc.write(name, "")

    assert [its_fault(open_directory)] == etc.faults()


def test_the_configurations_own_directory_is_one_of_them(etc):
    etc.write("observerd.toml", "")
    etc.base.chmod(0o777)

    assert [its_fault(etc.base)] == etc.faults()


@pytest.mark.parametrize("name", ["jobs.d", "jobs.d/a.toml"])
@pytest.mark.parametrize("chained", [False, True])
def test_a_link_is_trusted_as_its_whole_way_is(name, chained, tmp_path, open_directory):
    etc, real = Etc(tmp_path / "etc"), Etc(open_directory / "real")
    for each in (etc, real):
        each.base.mkdir(mode=0o755)
        each.write("jobs.d/b.toml", "")
    real.write("jobs.d/a.toml", "")
    if name == "jobs.d":
        shutil.rmtree(etc.base / "jobs.d")
    second = etc.base / "second"
    second.symlink_to(os.path.relpath(real.base / name, etc.base))
    (etc.base / name).symlink_to(second if chained else real.base / name)

    assert [its_fault(open_directory)] == etc.faults()


def test_in_a_sticky_directory_nobody_moves_what_is_roots(open_directory):
    open_directory.chmod(0o1777)
    etc = Etc(open_directory / "etc")
    etc.base.mkdir(mode=0o755)

    etc.load()


def test_a_sticky_directory_of_jobs_is_open_to_new_ones(etc):
    etc.write("jobs.d/a.toml", "")
    (etc.base / "jobs.d").chmod(0o1777)

    assert etc.faults() == ["jobs.d: writable by group or others: mode 1777 (run: chmod go-w jobs.d)"]


def test_the_command_to_run_can_be_pasted(etc):
    etc.write("jobs.d/my jobs.toml", "", mode=0o666)

    with pytest.raises(BadConfig) as bad:
        etc.load()

    assert bad.value.faults[0].endswith(f"(run: chmod go-w '{etc.base}/jobs.d/my jobs.toml')")


@pytest.mark.parametrize(
    ("daemon", "owner", "trusted"),
    [(0, 0, True), (1000, 0, True), (1000, 1000, True), (0, 1000, False), (1000, 1001, False)],
)
def test_only_root_and_the_daemons_own_user_are_trusted(tmp_path, daemon, owner, trusted):
    reading = config._Reading(tmp_path, daemon)

    reading._check_trust(tmp_path / "a.toml", SimpleNamespace(st_uid=owner, st_mode=stat.S_IFREG | 0o644))

    expected = f"{tmp_path}/a.toml: owned by user {owner}, not by root (run: chown root {tmp_path}/a.toml)"
    assert reading.faults == ([] if trusted else [expected])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("name", ["observerd.toml", "conf.d/a.toml", "jobs.d/a.toml", "conf.d", "jobs.d"])
def test_a_strangers_file_is_refused(etc, name):
    etc.write("conf.d/a.toml", "")
    etc.write("jobs.d/a.toml", "")
    etc.write("observerd.toml", "")
    os.chown(etc.base / name, 12_345, -1)

    (fault,) = etc.faults()

    assert fault == f"{name}: owned by user 12345, not by root (run: chown root {name})"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("observerd.toml", 'job_environment = { DB_PASSWORD = "x", PLAIN = "y", API_TOKEN = "z" }'),
        ("conf.d/a.toml", 'job_environment = { DB_PASSWORD = "x", API_TOKEN = "z" }'),
        ("jobs.d/a.toml", '[job.a]\nshell = "x"\n[job.a.environment]\nAPI_TOKEN = "z"\nDB_PASSWORD = "x"'),
    ],
)
@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o640, False), (0o600, False)])
def test_a_secret_that_everybody_may_read_is_warned_of(etc, name, text, mode, warned):
    file = etc.write(name, text, mode)

    warnings = [each for each in etc.load().warnings if "chmod o-r" in each]

    expected = f"{file}: everybody may read API_TOKEN, DB_PASSWORD there (run: chmod o-r {file})"
    assert [expected] * warned == warnings


def test_every_file_that_was_read_is_told(etc):
    names = ["observerd.toml", "conf.d/a.toml", "jobs.d/a.toml"]
    files = [etc.write(name, "") for name in names]

    assert etc.load().files == tuple(files)


# ---- jobs


def test_a_job_says_everything_about_itself(etc):
    etc.write(
        "jobs.d/a.toml",
        """
        [job.nightly-feed]
        command = ["/usr/local/bin/nightly-feed", "--bucket", "feed store"]
        user = "batch"
        working_directory = "/srv/feed"
        environment = { FEED = "dummy" }
        timeout = "2h"
        grace = "1m"
        attempts = 5
        backoff = "2m"
        max_lateness = "6h"
        success_exit_codes = [0, 3]
        no_retry_exit_codes = [65]
        nice = 5
        description = "Feeds the store"
        """,
    )

    loaded = etc.load()

    assert loaded.jobs["nightly-feed"] == Job(
        name="nightly-feed",
        command=("/usr/local/bin/nightly-feed", "--bucket", "feed store"),
        user="batch",
        working_directory="/srv/feed",
        environment={"FEED": "dummy"},
        timeout_s=7_200.0,
        grace_s=60.0,
        attempts=5,
        backoff_s=120.0,
        max_lateness_s=21_600.0,
        success_exit_codes=frozenset({0, 3}),
        no_retry_exit_codes=frozenset({65}),
        nice=5,
        description="Feeds the store",
    )
    assert loaded.origins["job.nightly-feed"] == "jobs.d/a.toml"
    assert loaded.warnings == ()


def test_a_job_that_says_no_more_than_its_command_has_the_defaults(etc):
    etc.write("jobs.d/a.toml", 'job.a.command = ["true"]')

    assert dict(etc.load().jobs) == {"a": Job("a", ("true",))}


def test_a_shell_line_becomes_a_command(etc):
    etc.write("jobs.d/a.toml", '[job.a]\nshell = "cd /tmp && ls | wc -l"\ntimeout = "5s"')

    assert etc.load().jobs["a"] == Job("a", ("/bin/sh", "-c", "cd /tmp && ls | wc -l"), timeout_s=5.0)


def test_the_longest_timeout_is_what_sqs_leaves_room_for(etc):
    etc.write("jobs.d/a.toml", '[job.a]\nshell = "true"\ntimeout = "11h45m"')

    assert etc.load().jobs["a"].timeout_s == TIMEOUT_LIMIT_S


def test_several_jobs_may_share_a_file(etc):
    etc.write("jobs.d/a.toml", '[job.a]\nshell = "true"\n[job.b]\nshell = "true"')
    etc.write("jobs.d/c.toml", '[job.c]\nshell = "true"')

    assert list(etc.load().jobs) == ["a", "b", "c"]


def test_a_job_defined_in_two_files_is_a_fault_that_names_both(etc):
    etc.write("jobs.d/a.toml", '[job.feed]\nshell = "true"')
    etc.write("jobs.d/b.toml", '[job.feed]\nshell = "true"')

    assert etc.faults() == ["jobs.d/b.toml: job.feed: already defined in jobs.d/a.toml (keep one)"]


@pytest.mark.parametrize("name", ["a", "A.b_c-1", "x" * 80])
def test_a_good_name_is_taken(etc, name):
    etc.write("jobs.d/a.toml", f'[job."{name}"]\nshell = "true"')

    assert list(etc.load().jobs) == [name]


@pytest.mark.parametrize("name", ["", "../x", "a b", "a;b", "-a", "a/b", "x" * 81, "a\\n", "é"])
def test_a_name_that_means_something_to_a_path_or_a_shell_is_a_fault(etc, name):
    etc.write("jobs.d/a.toml", f'[job."{name}"]\nshell = "true"')

    assert etc.faults() == [
        f"jobs.d/a.toml: job.{name}: not a job name (letters, digits, '.', '_' and '-', at most 80)"
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", 'a.command: not set (write command = ["/path", "argument"], or shell = "...")'),
        ('shell = "true"\ncommand = ["true"]', "a: has both command and shell (keep one)"),
        ('shell = ["true"]', "a.shell: must be a shell command: ['true'] (write one string)"),
        ('shell = " "', "a.shell: must be a shell command: ' ' ("),
        ('shell = "\\u0000"', "a.shell: must be a shell command: '\\x00' ("),
        ('command = "true"', 'a.command: must be a list of strings: \'true\' (write ["/path", "argument"])'),
        ('command = ["sleep", 5]', "a.command: must be a list of strings: ['sleep', 5] ("),
        ("command = []", "a.command: names no program: [] ("),
        ('command = [""]', "a.command: names no program: [''] ("),
        ('command = ["./run"]', "a.command: relative path: './run' (write the whole path, or a bare name"),
        ('command = ["bin/run"]', "a.command: relative path: 'bin/run' ("),
        ('command = ["true", "\\u0000"]', "a.command: holds a NUL character: ['true', '\\x00'] ("),
    ],
)  # fmt: skip
def test_a_bad_command_is_a_fault(etc, text, fault):
    etc.write("jobs.d/a.toml", f"[job.a]\n{text}")

    (found,) = etc.faults()

    assert found.startswith(f"jobs.d/a.toml: job.{fault}")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('user = ""', "user: not a user name: ''"),
        ('user = "a b"', "user: not a user name: 'a b'"),
        ('working_directory = "srv"', "working_directory: not an absolute path: 'srv' (write it from / on)"),
        ('working_directory = "/\\u0000"', "working_directory: not an absolute path: '/\\x00' ("),
        ('environment = ["A=b"]', "environment: must be a table of strings (write"),
        ('timeout = "11h45m1s"', "timeout: must be 0.1s to 11h45m: '11h45m1s' (SQS takes a message back 12"),
        ('timeout = "0s"', "timeout: must be 0.1s to 11h45m: '0s' ("),
        ('timeout = "2 hours"', "timeout: not a duration: '2 hours' ("),
        ('grace = "11m"', "grace: must be 0s to 10m: '11m'"),
        ("attempts = 0", "attempts: must be 1 to 10: 0 (the queue itself gives up after 10 receives)"),
        ("attempts = 11", "attempts: must be 1 to 10: 11 ("),
        ("attempts = true", "attempts: must be a whole number: true ("),
        ('backoff = "16m"', "backoff: must be 0s to 15m: '16m'"),
        ('max_lateness = "15d"', "max_lateness: must be 0s to 14d: '15d' (SQS keeps a message for 14 days"),
        ("success_exit_codes = []", "success_exit_codes: lists none: [] (the job could never succeed)"),
        ("success_exit_codes = [256]", "success_exit_codes: must be a list of exit codes: [256] (write"),
        ("no_retry_exit_codes = [-1]", "no_retry_exit_codes: must be a list of exit codes: [-1] ("),
        ("no_retry_exit_codes = [true]", "no_retry_exit_codes: must be a list of exit codes: [true] ("),
        ("no_retry_exit_codes = 64", "no_retry_exit_codes: must be a list of exit codes: 64 ("),
        ("nice = 20", "nice: must be -20 to 19: 20"),
        ('description = "two\\nlines"', "description: not a line of text: 'two\\nlines' ("),
        ('memory_max = "lots"', "memory_max: not a size: 'lots' (write \"512M\" or \"2G\")"),
        ("memory_max = 5", "memory_max: not a size: 5 ("),
        ("tasks_max = 0", "tasks_max: must be 1 to 4194304: 0"),
        ('cpu_quota = "half"', "cpu_quota: not a percentage: 'half' (write it like '50%')"),
        ("cpu_weight = 0", "cpu_weight: must be 1 to 10000: 0"),
        ("io_weight = 10001", "io_weight: must be 1 to 10000: 10001"),
        ('sandbox = "no"', "sandbox: must be true or false: 'no' (without quotes)"),
        ("metadata_access = 1", "metadata_access: must be true or false: 1 (without quotes)"),
        ('timout = "2h"', "timout: unknown key (did you mean 'timeout'?)"),
        ('memory = "2G"', "memory: unknown key (did you mean 'memory_max'?)"),
        ('name = "b"', "name: unknown key (the name stands in [job.NAME])"),
        ("zzz = 1", "zzz: unknown key (known: command, shell, user,"),
    ],
)  # fmt: skip
def test_a_bad_value_of_a_job_is_one_fault(etc, text, fault):
    etc.write("jobs.d/a.toml", f'[job.a]\nshell = "true"\n{text}')

    (found,) = etc.faults()

    assert found.startswith(f"jobs.d/a.toml: job.a.{fault}")


@pytest.mark.parametrize(
    "text",
    [
        'job_environment = { DB_PASSWORD = ["hunter2"] }',
        'job_environment = "DB_PASSWORD=hunter2"',
        'job_environment = { DB_PASSWORD = "hunter2\\u0000" }',
        'metrics_push_url = "ftp://me:hunter2@gateway"',
        'queue_url = "https://me:hunter2@:x/"',
    ],
)
def test_no_fault_tells_a_secret(etc, text):
    etc.write("observerd.toml", text)

    assert "hunter2" not in "".join(etc.faults())


def test_every_bad_variable_of_an_environment_is_told(etc):
    etc.write(
        "jobs.d/a.toml", '[job.a]\nshell = "true"\nenvironment = { A = 1, "B C" = "", OBSERVERD_JOB = "" }'
    )

    assert len(etc.faults()) == 3


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[jobs.a]\nshell = "true"', "jobs: unknown key (did you mean 'job'?)"),
        ('timeout = "2h"', "timeout: unknown key (known: job)"),
        ('job = "a"', "job: must be a table: 'a' (write [job.NAME])"),
        ('[[job]]\nshell = "true"', "job: must be a table: [{'shell': 'true'}] (write [job.NAME])"),
        ('[job]\na = "true"', "job.a: must be a table: 'true' (write [job.NAME])"),
    ],
)
def test_a_jobs_file_holds_tables_of_jobs(etc, text, fault):
    etc.write("jobs.d/a.toml", text)

    assert etc.faults() == [f"jobs.d/a.toml: {fault}"]


def test_an_image_is_checked_by_its_jobs_alone(etc):
    etc.write("observerd.toml", "not TOML")
    etc.write("jobs.d/a.toml", '[job.a]\nshell = "true"')

    loaded = etc.load({"OBSERVERD_ZZZ": "1"}, jobs_only=True)

    assert list(loaded.jobs) == ["a"]
    assert loaded.files == (etc.base / "jobs.d" / "a.toml",)


# ---- keys


def test_each_field_of_a_job_can_be_set_and_no_other():
    settable = set(JOB_KEYS) - {"shell"}

    assert settable == {key_of(field.name) for field in dataclasses.fields(Job)} - {"name"}


@pytest.mark.parametrize("key", config_keys())
def test_a_default_can_be_written_and_read_again(key):
    attribute = config_keys()[key]
    default = getattr(config.Config(), attribute.name)
    kind = attribute.metadata["kind"]
    if default is None:
        assert kind.read("") is None
    elif key != "queue_url":
        assert kind.read(kind.write(default)) == default


@pytest.mark.parametrize("key", [key for key in JOB_KEYS if key not in ("command", "shell")])
def test_a_default_of_a_job_can_be_written_and_read_again(key):
    (default,) = (field for field in dataclasses.fields(Job) if key_of(field.name) == key)
    value = getattr(Job("a", ("true",)), default.name)
    kind = JOB_KEYS[key].kind
    if value is not None:
        assert kind.read(kind.write(value)) == value


def test_a_good_configuration_costs_no_import_that_only_a_fault_needs(etc):
    """It is read before the first receive of a machine that has just booted."""
    etc.write("observerd.toml", "slots = 2")
    etc.write("jobs.d/a.toml", '[job.a]\nshell = "true"')
    program = (
        "import pathlib, sys\n"
        "from observerd import config\n"
        "config.load(pathlib.Path(sys.argv[1]), {'OBSERVERD_LOG_LEVEL': 'debug'}, {}, need_queue=False)\n"
        "print(*{'boto3', 'difflib', 'json', 'logging', 'argparse', 'pwd'} & set(sys.modules))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, etc.file], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout == "\n"


# ---- properties

scalars = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.sampled_from(
        ["", "1h", "/bin/true", "true", "512M", "50%", URL, "12h", "0s", "é", "a\nb", "\x1b[31m"]
    ),
    st.datetimes(max_value=datetime(2100, 1, 1)),  # noqa: DTZ001 TOML's local date-time has no zone
)
keys = st.sampled_from([*config_keys(), *JOB_KEYS, "job", "name", "a"]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=10
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)
# Close to what each key wants, so that some of it is good: the interesting bounds are there.
durations = st.builds("{}{}".format, st.integers(0, 20), st.sampled_from("smhd"))
exit_codes = st.lists(st.integers(-1, 256) | st.booleans(), max_size=3)
likely = {
    "command": st.lists(st.sampled_from(["/bin/true", "true", "./true", "a\0b", ""]), max_size=3),
    "shell": st.sampled_from(["true", "", " ", "a\0b", "a\nb"]),
    "user": st.sampled_from(["batch", "", "a b", "a:b", "a\0b"]),
    "working_directory": st.sampled_from(["/srv", "srv", "", "/a\0b"]),
    "environment": st.dictionaries(
        st.sampled_from(["A", "OBSERVERD_JOB", "A=B", ""]), st.sampled_from(["", "x", "a\0b"]), max_size=2
    ),
    "timeout": durations | st.integers(-1, 100_000) | st.floats(-1, 1),
    "grace": durations,
    "attempts": st.integers(-1, 12),
    "backoff": durations,
    "max_lateness": durations,
    "success_exit_codes": exit_codes,
    "no_retry_exit_codes": exit_codes,
    "nice": st.integers(-22, 22),
}
entries = st.sampled_from(sorted(likely)).flatmap(lambda key: st.tuples(st.just(key), likely[key] | values))
job_tables = st.lists(entries, max_size=2).map(dict) | st.dictionaries(keys, values)


def toml(value):
    """The value as TOML, in one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(c if c.isalnum() else f"\\U{ord(c):08X}" for c in value) + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(each)}" for key, each in value.items()) + "}"
    return value.isoformat() if isinstance(value, datetime) else repr(value)


def document(table):
    return "".join(f"{toml(key)} = {toml(value)}\n" for key, value in table.items())


def loaded_or_faults(files, environ):
    """What load() answers; its faults must be fit to print, and it may raise nothing else."""
    base = Path(tempfile.mkdtemp())
    try:
        etc = Etc(base)
        for name, content in files.items():
            etc.write(name, content)
        return etc.load(environ)
    except BadConfig as bad:
        assert bad.faults
        assert all(fault.isprintable() for fault in bad.faults)
        return None
    finally:
        shutil.rmtree(base)


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(keys, values, max_size=5), st.dictionaries(keys, job_tables | values, max_size=3))
def test_whatever_toml_says_it_is_faults_or_a_configuration(table, jobs):
    loaded_or_faults({"conf.d/a.toml": document(table), "jobs.d/a.toml": document({"job": jobs})}, {})


def assert_startable(job):
    """What execve(2), SQS and the settlement table can make use of."""
    texts = [*job.command, job.user or "x", job.working_directory, *job.environment.values()]
    assert job.command[0]
    assert all(isinstance(text, str) and "\0" not in text for text in texts)
    assert all(name and "=" not in name and name not in kinds.JOB_VARIABLES for name in job.environment)
    assert 0 < job.timeout_s <= TIMEOUT_LIMIT_S
    assert 0 <= job.grace_s <= 600
    assert 0 <= job.backoff_s <= 900
    assert 1 <= job.attempts <= 10
    assert job.success_exit_codes
    assert all(
        type(code) is int and 0 <= code <= 255 for code in job.success_exit_codes | job.no_retry_exit_codes
    )
    assert -20 <= job.nice < 20


@settings(deadline=None, max_examples=200)
@given(entries)
def test_a_value_of_a_job_is_a_fault_or_makes_a_job_that_can_be_started(entry):
    command = {} if entry[0] in ("command", "shell") else {"shell": "true"}

    loaded = loaded_or_faults(
        {"jobs.d/a.toml": document({"job": {"a": {**command, entry[0]: entry[1]}}})}, {}
    )

    if loaded:
        assert_startable(loaded.jobs["a"])


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200), st.sampled_from(["observerd.toml", "conf.d/a.toml", "jobs.d/a.toml"]))
def test_whatever_bytes_a_file_holds_it_is_faults_or_a_configuration(content, name):
    loaded_or_faults({name: content}, {})


variables = st.sampled_from([f"OBSERVERD_{key.upper()}" for key in config_keys()]) | st.text().map(
    "OBSERVERD_{}".format
)


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(variables, st.text() | st.just("\udcff") | st.integers().map(str)))
def test_whatever_the_environment_holds_it_is_faults_or_a_configuration(environ):
    loaded_or_faults({}, environ)


# ---- documents

BEGIN, END = "<!-- {} keys, generated from the code -->\n", "<!-- end -->\n"


def with_tables(page):
    for name, table in (("configuration", config_table()), ("job", job_table())):
        before, _, rest = page.partition(BEGIN.format(name))
        _, _, after = rest.partition(END)
        page = before + BEGIN.format(name) + table + END + after
    return page


def config_table():
    defaults = config.Config()
    return markdown_table(
        (key, each.metadata["kind"], getattr(defaults, each.name), each.metadata["help"])
        for key, each in config_keys().items()
    )


def job_table():
    job = Job("name", ())
    defaults = {key_of(field.name): getattr(job, field.name) for field in dataclasses.fields(Job)}
    return markdown_table(
        (
            key,
            each.kind,
            defaults.get(key),
            each.help + ("" if each.enforced else " Not enforced by `direct`."),
        )
        for key, each in JOB_KEYS.items()
    )


def markdown_table(rows):
    lines = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    for key, kind, default, meaning in rows:
        shown = "" if default in (None, "", (), {}) else f"`{json.dumps(kind.write(default))}`"
        lines.append(f"| `{key}` | {kind.form} | {shown} | {meaning} |")
    return "\n".join(lines) + "\n"


def test_the_page_about_the_configuration_is_current():
    page = (DOCS / "configuration.md").read_text()

    assert page == with_tables(page), "run: python -m tests.test_config"


def test_the_examples_are_without_fault(etc):
    for name in ("observerd.toml", "jobs.d/nightly-feed.toml"):
        etc.write(name, (DOCS / "examples" / name).read_text())

    loaded = etc.load({"OBSERVERD_QUEUE_URL": URL}, need_queue=True)

    assert list(loaded.jobs) == ["nightly-feed"]
    assert loaded.warnings == ()


def test_what_the_page_shows_is_without_fault(etc):
    """The page's TOML blocks, each named by its first line: "# conf.d/50-stack.toml"."""
    blocks = (DOCS / "configuration.md").read_text().split("```toml\n# ")[1:]
    for block in blocks:
        name, _, text = block.partition("```")[0].partition("\n")
        etc.write(name, text)

    assert len(etc.load(need_queue=True).files) == len(blocks) == 3


if __name__ == "__main__":
    PAGE = DOCS / "configuration.md"
    PAGE.write_text(with_tables(PAGE.read_text()))
