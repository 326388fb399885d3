"""How many calls a second the emulated SQS takes from a client that costs next to nothing."""

import socket
import sys
import time

port, calls, connections = map(int, sys.argv[1:])
BODY = b'{"QueueUrl":"jobs","WaitTimeSeconds":0}'
CALL = b"POST / HTTP/1.1\r\nX-Amz-Target: AmazonSQS.ReceiveMessage\r\nContent-Length: %d\r\n\r\n%b" % (
    len(BODY),
    BODY,
)
clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
began_at = time.monotonic()
for _ in range(calls // connections):
    for client in clients:
        client.sendall(CALL)
    for client in clients:
        # An answer without messages comes in one piece.
        client.recv(4_096)
print(calls // connections * connections / (time.monotonic() - began_at))
