"""Signals in a process of their own: handlers are the whole process's."""

import subprocess
import sys

# The kernel may give a signal to any thread. Here it does while the main thread waits in C.
GIVEN_TO_ANOTHER_THREAD = """
import queue, signal, threading
from observerd import signals

inbox = queue.SimpleQueue()
signals.listen((signal.SIGTERM, signal.SIGINT), inbox.put)
is_waiting = threading.Lock()
is_waiting.acquire()

def another():
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.pthread_kill(threading.get_ident(), number)
        print(inbox.get(timeout=30).name, flush=True)
    is_waiting.release()

threading.Thread(target=another).start()
is_waiting.acquire(timeout=60)
"""


def test_a_signal_is_heard_while_the_main_thread_waits_and_another_receives_it():
    done = subprocess.run(
        (sys.executable, "-c", GIVEN_TO_ANOTHER_THREAD),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert (["SIGTERM", "SIGINT"], "") == (done.stdout.split(), done.stderr)
