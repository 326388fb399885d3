"""The seed's consumer as a loop: receive one message, delete it, and only then work.

The order is the seed's: a job that fails, or a machine that dies, loses the message. Without a command it
only receives and deletes: what the server and boto3 allow at most.
"""

import os

import boto3
import job

queue_url = os.environ["QUEUE_URL"]
client = boto3.client("sqs")
while True:
    for message in client.receive_message(QueueUrl=queue_url, WaitTimeSeconds=20).get("Messages", ()):
        client.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
        if job.COMMAND:
            job.run(message["Body"])
