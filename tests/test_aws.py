"""The door to AWS: what botocore is given to work with."""

from pathlib import Path

import botocore
import pytest
from botocore.loaders import JSONFileLoader

from observerd.aws import Account

DATA = Path(botocore.__file__).parent / "data"
# A packed one, a plain one, and the largest.
MODELS = ("sqs/2012-11-05/service-2", "_retry", "endpoints")


@pytest.fixture
def models(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    return Account(None)._core.get_component("data_loader").file_loader


@pytest.mark.parametrize("name", MODELS)
def test_botocores_descriptions_are_read_as_botocore_reads_them(name, models):
    path = str(DATA / name)
    read = models.load_file(path)

    assert read
    assert type(read) is dict
    assert JSONFileLoader().load_file(path) == read


def test_a_description_that_there_is_not_is_none(models, tmp_path):
    assert models.load_file(str(tmp_path / "service-2")) is None
