"""Whether every message is accounted for. Pure: given what was sent, what ran, and what became of it."""

from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby, pairwise
from math import inf

from tests.chaos.ledger import BEGIN, END, TWIN

# A worker that goes on finds out that its lease is over, and ends the job.
FENCED_S = 5.0
# How the messages that cannot succeed end.
MUST_FAIL = {"failing": "failed", "refusing": "failed", "stranger": "rejected", "garbage": "rejected"}


@dataclass(frozen=True)
class Life:
    """One worker's life, as the harness knows it: when it was hurt, and which successes it did not delete."""

    hurt_at: tuple[float, ...] = ()
    """The beginning of each standstill."""
    killed_at: float = inf
    """Its jobs end soon after; on a loaded machine one was seen to go on for 0.3 s."""
    still: tuple[tuple[float, float], ...] = ()
    """From when to when it stood still, with its jobs. They are gone soon after."""
    deaf: tuple[tuple[float, float], ...] = ()
    """From when to when it stood still alone: its jobs went on, and it could tell nobody of their success."""
    mute: tuple[tuple[float, float], ...] = ()
    """From when to when its log had no room: what it said then is not known."""
    undeleted: frozenset[str] = frozenset()
    """The messages of which it said itself that their job succeeded and that they were not deleted."""


@dataclass(frozen=True)
class Facts:
    kinds: dict[str, str]
    """Of every message that was sent, by its id."""
    entries: list
    """The ledger."""
    lives: dict[str, Life]
    deleted: list[str]
    """The ids of the messages that SQS was told to delete."""
    left: list[str]
    """The ids of the messages that are in the queue still."""
    dead: dict[str, dict[str, str]]
    """The evidence in the dead-letter queue, by the id of the message it is about."""


def complaints(facts):
    """What is wrong, one line each; nothing if every message is accounted for."""
    by_message = defaultdict(list)
    for entry in facts.entries:
        by_message[entry.message_id].append(entry)
    found = [f"{stranger} ran, but was never sent" for stranger in by_message.keys() - facts.kinds.keys()]
    for message_id, kind in facts.kinds.items():
        entries = by_message[message_id]
        wrong = [*_lost(facts, message_id, kind, entries), *_twice(facts, message_id, entries)]
        found += [f"{message_id} ({kind}) {text}" for text in wrong]
    return found


def _lost(facts, message_id, kind, entries):
    """A message ends in one of two places, and not without its reason."""
    succeeded = any(entry.what == END for entry in entries)
    if message_id in facts.left:
        yield "is still in the queue"
    elif message_id in facts.dead:
        if kind in MUST_FAIL and facts.dead[message_id].get("Outcome") != MUST_FAIL[kind]:
            yield f"was dead-lettered with the evidence {facts.dead[message_id]}"
        elif "Reason" not in facts.dead[message_id]:
            yield "was dead-lettered without a reason"
    elif message_id not in facts.deleted:
        yield "is nowhere"
    elif not succeeded:
        yield "was deleted, but its job never succeeded"


def _twice(facts, message_id, entries):
    runs = [list(group) for _, group in groupby(entries, key=lambda entry: (entry.attempt, entry.pid))]
    if len(runs) != sum(entry.what == BEGIN for entry in entries):
        yield f"ran twice at the same time: {[(entry.worker, entry.pid, entry.what) for entry in entries]}"
    for twin in (entry for entry in entries if entry.what == TWIN):
        if not any(_stood_still(facts.lives[each.worker], twin.at) for each in entries if each.at < twin.at):
            yield f"was started on {twin.worker} while a process of its run before was alive"
    ended = [run for run in runs if run[-1].what == END]
    for first, second in pairwise(ended):
        if not _is_excused(facts, message_id, first[-1], second[0].at):
            yield f"succeeded on {first[-1].worker} and again on {second[0].worker}, without a reason"


def _stood_still(life, at):
    return any(begin <= at <= end + FENCED_S for begin, end in life.still)


def _is_excused(facts, message_id, end, again_at):
    """At least once is the contract: a worker that dies between a job's end and the delete knows nothing."""
    life = facts.lives[end.worker]
    was_deaf = any(begin <= end.at <= over for begin, over in life.deaf)
    was_mute = any(begin <= again_at and end.at <= over for begin, over in life.mute)
    hurt = any(end.at - 0.1 <= at <= again_at for at in life.hurt_at)
    return message_id in life.undeleted or was_deaf or was_mute or hurt or life.killed_at <= again_at
