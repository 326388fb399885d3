"""The accountant is not to be lied to: each way to lose or repeat a message is found."""

import subprocess
import sys
from math import inf

import pytest

from tests.chaos import ledger
from tests.chaos.accounts import Facts, Life, complaints
from tests.chaos.ledger import BEGIN, END, KEY, RECORD_BYTES, TICK, TWIN, Entry, Notary, Tampered, read, write
from tests.support import eventually

RUN = [(1, 10, "w1", BEGIN), (1, 10, "w1", TICK), (1, 10, "w1", END)]
AGAIN = [(2, 20, "w2", BEGIN), (2, 20, "w2", END)]


TWINS = [*RUN[:2], AGAIN[0], (2, 20, "w2", TWIN), AGAIN[1]]


def told(records, kind="quick", deleted=("m",), left=(), dead=None, **life):
    """life: of the first worker."""
    entries = [Entry(float(at), "m", *record) for at, record in enumerate(records)]
    lives = {"w1": Life(**life), "w2": Life()}
    return complaints(Facts({"m": kind}, entries, lives, list(deleted), list(left), dead or {}))


FAILED = {"Outcome": "failed", "Reason": "exit code 1"}


@pytest.mark.parametrize(
    "facts",
    [
        {"records": RUN},
        {"records": [*RUN[:2], *AGAIN]},
        {"records": [*RUN, *AGAIN], "hurt_at": (2.5,)},
        {"records": [*RUN, *AGAIN], "killed_at": 1.5},
        {"records": [*RUN, *AGAIN], "undeleted": ("m",)},
        {"records": [*RUN, *AGAIN], "deaf": ((1.5, 3.5),)},
        {"records": [*RUN, *AGAIN], "mute": ((1.5, 2.5),)},
        {"records": [*RUN, *AGAIN], "mute": ((2.5, inf),)},
        {"records": TWINS, "still": ((1.5, 2.5),)},
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
        ({"records": TWINS}, "was alive"),
        ({"records": TWINS, "deaf": ((1.5, 9.0),)}, "was alive"),
        ({"records": [*RUN, *AGAIN], "deaf": ((0.0, 1.5), (2.5, 9.0))}, "without a reason"),
        ({"records": TWINS, "mute": ((0.0, 9.0),)}, "was alive"),
        ({"records": [*RUN, *AGAIN], "mute": ((0.0, 1.5), (3.5, 9.0))}, "without a reason"),
        ({"records": TWINS, "still": ((-9.0, -5.0), (3.5, 4.0))}, "was alive"),
        ({"records": [*RUN, *AGAIN]}, "without a reason"),
        ({"records": [*RUN, *AGAIN], "hurt_at": (0.5,)}, "without a reason"),
        ({"records": [*RUN, *AGAIN], "killed_at": 3.5}, "without a reason"),
    ],
)
def test_each_lie_is_found(facts, complaint):
    assert any(complaint in each for each in told(**facts)), told(**facts)


SECRET = b"known to jobs alone"


@pytest.fixture
def path(tmp_path, monkeypatch):
    environment = {"OBSERVERD_MESSAGE_ID": "m", "OBSERVERD_ATTEMPT": "1", "WORKER": "w1", KEY: SECRET.hex()}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "ledger"
    path.touch()
    for what in (BEGIN, TICK, END):
        write(path, what)
    return path


def test_a_ledger_is_read_as_it_was_written(path):
    assert [("m", BEGIN), ("m", TICK), ("m", END)] == [
        (each.message_id, each.what) for each in read(path, SECRET)
    ]


@pytest.mark.parametrize("place", [RECORD_BYTES - 3, RECORD_BYTES + 80, 0])
def test_a_changed_ledger_is_found(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)

    with pytest.raises(Tampered):
        read(path, SECRET)


def test_a_ledger_without_one_of_its_records_is_found(path):
    content = path.read_bytes()
    path.write_bytes(content[:RECORD_BYTES] + content[2 * RECORD_BYTES :])

    with pytest.raises(Tampered):
        read(path, SECRET)


def test_a_ledger_written_anew_without_the_key_is_found(path, monkeypatch):
    path.write_bytes(b"")
    monkeypatch.setenv(KEY, b"guessed".hex())
    write(path, BEGIN)

    with pytest.raises(Tampered):
        read(path, SECRET)


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_ledger_that_has_lost_its_end_is_found_by_who_saw_it(kept, path):
    notary = Notary(path)
    notary.look()
    path.write_bytes(path.read_bytes()[: kept * RECORD_BYTES])

    with pytest.raises(Tampered):
        notary.look()
    assert kept == len(read(path, SECRET)), "what is left hangs together"


def test_a_ledger_that_grows_is_as_it_should_be(path):
    notary = Notary(path)
    for half in (b"", path.read_bytes()[:100]):
        notary.look()
        with path.open("ab") as file:
            file.write(half)
        notary.look()


def test_two_processes_of_one_message_say_so(path):
    command = (sys.executable, "-I", "-S", ledger.__file__, path)
    slow = subprocess.Popen((*command, "slow"))
    eventually(lambda: read(path, SECRET)[-1].what == TICK)
    subprocess.run((*command, "quick"), check=True)
    slow.wait(30)
    before = len(read(path, SECRET))
    subprocess.run((*command, "quick"), check=True)

    assert 1 == [each.what for each in read(path, SECRET)].count(TWIN)
    assert [BEGIN, END] == [each.what for each in read(path, SECRET)[before:]], "a dead one holds no lock"
