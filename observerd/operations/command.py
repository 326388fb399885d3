"""The subcommands about a stack: what was asked in, text and exit status out."""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence

from observerd import by_hand
from observerd.aws import Account, Unanswered, Unusable, endpoint_of, region_of
from observerd.core.lines import one_line
from observerd.keys import Config
from observerd.operations import dlq, doctor, logs, runs, status, why
from observerd.operations.patient import Patient
from observerd.operations.place import EX_CONFIG, Place, find
from observerd.operations.reading import instant_ms
from observerd.operations.screen import Progress, Screen, Waiting, as_json, screen_of
from observerd.operations.tale import time_text
from observerd.operations.timeline import hop_values, picture
from observerd.operations.trouble import Trouble, trouble_of
from observerd.operations.waking import wake

EX_OK, EX_FAILED, EX_USAGE, EX_DATAERR = 0, 1, 64, 65


def run(name: str, arguments: argparse.Namespace, config: Config) -> int:
    """Do what subcommand name asks. Returns the exit status. Raises Trouble."""
    if name == "status":
        told = status.fetch(config)
        print(as_json(told) if arguments.json else status.text(told, _screen()))
        return EX_OK
    action = {"send": _send, "runs": _runs, "why": _why, "logs": _logs, "dlq": _dlq, "doctor": _doctor}[name]
    try:
        account = Account(arguments.region or config.region or region_of(config.queue_url), Waiting())
        with Progress("looking for the stack"):
            place = find(account, config, arguments.stack)
        return action(account, place, arguments)
    except Unusable as fault:
        raise Trouble(str(fault), EX_CONFIG) from None
    except Unanswered as fault:
        raise trouble_of(fault) from None


def _screen() -> Screen:
    return screen_of(sys.stdout, os.environ)


def _send(account: Account, place: Place, arguments: argparse.Namespace) -> int:
    payload = sys.stdin.read() if arguments.payload == "-" else arguments.payload
    client = account.client("sqs", endpoint_of(place.queue_url, os.environ))
    try:
        sent = by_hand.send(client, place.queue_url, arguments.job, arguments.scheduled_time, payload)
    except by_hand.BadRequest as fault:
        raise Trouble(str(fault), EX_DATAERR) from None
    words, unwoken = wake(account, place.group)
    if unwoken:
        # It is sent: a late run is no reason to send it again.
        print(f"observerd: {one_line(unwoken)}", file=sys.stderr)
    if arguments.json:
        print(as_json({**sent._asdict(), "woken": words}))
    else:
        print(f"sent: job {sent.job}, run {sent.run_id}, message {sent.message_id}; {words}")
    return EX_OK


def _runs(account: Account, place: Place, arguments: argparse.Namespace) -> int:
    now = time.time()
    wanted = runs.Wanted(
        runs.moment(arguments.since or "24h", now),
        arguments.job and why.known_job(arguments.job),
        runs.outcomes(arguments.outcome),
    )
    told, doubt = runs.history(account, place, wanted, now)
    if doubt:
        print(f"observerd: {one_line(doubt)}", file=sys.stderr)
    if arguments.json:
        print(runs.json_text(told, now))
    elif told:
        print(runs.table(told, now, _screen()))
    else:
        print(f"no such run since {time_text(wanted.since)}")
    return EX_OK


def _why(account: Account, place: Place, arguments: argparse.Namespace) -> int:
    now = time.time()
    since = runs.moment(arguments.since or "14d", now)
    story, found = why.story_of(account, place, why.read_asked(arguments.run), since)
    known = why.evidence(account, place, story, found)
    advice = why.advice(why.look(account, place, known, now), place)
    if arguments.json:
        print(as_json({**story.values(now), "timeline": hop_values(known, now), "advice": advice}))
    else:
        screen = _screen()
        print("\n".join([picture(known, now, screen), *([""] if advice else []), *_advised(advice, screen)]))
    return EX_OK


def _advised(advice: Sequence[str], screen: Screen) -> Iterator[str]:
    for line in map(one_line, advice):
        # A command is to be pasted: it is never wrapped by us.
        yield from [line] if line.startswith(" ") else screen.wrapped(line)


def _logs(account: Account, place: Place, arguments: argparse.Namespace) -> int:
    since = runs.moment(arguments.since or "14d", time.time())
    story, _ = why.story_of(account, place, why.read_asked(arguments.run), since)
    attempt = logs.attempt_of(story, arguments.attempt)
    show = _show_json if arguments.json else _show_line
    if arguments.follow:
        logs.follow(account, place, story, attempt, show)
    else:
        for line in logs.Tape(account.client("logs"), place.logs(), attempt.log_stream or "").more():
            show(line)
    return EX_OK


def _show_line(line: logs.Line) -> None:
    # What a job printed must not act on a person's terminal; a file gets it as it is.
    print("\t".join(map(one_line, line.text.split("\t"))) if sys.stdout.isatty() else line.text, flush=True)


def _show_json(line: logs.Line) -> None:
    print(json.dumps({"at": instant_ms(line.at), "line": line.text}, ensure_ascii=False), flush=True)


def _doctor(account: Account, place: Place, arguments: argparse.Namespace) -> int:
    patient = Patient(account, place, os.environ, time.time())
    diagnosis = doctor.examine(patient)
    print(as_json(diagnosis.values()) if arguments.json else doctor.report(diagnosis, patient, _screen()))
    return diagnosis.status


def _dlq(account: Account, place: Place, arguments: argparse.Namespace) -> int:
    changes = arguments.action in ("retry", "drop")
    if changes and not (arguments.which or arguments.all):
        raise Trouble(f"dlq {arguments.action}: which? (name RUN or MESSAGE, or give --all)", EX_USAGE)
    letters = dlq.DeadLetters(account, place, os.environ)
    with letters.looked_at() as found:
        chosen = dlq.meant(found, arguments.which, every=arguments.all or not changes)
        if changes:
            return _change(letters, chosen, arguments)
        _show_dead(letters, chosen, place, arguments)
    if (unseen := letters.count() - len(found)) > 0:
        print(f"observerd: about {unseen} more not shown: {dlq.UNSEEN}", file=sys.stderr)
    return EX_OK


def _show_dead(
    letters: dlq.DeadLetters, chosen: list[dlq.Dead], place: Place, arguments: argparse.Namespace
) -> None:
    now = time.time()
    whole = arguments.action == "show"
    lines = {dead.message.id: letters.last_lines(dead) for dead in chosen if whole}
    if arguments.json:
        more = ({"last_lines": lines[dead.message.id]} if whole else {} for dead in chosen)
        print(as_json([dead.values() | each for dead, each in zip(chosen, more, strict=True)]))
    elif not chosen:
        print("no dead letters")
    elif whole:
        sheets = (dlq.sheet(dead, lines[dead.message.id], place, now, _screen()) for dead in chosen)
        print("\n\n".join(sheets))
    else:
        print(dlq.table(chosen, now, _screen()))


def _change(letters: dlq.DeadLetters, chosen: list[dlq.Dead], arguments: argparse.Namespace) -> int:
    if arguments.action == "drop" and not (arguments.yes or _agreed(chosen)):
        return EX_FAILED
    act = letters.retry if arguments.action == "retry" else letters.drop
    done = []
    for dead in chosen:
        done.append(act(dead))
        if not arguments.json:
            print(dlq.report(done[-1]), flush=True)
    if arguments.json:
        print(as_json([each.values() for each in done]))
    return EX_FAILED if any(each.fault for each in done) else EX_OK


def _agreed(chosen: list[dlq.Dead]) -> bool:
    """Whether the person at the terminal wants these deleted. Raises Trouble where there is none."""
    if not sys.stdin.isatty():
        raise Trouble("dlq drop: deletes for good (give --yes where nobody can be asked)", EX_USAGE)
    names = ", ".join(f"{dead.job or '-'} {dead.run_id or dead.message.id}" for dead in chosen)
    print(f"delete for good: {one_line(names)}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
