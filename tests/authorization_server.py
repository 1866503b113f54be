"""A real authorization server (Authlib), in a process of its own: `python -m tests.authorization_server <port>`.

It grants client credentials to one client, and counts what it is asked for. `/introspect` says which tokens it has
granted; `/set` changes how it behaves.
"""

import sys
import threading
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, grants
from flask import Flask, jsonify, request

CLIENT_ID, CLIENT_SECRET = "orderhooks: the shop", "s3cr3t+of/the client"
SCOPES = {"webhooks", "orders"}


class Client(ClientMixin):  # type: ignore[misc]
    client_id = CLIENT_ID
    methods = {"client_secret_basic", "client_secret_post"}

    def get_client_id(self) -> str:
        return self.client_id

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == CLIENT_SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method in self.methods

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "client_credentials"

    def get_allowed_scope(self, scope: str) -> str:
        return scope if set(scope.split()) <= SCOPES else ""


class ClientCredentialsGrant(grants.ClientCredentialsGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]


def make_app() -> Flask:
    app = Flask("authorization server")
    client = Client()
    granted: list[dict[str, Any]] = []
    asked: list[dict[str, Any]] = []
    lock = threading.Lock()

    def save_token(token: dict[str, Any], _request: Any) -> None:
        with lock:
            granted.append(token)

    server = AuthorizationServer(
        app,
        query_client=lambda client_id: client if client_id == client.client_id else None,
        save_token=save_token,
    )
    app.config["OAUTH2_SCOPES_SUPPORTED"] = sorted(SCOPES)
    server.register_grant(ClientCredentialsGrant)

    @app.post("/token")
    def token() -> Any:
        with lock:
            asked.append({"form": dict(request.form), "authorization": request.headers.get("authorization", "")})
        return server.create_token_response()

    @app.get("/introspect")
    def introspect() -> Any:
        return jsonify({"granted": granted, "asked": asked})

    @app.post("/set")
    def change() -> Any:
        if lifetime := request.form.get("lifetime", type=int):
            server.register_token_generator(
                "client_credentials",
                lambda **options: {
                    "token_type": "Bearer",
                    "access_token": f"token-{len(granted)}-{'x' * 24}",
                    "expires_in": lifetime,
                    "scope": options.get("scope") or "",
                },
            )
        if methods := request.form.get("methods"):
            client.methods = set(methods.split())
        return "", 204

    return app


if __name__ == "__main__":
    import os

    from werkzeug.serving import make_server

    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
    running = make_server("127.0.0.1", 0, make_app(), threaded=True)
    print(running.server_port, flush=True)
    sys.stdout.flush()
    running.serve_forever()
