"""What the instance metadata says, and what of it is news."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from observerd.aws import is_ec2
from observerd.core.events import (
    CrewDied,
    RebalanceRecommended,
    SpotNoticed,
    TargetState,
    TargetStateChanged,
)
from observerd.metadata import Imds, NoMetadata, Watch, target_state
from tests.fake_ec2 import FakeEc2

NOON = 1_795_521_600.0


@pytest.fixture
def ec2():
    with FakeEc2() as machine:
        yield machine


def test_it_is_asked_where_the_environment_says(ec2):
    metadata = Imds(ec2.environ)

    assert ("i-0123", "workers", "InService", NOON) == (
        metadata.instance_id(),
        metadata.group(),
        metadata.target_state(),
        metadata.launched_at(),
    )


def test_where_tags_are_not_told_there_is_no_group(ec2):
    ec2.metadata = {}

    assert Imds(ec2.environ).group() is None


def test_a_document_that_says_less_is_no_answer(ec2):
    ec2.metadata["/latest/dynamic/instance-identity/document"] = "{}"

    with pytest.raises(NoMetadata, match="pendingTime"):
        Imds(ec2.environ).launched_at()


def test_no_answer_is_one_line():
    with pytest.raises(NoMetadata, match=r"instance metadata: .*\Z"):
        Imds({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}).instance_id()


UNREADABLE = [
    "",
    "<html>",
    "null",
    "[]",
    '"terminate"',
    '{"action": "terminate"}',
    '{"action": "terminate", "time": 5}',
    '{"action": "terminate", "time": "soon"}',
]


@pytest.mark.parametrize("notice", UNREADABLE)
def test_a_spot_notice_that_cannot_be_read_is_no_answer(notice, ec2):
    ec2.metadata["spot/instance-action"] = notice

    with pytest.raises(NoMetadata, match="instance metadata: "):
        Imds(ec2.environ).spot_action()


def test_after_an_outage_it_answers_again(ec2):
    metadata = Imds(ec2.environ)
    ec2.imds_works = False
    with pytest.raises(NoMetadata, match="401"):
        metadata.target_state()
    ec2.imds_works = True

    assert "InService" == metadata.target_state()


def test_threads_take_turns(ec2, monkeypatch):
    """One that forgets the token must not take it from under another's question."""
    metadata = Imds(ec2.environ)
    during, most = [], []
    honest = ec2.read

    def slow(path):
        during.append(path)
        most.append(len(during))
        time.sleep(0.02)
        during.remove(path)
        return honest(path)

    monkeypatch.setattr(ec2, "read", slow)
    with ThreadPoolExecutor(4) as pool:
        states = list(pool.map(lambda _: metadata.target_state(), range(8)))

    assert (["InService"] * 8, 1) == (states, max(most))


def test_a_metadata_endpoint_means_ec2():
    assert is_ec2({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"})
    assert not is_ec2({})


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("InService", TargetState.IN_SERVICE),
        ("Standby", TargetState.STANDBY),
        ("Detached", TargetState.DETACHED),
        ("Terminated", TargetState.TERMINATED),
        ("Warmed:Stopped", TargetState.WARMED),
        ("Warmed:Hibernated", TargetState.WARMED),
        ("Warmed:Running", TargetState.WARMED),
        ("Pending", None),
        ("", None),
        (None, None),
    ],
)
def test_every_lifecycle_state_has_its_word(text, state):
    assert state is target_state(text)


def watch(ec2):
    return Watch(Imds(ec2.environ), wall_clock=lambda: NOON)


def test_the_first_look_tells_the_state_and_the_next_ones_what_changes(ec2):
    looking = watch(ec2)

    assert [TargetStateChanged(TargetState.IN_SERVICE)] == looking.look()
    assert [] == looking.look()
    ec2.state = "Terminating:Wait"
    assert [TargetStateChanged(TargetState.TERMINATED)] == looking.look()
    assert [] == looking.look()


def test_an_outage_is_no_news_and_hides_none(ec2, caplog):
    looking = watch(ec2)
    looking.look()
    ec2.imds_works = False
    ec2.state = "Terminating:Wait"

    assert [[], []] == [looking.look(), looking.look()]
    ec2.imds_works = True
    assert [TargetStateChanged(TargetState.TERMINATED)] == looking.look()
    assert ["instance metadata does not answer", "instance metadata answers again"] == caplog.messages


@pytest.mark.parametrize("notice", UNREADABLE)
def test_a_notice_that_cannot_be_read_hides_no_other_news(notice, ec2):
    ec2.metadata["instance-life-cycle"] = "spot"
    ec2.metadata["spot/instance-action"] = notice
    ec2.metadata["events/recommendations/rebalance"] = "{}"

    assert [TargetStateChanged(TargetState.IN_SERVICE), RebalanceRecommended()] == watch(ec2).look()


def test_an_instance_that_is_no_spot_instance_is_not_asked_for_notices(ec2):
    looking = watch(ec2)
    ec2.takes_back()

    assert [TargetStateChanged(TargetState.IN_SERVICE)] == looking.look()


@pytest.mark.parametrize(
    ("time", "gone_in_s"),
    [
        ("2026-11-24T12:01:50Z", 110.0),
        # By a local clock that is slow, or fast.
        ("2026-11-24T12:30:00Z", 120.0),
        ("2026-11-24T11:00:00Z", 0.0),
    ],
)
def test_a_spot_notice_is_told_once_with_what_is_left(time, gone_in_s, ec2):
    ec2.metadata["instance-life-cycle"] = "spot"
    ec2.metadata["spot/instance-action"] = json.dumps({"action": "stop", "time": time})
    looking = watch(ec2)

    assert SpotNoticed("stop", gone_in_s) == looking.look()[0]
    assert [] == looking.look()


def test_a_rebalance_recommendation_is_told_once(ec2):
    ec2.metadata["instance-life-cycle"] = "spot"
    looking = watch(ec2)
    looking.look()
    ec2.metadata["events/recommendations/rebalance"] = '{"noticeTime": "2026-11-24T11:00:00Z"}'

    assert [RebalanceRecommended()] == looking.look()
    assert [] == looking.look()


def test_an_instance_that_is_not_told_how_it_was_bought_is_watched_as_a_spot_instance(ec2):
    del ec2.metadata["instance-life-cycle"]
    ec2.metadata["spot/instance-action"] = json.dumps({"action": "stop", "time": "2026-11-24T12:01:50Z"})

    assert SpotNoticed("stop", 110.0) == watch(ec2).look()[0]


def test_a_watch_that_dies_says_so():
    class Broken:
        def is_spot(self):
            raise RuntimeError("bug")

    told = []
    Watch(Broken()).run(told.append)

    assert [CrewDied("watch", "RuntimeError: bug")] == told
