"""Histories: what happened when, and what was ordered. A bug begins as a failing one of these."""

from dataclasses import replace

import pytest

from observerd.core.consumer import Consumer, Limits, Phase
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
    Held,
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

A, B = Message("a", "a#1", "{}"), Message("b", "b#1", "{}")
A_AGAIN = Message("a", "a#2", "{}", receive_count=2)
TICK, TERM, NONE = TimeUp(), StopRequested("SIGTERM"), Received()
DOWN = ReceiveFailed(ReceiveFault.UNREACHABLE, "refused")
BUSY = ReceiveFailed(ReceiveFault.THROTTLED, "slow down")


def got(*messages):
    return Received(messages)


def done(message, deleted=True, back_in_s=None, outcome=Outcome.SUCCEEDED):
    return Finished(message, outcome, deleted, back_in_s)


ONE = Limits(slots=1, visibility_timeout_s=3_000.0, idle_timeout_s=100.0, drain_timeout_s=60.0, grace_s=10.0)
TWO = Limits(slots=2, visibility_timeout_s=3_000.0, idle_timeout_s=100.0, drain_timeout_s=60.0, grace_s=10.0)
FIFO = Limits(slots=4, receive_at_most=1, visibility_timeout_s=3_000.0)
LEAVER = Limits(slots=1, visibility_timeout_s=3_000.0, idle_timeout_s=100.0, gives_up=True)
HOOKED = Limits(slots=1, visibility_timeout_s=3_000.0, idle_timeout_s=100.0, gives_up=True, hooked=True)
PROTECTED = Limits(slots=1, visibility_timeout_s=3_000.0, protects=True)
OLD = Limits(slots=1, visibility_timeout_s=3_000.0, idle_timeout_s=100.0, max_uptime_s=50.0, gives_up=True)
TERMINATED, STANDBY, WARMED, IN_SERVICE = (
    TargetStateChanged(state)
    for state in (
        TargetState.TERMINATED,
        TargetState.STANDBY,
        TargetState.WARMED,
        TargetState.IN_SERVICE,
    )
)
DRAIN = DrainRequested("by hand")
EMPTY = Counted(0)
ONCE = Limits(slots=4, once=True)
STAYER = Limits(idle_timeout_s=None)
LEASED = Limits(slots=1, visibility_timeout_s=120.0)

# Each line: at this second this happens, and this is ordered.
HISTORIES = {
    "a first poll is short, the others are long": (
        ONE,
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
    ),
    "a poll asks for the free slots only": (
        TWO,
        (0, TICK, [Poll(2, 1)]),
        (1, got(A), [Start(A), Poll(1, 20)]),
        (2, got(B), [Start(B)]),
        (3, done(A), [Poll(1, 20)]),
        (4, done(B), []),
    ),
    "the slot of a long job is filled at once": (
        TWO,
        (0, TICK, [Poll(2, 1)]),
        (1, got(A), [Start(A), Poll(1, 20)]),
        (9, got(B), [Start(B)]),
        (9.01, Settling(A), [Poll(1, 20)]),
    ),
    "short jobs are asked for together": (
        TWO,
        (0, TICK, [Poll(2, 1)]),
        (1, got(A), [Start(A), Poll(1, 20)]),
        (1.008, got(B), [Start(B)]),
        (1.01, Settling(A), []),
        (1.015, Settling(B), [Poll(2, 20)]),
    ),
    "a FIFO queue is asked for one message at a time": (
        FIFO,
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A), Poll(1, 20)]),
    ),
    "it leaves when it has been idle for long enough, and between two polls": (
        ONE,
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (100.9, NONE, [Poll(1, 20)]),
        (101, NONE, [Exit(0, "idle")]),
    ),
    "work starts the idle time anew": (
        ONE,
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (50, got(A), [Start(A)]),
        (200, done(A), [Poll(1, 20)]),
        (201, NONE, [Poll(1, 20)]),
        (300, NONE, [Poll(1, 20)]),
        (301, NONE, [Exit(0, "idle")]),
    ),
    "an outage is not idleness": (
        ONE,
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (500, BUSY, []),
        (500.5, TICK, [Poll(1, 20)]),
        (501, NONE, [Poll(1, 20)]),
        (601, NONE, [Exit(0, "idle")]),
    ),
    "a message of ours that will come back is waited for": (
        ONE,
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A)]),
        (2, done(A, deleted=False, back_in_s=60, outcome=Outcome.FAILED), [Poll(1, 20)]),
        (3, NONE, [Poll(1, 20)]),
        (150, NONE, [Poll(1, 20)]),
        (162, NONE, [Exit(0, "idle")]),
    ),
    "with exit_action stay it never leaves for idleness": (
        STAYER,
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (1e6, NONE, [Poll(1, 20)]),
    ),
    "failed receives are tried again, after twice the time each": (
        ONE,
        (0, TICK, [Poll(1, 1)]),
        (1, DOWN, []),
        (1.4, TICK, []),
        (1.5, TICK, [Poll(1, 1)]),
        (2, DOWN, []),
        (2.9, TICK, []),
        (3, TICK, [Poll(1, 1)]),
    ),
    "a queue that is missing is a configuration error": (
        ONE,
        (0, TICK, [Poll(1, 1)]),
        (1, ReceiveFailed(ReceiveFault.QUEUE_MISSING, "gone"), [Exit(78, "queue_missing")]),
    ),
    "a queue that is denied later lets the job finish first": (
        TWO,
        (0, TICK, [Poll(2, 1)]),
        (1, got(A), [Start(A), Poll(1, 20)]),
        (2, ReceiveFailed(ReceiveFault.DENIED, "no"), []),
        (3, done(A), [Exit(78, "denied")]),
    ),
    "a second delivery of what runs here is left alone": (
        TWO,
        (0, TICK, [Poll(2, 1)]),
        (1, got(A), [Start(A), Poll(1, 20)]),
        (2, got(A_AGAIN), [Ignore(A_AGAIN), Poll(1, 20)]),
    ),
    "a second delivery is not released while draining either": (
        TWO,
        (0, TICK, [Poll(2, 1)]),
        (1, got(A), [Start(A), Poll(1, 20)]),
        (2, TERM, []),
        (3, got(A_AGAIN), [Ignore(A_AGAIN)]),
        (4, done(A), [Exit(0, "SIGTERM")]),
    ),
    "a success whose delete failed is deleted and not run again": (
        ONE,
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A)]),
        (2, done(A, deleted=False), [Poll(1, 20)]),
        (3, got(A_AGAIN), [Discard(A_AGAIN)]),
        (4, done(A_AGAIN), [Poll(1, 20)]),
    ),
    "a failure that comes back is run again": (
        ONE,
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A)]),
        (2, done(A, deleted=False, back_in_s=0, outcome=Outcome.FAILED), [Poll(1, 20)]),
        (3, got(A_AGAIN), [Start(A_AGAIN)]),
    ),
    "a stop waits for the poll and releases what it brings": (
        ONE,
        (0, TICK, [Poll(1, 1)]),
        (0.5, TERM, []),
        (1, got(A), [Release((A,))]),
        (2, Released(), [Exit(0, "SIGTERM")]),
    ),
    "a stop goes down its ladder by time": (
        ONE,
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A)]),
        (2, TERM, []),
        (61.9, TICK, []),
        (62, TICK, [End(A, Cause.STOP)]),
        (71.9, TICK, []),
        (72, TICK, [End(A, Cause.STOP, 0.0)]),
        (81.9, TICK, []),
        (82, TICK, [Exit(1, "abandoned")]),
    ),
    "a second and a third stop skip a step": (
        ONE,
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A)]),
        (2, TERM, []),
        (3, TERM, [End(A, Cause.STOP)]),
        (4, TERM, [End(A, Cause.STOP, 0.0)]),
        (5, TERM, []),
        (6, done(A, deleted=False, outcome=Outcome.INTERRUPTED), [Exit(0, "SIGTERM")]),
    ),
    "a stop after a drain lets its job finish all the same": (
        ONE,
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A)]),
        (2, DRAIN, []),
        (3, TERM, []),
        (4, TERM, [End(A, Cause.STOP)]),
        (5, done(A, deleted=False, outcome=Outcome.INTERRUPTED), [Exit(0, "by hand")]),
    ),
    "a dead thread ends the service when its jobs have ended": (
        ONE,
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A)]),
        (2, CrewDied("receiver", "bug"), []),
        (3, done(A), [Exit(70, "receiver died")]),
    ),
    "a dead receiver is not waited for": (
        ONE,
        (0, TICK, [Poll(1, 1)]),
        (1, CrewDied("receiver", "bug"), [Exit(70, "receiver died")]),
    ),
    "a living receiver's poll is waited for, whoever else has died": (
        ONE,
        (0, TICK, [Poll(1, 1)]),
        (1, CrewDied("heartbeat", "bug"), []),
        (2, got(A), [Release((A,))]),
        (3, Released(), [Exit(70, "heartbeat died")]),
    ),
    "an abandoned job does not hide a dead thread": (
        ONE,
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A)]),
        (2, CrewDied("heartbeat", "bug"), []),
        (62, TICK, [End(A, Cause.STOP)]),
        (72, TICK, [End(A, Cause.STOP, 0.0)]),
        (82, TICK, [Exit(70, "abandoned")]),
    ),
    "nothing is ordered beside or after Exit, not even an extension": (
        Limits(slots=1, visibility_timeout_s=120.0, drain_timeout_s=0.0, grace_s=30.0),
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A)]),
        (1, TERM, [End(A, Cause.STOP)]),
        (31, TICK, [End(A, Cause.STOP, 0.0)]),
        # The signal comes at the moment of the deadline, when an extension is due as well.
        (41, TERM, [Extend(((A, 120),)), Exit(1, "abandoned")]),
        (42, done(A), []),
    ),
    "one answer may hold the same message twice": (
        TWO,
        (0, TICK, [Poll(2, 1)]),
        (1, got(A, A_AGAIN), [Start(A), Ignore(A_AGAIN), Poll(1, 20)]),
    ),
    "a look beside a running job is not the last": (
        Limits(slots=2, visibility_timeout_s=3_000.0, idle_timeout_s=0.0, gives_up=True),
        (0, TICK, [Poll(2, 1)]),
        (1, NONE, [Count(), Poll(2, 1)]),
        (1, EMPTY, [GiveUp()]),
        (2, GaveUp(GiveUpAnswer.TERMINATING), []),
        (3, got(A), [Start(A), Poll(1, 20)]),
        (23, NONE, [Poll(1, 20)]),
        # Deleted just now, it may have freed the next message of its FIFO group.
        (42, done(A), []),
        (43, NONE, [Poll(2, 20)]),
        (63, NONE, [Exit(0, "idle")]),
    ),
    "the instance is given up, then looked over once more": (
        LEAVER,
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (101, NONE, [Count(), Poll(1, 20)]),
        (101, EMPTY, [GiveUp()]),
        (102, GaveUp(GiveUpAnswer.TERMINATING), []),
        (121, NONE, [Poll(1, 20)]),
        (141, NONE, [Exit(0, "idle")]),
    ),
    "a message found at the last look is run, and it looks again": (
        LEAVER,
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (101, NONE, [Count(), Poll(1, 20)]),
        (101, EMPTY, [GiveUp()]),
        (102, GaveUp(GiveUpAnswer.TERMINATING), []),
        (121, NONE, [Poll(1, 20)]),
        (122, got(A), [Start(A)]),
        (123, done(A), [Poll(1, 20)]),
        (143, NONE, [Exit(0, "idle")]),
    ),
    "what failed in the last look is waited for": (
        LEAVER,
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (101, NONE, [Count(), Poll(1, 20)]),
        (101, EMPTY, [GiveUp()]),
        (102, GaveUp(GiveUpAnswer.TERMINATING), []),
        (121, got(A), [Start(A)]),
        (122, done(A, deleted=False, back_in_s=30, outcome=Outcome.FAILED), [Poll(1, 20)]),
        (142, NONE, [Poll(1, 20)]),
        (152, got(A_AGAIN), [Start(A_AGAIN)]),
        (153, done(A_AGAIN), [Poll(1, 20)]),
        (173, NONE, [Exit(0, "idle")]),
    ),
    "the hook is held while a job runs that the last look found": (
        LEAVER,
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (101, NONE, [Count(), Poll(1, 20)]),
        (101, EMPTY, [GiveUp()]),
        (102, GaveUp(GiveUpAnswer.TERMINATING), []),
        (103, got(A), [Start(A)]),
        (201, TICK, []),
        (202, TICK, [Hold()]),
        (203, Held(), []),
        (302, TICK, [Hold()]),
        (303, done(A), [Poll(1, 20)]),
        (323, NONE, [Exit(0, "idle")]),
    ),
    "what a receive without an answer may have hidden is waited for": (
        replace(ONE, visibility_timeout_s=120.0),
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (99, DOWN, []),
        (99.5, TICK, [Poll(1, 20)]),
        (119.5, NONE, [Poll(1, 20)]),
        (219.5, NONE, [Poll(1, 20)]),
        (319.5, NONE, [Exit(0, "idle")]),
    ),
    "what a last look without an answer may have hidden is waited for": (
        replace(LEAVER, visibility_timeout_s=120.0),
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (101, NONE, [Count(), Poll(1, 20)]),
        (101, EMPTY, [GiveUp()]),
        (102, GaveUp(GiveUpAnswer.TERMINATING), []),
        (121, DOWN, []),
        (121.5, TICK, [Poll(1, 20)]),
        (141.5, NONE, [Poll(1, 20)]),
        (161.5, NONE, [Poll(1, 20)]),
        (181.5, NONE, [Poll(1, 20)]),
        (201.5, NONE, [Poll(1, 20)]),
        (221.5, NONE, [Hold(), Poll(1, 20)]),
        (241, got(A_AGAIN), [Start(A_AGAIN)]),
        (242, done(A_AGAIN), [Poll(1, 20)]),
        (262, NONE, [Exit(0, "idle")]),
    ),
    "an outage at the last look is waited out": (
        LEAVER,
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (101, NONE, [Count(), Poll(1, 20)]),
        (101, EMPTY, [GiveUp()]),
        (102, GaveUp(GiveUpAnswer.TERMINATING), []),
        (121, NONE, [Poll(1, 20)]),
        (122, BUSY, []),
        (122.5, TICK, [Poll(1, 20)]),
        (142.5, NONE, [Exit(0, "idle")]),
    ),
    "an idle worker stays for what waits behind running jobs": (
        LEAVER,
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (101, NONE, [Count(), Poll(1, 20)]),
        (102, Counted(3), []),
        (121, NONE, [Poll(1, 20)]),
        (201, NONE, [Poll(1, 20)]),
        (202, NONE, [Count(), Poll(1, 20)]),
        (203, EMPTY, [GiveUp()]),
    ),
    "it stays so for half an hour, not for ever": (
        LEAVER,
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (1_800, NONE, [Count(), Poll(1, 20)]),
        (1_800.5, Counted(3), []),
        (1_820, NONE, [Poll(1, 20)]),
        (1_901, NONE, [Count(), Poll(1, 20)]),
        (1_902, Counted(3), [GiveUp()]),
    ),
    "a count that is not answered keeps nobody": (
        LEAVER,
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (101, NONE, [Count(), Poll(1, 20)]),
        (121, NONE, [Poll(1, 20)]),
        (122, Counted(None), [GiveUp()]),
    ),
    "what came while it was counting keeps it": (
        LEAVER,
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (101, NONE, [Count(), Poll(1, 20)]),
        (102, got(A), [Start(A)]),
        (103, EMPTY, []),
    ),
    "an attempt that is under way is not repeated": (
        LEAVER,
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (101, NONE, [Count(), Poll(1, 20)]),
        (101, EMPTY, [GiveUp()]),
        (121, NONE, [Poll(1, 20)]),
    ),
    "a refused attempt is made again after half a minute, and it serves meanwhile": (
        LEAVER,
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (101, NONE, [Count(), Poll(1, 20)]),
        (101, EMPTY, [GiveUp()]),
        (102, GaveUp(GiveUpAnswer.FAILED), []),
        (121, NONE, [Poll(1, 20)]),
        (132, NONE, [Count(), Poll(1, 20)]),
        (132, EMPTY, [GiveUp()]),
    ),
    "a group that keeps its instance is asked again after ten minutes": (
        LEAVER,
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (101, NONE, [Count(), Poll(1, 20)]),
        (101, EMPTY, [GiveUp()]),
        (102, GaveUp(GiveUpAnswer.KEPT), []),
        (701, NONE, [Poll(1, 20)]),
        (702, NONE, [Count(), Poll(1, 20)]),
        (702, EMPTY, [GiveUp()]),
    ),
    "terminated by others, it lets its job finish under the hook, and takes nothing new": (
        LEAVER,
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A)]),
        (2, TERMINATED, []),
        (101, TICK, []),
        (102, TICK, [Hold()]),
        (150, done(A), [Exit(0, "terminated by the group")]),
    ),
    "a termination whose answer was lost is its own, with a last look": (
        LEAVER,
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (101, NONE, [Count(), Poll(1, 20)]),
        (101, EMPTY, [GiveUp()]),
        (102, GaveUp(GiveUpAnswer.FAILED, "no answer"), []),
        (106, TERMINATED, []),
        (121, NONE, [Poll(1, 20)]),
        (141, NONE, [Exit(0, "idle")]),
    ),
    "late metadata tells of such an attempt, though a message came in between": (
        LEAVER,
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (101, NONE, [Count(), Poll(1, 20)]),
        (101, EMPTY, [GiveUp()]),
        (106, GaveUp(GiveUpAnswer.FAILED, "no answer"), []),
        (107, got(A), [Start(A)]),
        (150, TERMINATED, []),
        (160, done(A), [Poll(1, 20)]),
        (180, NONE, [Exit(0, "idle")]),
    ),
    "a termination long after such an attempt is somebody else's": (
        LEAVER,
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (101, NONE, [Count(), Poll(1, 20)]),
        (101, EMPTY, [GiveUp()]),
        (106, GaveUp(GiveUpAnswer.FAILED, "no answer"), []),
        (107, got(A), [Start(A)]),
        (707, TERMINATED, []),
        (708, done(A), [Exit(0, "terminated by the group")]),
    ),
    "a spot notice ends the job, and kills it twenty seconds before the end": (
        Limits(slots=1, visibility_timeout_s=3_000.0, grace_s=600.0),
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A)]),
        (2, SpotNoticed("terminate", 110.0), [End(A, Cause.STOP)]),
        (91.9, TICK, []),
        (92, TICK, [End(A, Cause.STOP, 0.0)]),
        (93, done(A, deleted=False, outcome=Outcome.INTERRUPTED), [Exit(0, "spot terminate")]),
    ),
    "after a rebalance recommendation it leaves at the first idle moment": (
        LEAVER,
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A)]),
        (2, RebalanceRecommended(), []),
        (3, done(A), [Poll(1, 20)]),
        (23, NONE, [GiveUp(Shrink.IF_ALLOWED), Poll(1, 20)]),
    ),
    "older than max_uptime it leaves at the first idle moment": (
        OLD,
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (49, NONE, [Poll(1, 20)]),
        (51, NONE, [GiveUp(Shrink.IF_ALLOWED), Poll(1, 20)]),
    ),
    "out of service it takes nothing, lets its job go on, and serves again afterwards": (
        TWO,
        (0, TICK, [Poll(2, 1)]),
        (1, got(A), [Start(A), Poll(1, 20)]),
        (2, STANDBY, []),
        (3, got(B), [Release((B,))]),
        (4, Released(), []),
        (9_999, done(A), []),
        (10_000, IN_SERVICE, [Poll(2, 20)]),
    ),
    "what runs in a warm pool is told to end once": (
        ONE,
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A)]),
        (2, WARMED, [End(A, Cause.STOP)]),
        (3, WARMED, []),
        (4, done(A, deleted=False, outcome=Outcome.INTERRUPTED), []),
        (5, IN_SERVICE, [Poll(1, 20)]),
    ),
    "it is protected two seconds after its first poll, and asks again while it is not in service": (
        PROTECTED,
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (2.9, TICK, []),
        (3, TICK, [Protect()]),
        (4, Protected(ProtectAnswer.NOT_YET), []),
        (9, TICK, [Protect()]),
        (10, Protected(ProtectAnswer.PROTECTED), []),
        (999, TICK, []),
    ),
    "a drain under a hook has the replacement started at once": (
        HOOKED,
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A)]),
        (2, DRAIN, [GiveUp(Shrink.NEVER)]),
        (3, GaveUp(GiveUpAnswer.TERMINATING), []),
        (103, TICK, [Hold()]),
        (104, done(A), [Exit(0, "by hand")]),
    ),
    "a drain without a hook finishes its job first": (
        LEAVER,
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A)]),
        (2, DRAIN, []),
        (50, done(A), [GiveUp(Shrink.NEVER)]),
        (51, GaveUp(GiveUpAnswer.TERMINATING), [Exit(0, "by hand")]),
    ),
    "a drain whose replacement is refused says so in its status": (
        HOOKED,
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 20)]),
        (2, DRAIN, [GiveUp(Shrink.NEVER)]),
        (3, GaveUp(GiveUpAnswer.DENIED), []),
        (21, NONE, [Exit(75, "not replaced")]),
    ),
    "once takes one message, whatever room there is": (
        ONCE,
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A)]),
        (2, done(A), [Exit(0, "done")]),
    ),
    "once may find none": (ONCE, (0, TICK, [Poll(1, 1)]), (1, NONE, [Exit(0, "done")])),
    "a lease is extended at a third of its time": (
        LEASED,
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A)]),
        (40.9, TICK, []),
        (41, TICK, [Extend(((A, 120),))]),
        (42, Extended(41, kept=("a#1",)), []),
        (81, TICK, [Extend(((A, 120),))]),
    ),
    "a late answer counts from when it was asked": (
        LEASED,
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A)]),
        (41, TICK, [Extend(((A, 120),))]),
        (70, Extended(41, kept=("a#1",)), []),
        (81, TICK, [Extend(((A, 120),))]),
        (141, TICK, [End(A, Cause.LEASE_LOST, 20.0)]),
    ),
    "a refused extension kills the job at once": (
        LEASED,
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A)]),
        (41, TICK, [Extend(((A, 120),))]),
        (42, Extended(41, refused=("a#1",)), [End(A, Cause.LEASE_LOST, 0.0)]),
        (999, TICK, []),
    ),
    "an unanswered extension is tried again, then the job has the last sixth to end in": (
        LEASED,
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A)]),
        (41, TICK, [Extend(((A, 120),))]),
        (42, Extended(41, unanswered=("a#1",)), []),
        (52, TICK, [Extend(((A, 120),))]),
        (100, TICK, [End(A, Cause.LEASE_LOST, 20.0)]),
        (999, TICK, []),
    ),
    "what is lost is not asked for again": (
        LEASED,
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A)]),
        (41, TICK, [Extend(((A, 120),))]),
        (99, Extended(41, unanswered=("a#1",)), []),
        (100, TICK, [End(A, Cause.LEASE_LOST, 20.0)]),
        (115, TICK, []),
    ),
    "a heartbeat that hangs does not hide that the lease runs out": (
        LEASED,
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A)]),
        (41, TICK, [Extend(((A, 120),))]),
        (100, TICK, [End(A, Cause.LEASE_LOST, 20.0)]),
    ),
    "a lease counts from when its message was asked for": (
        LEASED,
        (0, TICK, [Poll(1, 1)]),
        (70, got(A), [Start(A), Extend(((A, 120),))]),
        (100, TICK, [End(A, Cause.LEASE_LOST, 20.0)]),
    ),
    "what may be another's by now is neither started nor released": (
        replace(LEASED, slots=2),
        (0, TICK, [Poll(2, 1)]),
        (1, got(A), [Start(A), Poll(1, 20)]),
        (41, TICK, [Extend(((A, 120),))]),
        (42, Extended(41, kept=("a#1",)), []),
        (101, got(B), [Ignore(B, stale=True), Extend(((A, 120),)), Poll(1, 20)]),
        (102, TERM, []),
        (202, got(B), [Ignore(B, stale=True), End(A, Cause.LEASE_LOST, 0.0)]),
    ),
    "an idle worker waits for what it left alone": (
        replace(LEASED, idle_timeout_s=5.0),
        (0, TICK, [Poll(1, 1)]),
        (200, got(A), [Ignore(A, stale=True), Poll(1, 5)]),
        (206, NONE, [Poll(1, 5)]),
        (319, NONE, [Poll(1, 5)]),
        (325, NONE, [Exit(0, "idle")]),
    ),
    "a poll leaves most of a short lease to what arrives at its end": (
        replace(LEASED, visibility_timeout_s=30.0),
        (0, TICK, [Poll(1, 1)]),
        (1, NONE, [Poll(1, 10)]),
    ),
    "a late refusal of the first delivery does not end the second": (
        LEASED,
        (0, TICK, [Poll(1, 1)]),
        (1, got(A), [Start(A)]),
        (41, TICK, [Extend(((A, 120),))]),
        (42, done(A, deleted=False, outcome=Outcome.FAILED), [Poll(1, 20)]),
        (43, got(A_AGAIN), [Start(A_AGAIN)]),
        (44, Extended(41, refused=("a#1",)), []),
    ),
    "a lease that is nearly due comes along in the same call": (
        Limits(slots=2, visibility_timeout_s=120.0),
        (0, TICK, [Poll(2, 1)]),
        (1, got(A), [Start(A), Poll(1, 20)]),
        (10, got(B), [Start(B)]),
        (41, TICK, [Extend(((A, 120), (B, 120)))]),
    ),
}


def play(name, make=Consumer):
    limits, *lines = HISTORIES[name]
    consumer = make(limits, 0.0)
    for at, event, orders in lines:
        assert (at, orders) == (at, consumer.on(event, at))


@pytest.mark.parametrize("name", HISTORIES)
def test_history(name):
    play(name)


def test_it_asks_to_be_woken_for_each_deadline():
    consumer = Consumer(LEASED, 0.0)
    assert consumer.on(TICK, 0.0) == [Poll(1, 1)]
    assert consumer.wake_at() is None
    consumer.on(got(A), 1.0)
    assert consumer.wake_at() == 41.0
    consumer.on(TERM, 2.0)
    assert consumer.wake_at() == 41.0
    consumer.on(done(A), 3.0)
    assert (consumer.phase, consumer.wake_at()) == (Phase.STOPPED, None)


def reach_of_a_lease(make=Consumer):
    """Until when SQS is asked to hide a message received at 1, at the most, and when its job is ended."""
    consumer, now, reach = make(LEASED, 0.0), 1.0, 0.0
    consumer.on(TICK, 0.0)
    orders = consumer.on(got(A), now)
    while now < 50_000 and not any(isinstance(order, End) for order in orders):
        for order in orders:
            if isinstance(order, Extend):
                reach = max(reach, now + order.leases[0][1])
                consumer.on(Extended(now, kept=("a#1",)), now)
        now = consumer.wake_at()
        orders = consumer.on(TICK, now)
    return reach, now


def check_twelve_hours(make=Consumer):
    reach, ended_at = reach_of_a_lease(make)
    assert 43_100 < reach <= 1.0 + 43_200
    assert ended_at < reach


def check_batches(make=Consumer):
    consumer = make(Limits(slots=12, visibility_timeout_s=120.0), 0.0)
    consumer.on(TICK, 0.0)
    for start in (0, 10):
        consumer.on(got(*(Message(f"m{n}", f"h{n}", "{}") for n in range(start, min(start + 10, 12)))), 1.0)
    batches = [order for order in consumer.on(TICK, 41.0) if isinstance(order, Extend)]
    assert [len(batch.leases) for batch in batches] == [10, 2]


def test_no_lease_reaches_beyond_twelve_hours():
    check_twelve_hours()


def test_leases_are_extended_ten_in_a_call():
    check_batches()


def check_last_second(make=Consumer):
    """A lease that is due within a second of its loss is asked for, not looked at over and over."""
    consumer = make(LEASED, 0.0)
    consumer.on(TICK, 0.0)
    consumer.on(got(A), 0.0)
    consumer.on(Extended(43_080.0, kept=("a#1",)), 43_080.0)
    assert [Extend(((A, 50),))] == consumer.on(TICK, 43_120.0)
    consumer.on(Extended(43_120.0, unanswered=("a#1",)), 43_139.25)
    assert 43_149.25 == consumer.wake_at()
    assert [Extend(((A, 20),))] == consumer.on(TICK, 43_149.25)
    assert 43_150.0 == consumer.wake_at()


def test_a_lease_that_is_due_in_the_second_before_its_loss_is_asked_for():
    check_last_second()
