"""The bare rate at which this machine starts a command and waits for it. Prints how long it took."""

import subprocess
import sys
import threading
import time


def work(share: int, command: list[str]) -> None:
    for _ in range(share):
        subprocess.Popen(command).wait()


jobs, slots, *argv = sys.argv[1:]
threads = [threading.Thread(target=work, args=(int(jobs) // int(slots), argv)) for _ in range(int(slots))]
began_at = time.monotonic()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(time.monotonic() - began_at)
