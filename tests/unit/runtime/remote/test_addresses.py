from __future__ import annotations

import pytest

from maquette.runtime.errors import Internal
from maquette.runtime.remote.addresses import is_public, leads_inside, pin


async def nowhere(host: str, port: int) -> list[str]:
    raise OSError("no such host")


def answers(*addresses: str):
    async def ask(host: str, port: int) -> list[str]:
        return list(addresses)

    return ask


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::", "no address", "",
    ],
)  # fmt: skip
def test_addresses_of_our_own_networks_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:8.8.8.8"]
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


async def test_a_name_is_replaced_by_the_one_address_that_was_checked() -> None:
    found = await pin("https://files.test/a?b=c#d", inside=False, ask=answers("93.184.215.14"))
    assert found.url == "https://93.184.215.14:443/a?b=c"
    assert (found.host, found.name) == ("files.test", "files.test")
    found = await pin("https://files.test:8443/a", inside=False, ask=answers("2606:4700::1"))
    assert (found.url, found.host) == ("https://[2606:4700::1]:8443/a", "files.test:8443")


@pytest.mark.parametrize(
    "url",
    [
        "http://files.test/a", "ftp://files.test/a", "file:///etc/passwd", "https://", "https://user:word@files.test/",
        "https://files.test:99999/", "gopher://files.test", "", "//files.test/a",
    ],
)  # fmt: skip
async def test_only_plain_https_is_followed(url: str) -> None:
    with pytest.raises(Internal):
        await pin(url, inside=False, ask=answers("93.184.215.14"))


async def test_one_address_inside_among_many_is_enough_to_refuse() -> None:
    with pytest.raises(Internal, match="not public") as caught:
        await pin("https://files.test/s3cr3t", inside=False, ask=answers("93.184.215.14", "127.0.0.1"))
    assert "s3cr3t" not in caught.value.message
    assert (
        await pin("http://files.test/", inside=True, ask=answers("127.0.0.1"))
    ).url == "http://127.0.0.1:80/"


async def test_a_name_without_an_address_may_be_tried_again() -> None:
    with pytest.raises(OSError, match="no such host"):
        await pin("https://files.test/", inside=False, ask=nowhere)
    with pytest.raises(OSError, match="no address"):
        await pin("https://files.test/", inside=False, ask=answers())


async def test_the_operators_own_base_may_lead_inside() -> None:
    assert await leads_inside("http://proxy.test", ask=answers("10.0.0.1"))
    assert not await leads_inside("https://api.meshy.test", ask=answers("93.184.215.14"))
