"""A real provider (canaille) with two people and one client, kept in memory: `python -m tests.canaille_provider PORT CALLBACK`."""

from __future__ import annotations

import datetime as dt
import sys

from canaille import create_app
from canaille.app import models

USER, PASSWORD, CLIENT, SECRET, GROUP = "ada", "correct horse battery", "outbound-console", "s/cret +", "auditors"


def main(port: int, callback: str) -> None:
    app = create_app(
        {
            "SECRET_KEY": "only for tests",
            "SERVER_NAME": f"127.0.0.1:{port}",
            "PREFERRED_URL_SCHEME": "http",
            "CANAILLE": {"DATABASE": "memory", "FORCE_HTTPS": False},
            "CANAILLE_OIDC": {},
        },
        env_file="",
    )
    with app.app_context():
        for name in (USER, "grace", "mary"):
            user = models.User(
                formatted_name=f"{name.title()} Invented",
                given_name=name.title(),
                family_name="Invented",
                user_name=name,
                emails=[f"{name}@example.com"],
                password=PASSWORD,
            )
            app.backend.save(user)
            if name == USER:
                app.backend.save(models.Group(display_name=GROUP, members=[user]))
        client = models.Client(
            client_id=CLIENT,
            client_secret=SECRET,
            client_name="Outbound",
            client_id_issued_at=dt.datetime.now(dt.UTC),
            redirect_uris=[callback],
            grant_types=["authorization_code"],
            response_types=["code"],
            scope=["openid", "profile", "groups"],
            token_endpoint_auth_method="client_secret_basic",
            id_token_signed_response_alg="RS256",
        )
        app.backend.save(client)
        client.audience = [client]
        app.backend.save(client)
    app.run("127.0.0.1", port, threaded=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
