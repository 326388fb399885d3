"""A TCP proxy that is a bad network: slow, cut, silent, or cut in the middle of an answer.

It knows nothing of HTTP. What happens to a connection is drawn anew whenever its client speaks.
"""

import random
import selectors
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

CHUNK_BYTES = 65_536


@dataclass(frozen=True)
class Weather:
    """How probable each trouble is, for each request."""

    reset: float = 0.0
    """The connection is reset before the request reaches the other side."""
    lost: float = 0.0
    """The request is answered, and the connection is reset instead."""
    truncated: float = 0.0
    """Half of the answer arrives, and then the connection ends."""
    silent: float = 0.0
    """Nothing arrives any more, in either direction, and nobody is told (half-open)."""
    latency_s: float = 0.0


FAIR = Weather()
FOUL = Weather(reset=0.04, lost=0.03, truncated=0.03, silent=0.01, latency_s=0.01)


class Proxy:
    """with Proxy(port) as proxy: proxy.port leads to port, through proxy.weather."""

    def __init__(self, upstream_port, seed=0):
        self.weather = FAIR
        self.cut = False
        """While it is set, every new connection is refused and every old one reset."""
        self.troubles = dict.fromkeys(("reset", "lost", "truncated", "silent"), 0)
        self._upstream = ("127.0.0.1", upstream_port)
        self._random = random.Random(seed)
        self._stopping = threading.Event()

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listener.settimeout(0.1)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self._thread.join()
        self._listener.close()

    def _accept(self):
        threads = []
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                client, _ = self._listener.accept()
                threads.append(threading.Thread(target=self._serve, args=(client,)))
                threads[-1].start()
            threads = [thread for thread in threads if thread.is_alive()]
        for thread in threads:
            thread.join()

    def _serve(self, client):
        with client, suppress(OSError), socket.create_connection(self._upstream) as server:
            for side in (client, server):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._carry(client, server)

    def _carry(self, client, server):
        trouble = None
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ)
            selector.register(server, selectors.EVENT_READ)
            while not self._stopping.is_set():
                for key, _ in selector.select(0.1):
                    chunk = key.fileobj.recv(CHUNK_BYTES)
                    if key.fileobj is client and trouble != "silent":
                        trouble = self._draw()
                        time.sleep(self.weather.latency_s)
                        if trouble == "silent":
                            selector.unregister(server)
                    if not self._passes(key.fileobj is client, trouble, chunk, client, server):
                        return
                if self.cut:
                    _reset(client)
                    return

    def _draw(self):
        drawn = self._random.random()
        for trouble in self.troubles:
            drawn -= getattr(self.weather, trouble)
            if drawn < 0:
                self.troubles[trouble] += 1
                return trouble
        return None

    def _passes(self, is_request, trouble, chunk, client, server):
        """Carry a chunk to the other side, or not; whether the connection lives on."""
        if not chunk:
            return False
        if trouble == "silent":
            # Only the client's own deadline gets it out of here.
            return True
        if trouble == "reset" or (trouble == "lost" and not is_request):
            _reset(client)
            return False
        if trouble == "truncated" and not is_request:
            client.sendall(chunk[: len(chunk) // 2])
            return False
        (server if is_request else client).sendall(chunk)
        return True


def _reset(connection):
    # Linger 0: the peer sees a reset, not an end.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
