"""The guard of all tests holds: what is not loopback is not contacted."""

import socket

import pytest
import requests


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("2001:db8::1", 80)])
def test_connecting_elsewhere_is_refused(address: tuple[str, int]) -> None:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as connection, pytest.raises(AssertionError, match="only loopback"):
        connection.connect(address)


def test_looking_up_a_name_elsewhere_is_refused() -> None:
    with pytest.raises(AssertionError, match="only loopback"):
        requests.get("http://shop.example/", timeout=1)
