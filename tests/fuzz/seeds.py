"""What fuzzing begins with, by target: what is nearly right takes more branches than noise."""

import json

SEEDS = {
    "message": [
        json.dumps({"v": 1, "job": "feed", "scheduled_time": "2026-11-28T17:59:00Z", "schedule": "s",
                    "max_lateness": "1h", "payload": {"a": [1, "x"]}}).encode(),
        b"body\0Name\0feed", b"\0Name\0../feed", b'{"job": "feed", "payload": "\\ud800"}',
        b'{"job": "feed", "scheduled_time": "9999-12-31T23:59:59-23:59"}', b"[" * 3_000,
        b'{"job":"feed","max_lateness":"999999999999h"}',
    ],
    "config": [
        b'slots = 4\nqueue_url = "https://sqs.eu-west-1.amazonaws.com/1/q"\n\0[job.a]\ncommand = ["/bin/true"]\n',
        b'job_environment = { A = "b" }\n\0[job.a]\nshell = "x"\ntimeout = "1h30m"\nping_url = "http://[::1]:80/x"',
        b"x = " + b"[" * 2_000, b'metrics_listen = "[::1]:9748"\0job = 7',
    ],
    "crontab": [b"*/7 1-5 * * MON-FRI", b"SHELL=/bin/sh\n@daily x % y\n", b"0 0 31 2 *", b"1-59/0 * * * *",
                b"CRON_TZ=Mars/Base\n* * * * * x", b"99999999999999999999 * * * *"],
    "expression": [b"cron(0 9 ? * MON-FRI *)", b"rate(5 minutes)", b"at(2026-11-28T18:00:00)",
                   b"cron(0/15 8-17 LW 1,6 ? 2026-2199)", b"rate(99999999999999999999 days)", b"cron(0 0 ? * 2#5 *)"],
    "schedules": [b'timezone = "Asia/Tokyo"\n[[schedule]]\nname = "a"\njob = "b"\ncron = "0 3 * * *"\n',
                  b'[schedule.a]\njob = "b"\nexpression = "rate(1 hour)"\n'],
    "http": [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /metrics HTTP/1.0\r\nAccept: */*\r\n\r\n",
             b"HEAD //[::1/api/v1/status HTTP/1.1\r\nHost: [::1]:9748\r\nExpect: 100-continue\r\n\r\n",
             b"GET /\xff%00 HTTP/1.1\r\nhost : a\r\n b\r\n\r\n"],
    "imds": [b'\0{"action": "terminate", "time": "2026-11-28T18:00:00Z"}', b"\0InService", b"\x03", b"\0\xff\xfe",
             b'\0{"region": null}', b'\0{"action": 1, "time": 2}', b"\0[]", b'\0{"time": "9999-99-99T00:00:00Z"}'],
    "sqs": [
        b"\0Sat, 28 Nov 2026 18:00:00 GMT\0" + json.dumps({"Messages": [{
            "MessageId": "m", "ReceiptHandle": "h", "Body": '{"job": "feed"}',
            "Attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1795888800000"},
            "MessageAttributes": {"Name": {"DataType": "Binary", "BinaryValue": "AAEC"}}}]}).encode(),
        b'\0Fri, 31 Dec 9999 23:59:59 GMT\0{"Messages": [{"MessageId": "m", "ReceiptHandle": "h", "Body": "{}"}]}',
        b'\0Fri, 31 Dec 9999 23:59:59 GMT\0{"Messages": [{"MessageId": "m", "ReceiptHandle": "h", "Body": "{\\"job\\": \\"feed\\", \\"scheduled_time\\": \\"2026-11-28T18:00:00Z\\"}"}]}',
        b'\0Sat, 01 Jan 99999 00:00:00 GMT\0{"Messages": [{}]}', b"\0\0null", b"\0\0[]", b'\0\0{"Messages": 7}',
        b'\0\0{"Messages": [{"MessageId": "m", "ReceiptHandle": "h", "Attributes": {"SentTimestamp": "soon"}}]}',
        b'\0\0{"Messages": [{"MessageId": "m", "ReceiptHandle": "h", "Attributes": {"SentTimestamp": "9e99"}}]}',
        b'\0\0{"Messages": [{"MessageId": "m", "ReceiptHandle": "h", "Body": "\\ud800"}]}',
        b'\0-0000\0{"Messages": [{"MessageId": "m", "ReceiptHandle": "h", "Attributes": null}]}',
        b'\0\0{"Messages": [{"MessageId": "m", "ReceiptHandle": "h", "MessageAttributes": {"a": {}}}]}',
        b'\x03\0{"__type": "x#y"}', b'\x04\0{"__type": 7, "message": []}', b"\x05\0<html>",
    ],
    "imported": [b"MAILTO=a@b.c\n# says\n0 3 * * * /usr/bin/flock -n /tmp/l timeout 5m nice x >/dev/null 2>&1\n",
                 b"@hourly echo \"'''\\\" % in % put\n", b"A='b'\n* * * * * x\xff\n5 4 * * 0 cd /x && ./y; z\n"],
    "output": [b"line\r\nline\0\0\x1b[31m\xf0\x9f\0\0\x98\x80\n", b'{"_aws": {"CloudWatchMetrics": [{"Namespace": "Observerd"}]}}',
               b"\xc2\x9b" * 200_000, b"\xff" * 300_000],
}  # fmt: skip
