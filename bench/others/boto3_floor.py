"""The bare floor of a start: import boto3, make one SQS client, receive."""

import sys

import boto3

queue_url, endpoint = sys.argv[1:]
boto3.client("sqs", endpoint_url=endpoint).receive_message(QueueUrl=queue_url, WaitTimeSeconds=1)
