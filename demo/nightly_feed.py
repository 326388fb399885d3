"""The seed's job as a command: put the object `dummy-feed` into the bucket `feed-store`.

What a job is to observerd: a program. It hears what to do on standard input and in its environment, says what
it does on standard output, and tells how it went by its exit status.
"""

import argparse
import json
import os
import sys
import time

import boto3

SOURCES = ("prices", "stock", "reviews")
# There is nothing to read in the demo, so that a person can watch it being read.
READING_S = 0.3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--key", default="dummy-feed")
    arguments = parser.parse_args()
    asked = json.loads(sys.stdin.read() or "null")
    scheduled_time, attempt = os.environ["OBSERVERD_SCHEDULED_TIME"], os.environ["OBSERVERD_ATTEMPT"]
    say(f"feed for {scheduled_time}, attempt {attempt}, payload {json.dumps(asked)}")
    for number, source in enumerate(SOURCES, start=1):
        time.sleep(READING_S)
        say(f"source {number} of {len(SOURCES)}: {source}")
    run_id = os.environ["OBSERVERD_RUN_ID"]
    feed = {"run_id": run_id, "scheduled_time": scheduled_time, "sources": len(SOURCES)}
    body = json.dumps(feed).encode()
    boto3.client("s3").put_object(Bucket=arguments.bucket, Key=arguments.key, Body=body)
    say(f"put s3://{arguments.bucket}/{arguments.key}, {len(body)} bytes")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    # At once: what is printed can be followed in CloudWatch Logs while the job runs.
    sys.stdout.flush()


if __name__ == "__main__":
    main()
