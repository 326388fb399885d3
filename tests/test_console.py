"""Addresses of the AWS console."""

import pytest

from observerd.console import log_stream_url


def test_a_streams_page_has_the_consoles_own_escaping():
    assert (
        "https://eu-west-1.console.aws.amazon.com/cloudwatch/home?region=eu-west-1#logsV2:log-groups/log-group/"
        "$252Fobserverd$252Fcron/log-events/feed$252F2026-11-23T18-00-00Z$252F753a5e99-1"
    ) == log_stream_url("eu-west-1", "/observerd/cron", "feed/2026-11-23T18-00-00Z/753a5e99-1")


@pytest.mark.parametrize(
    ("region", "host"),
    [("cn-north-1", "console.amazonaws.cn"), ("us-gov-west-1", "console.amazonaws-us-gov.com")],
)
def test_other_partitions_have_consoles_of_their_own(region, host):
    assert log_stream_url(region, "group", "stream").startswith(f"https://{host}/cloudwatch/")


def test_nothing_in_a_name_can_leave_its_place():
    url = log_stream_url("eu-west-1", "g", 'a"b<c>#d e')

    assert url.endswith("/log-events/a$2522b$253Cc$253E$2523d$2520e")
