"""What every executor promises. tests/test_executors.py runs it on this machine for the direct one,
tests/system/ in a machine with a real systemd for the other. Each has a fixture `lab`."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from observerd.bell import Bell
from observerd.core.events import Cause, Message, Outcome
from observerd.core.job import Job
from observerd.core.request import Request
from observerd.core.run import Run, outcome_of
from tests.support import descriptors, eventually, is_running

# Not the virtual environment's, which may lie in a /tmp that a job does not see. Others than root may not
# be able to reach it at all.
PYTHON = os.path.realpath(sys.executable)
# As it may come: quotes of both kinds, what shells and systemd replace, control characters, no ASCII.
ODD = [
    "",
    " ",
    "a b",
    "$HOME ${HOME} $$",
    "%n %%",
    'say "hi"',
    "it's",
    "back\\slash\\",
    "`id`",
    "#;",
    "ü→\u3042",
]
ODD_VALUES = [*ODD, "two\nlines", "tab\tcr\rescape\033[2J", "-", "end\\"]


# Leaves its group, says who it is, and holds the output. Its parent ends once that is said.
ESCAPE = """
import os, time
said, say = os.pipe()
if os.fork() == 0:
    os.setsid()
    print(os.getpid(), flush=True)
    os.write(say, b"x")
    time.sleep(600)
os.read(said, 1)
"""


class Lab:
    """Runs jobs by one executor, one at a time, and keeps what they put out."""

    def __init__(self, executor, name):
        self.executor, self.name = executor, name
        self.bell, self.output = Bell(), b""

    def close(self):
        self.bell.close()
        self.executor.close()

    def emit(self, chunk):
        self.output += chunk

    def wait_for(self, word):
        eventually(lambda: word in self.output)

    def run(self, *command, payload="", bell=None, emit=None, **keys):
        run = a_run(*command, payload=payload, **keys)
        return self.executor.run(run, emit or self.emit, bell or self.bell)

    def python(self, script, *arguments, **keys):
        return self.run(PYTHON, "-c", script, *arguments, user="root", **keys)

    def sh(self, script, **keys):
        return self.run("/bin/sh", "-c", script, **keys)

    def start(self, script, **keys):
        """As sh, on a thread; join() gives its answer."""
        answer = []
        thread = threading.Thread(target=lambda: answer.append(self.sh(script, **keys)))
        thread.start()

        def join():
            thread.join(60)
            assert answer, "the run did not end"
            return answer[0]

        return join


def a_run(*command, payload="", **keys):
    job = Job("tidy", command, **keys)
    request = Request("tidy", "0123456789abcdef", 1_700_000_000.0, payload)
    return Run(job, request, Message("m-1", "", "", received_at=1_700_000_060.0))


def outcome(ended):
    return outcome_of(ended, Job("tidy", ("true",)))


# ---- how it ended


def test_the_exit_code_is_told(lab):
    ended = lab.sh("exit 3")

    assert (3, None, None, Outcome.FAILED) == (ended.exit_code, ended.signal, ended.fault, outcome(ended))


def test_success_is_told(lab):
    ended = lab.run("/bin/true")

    assert (0, Outcome.SUCCEEDED) == (ended.exit_code, outcome(ended))
    assert 0 < ended.duration_s < 60


@pytest.mark.parametrize("name", ["SEGV", "TERM", "INT", "KILL"])
def test_the_signal_that_killed_it_is_told_and_no_success(name, lab):
    ended = lab.sh(f"kill -{name} $$")

    assert (None, signal.Signals[f"SIG{name}"]) == (ended.exit_code, ended.signal)
    assert Outcome.FAILED is outcome(ended)


def test_what_ends_at_once_is_told_as_well_each_time(lab):
    assert [1] * 10 == [lab.run("/bin/false").exit_code for _ in range(10)]


@pytest.mark.parametrize(
    ("command", "keys", "fault"),
    [
        (
            ["/no-such-directory/program"],
            {},
            "cannot start '/no-such-directory/program': No such file or directory",
        ),
        (["no-such-program"], {}, "cannot start 'no-such-program': No such file or directory"),
        (["/etc/passwd"], {}, "cannot start '/etc/passwd': Permission denied"),
        (["/bin/true"], {"working_directory": "/no-such-directory"}, "cannot enter '/no-such-directory'"),
        (["/bin/true"], {"user": "no-such-user"}, "no user 'no-such-user' on this machine (job 'tidy')"),
    ],
)
def test_what_cannot_be_started_is_a_fault_that_says_what(command, keys, fault, lab):
    ended = lab.run(*command, **keys)

    assert fault == ended.fault[: len(fault)]
    assert (None, None, Outcome.FAILED) == (ended.exit_code, ended.signal, outcome(ended))


def test_cpu_time_is_told(lab):
    assert 0.05 < lab.python("for _ in range(10**7): pass").cpu_s < 60


# ---- what it gets


def test_standard_output_and_error_arrive_in_order(lab):
    lab.sh("echo one; echo two >&2; echo three")

    assert b"one\ntwo\nthree\n" == lab.output


def test_the_payload_is_on_standard_input_whole(lab):
    payload = "".join(map(chr, range(32, 2_000))) * 300

    lab.run("/bin/cat", payload=payload)

    assert payload == lab.output.decode()


def test_a_job_that_reads_no_input_is_not_held_up_by_a_large_payload(lab):
    assert 0 == lab.run("/bin/true", payload="x" * 1_048_576).exit_code


def test_arguments_arrive_as_they_are_written(lab):
    script = "import sys; print(*map(ascii, sys.argv[1:]), sep='\\n')"

    lab.python(script, *ODD_VALUES)

    assert [ascii(value) for value in ODD_VALUES] == lab.output.decode().splitlines()


def test_variables_arrive_as_they_are_written(lab):
    script = "import os; print(*[ascii(os.environ[f'V{n}']) for n in range(%d)], sep='\\n')"

    lab.python(
        script % len(ODD_VALUES),
        environment={f"V{number}": value for number, value in enumerate(ODD_VALUES)},
    )

    assert [ascii(value) for value in ODD_VALUES] == lab.output.decode().splitlines()


def test_the_environment_is_built_and_not_inherited(lab, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    monkeypatch.setenv("SECRET", "s")

    lab.run("/usr/bin/env", payload="{}", environment={"OWN": "this"})

    seen = dict(line.split("=", 1) for line in lab.output.decode().splitlines())
    assert {
        "COMMON": "yes",
        "OWN": "this",
        "OBSERVERD_JOB": "tidy",
        "OBSERVERD_RUN_ID": "0123456789abcdef",
        "OBSERVERD_PAYLOAD": "{}",
        "SHELL": "/bin/sh",
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }.items() <= seen.items()
    assert not seen.keys() & {"NOTIFY_SOCKET", "SECRET", "WATCHDOG_USEC", "LISTEN_FDS"}


def test_a_bare_name_is_looked_up_in_the_jobs_own_path(lab, tmp_path):
    program = tmp_path / "my-program"
    program.write_text("#!/bin/sh\necho mine\n")
    program.chmod(0o755)

    lab.run("my-program", environment={"PATH": f"{tmp_path}:/bin"}, user="root", sandbox=False)

    assert b"mine\n" == lab.output


def test_it_runs_as_its_user_with_that_users_groups_and_home(lab):
    lab.sh("id -un; id -gn; echo $HOME $USER $LOGNAME", user="daemon", working_directory="/usr")

    assert b"daemon\ndaemon\n/usr/sbin daemon daemon\n" == lab.output


def test_a_job_without_a_user_runs_as_the_default_one(lab):
    lab.sh("id -un")

    assert b"nobody\n" == lab.output


def test_it_has_the_usual_umask_its_directory_and_its_priority(lab):
    lab.sh("sleep 0.1; umask; pwd; nice", working_directory="/usr", nice=7)

    assert b"0022\n/usr\n7\n" == lab.output


def test_a_job_has_no_descriptor_but_the_three(lab):
    lab.sh("ls /proc/self/fd")

    # The fourth is ls's own, for the directory it reads.
    assert b"0\n1\n2\n3\n" == lab.output


# ---- its output


def test_fifty_megabytes_arrive(lab):
    size = 0

    def count(chunk):
        nonlocal size
        size += len(chunk)

    lab.run("/usr/bin/head", "-c", "52428800", "/dev/zero", emit=count)

    assert 52_428_800 == size


def test_binary_output_arrives_as_it_is(lab):
    lab.sh(r"printf '\000\377\376\033[2J\200'")

    assert b"\x00\xff\xfe\x1b[2J\x80" == lab.output


def test_a_job_may_close_its_output_and_go_on(lab):
    assert 4 == lab.sh("exec >&- 2>&-; sleep 0.2; exit 4").exit_code


# ---- its end, by us


def test_after_its_timeout_a_job_gets_term_and_has_not_succeeded(lab):
    script = "trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done"

    ended = lab.sh(script, timeout_s=0.5)

    assert (True, b"bye\n", Outcome.TIMED_OUT) == (ended.timed_out, lab.output[-4:], outcome(ended))


def test_a_job_that_ignores_term_is_killed_after_its_grace(lab):
    ended = lab.sh("trap '' TERM; while :; do sleep 0.05; done", timeout_s=0.3, grace_s=0.2)

    assert (True, signal.SIGKILL) == (ended.timed_out, ended.signal)


def test_the_bell_tells_every_process_of_the_job_and_leaves_it_its_grace(lab):
    join = lab.start(
        "(trap 'echo child; exit' TERM; echo child up; while :; do sleep 0.05; done) &"
        "trap 'wait; echo bye; exit 0' TERM; echo parent up; while :; do sleep 0.05; done"
    )
    lab.wait_for(b"child up\n")
    lab.wait_for(b"parent up\n")

    lab.bell.ring(Cause.STOP, None)

    ended = join()
    assert (Cause.STOP, 0, Outcome.INTERRUPTED) == (ended.cause, ended.exit_code, outcome(ended))
    assert b"child\n" in lab.output
    assert b"bye\n" == lab.output[-4:]


def test_a_bell_without_grace_kills_at_once(lab):
    join = lab.start("trap 'sleep 60' TERM; echo up; while :; do sleep 0.05; done", grace_s=600)
    lab.wait_for(b"up")

    lab.bell.ring(Cause.LEASE_LOST, 0.0)

    ended = join()
    assert (Cause.LEASE_LOST, signal.SIGKILL, Outcome.LOST) == (ended.cause, ended.signal, outcome(ended))


def test_a_second_ring_shortens_the_grace_of_the_first(lab):
    join = lab.start("trap 'echo told' TERM; echo up; while :; do sleep 0.05; done", grace_s=600)
    lab.wait_for(b"up")
    lab.bell.ring(Cause.STOP, None)
    lab.wait_for(b"told")

    lab.bell.ring(Cause.STOP, 0.0)

    assert signal.SIGKILL == join().signal


def test_a_bell_rung_before_the_start_ends_the_job(lab):
    lab.bell.ring(Cause.STOP, 0.0)

    ended = lab.run("/bin/sleep", "600")

    assert (Cause.STOP, Outcome.INTERRUPTED) == (ended.cause, outcome(ended))


def test_a_background_child_dies_with_its_leader(lab):
    ended = lab.sh("sleep 600 & echo $!")

    child = int(lab.output)
    assert (0, False) == (ended.exit_code, ended.leaked)
    eventually(lambda: not is_running(child))


def test_an_error_of_ours_leaves_no_process(lab):
    def fail(chunk):
        raise ZeroDivisionError(chunk.decode())

    with pytest.raises(ZeroDivisionError) as raised:
        lab.sh("echo $$; exec sleep 600", emit=fail)

    eventually(lambda: not is_running(int(str(raised.value))))


def test_sixteen_at_once_are_told_apart_and_leave_no_descriptor(lab):
    lab.run("/bin/true")
    before, ended = len(descriptors()), []

    def one(number):
        bell = Bell()
        ended.append(lab.sh(f"exit {number}", bell=bell).exit_code)
        bell.close()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert list(range(16)) == sorted(ended)
    # How many, not which: what earlier tests left is closed, and its number used again, at any time.
    assert before >= len(descriptors())


KILLED = """
import os, sys
from observerd.bell import Bell
from observerd.keys import Config
from observerd.executors import choice
from tests.executor_suite import a_run
executor = choice.make(Config(executor=sys.argv[1], default_user="nobody"), {})
executor.run(a_run("/bin/sh", "-c", "trap '' TERM; sleep 600 & echo $$ $!; wait; sleep 600", grace_s=1.0),
             lambda chunk: os.write(1, chunk), Bell())
"""


def test_when_the_daemon_is_killed_its_jobs_trees_die(lab):
    daemon = subprocess.Popen((sys.executable, "-c", KILLED, lab.name), stdout=subprocess.PIPE)
    leader, child = (int(word) for word in daemon.stdout.readline().split())
    assert is_running(leader)

    os.kill(daemon.pid, signal.SIGKILL)
    daemon.wait(10)
    daemon.stdout.close()

    eventually(lambda: not is_running(leader) and not is_running(child))
