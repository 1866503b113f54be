"""A developer's program: reads the delivery log over the API with a token. Used by `demo_check`."""

import requests

from shop.customers import PATIENCE_SECONDS, ShopError

PAGE_SIZE = 50


def delivered(address: str, *, to: str, user: str, password: str) -> int:
    """How many deliveries to the subscription of that id the API calls delivered, page by page. Raises ShopError."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            login = {"username": user, "password": password}
            response = session.post(f"{address}api/token/", data=login, timeout=PATIENCE_SECONDS)
            response.raise_for_status()
            session.headers["Authorization"] = f"Token {response.json()['token']}"
            page = f"{address}api/deliveries/?state=delivered&subscription={to}&page_size={PAGE_SIZE}"
            count = 0
            while page:
                response = session.get(page, timeout=PATIENCE_SECONDS)
                response.raise_for_status()
                count += len(response.json()["results"])
                page = response.json()["next"]
        except requests.RequestException as error:
            raise ShopError(f"The API did not respond as it should: {error}") from None
    return count
