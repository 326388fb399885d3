"""The consumer in a world where anything may happen, and proof that the world would notice."""

import inspect
import os
import types
from functools import partial

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from observerd.core import consumer, lease
from tests.core.test_histories import check_batches, check_last_second, check_twelve_hours, play
from tests.core.world import World

# OBSERVERD_EXAMPLES is for a long night; the default takes a few seconds.
EXAMPLES = int(os.environ.get("OBSERVERD_TEST_EXAMPLES", "300"))
PROFILE = {
    "stateful_step_count": 40,
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


def test_every_promise_is_kept_in_every_history():
    run_state_machine_as_test(World, settings=settings(max_examples=EXAMPLES, **PROFILE))


# Each is a bug that somebody has had. The text is found exactly once, or the test fails: a mutant that no
# longer applies proves nothing.
MUTANTS = {
    "starts a second delivery": (
        consumer,
        "            if each.id in self.running:\n                yield Ignore(each)\n            elif self",
        "            if self",
    ),
    "starts both copies that one answer holds": (
        consumer,
        """        for each in messages:
            # Looked up anew for each: one answer may hold the same message twice.
            if each.id in self.running:""",
        """        known = set(self.running)
        for each in messages:
            if each.id in known:""",
    ),
    "polls while it polls": (consumer, "        self.polling = True\n", "        self.polling = False\n"),
    "asks for more than the free slots": (
        consumer,
        "min(self.limits.slots - len(self.running), self.limits.receive_at_most)",
        "min(self.limits.slots, self.limits.receive_at_most)",
    ),
    "asks a FIFO queue for a batch": (
        consumer,
        "min(self.limits.slots - len(self.running), self.limits.receive_at_most)",
        "self.limits.slots - len(self.running)",
    ),
    "starts what arrives while draining": (
        consumer,
        "elif self.phase is Phase.RUNNING:",
        "elif self.phase is not Phase.STOPPED:",
    ),
    "leaves before what arrived late is released": (
        consumer,
        "            self.releasing = True\n",
        "",
    ),
    "takes an outage for idleness": (
        consumer,
        "        self._idle_since = None  # An outage is not idleness.\n",
        "",
    ),
    "takes a running job for idleness": (
        consumer,
        "        self._idle_since = None\n        self.running[",
        "        self.running[",
    ),
    "leaves while its own backoff is pending": (
        consumer,
        "now - max(self._idle_since, self._busy_until)",
        "now - self._idle_since",
    ),
    "takes a poll from before the give-up for the last look": (
        consumer,
        "self._looked_last = self._looking_last and not messages",
        "self._looked_last = self.given_up and not messages",
    ),
    "leaves without a last look": (
        consumer,
        "return self.given_up and self._looked_last",
        "return self.given_up",
    ),
    "leaves although the group refused": (
        consumer,
        "self.given_up = answer is GiveUpAnswer.TERMINATING",
        "self.given_up = answer is not GiveUpAnswer.KEPT",
    ),
    "gives up twice": (consumer, "        self._asked_to_give_up = True\n", ""),
    "drains for ever": (consumer, "return self._escalate(now) if now >= self._deadline else []", "return []"),
    "kills again at every turn": (
        consumer,
        'return [self._exit(max(self._status, EX_ABANDONED), "abandoned")]',
        "return [End(each, Cause.STOP, 0.0) for each in self.running.values()]",
    ),
    "runs a success again": (
        consumer,
        "return Discard(message) if message.id in self._undeleted else Start(message)",
        "return Start(message)",
    ),
    "forgets which delete failed": (
        consumer,
        "            self._undeleted.add(event.message.id)\n",
        "            pass\n",
    ),
    "spins on a retry that is over": (
        consumer,
        "elif not self.polling and self._wanted():",
        "elif not self.polling:",
    ),
    "extends what is lost": (
        lease,
        "is_open = not lease.asking and not lease.lost",
        "is_open = not lease.asking",
    ),
    "never notices that a lease runs out": (
        lease,
        "if not lease.lost and now >= self._lost_at(lease)]",
        "if not lease.lost and now >= self._lost_at(lease) + 1e9]",
    ),
    "notices too late": (
        lease,
        "return lease.expires_at - self.timeout_s / LAST_SHARE",
        "return lease.expires_at + self.timeout_s / LAST_SHARE",
    ),
    "asks for one extension twice": (lease, "lease.asking = True\n", "lease.asking = False\n"),
    "ends a refused job twice": (
        lease,
        "        for lease in refused:\n            lease.lost = True\n",
        "",
    ),
}


# Found by one history each: the world would need long to come by them.
BY_HISTORY = {
    "releases a second delivery while draining": (
        consumer,
        "if each.id in self.running:",
        "if each.id in self.running and self.phase is Phase.RUNNING:",
        partial(play, "a second delivery is not released while draining either"),
    ),
    "waits for a receiver that is dead": (
        consumer,
        "alive = name != RECEIVER",
        "alive = True",
        partial(play, "a dead receiver is not waited for"),
    ),
    "aborts the poll of a receiver that lives": (
        consumer,
        "alive = name != RECEIVER",
        "alive = False",
        partial(play, "a living receiver's poll is waited for, whoever else has died"),
    ),
    "gives orders beside Exit": (
        consumer,
        "            if self.phase is not Phase.KILLING:\n                yield from self._escalate(now)\n",
        (
            "            if self.phase is Phase.KILLING and now < self._deadline:\n                return\n"
            "            yield from self._escalate(now)\n"
        ),
        partial(play, "nothing is ordered beside or after Exit, not even an extension"),
    ),
    "forgets why it stopped when it abandons a job": (
        consumer,
        "max(self._status, EX_ABANDONED)",
        "EX_ABANDONED",
        partial(play, "an abandoned job does not hide a dead thread"),
    ),
    "counts a look beside a running job as the last": (
        consumer,
        "self._looking_last = self.given_up and not self.running",
        "self._looking_last = self.given_up",
        partial(play, "a look beside a running job is not the last"),
    ),
    "spins in the second before a lease is lost": (
        lease,
        "asked = [lease for lease in self._held.values() if self._is_due(lease, now, soon_s)]",
        "asked = [lease for lease in self._held.values() if self._is_due(lease, now + soon_s)]",
        check_last_second,
    ),
    "extends beyond twelve hours": (
        lease,
        "return int(min(self.timeout_s, left_s)) if left_s >= 1 else 0",
        "return int(self.timeout_s)",
        check_twelve_hours,
    ),
    "extends in batches of twenty": (
        lease,
        "BATCH = 10",
        "BATCH = 20",
        check_batches,
    ),
    "counts a lease from the answer, not from the question": (
        lease,
        "lease.expires_at = asked_at + self._extension_s(lease, asked_at)",
        "lease.expires_at = lease.due_at + self.timeout_s * 2",
        partial(play, "a late answer counts from when it was asked"),
    ),
    "takes an answer for the next delivery's": (
        lease,
        "if lease.message.receipt_handle in handles]",
        "if lease.message.id in [handle[0] for handle in handles]]",
        partial(play, "a late refusal of the first delivery does not end the second"),
    ),
    "forgets the hook": (
        consumer,
        "        return [Hold()]\n",
        "        return []\n",
        partial(play, "the hook is held while a job runs that the last look found"),
    ),
}


def mutated(module, old, new):
    """The consumer module with one snippet of it, or of the lease module below it, exchanged."""
    source = inspect.getsource(module)
    assert source.count(old) == 1, f"found {source.count(old)} times: {old!r}"
    made = types.ModuleType(module.__name__)
    made.__dict__["__name__"] = module.__name__
    exec(compile(source.replace(old, new), module.__file__, "exec"), made.__dict__)
    if module is consumer:
        return made
    above = types.ModuleType(consumer.__name__)
    exec(compile(inspect.getsource(consumer), consumer.__file__, "exec"), above.__dict__)
    above.__dict__["Leases"] = made.__dict__["Leases"]
    return above


@pytest.mark.parametrize("bug", MUTANTS)
def test_the_world_notices(bug):
    machine = type("Mutant", (World,), {"consumer_module": mutated(*MUTANTS[bug])})

    with pytest.raises((AssertionError, KeyError, AttributeError)):
        run_state_machine_as_test(
            machine,
            settings=settings(max_examples=800, phases=[Phase.generate], derandomize=True, **PROFILE),
        )


@pytest.mark.parametrize("bug", BY_HISTORY)
def test_a_history_notices(bug):
    *change, check = BY_HISTORY[bug]
    # Made out here: a mutant that no longer applies is no proof either.
    make = mutated(*change).Consumer
    check()

    with pytest.raises(AssertionError):
        check(make=make)
