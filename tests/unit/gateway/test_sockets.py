"""Whose sockets count together."""

from __future__ import annotations

import pytest

from services.gateway.auth import PUBLIC_ACCOUNT, Principal
from services.gateway.edge.sockets import client_of

PUBLIC = Principal(PUBLIC_ACCOUNT)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("", "", True),
    ],
)
def test_the_public_account_counts_by_address(one, other, same):
    assert (client_of(PUBLIC, one) == client_of(PUBLIC, other)) is same


def test_an_account_counts_wherever_it_comes_from():
    assert client_of(Principal("a"), "192.0.2.1") == client_of(Principal("a"), "192.0.2.2")
    assert client_of(Principal("a"), "192.0.2.1") != client_of(Principal("b"), "192.0.2.1")
    assert client_of(Principal("192.0.2.1"), "") != client_of(PUBLIC, "192.0.2.1")
