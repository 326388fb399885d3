"""The consumer in a world where anything may happen, and proof that the world would notice."""

import inspect
import os
import types
from functools import partial

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from observerd.core import consumer, lease, membership
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
    "polls while it polls": (consumer, "        self.polling = True\n", "        self.polling = False\n"),
    "asks for more than the free slots": (
        consumer,
        "min(slots - self.busy, 2 * slots",
        "min(slots, 2 * slots",
    ),
    "takes more than can be settled": (consumer, "2 * slots - len(self.running), ", ""),
    "counts a job that has ended as running": (
        consumer,
        "return len(self.running) - len(self.settling)",
        "return len(self.running)",
    ),
    "takes a settled message's slot for free": (
        consumer,
        "        self.settling.discard(event.message.id)\n",
        "",
    ),
    "leaves a slot free for ever": (
        consumer,
        "            yield self._poll_at()\n",
        "            yield None\n",
    ),
    "leaves a slot free for long": (consumer, "= 0.006, 0.02\n", "= 0.006, 0.03\n"),
    "asks a FIFO queue for a batch": (
        consumer,
        "len(self.running), self.limits.receive_at_most)",
        "len(self.running))",
    ),
    "takes a running job for idleness": (
        consumer,
        "        self._idle_since = None\n        self.running[",
        "        self.running[",
    ),
    "polls out of service": (
        consumer,
        "        if self._member.parked:\n            return 0\n",
        "",
    ),
    "protects an instance before its first poll": (
        membership,
        "        self._protect_at = inf\n        self._protects",
        "        self._protect_at = now\n        self._protects",
    ),
    "drains for ever": (consumer, "self._escalate(now) if now >= self._deadline else []", "[]"),
    "kills again at every turn": (
        consumer,
        'return [self._exit(max(self._status, EX_ABANDONED), "abandoned")]',
        "return [End(each, Cause.STOP, 0.0) for each in self.running.values()]",
    ),
    "spins on a retry that is over": (
        consumer,
        "elif not self.polling and self._wanted():",
        "elif not self.polling:",
    ),
    "never notices that a lease runs out": (
        lease,
        "if not lease.lost and now >= self._lost_at(lease)]",
        "if not lease.lost and now >= self._lost_at(lease) + 1e9]",
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
    "takes what many slots work off in no time for long": (
        consumer,
        "lasted_s < SHORT_S * self.limits.slots",
        "lasted_s < SHORT_S",
        partial(play, "short jobs are asked for together"),
    ),
    "waits for long jobs to end together": (
        consumer,
        "= 0.006, 0.02\n",
        "= 60.0, 0.02\n",
        partial(play, "the slot of a long job is filled at once"),
    ),
    "polls for each short job": (
        consumer,
        "= 0.006, 0.02\n",
        "= 0.006, 0.0\n",
        partial(play, "short jobs are asked for together"),
    ),
    "takes an outage for idleness": (
        consumer,
        "        self._idle_since = None  # An outage is not idleness.\n",
        "",
        partial(play, "an outage is not idleness"),
    ),
    "starts both copies that one answer holds": (
        consumer,
        """        for each in messages:
            # Looked up anew for each: one answer may hold the same message twice.
            if each.id in self.running:""",
        """        known = set(self.running)
        for each in messages:
            if each.id in known:""",
        partial(play, "one answer may hold the same message twice"),
    ),
    "starts a second delivery": (
        consumer,
        "            if each.id in self.running:\n                yield Ignore(each)\n            elif self",
        "            if self",
        partial(play, "a second delivery of what runs here is left alone"),
    ),
    "starts what may be another's by now": (
        lease,
        "return now >= asked_at + self.timeout_s - self.timeout_s / LAST_SHARE",
        "return False",
        partial(play, "what may be another's by now is neither started nor released"),
    ),
    "counts a lease from the answer": (
        consumer,
        "self.leases.take(message, self._polled_at, now)",
        "self.leases.take(message, now, now)",
        partial(play, "a lease counts from when its message was asked for"),
    ),
    "leaves before what it left alone is back": (
        consumer,
        "                self._wait_for_what_is_hidden(now)\n                yield",
        "                yield",
        partial(play, "an idle worker waits for what it left alone"),
    ),
    "extends what is lost": (
        lease,
        "is_open = not lease.asking and not lease.lost",
        "is_open = not lease.asking",
        partial(play, "what is lost is not asked for again"),
    ),
    "notices too late": (
        lease,
        "return lease.expires_at - self.timeout_s / LAST_SHARE",
        "return lease.expires_at + self.timeout_s / LAST_SHARE",
        partial(play, "a heartbeat that hangs does not hide that the lease runs out"),
    ),
    "leaves what waits behind running jobs to the alarms": (
        consumer,
        "        if waiting and",
        "        if waiting is ... and",
        partial(play, "an idle worker stays for what waits behind running jobs"),
    ),
    "leaves though something came while it was counting": (
        consumer,
        "elif self.phase is Phase.RUNNING and self._may_give_up(now):",
        "else:",
        partial(play, "what came while it was counting keeps it"),
    ),
    "stays for what waits for ever": (
        consumer,
        "if waiting and since is not None and now - since < STAY_S:",
        "if waiting:",
        partial(play, "it stays so for half an hour, not for ever"),
    ),
    "stays when nobody says how many wait": (
        consumer,
        "        if waiting and",
        "        if waiting != 0 and",
        partial(play, "a count that is not answered keeps nobody"),
    ),
    "gives up twice": (
        membership,
        "        self.asking = True\n",
        "",
        partial(play, "an attempt that is under way is not repeated"),
    ),
    "leaves although the group refused": (
        membership,
        "if event.answer is GiveUpAnswer.TERMINATING:",
        "if event.answer is not GiveUpAnswer.KEPT:",
        partial(play, "a refused attempt is made again after half a minute, and it serves meanwhile"),
    ),
    "leaves while its own backoff is pending": (
        consumer,
        "max(self._idle_since, self._busy_until)",
        "self._idle_since",
        partial(play, "a message of ours that will come back is waited for"),
    ),
    "runs a success again": (
        consumer,
        "return Discard(message) if message.id in self._undeleted else Start(message)",
        "return Start(message)",
        partial(play, "a success whose delete failed is deleted and not run again"),
    ),
    "leaves although a receive without an answer may hide a message": (
        consumer,
        "nobody got.\n            self._wait_for_what_is_hidden(now)\n",
        "nobody got.\n            pass\n",
        partial(play, "what a last look without an answer may have hidden is waited for"),
    ),
    "takes late news of our own termination for somebody else's": (
        membership,
        "            self._unsure_until = now + UNSURE_S\n",
        "            self._unsure_until = now + 1.0\n",
        partial(play, "late metadata tells of such an attempt, though a message came in between"),
    ),
    "takes our own termination for somebody else's": (
        membership,
        "            if self.asking or now < self._unsure_until:\n",
        "            if self.asking:\n",
        partial(play, "a termination whose answer was lost is its own, with a last look"),
    ),
    "forgets which delete failed": (
        consumer,
        "            self._undeleted.add(event.message.id)\n",
        "            pass\n",
        partial(play, "a success whose delete failed is deleted and not run again"),
    ),
    "takes a poll from before the give-up for the last look": (
        consumer,
        "self._looked_last = self._looking_last and not messages",
        "self._looked_last = self.given_up and not messages",
        partial(play, "the instance is given up, then looked over once more"),
    ),
    "leaves without a last look": (
        consumer,
        "return self.given_up and (self._saw_all(now) or (self._looked and now >= self._look_until()))",
        "return self.given_up",
        partial(play, "the instance is given up, then looked over once more"),
    ),
    "leaves what failed in the last look to the Wake alarm": (
        consumer,
        "return self._looked_last and now >= self._busy_until",
        "return self._looked_last",
        partial(play, "what failed in the last look is waited for"),
    ),
    "starts what arrives out of service": (
        consumer,
        "elif self.phase is Phase.RUNNING and not self._member.parked:",
        "elif self.phase is Phase.RUNNING:",
        partial(play, "out of service it takes nothing, lets its job go on, and serves again afterwards"),
    ),
    "starts what arrives while draining": (
        consumer,
        "elif self.phase is Phase.RUNNING and not self._member.parked:",
        "elif not self._member.parked:",
        partial(play, "a stop waits for the poll and releases what it brings"),
    ),
    "leaves before what arrived late is released": (
        consumer,
        "            self.releasing = True\n",
        "",
        partial(play, "a stop waits for the poll and releases what it brings"),
    ),
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
    "takes the first stop after a drain for a second one": (
        consumer,
        "        if self._was_told_to_leave:\n",
        "        if self.phase is not Phase.RUNNING:\n",
        partial(play, "a stop after a drain lets its job finish all the same"),
    ),
    "lets the hook of an external termination run out": (
        membership,
        "self.terminated, self._hold_at = True, now + HOLD_EVERY_S",
        "self.terminated = True",
        partial(play, "terminated by others, it lets its job finish under the hook, and takes nothing new"),
    ),
    "has an instance replaced that no hook keeps": (
        consumer,
        "(empty or self.limits.hooked)",
        "True",
        partial(play, "a drain without a hook finishes its job first"),
    ),
    "forgets that its replacement was refused": (
        consumer,
        "max(self._status, EX_TEMPFAIL)",
        "self._status",
        partial(play, "a drain whose replacement is refused says so in its status"),
    ),
    "lets a job run into the end of spot capacity": (
        consumer,
        "        self._deadline = min(self._deadline, latest)\n",
        "",
        partial(play, "a spot notice ends the job, and kills it twenty seconds before the end"),
    ),
    "forgets the hook": (
        membership,
        "            yield Hold()\n",
        "",
        partial(play, "the hook is held while a job runs that the last look found"),
    ),
}


def mutated(module, old, new):
    """The consumer module with one snippet of it, or of a module below it, exchanged."""
    source = inspect.getsource(module)
    assert source.count(old) == 1, f"found {source.count(old)} times: {old!r}"
    made = types.ModuleType(module.__name__)
    made.__dict__["__name__"] = module.__name__
    exec(compile(source.replace(old, new), module.__file__, "exec"), made.__dict__)
    if module is consumer:
        return made
    above = types.ModuleType(consumer.__name__)
    exec(compile(inspect.getsource(consumer), consumer.__file__, "exec"), above.__dict__)
    name = "Leases" if module is lease else "Membership"
    above.__dict__[name] = made.__dict__[name]
    return above


@pytest.mark.parametrize("bug", MUTANTS)
def test_the_world_notices(bug):
    machine = type("Mutant", (World,), {"consumer_module": mutated(*MUTANTS[bug])})

    with pytest.raises((AssertionError, KeyError, AttributeError)):
        run_state_machine_as_test(
            machine,
            settings=settings(max_examples=1_000, phases=[Phase.generate], derandomize=True, **PROFILE),
        )


@pytest.mark.parametrize("bug", BY_HISTORY)
def test_a_history_notices(bug):
    *change, check = BY_HISTORY[bug]
    # Made out here: a mutant that no longer applies is no proof either.
    make = mutated(*change).Consumer
    check()

    with pytest.raises(AssertionError):
        check(make=make)
