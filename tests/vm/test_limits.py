"""Limits of jobs where a kernel enforces them: `make test-vm`."""

import pytest

from tests.vm import vm

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """{name of a job of in_vm.py: how it ended}."""
    return {end["job"]: end for end in vm.results(tmp_path_factory.mktemp("vm"))}


def test_a_job_that_needs_more_memory_than_it_may_is_told_apart_from_one_that_fails(ends):
    end = ends["memory"]

    assert ("oom", "out of memory: it needed more than its memory_max of 64M") == (
        end["outcome"],
        end["reason"],
    )
    assert 0 < end["max_rss_bytes"] <= 64 << 20


def test_a_job_whose_child_was_killed_for_memory_does_not_go_on_without_it(ends):
    end = ends["memory-of-a-child"]

    assert ("oom", "") == (end["outcome"], end["output"])


def test_a_job_with_enough_memory_succeeds(ends):
    end = ends["enough-memory"]

    assert "succeeded" == end["outcome"]
    assert end["max_rss_bytes"] > 400_000_000


def test_a_job_that_is_killed_for_another_reason_has_not_run_out_of_memory(ends):
    assert "failed" == ends["killed"]["outcome"]


def test_a_job_cannot_have_more_processes_than_it_may(ends):
    end = ends["tasks"]

    assert "failed" == end["outcome"]
    assert "Cannot fork" in end["output"]


def test_a_fifth_of_a_cpu_makes_a_second_of_work_last(ends):
    assert float(ends["cpu"]["output"]) > 3
