"""Real children, because they are the subject."""

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from observerd import process
from observerd.bell import Bell
from observerd.core.events import Cause
from observerd.process import Command
from observerd.warden import Warden
from tests.support import descriptors, eventually, is_running

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


@pytest.fixture
def warden():
    warden = Warden()
    yield warden
    warden.close()


@pytest.fixture
def bell():
    bell = Bell()
    yield bell
    bell.close()


class Output:
    """Collects what a job writes, and lets a test wait for a word of it."""

    def __init__(self):
        self.content = b""

    def __call__(self, chunk):
        self.content += chunk

    def wait_for(self, word):
        eventually(lambda: word in self.content)


def sh(script, **rest):
    return Command(("/bin/sh", "-c", script), ENVIRONMENT, **rest)


def run(command, bell, warden, emit=lambda _: None, timeout_s=60.0, grace_s=5.0):
    return process.run(command, emit, bell, warden, timeout_s=timeout_s, grace_s=grace_s)


def in_background(command, bell, warden, output, **times):
    """Start run on a thread; join() gives its answer."""
    answer = []
    thread = threading.Thread(target=lambda: answer.append(run(command, bell, warden, output, **times)))
    thread.start()

    def join():
        thread.join(30)
        assert answer, "the run did not end"
        return answer[0]

    return join


def test_the_exit_code_is_told(bell, warden):
    assert 3 == run(sh("exit 3"), bell, warden).exit_code


def test_the_signal_that_killed_it_is_told(bell, warden):
    ended = run(sh("kill -SEGV $$"), bell, warden)

    assert (None, signal.SIGSEGV) == (ended.exit_code, ended.signal)


def test_standard_output_and_error_arrive_in_order(bell, warden):
    output = Output()

    run(sh("echo one; echo two >&2; echo three"), bell, warden, output)

    assert b"one\ntwo\nthree\n" == output.content


def test_the_payload_is_on_standard_input_whole(bell, warden):
    output = Output()

    payload = os.urandom(1_048_576)

    run(sh("cat", stdin=payload), bell, warden, output)

    assert payload == output.content


def test_a_payload_that_memory_takes_in_parts_is_whole(bell, warden, monkeypatch):
    output, pwrite = Output(), os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, content, at: pwrite(descriptor, content[:3], at))

    run(sh("cat", stdin=b"in parts"), bell, warden, output)

    assert b"in parts" == output.content


def test_where_there_is_no_memory_for_the_payload_nothing_stays_open(bell, warden, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    warden.start()
    before = descriptors()
    monkeypatch.setattr(os, "pwrite", refuse)

    with pytest.raises(OSError, match="allocate"):
        run(sh("cat", stdin=b"x"), bell, warden)
    assert before == descriptors()


def test_a_job_that_reads_no_input_is_not_held_up_by_a_large_payload(bell, warden):
    assert 0 == run(sh("true", stdin=b"x" * 1_048_576), bell, warden).exit_code


def test_the_environment_is_built_and_not_inherited(bell, warden, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    output = Output()

    run(Command(("/usr/bin/env",), {"ONLY": "this"}), bell, warden, output)

    assert b"ONLY=this\n" == output.content


def test_a_job_has_no_descriptor_but_the_three(bell, warden):
    output = Output()

    run(sh("ls /proc/self/fd"), bell, warden, output)

    # The fourth is ls's own, for the directory it reads.
    assert b"0\n1\n2\n3\n" == output.content


def test_after_its_timeout_a_job_gets_term(bell, warden):
    output = Output()

    ended = run(sh("trap 'echo bye; exit 0' TERM; sleep 60 & wait"), bell, warden, output, timeout_s=0.2)

    assert (True, b"bye\n") == (ended.timed_out, output.content[-4:])


def test_a_job_that_ignores_term_is_killed_after_its_grace(bell, warden):
    ended = run(sh("trap '' TERM; while :; do sleep 0.05; done"), bell, warden, timeout_s=0.1, grace_s=0.2)

    assert (True, signal.SIGKILL) == (ended.timed_out, ended.signal)


def test_the_bell_ends_a_job_with_term_and_its_own_grace(bell, warden):
    output = Output()
    join = in_background(
        sh("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"), bell, warden, output
    )
    output.wait_for(b"up")

    bell.ring(Cause.STOP, None)

    ended = join()
    # The shell reports that its own child was terminated, which shows that the whole group was told.
    assert (Cause.STOP, 0, b"bye\n") == (ended.cause, ended.exit_code, output.content[-4:])


def test_a_bell_without_grace_kills_at_once(bell, warden):
    output = Output()
    join = in_background(
        sh("trap 'sleep 20' TERM; echo up; while :; do sleep 0.05; done"), bell, warden, output, grace_s=600
    )
    output.wait_for(b"up")

    bell.ring(Cause.LEASE_LOST, 0.0)

    ended = join()
    assert (Cause.LEASE_LOST, signal.SIGKILL) == (ended.cause, ended.signal)


def test_a_second_ring_shortens_the_grace_of_the_first(bell, warden):
    output = Output()
    join = in_background(
        sh("trap 'echo told' TERM; echo up; while :; do sleep 0.05; done"), bell, warden, output, grace_s=600
    )
    output.wait_for(b"up")
    bell.ring(Cause.STOP, None)
    output.wait_for(b"told")

    bell.ring(Cause.STOP, 0.0)

    assert signal.SIGKILL == join().signal


def test_a_lost_lease_outweighs_a_stop(bell):
    bell.ring(Cause.LEASE_LOST, 1.0)
    bell.ring(Cause.STOP, None)

    assert Cause.LEASE_LOST is bell.cause


def test_a_bell_rung_before_the_start_ends_the_job(bell, warden):
    bell.ring(Cause.STOP, 0.0)

    assert Cause.STOP is run(sh("sleep 60"), bell, warden).cause


def test_a_background_child_dies_with_its_leader(bell, warden):
    output = Output()

    ended = run(sh("sleep 600 & echo $!"), bell, warden, output)

    child = int(output.content)
    assert (0, False) == (ended.exit_code, ended.leaked)
    eventually(lambda: not is_running(child))


def test_an_escapee_that_holds_the_output_cannot_hold_the_run(bell, warden):
    output = Output()
    script = (
        "import os, time\nif os.fork() == 0:\n os.setsid()\n print(os.getpid(), flush=True)\n time.sleep(600)"
    )

    ended = run(Command((sys.executable, "-c", script), ENVIRONMENT), bell, warden, output)

    escapee = int(output.content)
    try:
        assert (0, True) == (ended.exit_code, ended.leaked)
        assert is_running(escapee)
    finally:
        os.kill(escapee, signal.SIGKILL)


def test_a_job_may_close_its_output_and_go_on(bell, warden, tmp_path):
    done = tmp_path / "done"

    ended = run(sh(f"exec >&- 2>&-; sleep 0.2; : > {done}; exit 4"), bell, warden)

    assert (4, True) == (ended.exit_code, done.exists())


def test_fifty_megabytes_arrive(bell, warden):
    size = 0

    def count(chunk):
        nonlocal size
        size += len(chunk)

    run(sh("head -c 52428800 /dev/zero"), bell, warden, count)

    assert 52_428_800 == size


def test_binary_output_arrives_as_it_is(bell, warden):
    output = Output()

    run(sh(r"printf '\000\377\376\033[2J\200'"), bell, warden, output)

    assert b"\x00\xff\xfe\x1b[2J\x80" == output.content


def test_cpu_time_and_memory_are_told(bell, warden):
    # A job's memory is told only where it is more than ours: see the next test.
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + 200_000_000
    ended = run(
        Command((sys.executable, "-c", f"x = bytearray({size})\nfor _ in range(10**6): pass"), ENVIRONMENT),
        bell,
        warden,
    )

    assert ended.cpu_s > 0
    assert ended.max_rss_bytes > size


def test_the_daemons_own_memory_is_not_taken_for_the_jobs(bell, warden):
    assert run(sh("true"), bell, warden).max_rss_bytes is None


def test_nice_is_inherited_by_what_the_job_starts(bell, warden):
    output = Output()

    run(sh("sleep 0.1; nice", nice=7), bell, warden, output)

    assert b"7\n" == output.content


@pytest.mark.parametrize(
    ("argv", "directory"),
    [
        (("/no-such-directory/program",), "/"),
        (("/etc/passwd",), "/"),
        (("/bin/true",), "/no-such-directory"),
        (("/",), "/"),
    ],
)
def test_what_cannot_be_started_raises(argv, directory, bell, warden):
    with pytest.raises(OSError):
        run(Command(argv, ENVIRONMENT, directory), bell, warden)


def test_an_error_of_ours_leaves_no_process(bell, warden):
    def fail(chunk):
        raise ZeroDivisionError(chunk.decode())

    with pytest.raises(ZeroDivisionError) as raised:
        run(sh("echo $$; sleep 600"), bell, warden, fail)

    assert not is_running(int(str(raised.value)))


def test_sixty_four_at_once_leave_no_descriptor_and_no_zombie(warden):
    run(sh("true"), first := Bell(), warden)
    first.close()
    before, ended = len(descriptors()), []

    def one(number):
        bell = Bell()
        ended.append(run(sh(f"echo {number}; exit {number}"), bell, warden).exit_code)
        bell.close()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert list(range(64)) == sorted(ended)
    # How many, not which: what earlier tests left is closed, and its number used again, at any time.
    assert before >= len(descriptors())
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert [] == [child for child in children if "Z" in _state(child)]


def _state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def test_a_bell_rung_after_its_end_touches_nobody_elses_descriptor():
    bell = Bell()
    number = bell.fd
    bell.close()
    reader, writer = os.pipe()
    try:
        assert number in (reader, writer)
        bell.ring(Cause.STOP, 0.0)
        os.set_blocking(reader, False)
        with pytest.raises(BlockingIOError):
            os.read(reader, 8)
    finally:
        os.close(reader)
        os.close(writer)


KILLED = """
import os, sys, threading
from observerd import process
from observerd.bell import Bell
from observerd.warden import Warden
command = process.Command(("/bin/sh", "-c", "sleep 600 & echo $$ $!; wait"), {"PATH": "/bin:/usr/bin"})
tell = lambda chunk: os.write(1, chunk)
process.run(command, tell, Bell(), Warden(), timeout_s=600, grace_s=1)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_daemon_is_killed_its_jobs_trees_die(number):
    daemon = subprocess.Popen((sys.executable, "-c", KILLED), stdout=subprocess.PIPE)
    leader, child = (int(word) for word in daemon.stdout.readline().split())

    daemon.send_signal(number)
    daemon.wait(10)
    daemon.stdout.close()

    eventually(lambda: not is_running(leader) and not is_running(child))


UNTOLD = """
import os, subprocess, sys, time
from observerd.warden import Warden
warden = Warden()
warden.watch(2**22 + 1)
marked = [f"{name}={value}" for name, value in warden.mark.items()]
late = ("sh", "-c", 'sleep "$1"; shift; exec env "$@" sleep 600', "sh", sys.argv[2], *marked)
job = subprocess.Popen(late, start_new_session=True)
print(job.pid, flush=True)
if sys.argv[1] == "leave":
    warden.close()
time.sleep(600)
"""


@pytest.mark.parametrize("marked_after_s", ["0", "1"])
def test_a_job_that_the_warden_was_not_told_of_yet_dies_with_the_daemon_too(marked_after_s):
    """On a loaded machine one outlived its daemon, which was killed before the job had its environment."""
    daemon = subprocess.Popen((sys.executable, "-c", UNTOLD, "stay", marked_after_s), stdout=subprocess.PIPE)
    job = int(daemon.stdout.readline())

    daemon.kill()
    daemon.wait(10)
    daemon.stdout.close()

    eventually(lambda: not is_running(job))


def test_what_a_job_left_behind_on_purpose_outlives_a_daemon_that_leaves_by_itself():
    daemon = subprocess.Popen((sys.executable, "-c", UNTOLD, "leave", "0"), stdout=subprocess.PIPE)
    job = int(daemon.stdout.readline())
    children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children")
    eventually(lambda: [str(job)] == children.read_text().split())
    daemon.kill()
    daemon.wait(10)
    daemon.stdout.close()
    try:
        assert is_running(job)
    finally:
        os.kill(job, signal.SIGKILL)


def test_a_warden_that_was_killed_has_a_successor_that_knows_everybody(warden):
    sleeper = subprocess.Popen(("sleep", "600"), start_new_session=True)
    warden.watch(sleeper.pid)
    os.kill(warden._process.pid, signal.SIGKILL)
    eventually(lambda: _state(warden._process.pid) == "Z")
    warden.watch(2**22 + 1)  # No such group; the write finds the pipe broken.

    warden.close()

    assert -signal.SIGKILL == sleeper.wait(10)


@pytest.mark.parametrize("told", ["before the group", "after it", "to a successor"])
def test_a_warden_that_does_not_hear_in_time_ends_every_group(told, warden):
    """A daemon that hangs keeps its pipe open. What came after its last word bears the mark."""
    child = subprocess.Popen(("sleep", "600"), start_new_session=True, env={**os.environ, **warden.mark})
    if told == "before the group":
        warden.expect(0.5)
    warden.start()
    warden.watch(child.pid)
    if told != "before the group":
        warden.expect(0.5)
    if told == "to a successor":
        warden._process.kill()
        warden._process.wait()
        warden.watch(child.pid)

    assert -signal.SIGKILL == child.wait(30)
    assert warden.is_overdue()


@pytest.mark.parametrize(("left_s", "overdue"), [(0.1, False), (0.015, True), (-1.0, True)])
def test_a_fuse_may_burn_a_little_early(left_s, overdue, warden, monkeypatch):
    """Or a job that it ended would be taken for one that failed by itself, and its message given back."""
    monkeypatch.setattr("observerd.clock.now", lambda: 1_000.0)
    warden.expect(60.0)

    monkeypatch.setattr("observerd.clock.now", lambda: 1_060.0 - left_s)
    assert overdue is warden.is_overdue()


def test_a_warden_that_hears_again_and_again_waits(warden):
    child = subprocess.Popen(("sleep", "600"), start_new_session=True)
    warden.start()
    warden.watch(child.pid)
    ends_at = time.monotonic() + 2.0
    while time.monotonic() < ends_at:
        warden.expect(1.5)
        time.sleep(0.1)

    assert (None, False) == (child.poll(), warden.is_overdue())
    child.kill()
    child.wait()


def test_a_warden_counts_the_time_that_the_machine_was_suspended(warden, tmp_path, monkeypatch):
    """sleep does not."""
    uptime = tmp_path / "uptime"
    uptime.write_text("99.09 1.00\n")
    monkeypatch.setattr("observerd.warden._UPTIME", str(uptime))
    child = subprocess.Popen(("sleep", "600"), start_new_session=True)
    warden.start()
    warden.watch(child.pid)
    warden.expect(600)
    children = Path(f"/proc/{warden._process.pid}/task/{warden._process.pid}/children")
    eventually(children.read_text)
    assert child.poll() is None

    awake = tmp_path / "awake"
    awake.write_text("1000.00 1.00\n")
    awake.replace(uptime)

    assert -signal.SIGKILL == child.wait(60)


def test_a_warden_leaves_alone_what_it_was_told_to_forget(warden):
    sleeper = subprocess.Popen(("sleep", "600"), start_new_session=True)
    warden.watch(sleeper.pid)
    warden.forget(sleeper.pid)

    warden.close()

    assert sleeper.poll() is None
    sleeper.kill()
    sleeper.wait(10)


def test_the_warden_is_there_before_the_child(bell, monkeypatch):
    """A daemon killed between the two would leave the child to nobody."""
    there = []
    warden = Warden()
    spawn = process.spawn
    monkeypatch.setattr(process, "spawn", lambda it: there.append(warden._process is not None) or spawn(it))
    run(sh("true"), bell, warden)
    warden.close()

    assert [True] == there
