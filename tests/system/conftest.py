import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport():
    """Here nothing may be skipped: a test that cannot run has not passed."""
    report = (yield).get_result()
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, and nothing may be here: {report.longrepr}"
