"""What an IPv6 address carries is judged too, also where the network round it is opened."""

from ipaddress import ip_address

import pytest

from orderhooks.transport.addresses import NEVER_OPEN, judge, parse_networks

# Each form that carries an IPv4 address: the network to open, and addresses that lead to 8.8.8.8, to 127.0.0.1 and to
# the clouds' metadata.
FORMS = {
    "NAT64": ("64:ff9b::/96", "64:ff9b::808:808", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
    "local NAT64, 96": ("64:ff9b:1::/48", "64:ff9b:1::808:808", "64:ff9b:1::7f00:1", "64:ff9b:1::a9fe:a9fe"),
    "local NAT64, 48": (
        "64:ff9b:1::/48",
        "64:ff9b:1:808:8:800::",
        "64:ff9b:1:7f00:0:100::",
        "64:ff9b:1:a9fe:a9:fe00::",
    ),
    "6to4": ("2002::/16", "2002:808:808::1", "2002:7f00:1::1", "2002:a9fe:a9fe::1"),
    "Teredo": ("2001::/32", "2001:0:808:808::f7f7:f7f7", "2001:0:808:808::80ff:fffe", "2001:0:808:808::5601:5601"),
    "Teredo's server": (
        "2001::/32",
        "2001:0:808:808::f7f7:f7f7",
        "2001:0:7f00:1::f7f7:f7f7",
        "2001:0:a9fe:a9fe::f7f7:f7f7",
    ),
    "compatible": ("::/96", "::808:808", "::7f00:1", "::a9fe:a9fe"),
    "SIIT": ("::ffff:0:0:0/96", "::ffff:0:808:808", "::ffff:0:7f00:1", "::ffff:0:a9fe:a9fe"),
    "mapped": ("::ffff:0:0/96", "::ffff:808:808", "::ffff:7f00:1", "::ffff:a9fe:a9fe"),
    "ISATAP": ("fd00::/8", "fd00::5efe:808:808", "fd00::200:5efe:7f00:1", "fd00::5efe:a9fe:a9fe"),
}


@pytest.mark.parametrize(("network", "public", "loopback", "metadata"), FORMS.values(), ids=FORMS)
def test_an_opened_network_opens_nothing_that_is_closed_inside(network, public, loopback, metadata) -> None:
    allowed = parse_networks([network])
    assert judge(ip_address(public), allowed=allowed) == ""
    assert "loopback" in judge(ip_address(loopback), allowed=allowed)
    assert judge(ip_address(loopback), allowed=parse_networks([network, "127.0.0.0/8"])) == ""
    assert judge(ip_address(metadata), allowed=parse_networks([network, "0.0.0.0/0"])) == NEVER_OPEN


def test_addresses_of_their_own_are_no_carriers() -> None:
    assert judge(ip_address("::1"), allowed=parse_networks(["::1/128"])) == ""
