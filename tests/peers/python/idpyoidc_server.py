"""PyPI idpyoidc as the provider for token exchange (RFC 8693): it checks the client, and that the subject token is one
of its own that is still good.

Only what idpyoidc leaves to its user is here: the clients, and the sessions that subject tokens belong to. The client
`attache` (PEER_CLIENT_SECRET) exchanges tokens of the client `workload`.
Prints `ready PORT`, then `issued SHA-256 of the subject token` or `refused ERROR` for each token request. The endpoints
are /token and /introspect (for `attache` itself); POST /subject/SECONDS answers with a new subject token that lives that
long, and what is exchanged for it lives no longer.
"""

import hashlib
import os
import secrets

from flask import Flask, Response, request
from idpyoidc.message.oauth2 import AuthorizationRequest
from idpyoidc.server import ASConfiguration, Server
from idpyoidc.server.authn_event import create_authn_event
from serving import bound, say, serve

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"

app = Flask("idpyoidc")
server, url = bound(app)


def endpoint(path, name, **more):
    kwargs = {"client_authn_method": ["client_secret_basic", "client_secret_post"], **more}
    return {"path": path, "class": f"idpyoidc.server.oauth2.{name}", "kwargs": kwargs}


exchange = {
    "subject_token_types_supported": [ACCESS_TOKEN],
    "requested_token_types_supported": [ACCESS_TOKEN],
    "default_requested_token_type": ACCESS_TOKEN,
    "policy": {"": {"function": "idpyoidc.server.oauth2.token_helper.validate_token_exchange_policy", "kwargs": {}}},
}
helper = "idpyoidc.server.oauth2.token_helper.token_exchange.TokenExchangeHelper"
jwt_key = {"type": "oct", "bytes": 24, "use": ["enc"], "kid": "token"}
rules = {"access_token": {"supports_minting": ["access_token"], "expires_in": 600}}
config = {
    "issuer": url,
    "httpc_params": {"verify": False, "timeout": 1},
    "key_conf": {"key_defs": [{"type": "EC", "crv": "P-256", "use": ["sig"]}]},
    "endpoint": {
        "token": endpoint(
            "token", "token.Token", grant_types_helpers={EXCHANGE: {"class": helper, "kwargs": exchange}}
        ),
        "introspection": endpoint("introspect", "introspection.Introspection", enforce_audience_restriction=False),
    },
    "token_handler_args": {
        "jwks_def": {"key_defs": [jwt_key]},
        "token": {"class": "idpyoidc.server.token.jwt_token.JWTToken", "kwargs": {"lifetime": 600, "aud": [url]}},
    },
    "authz": {
        "class": "idpyoidc.server.authz.AuthzHandling",
        "kwargs": {"grant_config": {"usage_rules": rules, "expires_in": 43200}},
    },
    "userinfo": {"class": "idpyoidc.server.user_info.UserInfo", "kwargs": {"db": {"robot": {}}}},
    "session_params": {"encrypter": {"kwargs": {"password": secrets.token_hex(16), "salt": secrets.token_hex(16)}}},
}
provider = Server(ASConfiguration(conf=config, base_path="/"), cwd="/")
clients = {"attache": os.environ.get("PEER_CLIENT_SECRET", "peer-client-secret-of-the-test"), "workload": secrets.token_hex(16)}
for client_id, client_secret in clients.items():
    provider.context.cdb[client_id] = {
        "client_id": client_id,
        "client_secret": client_secret,
        "grant_types_supported": [EXCHANGE],
        "allowed_scopes": ["contacts.read", "contacts.write"],
        "token_usage_rules": rules,
    }
manager = provider.context.session_manager
session = manager.create_session(
    authn_event=create_authn_event("robot"),
    auth_req=AuthorizationRequest(client_id="workload", response_type="code", scope=["contacts.read"]),
    user_id="robot",
    client_id="workload",
    token_usage_rules=rules,
    scopes=["contacts.read"],
)


def answered(name):
    endpoint = provider.endpoint[name]
    info = {"headers": {"authorization": request.headers.get("Authorization")}}
    try:
        parsed = endpoint.parse_request(request.form.to_dict(), http_info=info)
    except Exception as error:
        return {"error": "invalid_client"}, 401, type(error).__name__
    result = parsed if "error" in parsed else endpoint.process_request(parsed)
    if "error" in result:
        return result.to_dict(), 400, result.get("error_description")
    return endpoint.do_response(request=parsed, **result), 200, None


def answer(body, status):
    if status != 200:
        return body, status
    return Response(body["response"], headers=body["http_headers"])


@app.post("/token")
def token():
    body, status, why = answered("token")
    if status == 200:
        say(f"issued {hashlib.sha256(request.form['subject_token'].encode()).hexdigest()}")
    else:
        say(f"refused {body['error']}: {why}")
    return answer(body, status)


@app.post("/introspect")
def introspect():
    body, status, _ = answered("introspection")
    return answer(body, status)


@app.post("/subject/<int:lifetime>")
def subject(lifetime):
    minted = manager.get_grant(session).mint_token(
        session,
        context=provider.context,
        token_class="access_token",
        token_handler=manager.token_handler["access_token"],
        usage_rules=rules["access_token"],
        expires_in=lifetime,
        resources=["workload"],
    )
    return minted.value


serve(server)
