"""The accountant is not to be lied to: each way to lose or repeat a message is found."""

import pytest

from tests.chaos.accounts import Facts, Life, complaints
from tests.chaos.ledger import BEGIN, END, RECORD_BYTES, TICK, Entry, Tampered, read, write

RUN = [(1, 10, "w1", BEGIN), (1, 10, "w1", TICK), (1, 10, "w1", END)]
AGAIN = [(2, 20, "w2", BEGIN), (2, 20, "w2", END)]


def told(records, kind="quick", deleted=("m",), left=(), dead=None, hurt_at=(), undeleted=()):
    entries = [Entry(float(at), "m", *record) for at, record in enumerate(records)]
    lives = {"w1": Life(hurt_at, frozenset(undeleted)), "w2": Life()}
    return complaints(Facts({"m": kind}, entries, lives, list(deleted), list(left), dead or {}))


FAILED = {"Outcome": "failed", "Reason": "exit code 1"}


@pytest.mark.parametrize(
    "facts",
    [
        {"records": RUN},
        {"records": [*RUN[:2], *AGAIN]},
        {"records": [*RUN, *AGAIN], "hurt_at": (2.5,)},
        {"records": [*RUN, *AGAIN], "undeleted": ("m",)},
        {"records": RUN[:1], "kind": "failing", "dead": {"m": FAILED}},
    ],
)
def test_what_is_as_promised_is_not_complained_of(facts):
    assert [] == told(**facts)


@pytest.mark.parametrize(
    ("facts", "complaint"),
    [
        ({"records": RUN, "deleted": ()}, "is nowhere"),
        ({"records": RUN, "left": ("m",)}, "still in the queue"),
        ({"records": RUN[:2]}, "never succeeded"),
        ({"records": [], "deleted": ("m",)}, "never succeeded"),
        ({"records": RUN[:2], "dead": {"m": {}}}, "without a reason"),
        ({"records": RUN, "kind": "failing", "dead": {"m": {"Outcome": "crashed"}}}, "with the evidence"),
        ({"records": [RUN[0], *AGAIN, RUN[2]]}, "at the same time"),
        ({"records": [RUN[0], AGAIN[0], RUN[1], AGAIN[1]]}, "at the same time"),
        ({"records": [*RUN, *AGAIN]}, "without a reason"),
        ({"records": [*RUN, *AGAIN], "hurt_at": (0.5,)}, "without a reason"),
    ],
)
def test_each_lie_is_found(facts, complaint):
    assert any(complaint in each for each in told(**facts)), told(**facts)


@pytest.fixture
def path(tmp_path, monkeypatch):
    for name, value in {"OBSERVERD_MESSAGE_ID": "m", "OBSERVERD_ATTEMPT": "1", "WORKER": "w1"}.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "ledger"
    path.touch()
    for what in (BEGIN, TICK, END):
        write(path, what)
    return path


def test_a_ledger_is_read_as_it_was_written(path):
    assert [("m", BEGIN), ("m", TICK), ("m", END)] == [(each.message_id, each.what) for each in read(path)]


@pytest.mark.parametrize("place", [RECORD_BYTES - 3, RECORD_BYTES + 80, 0])
def test_a_changed_ledger_is_found(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)

    with pytest.raises(Tampered):
        read(path)


def test_a_ledger_without_one_of_its_records_is_found(path):
    content = path.read_bytes()
    path.write_bytes(content[:RECORD_BYTES] + content[2 * RECORD_BYTES :])

    with pytest.raises(Tampered):
        read(path)
