"""A round of chaos is what its seed and its number say."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bench.contract.credentials import BoardCredentialsType
from bench.faults import board_faults, server_faults
from bench.faults.board_faults import BoardFault
from bench.faults.chaos_scenario import Family, Stage, Ways, draw_round
from bench.faults.network import rules
from bench.faults.server_faults import ServerFault
from bench.flash.device_config import Transport

SEEDS = st.integers(0, (1 << 32) - 1)
NUMBERS = st.integers(1, 10_000)
FAMILIES = st.sets(st.sampled_from(list(Family)), min_size=1)


@given(SEEDS, NUMBERS, FAMILIES)
def test_round_is_the_same_for_the_same_seed_and_number(seed, number, families):
    assert draw_round(seed, number, families) == draw_round(seed, number, sorted(families, reverse=True))
    assert draw_round(seed, number, families).entry() == draw_round(seed, number, families).entry()


@given(SEEDS, NUMBERS)
def test_rounds_of_other_seeds_and_numbers_are_others(seed, number):
    found = draw_round(seed, number, Family)
    assert found.mac not in (draw_round(seed + 1, number, Family).mac, draw_round(seed, number + 1, Family).mac)


@given(SEEDS, NUMBERS, FAMILIES)
def test_only_the_chosen_families_go_wrong(seed, number, families):
    for stage in draw_round(seed, number, families).stages:
        assert stage.network or stage.server or stage.board
        assert Family.NETWORK in families or not stage.network
        assert Family.SERVER in families or not stage.server
        assert Family.BOARD in families or not stage.board


@given(SEEDS, NUMBERS, st.sets(st.sampled_from(list(Transport))), st.sets(st.sampled_from(list(Transport))))
def test_only_the_ways_of_the_server_are_drawn(seed, number, clear, tls):
    assume(clear or tls)
    ways = Ways(clear=tuple(sorted(clear)), tls=tuple(sorted(tls)))
    chosen = draw_round(seed, number, Family, ways).choices
    assert chosen.transport in (tls if chosen.tls else clear)
    assert draw_round(seed, number, Family, Ways()) == draw_round(seed, number, Family)


@given(SEEDS, NUMBERS)
def test_nothing_is_drawn_that_no_board_could_survive(seed, number):
    found = draw_round(seed, number, Family)
    assert found.choices.tls or found.choices.kind is not BoardCredentialsType.X509_CERTIFICATE
    for stage in found.stages:
        if not found.choices.tls or found.choices.transport is Transport.COAP:
            assert rules.FaultKind.CORRUPT not in [each.kind for each in stage.network]
        if stage.board and stage.board.kind in (board_faults.BoardFaultKind.CORRUPT, board_faults.BoardFaultKind.VAULT):
            assert found.provisioned


def test_everything_is_drawn_sooner_or_later():
    rounds = [draw_round(1, number, Family) for number in range(1, 1000)]
    stages = [stage for each in rounds for stage in each.stages]
    network = {each.kind for stage in stages for each in stage.network}
    # those are a server's faults, which has them in front of it
    assert network == set(rules.FaultKind) - {rules.FaultKind.REFUSE, rules.FaultKind.UNAVAILABLE}
    assert {stage.server.kind for stage in stages if stage.server} == set(server_faults.ServerFaultKind)
    assert {stage.board.kind for stage in stages if stage.board} == set(board_faults.BoardFaultKind)
    assert {(each.choices.transport, each.choices.tls) for each in rounds} == {
        (transport, tls) for transport in Transport for tls in (False, True)
    }
    assert {each.provisioned for each in rounds} == {False, True}


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        ({}, {}),
        (
            {"network": (rules.Fault(kind=rules.FaultKind.DROP, step=3),)},
            {"network": [{"fault": "drop", "amount": 1, "step": 3}]},
        ),
        ({"server": ServerFault(kind=server_faults.ServerFaultKind.KILL)}, {"server": {"fault": "kill", "amount": 0}}),
        ({"board": BoardFault(kind=board_faults.BoardFaultKind.CUT, seed=7)}, {"board": {"fault": "cut", "seed": 7}}),
    ],
)
def test_turn_is_reported_with_what_goes_wrong_and_no_more(change, reported):
    assert replace(Stage(for_s=1.234), **change).entry() == {"for_s": 1.23, **reported}
