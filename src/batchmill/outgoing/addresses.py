"""Which addresses may be called for somebody else; every other one leads inside a network."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

_CLOSED_4: Final = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",  # this host
            "10.0.0.0/8",
            "100.64.0.0/10",  # behind a provider's NAT, and some clouds' metadata
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's own, seen from its machines
            "169.254.0.0/16",  # link-local: metadata of most clouds
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",  # multicast, reserved, broadcast
        ),
    )
)
_UNICAST_6: Final = ip_network("2000::/3")
"""All else holds loopback, link-local, unique local, mapped and translated addresses."""
_CLOSED_6: Final = tuple(
    map(ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "3ffe::/16"))
)
"""Teredo and other protocols, documentation, 6to4, the old test network."""


def may_be_called(text: str, *, loopback: bool) -> bool:
    """Say whether an address is one of the public internet, or this machine where that is allowed.

    The tables are those of IANA's special-purpose registries. Addresses that hold another one
    (mapped, NAT64, 6to4, Teredo) are refused whatever they hold.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if address.is_loopback:
        return loopback
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_4)
    return _is_public_6(address)


def _is_public_6(address: IPv6Address) -> bool:
    return (
        address.scope_id is None
        and address in _UNICAST_6
        and not any(address in network for network in _CLOSED_6)
    )
