"""Wakes the thread that runs a job, and tells it why."""

import os
import select
import threading

from observerd import clock
from observerd.core.events import Cause


class Bell:
    """Rung by the main thread, listened to by one job's thread. Both may use it until close().

    fd becomes readable when the bell is rung.
    """

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.asleep_s = clock.asleep_s()
        """For how long the machine had been suspended when the message came."""
        self.cause: Cause | None = None
        self.kill_at: float | None = None
        """When the job is to be killed, by clock.now(); None: after the job's own grace."""
        # A descriptor's number is reused at once: a ring after close would write into somebody's socket.
        self._lock = threading.Lock()
        self._closed = False

    def ring(self, cause: Cause, grace_s: float | None) -> None:
        with self._lock:
            if self._closed:
                return
            # A lost lease outweighs a stop: the message is no longer ours to give back.
            self.cause = Cause.LEASE_LOST if Cause.LEASE_LOST in (cause, self.cause) else cause
            if grace_s is not None:
                kill_at = clock.now() + grace_s
                self.kill_at = kill_at if self.kill_at is None else min(kill_at, self.kill_at)
            os.eventfd_write(self.fd, 1)

    def heard(self) -> None:
        """Make fd unreadable until the next ring."""
        with self._lock:
            if not self._closed:
                os.eventfd_read(self.fd)

    def wait(self, timeout_s: float) -> None:
        """Return at the next ring, or after timeout_s; at once if it has been rung and not heard."""
        select.select([self.fd], [], [], timeout_s)

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self.fd)
