"""A bounded part of the fuzzing, the same each time. OBSERVERD_FUZZ_EXAMPLES=100000 is a long night."""

import os

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS

EXAMPLES = int(os.environ.get("OBSERVERD_FUZZ_EXAMPLES", "150"))
BOUNDED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="OBSERVERD_FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)


@st.composite
def mutants(draw, seeds):
    """A beginning with something cut out, put in, doubled or changed, as often as not in several places."""
    data = bytearray(draw(st.sampled_from(seeds))[:4_096])
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        to = min(len(data), at + draw(st.sampled_from([0, 1, 1, 2, 8])))
        data[at:to] = draw(
            st.binary(max_size=4)
            | st.sampled_from(
                [b"\0", b"\n", b'"', b"\\", b"{", b"]", b"9" * 20, b"-", b"null", b"\xff", b" "]
            )
            | st.just(bytes(data[at:to]) * 3)
        )
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_make_it_crash(name):
    target = TARGETS[name]

    @BOUNDED
    @given(st.binary(max_size=200) | mutants(SEEDS[name]))
    def attack(data):
        target(data)

    for seed in SEEDS[name]:
        attack = example(seed)(attack)
    attack()


def test_every_target_has_its_beginnings():
    assert TARGETS.keys() == SEEDS.keys()
