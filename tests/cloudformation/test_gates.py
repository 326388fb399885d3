"""The checkers that other people wrote."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cloudformation.template import HERE, load
from tests.cloudformation.tools import ROOT, environment

BIN = Path(sys.executable).parent


# checkov's own environment takes its time, when the lock has changed.
@pytest.mark.timeout(600)
def test_checkov_finds_nothing_but_what_the_templates_skip_and_say_why():
    """It runs here and fails the test where it cannot be installed: a gate that is not run is not passed."""
    command = [environment("checkov") / "checkov", "--directory", HERE, "--framework", "cloudformation"]
    done = subprocess.run([*command, "--output", "json"], capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    assert [
        (it["file_path"], it["check_id"], it["resource"]) for it in report["results"]["failed_checks"]
    ] == []
    assert report["results"]["parsing_errors"] == []
    assert report["summary"]["passed"] > 50
    assert report["summary"]["skipped"] == len(skips())
    assert done.returncode == 0


def skips():
    """Every skipped check of every template, with its reason."""
    return [
        (name, skip["id"], skip["comment"])
        for name in ("observerd.yaml", "schedule.yaml", "image.yaml", "vpc-endpoints.yaml")
        for it in load(name)["Resources"].values()
        for skip in it.get("Metadata", {}).get("checkov", {}).get("skip", [])
    ]


def test_every_skip_has_its_reason():
    assert skips()
    assert all(len(comment.split()) >= 3 for *_, comment in skips())


def test_cfn_lint_finds_nothing_in_four_partitions_even_as_information():
    done = subprocess.run([BIN / "cfn-lint"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


def test_cfn_lint_would_find_something(tmp_path):
    """With our own configuration, which is what makes silence worth something."""
    broken = tmp_path / "broken.yaml"
    text = (HERE / "vpc-endpoints.yaml").read_text()
    broken.write_text(text.replace("!Ref EndpointSecurityGroup", "!Ref Nowhere"))
    done = subprocess.run(
        [BIN / "cfn-lint", "--config-file", ROOT / ".cfnlintrc", "--template", broken],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Nowhere" in done.stdout
    assert done.returncode


def test_yamllint_finds_nothing():
    done = subprocess.run(
        [BIN / "yamllint", "--strict", HERE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("", 0)
