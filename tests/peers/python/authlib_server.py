"""PyPI authlib as the provider: it checks the client, the grant and the signature of an assertion itself.

Only what authlib leaves to its user is here: who the client and the user are, and where tokens are kept (in memory).
There is one client, `attache`, for the grants client_credentials, password, refresh_token, device_code and jwt-bearer,
and one user, `robot`. From the environment:
  PEER_CLIENT_AUTH    client_secret_basic (default), client_secret_post, private_key_jwt or none
  PEER_CLIENT_SECRET, PEER_PASSWORD (of the user)
  PEER_ALGORITHM      RS256 | ES256 (what authlib takes without being told): makes the client's key, prints `key "PEM"`
Prints `ready PORT`, then `issued GRANT` or `refused ERROR: WHY` for each token request. The endpoints are /token,
/introspect (for the client `inspector` with the secret `inspector`), /device/auth; a visit to /device?user_code=CODE is
the user's consent.
"""

import json
import os
import time

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # loopback

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin, grants, list_to_scope, scope_to_list
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion, JWTBearerGrant
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oauth2.rfc8628 import DeviceAuthorizationEndpoint, DeviceCodeGrant, DeviceCredentialDict
from flask import Flask, request
from joserfc.jwk import ECKey, KeySet, RSAKey
from serving import bound, say, serve

PRIVATE_KEY_JWT = JWTBearerClientAssertion.CLIENT_AUTH_METHOD
METHOD = os.environ.get("PEER_CLIENT_AUTH", "client_secret_basic")
METHODS = [PRIVATE_KEY_JWT, "client_secret_basic", "client_secret_post", "none"]
SCOPES = {"contacts.read", "contacts.write"}

app = Flask("authlib")
server, url = bound(app)
tokens, devices, consents, seen = [], {}, set(), set()


class Client(ClientMixin):
    def __init__(self, client_id, secret, method):
        self.client_id, self.secret, self.method = client_id, secret, method

    def get_client_id(self):
        return self.client_id

    def get_allowed_scope(self, scope):
        return list_to_scope([name for name in scope_to_list(scope or "") if name in SCOPES])

    def check_client_secret(self, client_secret):
        return self.secret is not None and client_secret == self.secret

    def check_endpoint_auth_method(self, method, endpoint):
        return method == self.method

    def check_grant_type(self, grant_type):
        return True


class Token(TokenMixin):
    def __init__(self, fields, client, user):
        self.fields, self.client, self.user, self.revoked = fields, client, user, False
        self.issued_at = time.time()

    def check_client(self, client):
        return client is self.client

    def get_scope(self):
        return self.fields.get("scope", "")

    def get_expires_in(self):
        return self.fields["expires_in"]

    def is_expired(self):
        return self.issued_at + self.fields["expires_in"] < time.time()

    def is_revoked(self):
        return self.revoked

    def get_user(self):
        return self.user

    def get_client(self):
        return self.client


method = PRIVATE_KEY_JWT if METHOD == "private_key_jwt" else METHOD
clients = [
    Client("attache", os.environ.get("PEER_CLIENT_SECRET", "peer-client-secret-of-the-test"), method),
    Client("inspector", "inspector", "client_secret_basic"),
]


def client_of(client_id):
    return next((client for client in clients if client.client_id == client_id), None)


def token_of(value, *fields):
    return next((token for token in tokens if any(token.fields.get(field) == value for field in fields)), None)


def save_token(fields, asked):
    tokens.append(Token(fields, asked.client, asked.user))


def new_key(algorithm):
    key = ECKey.generate_key("P-256") if algorithm == "ES256" else RSAKey.generate_key(2048)
    say(f"key {json.dumps(key.as_pem(private=True).decode())}")
    return key


key = new_key(os.environ["PEER_ALGORITHM"]) if "PEER_ALGORITHM" in os.environ else None


class PrivateKeyJwt(JWTBearerClientAssertion):
    def get_audiences(self):
        return [f"{url}/token"]

    def validate_jti(self, claims, jti):
        fresh = jti not in seen
        seen.add(jti)
        return fresh

    def resolve_client_public_key(self, client):
        return KeySet([key])


class ClientCredentials(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS


class Password(grants.ResourceOwnerPasswordCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS

    def authenticate_user(self, username, password):
        return "robot" if (username, password) == ("robot", os.environ.get("PEER_PASSWORD", "password")) else None


class Refresh(grants.RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token):
        token = token_of(refresh_token, "refresh_token")
        return token if token and not token.revoked else None

    def authenticate_user(self, refresh_token):
        return refresh_token.user

    def revoke_old_credential(self, refresh_token):
        refresh_token.revoked = True


class JwtBearer(JWTBearerGrant):
    def resolve_issuer_client(self, issuer):
        return client_of(issuer)

    def resolve_client_public_key(self, client):
        return KeySet([key])

    def authenticate_user(self, subject):
        return subject if subject == "robot" else None

    def get_audiences(self):
        return [f"{url}/token"]

    def has_granted_permission(self, client, user):
        return True


class DeviceAuthorization(DeviceAuthorizationEndpoint):
    INTERVAL = 1

    def get_verification_uri(self):
        return f"{url}/device"

    def save_device_credential(self, client_id, scope, data):
        credential = DeviceCredentialDict(client_id=client_id, scope=scope, **data)
        credential["expires_at"] = time.time() + data["expires_in"]
        devices[data["device_code"]] = credential


class DeviceCode(DeviceCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS

    def query_device_credential(self, device_code):
        return devices.get(device_code)

    def query_user_grant(self, user_code):
        return ("robot", True) if user_code in consents else None

    def should_slow_down(self, credential):
        return False


class Introspection(IntrospectionEndpoint):
    def check_permission(self, token, client, request):
        return client.client_id == "inspector"

    def query_token(self, token_string, token_type_hint):
        return token_of(token_string, "access_token", "refresh_token")

    def introspect_token(self, token):
        return {"client_id": token.client.client_id, "sub": token.user, "scope": token.get_scope()}


app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True
provider = AuthorizationServer(app, query_client=client_of, save_token=save_token)
provider.register_client_auth_method(PRIVATE_KEY_JWT, PrivateKeyJwt())
for grant in (ClientCredentials, Password, Refresh, JwtBearer, DeviceCode):
    provider.register_grant(grant)
provider.register_endpoint(Introspection)
provider.register_endpoint(DeviceAuthorization)


@app.post("/token")
def token():
    answer = provider.create_token_response()
    if answer.status_code == 200:
        say(f"issued {request.form['grant_type']}")
    else:
        said = answer.get_json()
        say(f"refused {said['error']}: {said.get('error_description')}")
    return answer


@app.post("/introspect")
def introspect():
    return provider.create_endpoint_response(Introspection.ENDPOINT_NAME)


@app.post("/device/auth")
def device_authorization():
    return provider.create_endpoint_response(DeviceAuthorization.ENDPOINT_NAME)


@app.get("/device")
def device():
    consents.add(request.args["user_code"])
    return "You may close this window."


serve(server)
