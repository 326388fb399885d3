"""The seed's consumer as a loop: receive one message, delete it, and only then work.

The order is the seed's: a job that fails, or a machine that dies, loses the message. Without a command it
only receives and deletes: what the server and boto3 allow at most.
"""

import subprocess
import sys

import boto3

queue_url, endpoint, *command = sys.argv[1:]
client = boto3.client("sqs", endpoint_url=endpoint)
while True:
    for message in client.receive_message(QueueUrl=queue_url, WaitTimeSeconds=20).get("Messages", ()):
        client.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
        if command:
            subprocess.run(command, check=False)
