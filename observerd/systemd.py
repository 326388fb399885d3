"""Talks to systemd by sd_notify(3): one datagram a message, no library."""

import os
import socket
import time
from collections.abc import MutableMapping


class Notifier:
    """Does nothing where no supervisor listens, so that callers need not know."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        # Taken out: a job that inherited it could speak for us.
        address = environ.pop("NOTIFY_SOCKET", "")
        watchdog_us = environ.pop("WATCHDOG_USEC", "")
        for_us = environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = int(watchdog_us) / 1_000_000 if watchdog_us.isdigit() and for_us else None
        """How long systemd waits for a sign of life before it kills us; None: for ever."""

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """The configuration is being read again; ready() says that this is over."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1_000}")

    def status(self, status: str) -> None:
        self._send(f"STATUS={status}")

    def stopping(self, status: str) -> None:
        self._send(f"STOPPING=1\nSTATUS={status}")

    def alive(self, extend_s: float | None = None) -> None:
        """A sign of life. With extend_s, a stop may take so long from now, however long it has taken."""
        extension = "" if extend_s is None else f"\nEXTEND_TIMEOUT_USEC={int(extend_s * 1_000_000)}"
        self._send(f"WATCHDOG=1{extension}")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
                notify.settimeout(1.0)
                notify.connect(self._address)
                notify.sendall(text.encode())
        except OSError:
            # Nobody to tell that nobody listens. systemd's own timeouts deal with a silent service.
            return
