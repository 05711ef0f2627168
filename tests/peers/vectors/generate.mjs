// Writes webhooks to tests/vectors, signed by the libraries that their senders publish, and where a sender publishes
// none in JavaScript, by node:crypto. generate.py beside it does the same with what there is in Python.
// usage: node tests/peers/vectors/generate.mjs
// The files are committed. The clock and the secrets are fixed: run again, this writes the same bytes.
import { createHmac, createPrivateKey, createPublicKey, sign as signWith, verify as verifyWith } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { sign as signGithub, verify as verifyGithub } from '@octokit/webhooks-methods';
import '@shopify/shopify-api/adapters/web-api';
import { LogSeverity, shopifyApi } from '@shopify/shopify-api';
import { createSHA256HMAC } from '@shopify/shopify-api/runtime';
import { Webhook } from 'standardwebhooks';
import Stripe from 'stripe';
import { Webhook as SvixWebhook } from 'svix';

const AT = 1767225600;
// The verifiers of Standard Webhooks and Svix take the time from here.
Date.now = () => AT * 1000;

const SECRET = 'test-secret-of-the-vectors-1';
const [OLD, NEW] = ['test-secret-of-the-vectors-1', 'test-secret-of-the-vectors-2'].map(whsec);

function whsec(text) {
  return `whsec_${Buffer.from(text).toString('base64')}`;
}

const base64 = (bytes) => Buffer.from(bytes).toString('base64');
const whole = (name, type, bytes) => ({ name, type, bytes, as: { base64: base64(bytes) } });
const pattern = Buffer.from('0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n');

const json = whole('json', 'application/json', Buffer.from('{"id":"evt_1","object":"event","amount":1.0}'));
const empty = whole('empty', 'application/json', Buffer.alloc(0));
// A program that parsed, normalized or re-encoded this would change it.
const unusual = 'Grüße, Zoe\u0308 – 世界 \u2028🐙\r\n\t"\\u00fc" \n\n';
const utf8 = whole('utf-8', 'text/plain; charset=utf-8', Buffer.from(unusual));
const bytes = whole('bytes', 'application/octet-stream', Buffer.from(Array.from({ length: 256 }, (_, i) => i)));
const large = {
  name: '1-mib',
  type: 'text/plain; charset=utf-8',
  bytes: Buffer.concat(Array(16384).fill(pattern)),
  as: { repeat_base64: base64(pattern), times: 16384 },
};

const texts = [json, empty, utf8, large];
const all = [json, empty, utf8, bytes, large];

function vector(scheme, name, secrets, headers, body, more = {}) {
  return {
    scheme,
    name,
    secrets,
    method: 'POST',
    url: 'https://hooks.example.com/webhooks/key-of-the-vectors',
    headers: [...Object.entries(headers), ['content-type', body.type]],
    body: body.as,
    at: AT,
    ...more,
  };
}

function confirm(holds, what) {
  if (!holds) throw new Error(`the library does not accept ${what}`);
}

function write(file, library, version, vectors) {
  const lines = vectors.map((vector) => `    ${JSON.stringify(vector)}`).join(',\n');
  const head = `"library": ${JSON.stringify(library)},\n  "version": ${JSON.stringify(version)}`;
  const path = new URL(`../../vectors/${file}.json`, import.meta.url);
  writeFileSync(path, `{\n  ${head},\n  "vectors": [\n${lines}\n  ]\n}\n`);
}

function version(library) {
  const path = new URL(`../node_modules/${library}/package.json`, import.meta.url);
  return JSON.parse(readFileSync(path, 'utf8')).version;
}

// GitHub. The library signs text only, and no empty one.
async function github() {
  const vectors = [];
  for (const body of [json, utf8, large]) {
    const payload = body.bytes.toString();
    const signature = await signGithub(SECRET, payload);
    confirm(await verifyGithub(SECRET, payload, signature), `github ${body.name}`);
    vectors.push(vector('github', body.name, [SECRET], { 'x-hub-signature-256': signature }, body));
  }
  return vectors;
}

// Stripe. The library signs text only; an empty one it signs, but doesn't verify.
function stripe() {
  const { webhooks } = Stripe;
  const header = (body, secret, scheme = 'v1') =>
    webhooks.generateTestHeaderString({ payload: body.bytes.toString(), secret, timestamp: AT, scheme });
  const part = (header) => header.split(',')[1];
  const entry = (name, signature, secret, body) => {
    const verify = () => webhooks.signature.verifyHeader(body.bytes, signature, secret, 300, undefined, AT * 1000);
    if (body !== empty) confirm(verify(), `stripe ${name}`);
    return vector('stripe', name, [secret], { 'stripe-signature': signature }, body);
  };
  const both = `${header(json, OLD)},${part(header(json, NEW))}`;
  return [
    ...texts.map((body) => entry(body.name, header(body, OLD), OLD, body)),
    entry('two-signatures-old-secret', both, OLD, json),
    entry('two-signatures-new-secret', both, NEW, json),
    entry('v0-beside-v1', `${header(json, OLD)},${part(header(json, NEW, 'v0'))}`, OLD, json),
  ];
}

// Standard Webhooks, and what uses it under other names. The libraries sign text only: a Buffer they make into text.
function standard(scheme, Signer, [OLD, NEW], prefix = 'webhook', label = '') {
  const id = 'msg_of-the-vectors_1';
  const signature = (body, secret) => new Signer(secret).sign(id, new Date(AT * 1000), body.bytes.toString());
  const entry = (name, signature, secret, body) => {
    const headers = { [`${prefix}-id`]: id, [`${prefix}-timestamp`]: `${AT}`, [`${prefix}-signature`]: signature };
    try {
      new Signer(secret).verify(body.bytes.toString(), headers, { jsonParse: false });
    } catch (error) {
      // Svix's verifies, and then parses whatever it is.
      confirm(error instanceof SyntaxError, `${scheme} ${name}: ${error}`);
    }
    return vector(scheme, label + name, [secret], headers, body);
  };
  const both = `${signature(json, OLD)} ${signature(json, NEW)}`;
  return [
    ...texts.map((body) => entry(body.name, signature(body, OLD), OLD, body)),
    entry('two-signatures-old-secret', both, OLD, json),
    entry('two-signatures-new-secret', both, NEW, json),
  ];
}

// GitLab's signing token is 32 bytes.
const gitlabTokens = ['gitlab-test-secret-of-vectors-01', 'gitlab-test-secret-of-vectors-02'].map(whsec);

// Shopify. The library signs text only; an empty one it signs, but doesn't verify.
async function shopify() {
  const { webhooks } = shopifyApi({
    apiKey: 'app-of-the-vectors',
    apiSecretKey: SECRET,
    apiVersion: '2025-07',
    hostName: 'hooks.example.com',
    isEmbeddedApp: false,
    logger: { level: LogSeverity.Error },
  });
  const vectors = [];
  for (const body of texts) {
    const rawBody = body.bytes.toString();
    const headers = {
      'x-shopify-hmac-sha256': await createSHA256HMAC(SECRET, rawBody),
      'x-shopify-topic': 'orders/create',
      'x-shopify-shop-domain': 'vectors.example.com',
      'x-shopify-api-version': '2025-07',
      'x-shopify-webhook-id': 'webhook-of-the-vectors',
    };
    const rawRequest = new Request('https://hooks.example.com/', { method: 'POST', headers });
    const { valid } = await webhooks.validate({ rawBody, rawRequest });
    if (body !== empty) confirm(valid, `shopify ${body.name}`);
    vectors.push(vector('shopify', body.name, [SECRET], headers, body));
  }
  return vectors;
}

const hmac = (algorithm, encoding, secret, ...signed) => {
  const tag = createHmac(algorithm, secret);
  for (const part of signed) tag.update(part);
  return tag.digest(encoding);
};

// One header, one HMAC of the body.
const plain = (scheme, header, prefix, encoding) =>
  all.map((body) => {
    const signature = prefix + hmac('sha256', encoding, SECRET, body.bytes);
    return vector(scheme, body.name, [SECRET], { [header]: signature }, body);
  });

const gitlabToken = () =>
  all.map((body) => vector('gitlab', `token-${body.name}`, [SECRET], { 'x-gitlab-token': SECRET }, body));

// Standard Webhooks with a key pair, which none of its libraries here can do.
function v1a() {
  const id = 'msg_of-the-vectors_1';
  const pair = (seed) => {
    // An Ed25519 private key in PKCS #8 is this and the 32 bytes of its seed.
    const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.from(seed)]);
    const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
    const publicKey = createPublicKey(privateKey);
    const raw = Buffer.from(publicKey.export({ format: 'jwk' }).x, 'base64url');
    const signature = (body) => {
      const signed = Buffer.concat([Buffer.from(`${id}.${AT}.`), body.bytes]);
      const tag = signWith(null, signed, privateKey);
      confirm(verifyWith(null, signed, publicKey, tag), `v1a ${body.name}`);
      return `v1a,${base64(tag)}`;
    };
    return { whpk: `whpk_${base64(raw)}`, signature };
  };
  const old = pair('ed25519-test-seed-of-vectors--01');
  const fresh = pair('ed25519-test-seed-of-vectors--02');
  const entry = (name, signature, secret, body) => {
    const headers = { 'webhook-id': id, 'webhook-timestamp': `${AT}`, 'webhook-signature': signature };
    return vector('standard_webhooks', `v1a-${name}`, [secret], headers, body);
  };
  const both = `${old.signature(json)} ${fresh.signature(json)}`;
  const v1 = new Webhook(OLD).sign(id, new Date(AT * 1000), json.bytes.toString());
  return [
    ...all.map((body) => entry(body.name, old.signature(body), old.whpk, body)),
    entry('two-signatures-old-key', both, old.whpk, json),
    entry('two-signatures-new-key', both, fresh.whpk, json),
    entry('beside-v1', `${v1} ${old.signature(json)}`, old.whpk, json),
  ];
}

// Schemes that are told by options: what is signed, and how it is written.
function generic() {
  const examples = {
    xero: { header: 'X-Xero-Signature', algorithm: 'sha256', encoding: 'base64', signed: '{body}' },
    zoom: {
      header: 'x-zm-signature',
      algorithm: 'sha256',
      encoding: 'hex',
      prefix: 'v0=',
      signed: 'v0:{timestamp}:{body}',
      timestamp_header: 'x-zm-request-timestamp',
    },
    'sha1-hex': { header: 'X-Signature', algorithm: 'sha1', encoding: 'hex', signed: '{body}' },
    'sha384-hex': {
      header: 'X-Signature',
      algorithm: 'sha384',
      encoding: 'hex',
      prefix: 'sha384=',
      signed: '{timestamp}.{body}',
      timestamp_header: 'X-Timestamp',
    },
    // Without padding.
    'sha512-base64url': {
      header: 'X-Signature',
      algorithm: 'sha512',
      encoding: 'base64url',
      signed: '{timestamp}.{body}',
      timestamp_header: 'X-Timestamp',
    },
  };
  return Object.entries(examples).flatMap(([label, verify]) =>
    all.map((body) => {
      const [before, after] = verify.signed.replace('{timestamp}', `${AT}`).split('{body}');
      const tag = hmac(verify.algorithm, verify.encoding, SECRET, before, body.bytes, after);
      const headers = { [verify.header]: (verify.prefix ?? '') + tag };
      if (verify.timestamp_header) headers[verify.timestamp_header] = `${AT}`;
      return vector('hmac', `${label}-${body.name}`, [SECRET], headers, body, { verify });
    }),
  );
}

write('octokit-webhooks-methods', '@octokit/webhooks-methods', version('@octokit/webhooks-methods'), await github());
write('stripe', 'stripe', version('stripe'), stripe());
write('standardwebhooks-npm', 'standardwebhooks (npm)', version('standardwebhooks'), [
  ...standard('standard_webhooks', Webhook, [OLD, NEW]),
  ...standard('gitlab', Webhook, gitlabTokens, 'webhook', 'signed-'),
]);
write('svix-npm', 'svix (npm)', version('svix'), standard('svix', SvixWebhook, [OLD, NEW], 'svix'));
write('shopify-api', '@shopify/shopify-api', version('@shopify/shopify-api'), await shopify());
write('node-crypto', 'node:crypto', 'any', [
  ...plain('meta', 'x-hub-signature-256', 'sha256=', 'hex'),
  ...plain('dropbox', 'x-dropbox-signature', '', 'hex'),
  ...plain('x', 'x-twitter-webhooks-signature', 'sha256=', 'base64'),
  ...gitlabToken(),
  ...v1a(),
  ...generic(),
]);
