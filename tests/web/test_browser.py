"""The status page as a person meets it: in a browser, by keyboard, in the dark, on a narrow screen.

Run as a program with a directory, this writes pictures there: docs/status-page.png is one of them.
"""

import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from observerd import clock
from observerd.core.job import Job
from observerd.status import State
from observerd.web.server import Server
from tests.web.scenes import (
    HOSTILE,
    busy_night,
    failed,
    history,
    in_progress,
    past,
    site,
    status,
    unwieldy_night,
)

# One browser for all of them, on one of pytest's workers.
pytestmark = pytest.mark.xdist_group("browser")

WIDE, NARROW = {"width": 1_240, "height": 1_000}, {"width": 360, "height": 740}


@contextmanager
def chromium():
    with sync_playwright() as playwright:
        # No sandbox: tests run as root in a container.
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture
def visit(browser):
    """visit(status, **options) is (page, board): the page of a worker whose board the test may change."""
    contexts = []

    def make(shown, **options):
        answers, board = site(shown)
        server = Server("127.0.0.1:0", None, answers.answer)
        context = browser.new_context(**{"viewport": WIDE, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.goto(f"http://127.0.0.1:{server.port}/")
        return page, board

    yield make
    for context in contexts:
        context.close()


def row(page, job):
    return page.locator("#jobs tr", has=page.get_by_role("rowheader", name=job))


def test_it_shows_what_there_is_without_javascript(visit):
    page, _ = visit(busy_night(), java_script_enabled=False)

    expect(page.get_by_role("heading", level=1)).to_contain_text("running")
    expect(page.locator(".tiles")).to_contain_text("2 of 4 busy")
    expect(page.locator(".runs li").first).to_contain_text("billing-run")
    expect(row(page, "rebuild-search")).to_contain_text("in the dead-letter queue: a person must look")
    expect(page.get_by_role("img", name="nightly-feed: the last 13 durations")).to_be_visible()
    log = page.get_by_role("link", name="Log of prune-uploads")
    assert "prune-uploads" in log.get_attribute("href")


def test_it_keeps_itself_current_while_a_job_runs(visit):
    run = in_progress("nightly-feed", since_s=3.0)
    page, board = visit(status(State.RUNNING, running=(run,)))
    clock = page.locator(".runs .clock")
    before = clock.inner_text()
    page.wait_for_function(
        "before => document.querySelector('.runs .clock').innerText !== before", arg=before
    )

    ended = past("nightly-feed", ago_s=0.0, duration_s=5.0)
    board.status = status(recent=(ended,), histories={"nightly-feed": history(ended)})

    expect(page.get_by_text("No job is running.")).to_be_visible(timeout=30_000)
    expect(row(page, "nightly-feed")).to_contain_text("succeeded")
    expect(page.get_by_role("heading", level=1)).to_contain_text("idle")


def test_what_a_reader_has_opened_stays_open(visit):
    bad = failed(ago_s=1.0)
    page, board = visit(status(recent=(bad,)))
    page.get_by_text("Last lines").click()

    board.status = status(recent=(past(ago_s=0.0), bad))

    expect(page.locator("#recent tbody tr")).to_have_count(2, timeout=30_000)
    expect(page.get_by_text("no space left on device")).to_be_visible()


def test_it_says_when_the_worker_is_gone(visit):
    page, _ = visit(status())
    page.route("**/*", lambda route: route.abort())

    expect(page.get_by_role("alert")).to_contain_text("does not answer any more", timeout=30_000)


def test_what_strangers_wrote_does_nothing(visit):
    shown = status(
        State.RUNNING,
        fault=HOSTILE,
        running=(in_progress(HOSTILE, run_id=HOSTILE),),
        recent=(failed(HOSTILE, reason=HOSTILE, last_lines=HOSTILE, run_id=HOSTILE),),
        jobs={HOSTILE: Job(HOSTILE, ("x",), description=HOSTILE)},
    )
    page, board = visit(shown)
    page.get_by_text("Last lines").click()
    expect(page.locator("pre")).to_have_text(HOSTILE)

    # Neither at first nor when the script puts the new in the old one's place.
    board.status = status(State.RUNNING, recent=(failed(HOSTILE, reason=HOSTILE), failed(HOSTILE)))
    expect(page.locator("#recent tbody tr")).to_have_count(2, timeout=30_000)

    assert "taken" not in page.title()
    assert 0 == page.locator("img").count()


def test_it_asks_nobody_else_for_anything(visit):
    page, _ = visit(busy_night())
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    faults = []
    page.on("console", lambda message: faults.append(message.text))
    page.reload()
    page.wait_for_load_state("networkidle")

    home = page.url
    assert [] == [url for url in asked if not url.startswith((home, "data:"))]
    assert [] == faults


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_it_can_be_read_by_everybody(scheme, viewport, visit):
    """axe-core: contrast, names, structure. And nothing needs sideways scrolling."""
    shown = busy_night()
    page, _ = visit(shown, color_scheme=scheme, viewport=viewport, reduced_motion="reduce")
    page.get_by_text("Last lines").first.click()

    found = Axe().run(page)

    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.parametrize("width", [360, 800, 880, 1_240])
def test_long_names_are_no_strips_of_letters_and_push_nothing_off_the_screen(width, visit):
    page, _ = visit(unwieldy_night(), viewport={"width": width, "height": 900}, reduced_motion="reduce")
    page.get_by_text("Last lines").first.click()

    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    widths = page.locator("tbody th, tbody .wide").evaluate_all("all => all.map(each => each.offsetWidth)")
    assert min(widths) >= 140
    log = page.get_by_role("link", name="Log of").last
    assert 1 == log.evaluate("link => link.getClientRects().length")
    assert 0 == Axe().run(page).violations_count


def test_it_can_be_used_by_keyboard_alone(visit):
    page, _ = visit(busy_night())
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        here = page.evaluate(
            "(at => at === document.body ? null : [at.tagName, at.innerText.trim(),"
            " getComputedStyle(at).outlineStyle !== 'none'])(document.activeElement)"
        )
        if here is None:
            break
        reached.append(here)

    assert ["A", "Skip to the jobs", True] == reached[0]
    assert all(has_ring for _, _, has_ring in reached)
    told = [text for _, text, _ in reached]
    assert {"Last lines", "Log", "JSON", "Metrics", "Health", "Readiness"} <= set(told)
    page.get_by_text("Last lines").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("no space left on device")).to_be_visible()


def pictures(directory):
    scenes = {
        "busy": busy_night(),
        "idle": status(idle_since=clock.now() - 41, idle_timeout_s=120.0),
        "unwieldy": unwieldy_night(),
    }
    with chromium() as running:
        for name, shown in scenes.items():
            server = Server("127.0.0.1:0", None, site(shown)[0].answer)
            for scheme in ("light", "dark"):
                for width, viewport in (("wide", WIDE), ("narrow", NARROW)):
                    page = running.new_page(color_scheme=scheme, viewport=viewport)
                    page.goto(f"http://127.0.0.1:{server.port}/")
                    page.screenshot(path=Path(directory) / f"{name}-{scheme}-{width}.png", full_page=True)
                    page.close()


if __name__ == "__main__":
    pictures(sys.argv[1])
