"""The firmware knows the kinds of credentials that the contract lets boards have, and no others."""

import ast

from bench.contract.credentials import BoardCredentialsType, CredentialsType
from tests.support import firmware_sources as sources


def test_firmware_knows_the_kinds_that_boards_can_have():
    named = {
        node.value
        for tree in sources.trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in set(CredentialsType)
    }
    assert named == set(BoardCredentialsType)


def test_kinds_of_boards_are_kinds_of_thingsboard():
    assert {each.value for each in BoardCredentialsType} < {each.value for each in CredentialsType}
