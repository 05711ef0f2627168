// A program behind attache that believes the assertion and nothing else: node verify.mjs PORT (see README.md).

import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { createRemoteJWKSet, jwtVerify } from "jose";

class Refused extends Error {}

function fail(reason) {
  throw new Refused(reason);
}

const env = (name) => process.env[name] || fail(`${name} is not set`); // jose takes an undefined one for "any will do"
const FORWARD_PATH = (process.env.ATTACHE_FORWARD_PATH ?? "").replace(/\/+$/, "");
const REQUIRE_BODY = process.env.ATTACHE_REQUIRE_BODY === "1";
const MAX_BODY = 10 * 1024 * 1024;
const MAX_SEEN = 100_000;
const LEEWAY = 5;
const RULES = {
  algorithms: ["EdDSA", "ES256"],
  issuer: env("ATTACHE_ISSUER"),
  audience: env("ATTACHE_AUDIENCE"),
  clockTolerance: LEEWAY,
  maxTokenAge: 60, // without it jose does not look at iat
  requiredClaims: ["exp", "iat", "iss", "aud", "sub", "jti"],
};
// A key that is withdrawn is trusted for `cacheMaxAge` yet. One we don't know makes us ask anew, at most once a second.
const KEYS = createRemoteJWKSet(new URL(env("ATTACHE_JWKS")), { cacheMaxAge: 300_000, cooldownDuration: 1_000 });
const seen = new Map();

function sha256(data) {
  return createHash("sha256").update(data).digest("hex");
}

async function verify(req, body) {
  const assertions = req.headersDistinct["x-attache-assertion"] ?? [];
  if (assertions.length !== 1) fail(`${assertions.length} assertions instead of one`);
  const { payload: claims } = await jwtVerify(assertions[0], KEYS, RULES);
  if (claims.method !== req.method) fail("another method");
  const [, path, query] = req.url.match(/^([^?]*)\??(.*)$/s).map((part) => Buffer.from(part, "latin1"));
  // The claim is `/webhooks/{key}` and a rest; our path is that of `forward_to` and the same rest. To see whether it
  // *ends* with the rest would not do: the rest may be empty, and every path ends with that.
  const rest = String(claims.path).match(/^\/webhooks\/[^/]+(.*)$/s)?.[1] ?? fail("another path");
  if (!path.equals(Buffer.from(FORWARD_PATH + rest || "/"))) fail("another path");
  if (claims.query_sha256 !== (query.length ? sha256(query) : undefined)) fail("another query");
  // A body that attache passed on unread has no claim: then the assertion says who called, not what the body is.
  if (REQUIRE_BODY && !claims.body_sha256) fail("nothing vouches for the body");
  if (![undefined, sha256(body)].includes(claims.body_sha256)) fail("another body");
  for (const [jti, until] of seen) { // the oldest come first
    if (until >= Date.now() / 1000) break;
    seen.delete(jti);
  }
  if (seen.has(claims.jti)) fail("used before");
  if (seen.size >= MAX_SEEN) fail("too many calls to remember");
  seen.set(claims.jti, claims.exp + 2 * LEEWAY); // surely longer than it is accepted
  return { user: claims.sub, service: claims.service, key_id: claims.key_id, delivery_id: claims.delivery_id };
}

async function read(req) {
  const parts = [];
  let size = 0;
  for await (const part of req) if ((size += part.length) <= MAX_BODY) parts.push(part);
  return size <= MAX_BODY ? Buffer.concat(parts) : fail("the body is too large");
}

const server = createServer(async (req, res) => {
  try {
    const found = await verify(req, await read(req));
    res.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(found));
  } catch (error) { // whatever went wrong, nobody is let in; a library's own words may quote the token
    const reason = error instanceof Refused ? error.message : error.code ?? error.name;
    res.writeHead(401, { "content-type": "text/plain" }).end(String(reason));
  }
});
server.listen(Number(process.argv[2]), "127.0.0.1", () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
