"""Which alarm rings when, and that none stays red: the template's own expressions over whole days."""

import pytest

from tests.cloudformation.cloudwatch import Alarm, Metrics
from tests.cloudformation.world import ALARMS, IN_FLIGHT, TEMPLATE, VISIBLE, World

DAY = 24 * 60
SUCCEEDED = ("JobName", "JobSucceeded")


@pytest.fixture(params=["late", "lost"])
def world(request):
    """The points of a queue that wakes up come 15 minutes late, or those of that time never come."""
    return World(lost=request.param == "lost")


def alarm(name):
    [found] = [it for it in ALARMS if it.name == name]
    return found


def rang(world):
    return [name for _, name, state in world.changes if state == "ALARM"]


def test_all_alarms_of_the_template_are_evaluated():
    names = {name for name, it in TEMPLATE.items() if it["Type"] == "AWS::CloudWatch::Alarm"}
    assert {it.name for it in ALARMS} == names
    assert len(names) == 9


def test_a_day_of_idleness_rings_nothing(world):
    world.advance(DAY)
    assert world.changes == []


@pytest.mark.parametrize("job_min", [1, 180])
def test_a_daily_message_rings_nothing_since_the_producer_wakes_the_group(world, job_min):
    for _ in range(2):
        world.advance(12 * 60)
        world.send(job_min)
        world.advance(12 * 60)
    assert world.changes == []
    assert (world.waiting, world.workers, world.desired) == ([], [], 0)


def test_where_the_producer_could_not_wake_the_wake_alarm_does_and_is_green_at_once(world):
    world.advance(12 * 60)
    world.send(5, wake=False)
    world.advance(12 * 60)
    [(rang_at, *_), (green_at, *_)] = world.changes
    assert [it[1:] for it in world.changes] == [("WakeAlarm", "ALARM"), ("WakeAlarm", "OK")]
    assert 12 * 60 < rang_at <= 12 * 60 + 16  # The 15 minutes of a sleeping queue.
    assert green_at == rang_at + 1
    assert (world.waiting, world.desired) == ([], 0)


def test_with_a_queue_awake_the_wake_alarm_needs_a_minute():
    world = World(sleepy=False)
    world.advance(60)
    world.send(5, wake=False)
    world.advance(60)
    assert world.changes[0] == (61, "WakeAlarm", "ALARM")


def test_two_busy_workers_with_nothing_waiting_ring_nothing(world):
    world.desired = 2
    world.send(*[300] * 8)
    world.advance(DAY)
    assert world.changes == []


def test_runs_that_wait_for_their_own_job_start_no_further_worker(world):
    """SQS counts messages as visible that their group keeps back: more workers would find nothing."""
    world.send(*[60] * 14, job="slow")
    world.advance(DAY)
    assert "GrowAlarm" not in rang(world)
    assert world.launches == 1


def test_a_backlog_grows_the_group_to_its_maximum_and_is_green_again_when_worked_off(world):
    world.send(*[20] * 60)
    world.advance(60)
    assert world.desired == 3
    world.advance(DAY)
    assert set(rang(world)) == {"GrowAlarm"}
    assert (world.red, world.desired) == (set(), 0)


def test_growing_never_shrinks_and_waking_never_meets_a_group_of_three(world):
    """A step to exactly one worker is only safe while none is wanted."""
    world.desired = 3
    world.send(*[30] * 100)
    for _ in range(600):
        before = world.desired
        world.advance()
        assert world.desired >= before or not world.waiting
    assert "WakeAlarm" not in rang(world)


def test_a_worker_that_never_came_up_is_removed_within_about_an_hour(world):
    world.workers_get_stuck = True
    world.desired = 1
    world.advance(2 * 60)
    assert [it[1:] for it in world.changes] == [("LeakAlarm", "ALARM"), ("LeakAlarm", "OK")]
    assert 60 <= world.changes[0][0] <= 63
    assert (world.workers, world.desired) == ([], 0)


def test_a_stuck_worker_that_has_protected_itself_keeps_ringing_until_a_person_ends_it(world):
    world.workers_get_stuck = world.workers_protect_themselves = True
    world.desired = 1
    world.advance(3 * 60)
    assert world.red == {"LeakAlarm"}
    world.workers.clear()
    world.advance(2)
    assert world.red == set()


def test_a_long_job_is_no_leak(world):
    """Messages in flight are work, however little waits."""
    world.send(11 * 60)
    world.advance(DAY)
    assert rang(world) == []


def test_a_worker_that_leaves_rings_nothing(world):
    world.send(10)
    world.advance(30)
    assert world.workers == []
    world.advance(2 * 60)
    assert world.changes == []


def test_messages_that_nobody_works_on_ring_after_twenty_minutes_until_somebody_does(world):
    world.workers_get_stuck = True
    world.send(5)
    world.advance(40)
    assert "StalledAlarm" in world.red
    [stuck] = world.workers
    stuck.stuck = False
    world.advance(60)
    assert world.red == set()


def test_a_worker_that_cannot_be_launched_rings_after_a_quarter_of_an_hour(world):
    world.launches_fail = True
    world.send(5)
    world.advance(17)
    assert "LaunchAlarm" in world.red
    world.launches_fail = False
    world.advance(60)
    assert world.red == set()


@pytest.mark.parametrize(
    ("name", "queue"), [("DeadLetterAlarm", "DeadLetterQueue"), ("UndeliveredAlarm", "UndeliveredQueue")]
)
def test_a_message_in_a_queue_for_failures_rings_until_it_is_gone(name, queue):
    metrics = Metrics()
    for minute, count in enumerate([0, 0, 1, 1, 0]):
        metrics.put((queue, VISIBLE[1]), minute, count)
    assert [alarm(name).rings(metrics, now) for now in range(1, 6)] == [False, False, True, True, False]


@pytest.mark.parametrize(
    "metric", [("Producer", "Errors"), ("Producer", "Throttles"), ("AWS::StackName", "WakeFailed")]
)
def test_one_failure_of_the_producer_rings_and_is_green_again_by_itself(metric):
    metrics = Metrics()
    metrics.put(("Producer", "Errors"), 10, 0)
    metrics.put(metric, 10, 1)
    metrics.put(("Producer", "Errors"), 11, 0)
    assert [alarm("ProducerAlarm").rings(metrics, now) for now in (10, 11, 12)] == [False, True, False]


def successes(*hours):
    metrics = Metrics()
    for hour in hours:
        metrics.put(SUCCEEDED, hour * 60 + 20, 1)
    return metrics


def test_a_daily_success_keeps_the_dead_mans_switch_green_all_day():
    metrics = successes(3, 27, 51, 75)
    assert not any(alarm("MissedAlarm").rings(metrics, now) for now in range(4 * 60, 76 * 60))


def test_a_run_that_is_missed_rings_26_hours_after_the_last_success_and_falls_silent_with_the_next():
    missed = alarm("MissedAlarm")
    metrics = successes(3, 27, 75)
    red = [now for now in range(4 * 60, 90 * 60) if missed.rings(metrics, now)]
    assert (red[0] // 60, red[-1] // 60) == (27 + 27, 75)


def test_a_new_stack_rings_until_its_first_success():
    """Honest, if loud: nothing has succeeded yet. The first deployment ends with a run by hand."""
    assert alarm("MissedAlarm").rings(Metrics(), 60)
    assert not alarm("MissedAlarm").rings(successes(1), 3 * 60)


def test_the_evaluator_fills_missing_points_as_the_guide_shows():
    """The rows of its table for three of three periods, which looks at five."""
    about = {
        "Statistic": "Maximum",
        "Period": 60,
        "Dimensions": [{"Value": {"Ref": "it"}}],
        "MetricName": "x",
        "EvaluationPeriods": 3,
        "Threshold": 0,
        "ComparisonOperator": "GreaterThanThreshold",
    }
    rows = {
        "0-X-X": (False, False),
        "0----": (False, False),
        "-----": (True, False),
        "0XX-X": (True, True),
        "--X--": (True, False),
    }
    for row, expected in rows.items():
        metrics = Metrics()
        for minute, point in enumerate(row):
            if point != "-":
                metrics.put(("it", "x"), minute, point == "X")
        found = [
            Alarm.of("it", about | {"TreatMissingData": it}, {}).rings(metrics, 5)
            for it in ("breaching", "notBreaching")
        ]
        assert (row, *found) == (row, *expected)


def test_what_the_scaling_alarms_look_at_are_waiting_and_running_messages():
    looked_at = {
        metric
        for name in ("WakeAlarm", "GrowAlarm", "LeakAlarm")
        for metric, *_ in alarm(name).queries.values()
    }
    assert looked_at == {
        VISIBLE,
        IN_FLIGHT,
        ("Workers", "GroupDesiredCapacity"),
        ("Workers", "GroupInServiceInstances"),
    }
