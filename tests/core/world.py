"""A world around the consumer in which anything may happen, and an oracle for each of its promises.

The oracle keeps its own books: it never asks the consumer what it thinks.
"""

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from observerd.core import consumer as real
from observerd.core.events import (
    Cause,
    Count,
    Counted,
    CrewDied,
    Discard,
    DrainRequested,
    End,
    Exit,
    Extend,
    Extended,
    Finished,
    GaveUp,
    GiveUp,
    GiveUpAnswer,
    Hold,
    Ignore,
    Message,
    Outcome,
    Poll,
    Protect,
    ProtectAnswer,
    Protected,
    RebalanceRecommended,
    Received,
    ReceiveFailed,
    ReceiveFault,
    Release,
    Released,
    Settling,
    Shrink,
    SpotNoticed,
    Start,
    StopRequested,
    TargetState,
    TargetStateChanged,
    TimeUp,
)

LIMIT_S = 43_200
# The template's hook waits 600 s: five heartbeats may fail.
HOOK_S = 100
SPOT_MARGIN_S = 20
# How long what is visible keeps an idle worker.
STAY_S = 1_800
# How late metadata may tell of an attempt whose answer was lost.
UNSURE_S = 600
OUT_OF_SERVICE = {TargetState.STANDBY, TargetState.DETACHED, TargetState.WARMED}
EPSILON_S = 1e-6
# How long a free slot may wait for others, to be asked for together, if the last job to end took less than so
# much for each slot.
SHORT_S, APART_S = 0.006, 0.02

LIMITS = st.builds(
    real.Limits,
    slots=st.sampled_from([1, 2, 12]),
    receive_at_most=st.sampled_from([1, 10]),
    visibility_timeout_s=st.sampled_from([3.0, 30.0, 120.0, 20_000.0]),
    idle_timeout_s=st.sampled_from([None, 0.0, 5.0, 120.0]),
    drain_timeout_s=st.sampled_from([0.0, 60.0, 3_600.0]),
    grace_s=st.sampled_from([1.0, 35.0]),
    max_uptime_s=st.sampled_from([None, None, 300.0]),
    gives_up=st.booleans(),
    hooked=st.booleans(),
    protects=st.booleans(),
    once=st.sampled_from([False, False, False, True]),
)


class World(RuleBasedStateMachine):
    """What SQS, the jobs, the group and the operator may do, in any order."""

    consumer_module = real

    @initialize(limits=LIMITS, start=st.sampled_from([0.0, 1e6]))
    def begin(self, limits, start):
        self.limits, self.now = limits, start
        self.consumer = self.consumer_module.Consumer(limits, start)
        self.running, self.taken_at, self.expires_at = {}, {}, {}
        self.ended = {}
        self.settling = set()
        self.was_short = True
        self.undeleted = set()
        self.poll, self.failing = None, False
        self.asked_at = start
        self.extends = []
        self.asked_extension = {}
        self.releasing = False
        self.stopping = False
        self.status = 0
        self.asked_to_give_up = False
        self.counting = self.found_empty = False
        self.counted_at = start
        self.attempts = []
        self.unsure_until = start
        self.given_up = self.terminated = False
        self.ending_at = None
        self.held_at = None
        self.target = None
        self.asked_to_protect = False
        self.answered_at = None
        self.old_at = float("inf") if limits.max_uptime_s is None else start + limits.max_uptime_s
        self.drained = False
        self.gone_at = None
        self.looked = self.looked_last = False
        self.poll_after_give_up = False
        self.disturbed_at = start
        self.exit = None
        self.count = 0
        self.happens(TimeUp())

    # ---- one thing happens

    def happens(self, event):
        before = set(self.running)
        orders = self.consumer.on(event, self.now)
        assert self.exit is None or not orders, "an order after Exit"
        self._account(event, orders, before)
        for order in orders:
            assert self.exit is None, "an order beside Exit"
            self._obey(order)
        wake_at = self.consumer.wake_at()
        assert wake_at is None or not self.exit
        assert wake_at is None or wake_at > self.now, "TimeUp would come again at once"
        if self.has_room_that_nobody_asks_for():
            assert wake_at is not None, "a slot stays free for ever"
            assert wake_at <= self.answered_at + APART_S, "a slot stays free for long"
            assert self.was_short, "jobs are waited for that are not about to end"

    def has_room_that_nobody_asks_for(self):
        asked = self.exit or self.stopping or self.poll or (self.limits.once and self.count)
        return not (asked or self.parked or self.failing) and self.room > 0

    def _account(self, event, orders, before):
        """Every message received is started, ignored or released; which one is not the consumer's choice."""
        given = event.messages if isinstance(event, Received) else ()
        started = {order.message.receipt_handle for order in orders if isinstance(order, Start | Discard)}
        ignored = {order.message.receipt_handle for order in orders if isinstance(order, Ignore)}
        released = {
            each.receipt_handle for order in orders if isinstance(order, Release) for each in order.messages
        }
        duplicates = {each.receipt_handle for each in given if each.id in before}
        duplicates |= set() if self.stopping or self.parked else self._second_copies(given)
        if self.now >= self.asked_at + self.limits.visibility_timeout_s * 5 / 6:
            # Others may have been given them meanwhile.
            duplicates = {each.receipt_handle for each in given}
        fresh = {each.receipt_handle for each in given} - duplicates
        assert ignored == duplicates, "a second delivery is left alone"
        assert started | released == fresh, "a message is run or released"
        assert not started & released
        assert not (started and self.stopping), "nothing is started after a stop"
        assert not (started and self.parked), "nothing is started out of service"

    @property
    def ending(self):
        return self.given_up or self.terminated

    @property
    def is_unsure(self):
        return self.now < self.unsure_until

    @property
    def busy(self):
        return len(self.running) - len(self.settling)

    @property
    def room(self):
        unsettled = 2 * self.limits.slots - len(self.running)
        return min(self.limits.slots - self.busy, unsettled, self.limits.receive_at_most)

    @property
    def parked(self):
        return self.target in OUT_OF_SERVICE and not self.given_up

    def _second_copies(self, given):
        first = {each.id: each.receipt_handle for each in reversed(given)}
        return {each.receipt_handle for each in given if first[each.id] != each.receipt_handle}

    def _obey(self, order):
        match order:
            case Start(message):
                assert message.id not in self.undeleted, "a success is not run again"
                self._take(message)
            case Discard(message):
                assert message.id in self.undeleted
                self._take(message)
            case Poll():
                self._check_poll(order)
                # A job that runs hides the next message of its FIFO group.
                self.poll, self.poll_after_give_up = order, self.given_up and not self.running
                self.asked_at = self.now
            case Release():
                self.releasing = True
            case Extend(leases):
                self._check_extend(leases)
                self.extends.append((self.now, leases))
            case End(message, cause, grace_s):
                self._check_end(message, cause, grace_s)
            case Exit():
                self._check_exit(order)
                self.exit = order
            case _:
                self._obey_as_a_member(order)

    def _obey_as_a_member(self, order):
        match order:
            case Count():
                assert self.limits.gives_up
                assert not self.counting, "one count at a time"
                assert not self.stopping
                self._check_idle()
                self.counting = True
            case GiveUp(shrink):
                self._check_give_up(shrink)
                self.asked_to_give_up = True
                self.attempts.append(shrink)
            case Hold():
                assert self.ending
                self.held_at = self.now
            case Protect():
                assert self.limits.protects
                assert not self.ending
                assert self.answered_at is not None, "the first poll comes before protection"
                self.asked_to_protect = True

    def _check_give_up(self, shrink):
        assert self.limits.gives_up
        assert not self.asked_to_give_up, "one attempt at a time"
        assert not self.ending
        if shrink is Shrink.NEVER:
            assert self.drained, "somebody asked for it"
            assert self.limits.hooked or not self.running, "a job is ended by nobody's hook"
            return
        assert not self.parked, "out of service is not idle"
        assert not self.stopping
        if shrink is Shrink.ALWAYS:
            assert self.found_empty, "nothing waits"
            self._check_idle_for_long()
        else:
            assert self.now >= self.old_at
            self._check_idle()

    def _take(self, message):
        assert message.id not in self.running
        self.running[message.id] = message
        self.taken_at[message.id] = self.now
        self.expires_at[message.id] = self.asked_at + self.limits.visibility_timeout_s
        self.ended[message.id] = []
        assert self.busy <= self.limits.slots, "more running than slots"
        assert len(self.running) <= 2 * self.limits.slots, "more held than can be settled"

    def _check_poll(self, poll):
        assert self.poll is None, "one poll at a time"
        assert not self.stopping, "no poll after a stop"
        assert not self.parked, "no poll out of service"
        assert 1 <= poll.at_most <= self.room
        assert 1 <= poll.wait_s <= 20
        if self.given_up:
            assert poll.wait_s == 20, "the last look is a full one"

    def _check_extend(self, leases):
        assert 1 <= len(leases) <= 10
        for message, seconds in leases:
            assert message.id in self.running
            assert Cause.LEASE_LOST not in self._causes(message.id), "lost is final"
            assert message.receipt_handle not in self._asked(), "asked for twice at once"
            assert 1 <= seconds <= self.limits.visibility_timeout_s
            assert self.now + seconds <= self.taken_at[message.id] + LIMIT_S, "beyond twelve hours"

    def _check_end(self, message, cause, grace_s):
        assert message.id in self.running
        assert (cause, grace_s == 0.0) not in [(c, g == 0.0) for c, g in self.ended[message.id]]
        if cause is Cause.LEASE_LOST:
            assert Cause.LEASE_LOST not in self._causes(message.id), "lost once"
        else:
            assert self.stopping or (self.target is TargetState.WARMED and not self.given_up)
        self.ended[message.id].append((cause, grace_s))

    def _check_idle(self):
        assert self.poll is None, "idleness is decided between polls"
        self._check_idle_for_long()

    def _check_idle_for_long(self):
        assert not self.running
        assert self.limits.idle_timeout_s is not None
        assert not self.parked, "out of service is not idle"
        wait_s = 0.0 if self.now >= self.old_at else self.limits.idle_timeout_s
        idle_s = self.now - max(self.disturbed_at, self.counted_at)
        assert idle_s >= wait_s - EPSILON_S, "not idle for long enough"

    def _check_exit(self, order):
        if order.reason == "abandoned":
            assert self.stopping
            assert order.status == max(1, self.status), "why it stopped shows in the status"
            return
        refused = self.drained and self.limits.gives_up and not self.ending
        assert order.status == max(self.status, 75 if refused else 0), "why it stopped shows in the status"
        assert not refused or self.attempts[-1:] == [Shrink.NEVER], "asked for before it is refused"
        assert not self.running
        assert self.poll is None
        assert not self.releasing
        if order.reason == "idle":
            if self.limits.gives_up:
                assert self.given_up
                assert self.looked, "a look comes after the give-up"
                is_over = self.now >= self.ending_at + self.limits.drain_timeout_s
                assert self.looked_last or is_over, "the last look comes after the give-up"
            else:
                self._check_idle()
        elif order.reason != "done":
            assert self.stopping

    def _causes(self, message_id):
        return [cause for cause, _ in self.ended[message_id]]

    def _asked(self):
        return {message.receipt_handle for _, leases in self.extends for message, _ in leases}

    # ---- what may happen

    def _fresh(self, count):
        self.count += count
        return [Message(f"m{number}", f"h{number}", "{}") for number in range(self.count - count, self.count)]

    @precondition(lambda self: self.poll and not self.exit)
    @rule(data=st.data())
    def messages_arrive(self, data):
        count = data.draw(st.sampled_from([self.poll.at_most, 1, 0]))
        messages = self._fresh(count)
        if self.running and count < self.poll.at_most and data.draw(st.booleans()):
            twin = data.draw(st.sampled_from(sorted(self.running)))
            messages.append(replace(self.running[twin], receipt_handle=f"{twin}-again"))
        elif messages and count < self.poll.at_most and data.draw(st.booleans()):
            messages.append(replace(messages[0], receipt_handle=f"{messages[0].id}-twin"))
        elif self.undeleted and count < self.poll.at_most and data.draw(st.booleans()):
            back = data.draw(st.sampled_from(sorted(self.undeleted)))
            messages.append(Message(back, f"{back}-back-{self.count}", "{}", receive_count=2))
        self._look(messages)
        if messages:
            self.disturbed_at = self.now
        self.happens(Received(tuple(messages)))

    @precondition(lambda self: self.poll and not self.exit)
    @rule()
    def nothing_arrives(self):
        self._look(())
        self.happens(Received())

    def _look(self, messages):
        self.looked = self.looked or self.poll_after_give_up
        self.looked_last = self.poll_after_give_up and not messages
        self.poll, self.failing = None, False
        self.answered_at = self.now

    @precondition(lambda self: self.poll and not self.exit)
    @rule(
        fault=st.sampled_from([*[ReceiveFault.UNREACHABLE] * 8, ReceiveFault.THROTTLED, ReceiveFault.DENIED])
    )
    def receiving_fails(self, fault):
        self.poll, self.failing = None, True
        self.answered_at = self.now
        hidden_s = self.limits.visibility_timeout_s if fault is ReceiveFault.UNREACHABLE else 0.0
        self.disturbed_at = max(self.disturbed_at, self.now + hidden_s)
        if fault is ReceiveFault.DENIED:
            self.stopping, self.status = True, 78
        self.happens(ReceiveFailed(fault, "planned"))

    @precondition(lambda self: self.running and self.busy and not self.exit)
    @rule(data=st.data())
    def a_job_ends(self, data):
        message_id = data.draw(st.sampled_from(sorted(self.running.keys() - self.settling)))
        self.settling.add(message_id)
        self.was_short = self.now - self.taken_at[message_id] < SHORT_S * self.limits.slots
        self.happens(Settling(self.running[message_id]))

    @precondition(lambda self: self.running and not self.exit)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome), back_in_s=st.sampled_from([None, 0.0, 60.0]))
    def a_run_ends(self, data, outcome, back_in_s):
        message = self.running.pop(data.draw(st.sampled_from(sorted(self.running))))
        deleted = data.draw(st.booleans())
        self.settling.discard(message.id)
        self.undeleted.discard(message.id)
        if outcome is Outcome.SUCCEEDED and not deleted:
            self.undeleted.add(message.id)
        self.disturbed_at = max(self.disturbed_at, self.now + (back_in_s or 0.0))
        self.happens(Finished(message, outcome, deleted, back_in_s))

    @precondition(lambda self: self.extends and not self.exit)
    @rule(data=st.data())
    def a_heartbeat_is_answered(self, data):
        asked_at, leases = self.extends.pop(data.draw(st.integers(0, len(self.extends) - 1)))
        answers = {"kept": [], "refused": [], "unanswered": []}
        for message, seconds in leases:
            fate = data.draw(st.sampled_from(["kept", "kept", "kept", "refused", "unanswered"]))
            answers[fate].append(message.receipt_handle)
            current = self.running.get(message.id)
            if fate == "kept" and current and current.receipt_handle == message.receipt_handle:
                self.expires_at[message.id] = asked_at + seconds
        self.happens(Extended(asked_at, **{fate: tuple(handles) for fate, handles in answers.items()}))

    @precondition(lambda self: self.releasing and not self.exit)
    @rule()
    def late_messages_are_released(self):
        self.releasing = False
        self.happens(Released())

    @precondition(lambda self: self.counting and not self.exit)
    @rule(waiting=st.sampled_from([0, 0, 0, None, 2]))
    def what_waits_is_counted(self, waiting):
        stays = bool(waiting) and self.now - self.disturbed_at < STAY_S
        self.counting, self.found_empty = False, not stays
        self.counted_at = self.now if stays else self.counted_at
        self.happens(Counted(waiting))
        self.found_empty = False

    @precondition(lambda self: self.asked_to_give_up and not self.exit)
    @rule(answer=st.sampled_from(GiveUpAnswer))
    def the_group_answers(self, answer):
        self.asked_to_give_up = False
        if answer is GiveUpAnswer.FAILED:
            self.unsure_until = self.now + UNSURE_S
        if answer is GiveUpAnswer.TERMINATING:
            self._ends(by_us=True)
        self.happens(GaveUp(answer))

    def _ends(self, *, by_us):
        if not self.ending:
            self.ending_at = self.held_at = self.now
        if by_us:
            self.given_up = True
        else:
            self.terminated = self.stopping = True

    @precondition(lambda self: self.asked_to_protect and not self.exit)
    @rule(answer=st.sampled_from(ProtectAnswer))
    def protection_is_answered(self, answer):
        self.asked_to_protect = False
        self.happens(Protected(answer))

    # One rule for all of them, and rarely: each hides much of what may come after.
    @precondition(lambda self: not self.exit)
    @rule(
        what=st.sampled_from(["state", "state", "terminated", "rebalance", "spot", "drain"]),
        chance=st.integers(0, 9),
        data=st.data(),
    )
    def something_happens_to_the_instance(self, what, chance, data):
        # An attempt of ours whose answer is on its way, or was lost, is often seen here first.
        if what == "terminated" and (self.asked_to_give_up or self.is_unsure or self.ending):
            self._is_terminated()
        elif what == "state" and (chance == 0 or self.parked):
            self._is_brought_to(data.draw(st.sampled_from([TargetState.IN_SERVICE, *OUT_OF_SERVICE])))
        elif chance == 0 and what == "rebalance":
            self.old_at = self.now
            self.happens(RebalanceRecommended())
        elif chance == 0 and self.count > 3:
            self._is_taken_away(what, data)

    def _is_brought_to(self, state):
        was_parked, self.target = self.parked, state
        if was_parked or self.parked:
            self.disturbed_at = self.now
        self.happens(TargetStateChanged(state))

    def _is_taken_away(self, what, data):
        match what:
            case "terminated":
                self._is_terminated()
            case "spot":
                gone_in_s = data.draw(st.sampled_from([0.0, 30.0, 110.0]))
                self.stopping = True
                self.gone_at = min(self.gone_at or float("inf"), self.now + gone_in_s)
                self.happens(SpotNoticed("terminate", gone_in_s))
            case "drain":
                self.drained = self.stopping = True
                self.happens(DrainRequested("by hand"))

    def _is_terminated(self):
        self.target = TargetState.TERMINATED
        if not self.ending:
            self._ends(by_us=self.asked_to_give_up or self.is_unsure)
        self.happens(TargetStateChanged(TargetState.TERMINATED))

    @precondition(lambda self: not self.exit)
    @rule(share=st.sampled_from([0.5, 0.999, 1.0, 1.0, 1.0]), limit_s=st.sampled_from([1.0, 30.0, 1e5]))
    def time_passes(self, share, limit_s):
        """Never past the moment that the consumer asked to be woken at; that is the deal."""
        wake_at = self.consumer.wake_at()
        left_s = limit_s if wake_at is None else min(limit_s, wake_at - self.now)
        self.now = (
            wake_at
            if wake_at is not None and share * left_s == wake_at - self.now
            else self.now + share * left_s
        )
        self.happens(TimeUp())

    @precondition(lambda self: self.exit)
    @rule(event=st.sampled_from([TimeUp(), Received(), StopRequested("SIGTERM")]))
    def nothing_follows_an_exit(self, event):
        self.happens(event)

    @precondition(lambda self: not self.exit and self.count > 3)
    @rule(chance=st.integers(0, 9))
    def a_stop_is_requested(self, chance):
        if chance == 0 or self.stopping:
            self.stopping = True
            self.happens(StopRequested("SIGTERM"))

    @precondition(lambda self: not self.exit and self.count > 3)
    @rule(chance=st.integers(0, 9), name=st.sampled_from(["receiver", "heartbeat", "leaver"]))
    def a_thread_dies(self, chance, name):
        if chance == 0:
            self.stopping, self.status = True, max(70, self.status)
            if name == "receiver":
                self.poll, self.releasing = None, False
            if name == "leaver":
                self.asked_to_give_up = self.drained = False
            self.happens(CrewDied(name, "bug"))
            waits = self.running or self.poll or self.releasing or self.asked_to_give_up
            assert self.exit or waits, "nobody is left to wait for"

    # ---- what always holds

    @invariant()
    def no_lease_runs_out_under_a_job_that_was_not_told(self):
        for message_id in getattr(self, "running", ()):
            if Cause.LEASE_LOST not in self._causes(message_id) and not self.exit:
                assert self.now < self.expires_at[message_id], "others may have it by now"
                held_until = self.consumer.leases.held_until(self.now)
                assert self.now < held_until <= self.expires_at[message_id], "a fuse that burns too long"

    @invariant()
    def the_hook_never_runs_out(self):
        if getattr(self, "ending_at", None) is not None and not self.exit:
            assert self.now < self.held_at + HOOK_S + EPSILON_S

    @invariant()
    def nothing_is_left_to_end_when_spot_capacity_goes(self):
        if getattr(self, "gone_at", None) is not None and self.now >= self.gone_at - SPOT_MARGIN_S:
            for message_id in self.running if not self.exit else ():
                assert (Cause.STOP, 0.0) in self.ended[message_id], "killed in time to be given back"

    def teardown(self):
        """Whatever the story was: a stop ends by time alone, though nobody ever answers again."""
        if not hasattr(self, "consumer") or self.exit:
            return
        self.stopping = True
        self.happens(StopRequested("SIGTERM"))
        for _ in range(1_000):
            if self.exit:
                return
            wake_at = self.consumer.wake_at()
            assert wake_at is not None, "nothing will ever end this"
            self.now = wake_at
            self.happens(TimeUp())
        raise AssertionError("a stop that does not end")
