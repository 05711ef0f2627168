// Writes webhooks to tests/vectors, as the providers of the presets sign them. Where a provider publishes a library that
// signs or verifies, that library does it, else node:crypto by the provider's documentation.
// usage: cd tests/peers/vectors && npm ci --ignore-scripts && node providers.mjs        (280 MB of libraries)
// The files are committed. Clock, secrets and keys are fixed: run again, this writes the same bytes, but for ECDSA and
// RSA-PSS, whose signatures are random.
import { constants, createHmac, createPrivateKey, createPublicKey, sign as signWith, verify as verifyWith } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import zlib from 'node:zlib';

const require = createRequire(import.meta.url);
const AT = 1767225600;
const MS = AT * 1000;
const ISO = '2026-01-01T00:00:00Z';
globalThis.Date = class extends Date {
  constructor(...given) {
    super(...(given.length ? given : [MS]));
  }
  static now() {
    return MS;
  }
};

const SECRET = 'test-secret-of-the-vectors-1';
const HEX_SECRET = Buffer.from(SECRET).toString('hex');
const BASE64_SECRET = Buffer.from(SECRET).toString('base64');
const URL_ = 'https://hooks.example.com/webhooks/key-of-the-vectors';

const key = (name) => createPrivateKey(readFileSync(new URL(`keys/${name}.pem`, import.meta.url)));
const publicPem = (name) => createPublicKey(key(name)).export({ format: 'pem', type: 'spki' }).trim();
const publicDer = (name) => createPublicKey(key(name)).export({ format: 'der', type: 'spki' }).toString('base64');
const publicHex = (name) =>
  Buffer.from(createPublicKey(key(name)).export({ format: 'jwk' }).x, 'base64url').toString('hex');

const bodies = [
  ['json', '{"id":"evt_1","event_id":"evt_1","object":"event","amount":1.0}'],
  // A program that parsed and wrote this again would change it.
  ['unusual', '{ "text":"Grüße, Zoe\u0308 – 世界 🐙 \\u00fc\\n", "n":1.50,"n2":[ ] }'],
];

function vector(scheme, name, secret, headers, body, more = {}) {
  return {
    scheme,
    name,
    secrets: [secret],
    method: 'POST',
    url: URL_,
    headers: [...Object.entries(headers), ['content-type', 'application/json']],
    body: { base64: Buffer.from(body).toString('base64') },
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
  writeFileSync(new URL(`../../vectors/${file}.json`, import.meta.url), `{\n  ${head},\n  "vectors": [\n${lines}\n  ]\n}\n`);
}

function version(library) {
  const path = new URL(`node_modules/${library}/package.json`, import.meta.url);
  return JSON.parse(readFileSync(path, 'utf8')).version;
}

const hmac = (signed, { algorithm = 'sha256', encoding = 'hex', secret = SECRET } = {}) =>
  createHmac(algorithm, secret).update(signed).digest(encoding);

async function each(make) {
  const vectors = [];
  for (const [name, body] of bodies) vectors.push(...[await make(body, name)].flat());
  return vectors;
}

const library = async (file, name, make) => write(file, name, version(name), await each(make));

await library('paddle', '@paddle/paddle-node-sdk', async (body, name) => {
  const { Paddle } = require('@paddle/paddle-node-sdk');
  const h1 = hmac(`${AT}:${body}`);
  const signature = `ts=${AT};h1=${h1}`;
  confirm(await new Paddle('key').webhooks.isSignatureValid(body, SECRET, signature), 'paddle');
  const old = hmac(`${AT}:${body}`, { secret: 'another secret' });
  return [
    vector('paddle', name, SECRET, { 'Paddle-Signature': signature }, body),
    vector('paddle', `${name}-two-signatures`, SECRET, { 'Paddle-Signature': `ts=${AT};h1=${old};h1=${h1}` }, body),
  ];
});

await library('workos', '@workos-inc/node', async (body, name) => {
  const { WorkOS } = require('@workos-inc/node');
  const workos = new WorkOS('sk_test_of_the_vectors');
  // The library signs what it parsed and wrote again.
  const payload = JSON.parse(body);
  const text = JSON.stringify(payload);
  const signature = `t=${MS}, v1=${await workos.webhooks.computeSignature(MS, payload, SECRET)}`;
  confirm(await workos.webhooks.verifyHeader({ payload, sigHeader: signature, secret: SECRET }), 'workos');
  return vector('workos', name, SECRET, { 'WorkOS-Signature': signature }, text);
});

await library('mux', '@mux/mux-node', async (body, name) => {
  const { Mux } = require('@mux/mux-node');
  const signature = `t=${AT},v1=${hmac(`${AT}.${body}`)}`;
  const mux = new Mux({ tokenId: 'a', tokenSecret: 'b', webhookSecret: SECRET });
  // Throws if it does not hold.
  await mux.webhooks.verifySignature(body, { 'mux-signature': signature }, SECRET);
  return vector('mux', name, SECRET, { 'Mux-Signature': signature }, body);
});

await library('square', 'square', async (body, name) => {
  const { WebhooksHelper } = require('square');
  const signature = hmac(URL_ + body, { encoding: 'base64' });
  const given = { requestBody: body, signatureHeader: signature, signatureKey: SECRET, notificationUrl: URL_ };
  confirm(await WebhooksHelper.verifySignature(given), 'square');
  return vector('square', name, SECRET, { 'x-square-hmacsha256-signature': signature }, body);
});

await library('contentful', '@contentful/node-apps-toolkit', (body, name) => {
  const { signRequest, verifyRequest } = require('@contentful/node-apps-toolkit');
  const secret = SECRET.padEnd(64, '0');
  const path = new URL(URL_).pathname;
  return [{}, { 'content-type': 'application/json', 'x-contentful-topic': 'Entry.publish' }].map((headers, index) => {
    const signed = signRequest(secret, { method: 'POST', path, headers: { ...headers }, body }, MS);
    confirm(verifyRequest(secret, { method: 'POST', path, headers: { ...headers, ...signed }, body }, 0), 'contentful');
    const { 'content-type': _, ...others } = headers;
    return vector('contentful', index ? `${name}-more-headers` : name, secret, { ...others, ...signed }, body);
  });
});

await library('discord', 'discord-interactions', async (body, name) => {
  const { verifyKey } = require('discord-interactions');
  const signature = signWith(null, Buffer.from(`${AT}${body}`), key('ed25519')).toString('hex');
  confirm(await verifyKey(body, signature, `${AT}`, publicHex('ed25519')), 'discord');
  const headers = { 'X-Signature-Ed25519': signature, 'X-Signature-Timestamp': `${AT}` };
  return vector('discord', name, publicHex('ed25519'), headers, body);
});

await library('sendgrid', '@sendgrid/eventwebhook', (body, name) => {
  const { EventWebhook } = require('@sendgrid/eventwebhook');
  const events = `[${body}]\r\n`;
  const signature = signWith('sha256', Buffer.from(`${AT}${events}`), key('p256')).toString('base64');
  const webhook = new EventWebhook();
  const parsed = webhook.convertPublicKeyToECDSA(publicDer('p256'));
  confirm(webhook.verifySignature(parsed, events, signature, `${AT}`), 'sendgrid');
  const headers = {
    'X-Twilio-Email-Event-Webhook-Signature': signature,
    'X-Twilio-Email-Event-Webhook-Timestamp': `${AT}`,
  };
  return vector('sendgrid', name, publicDer('p256'), headers, events);
});

await library('hubspot', '@hubspot/api-client', (body, name) => {
  const { Signature } = require('@hubspot/api-client');
  const options = { clientSecret: SECRET, requestBody: body, url: URL_, timestamp: MS };
  const signature = Signature.getSignature('POST', 'v3', options);
  confirm(Signature.isValid({ ...options, method: 'POST', signatureVersion: 'v3', signature }), 'hubspot');
  const headers = { 'X-HubSpot-Signature-v3': signature, 'X-HubSpot-Request-Timestamp': `${MS}` };
  return vector('hubspot', name, SECRET, headers, body);
});

await library('adyen', '@adyen/api-library', (body, name) => {
  const { hmacValidator: Validator } = require('@adyen/api-library');
  const validator = new Validator();
  const item = {
    pspReference: '7914073381342284',
    ...(name === 'json' ? {} : { originalReference: '8313547924770610' }),
    merchantAccountCode: 'TestMerchant',
    merchantReference: name === 'json' ? 'Zoë-1' : '',
    amount: { value: 1130, currency: 'EUR' },
    eventCode: 'AUTHORISATION',
    success: 'true',
  };
  item.additionalData = { hmacSignature: validator.calculateHmac(item, HEX_SECRET) };
  confirm(validator.validateHMAC(item, HEX_SECRET), 'adyen');
  const text = JSON.stringify({ live: 'false', notificationItems: [{ NotificationRequestItem: item }] });
  const signature = hmac(body, { encoding: 'base64' });
  confirm(validator.validateHMACSignature(HEX_SECRET, signature, body), 'adyen_platform');
  return [
    vector('adyen', name, HEX_SECRET, {}, text),
    vector('adyen_platform', name, HEX_SECRET, { HmacSignature: signature, Protocol: 'HmacSHA256' }, body),
  ];
});

await library('line', '@line/bot-sdk', (body, name) => {
  const { validateSignature } = require('@line/bot-sdk');
  const signature = hmac(body, { encoding: 'base64' });
  confirm(validateSignature(body, SECRET, signature), 'line');
  return vector('line', name, SECRET, { 'x-line-signature': signature }, body);
});

await library('linear', '@linear/sdk', async (body, name) => {
  const { LinearWebhookClient } = await import('@linear/sdk/webhooks');
  const text = body.replace('{', `{"webhookTimestamp":${MS},`);
  const signature = hmac(text);
  confirm(new LinearWebhookClient(SECRET).verify(Buffer.from(text), signature, MS), 'linear');
  return vector('linear', name, SECRET, { 'Linear-Signature': signature }, text);
});

await library('box', 'box-node-sdk', async (body, name) => {
  const { WebhooksManager } = require('box-node-sdk/lib/managers/webhooks');
  const vectors = [];
  for (const time of ['2026-01-01T00:00:00Z', '2025-12-31T16:00:00-08:00']) {
    const headers = {
      'box-delivery-timestamp': time,
      'box-signature-algorithm': 'HmacSHA256',
      'box-signature-primary': hmac(body + time, { encoding: 'base64' }),
      'box-signature-version': '1',
    };
    confirm(await WebhooksManager.validateMessage(body, headers, SECRET), 'box');
    vectors.push(vector('box', `${name}-${time.length}`, SECRET, headers, body));
  }
  return vectors;
});

// One header, one HMAC of the body.
const plain = (scheme, header, { prefix = '', ...options } = {}, secret = SECRET) =>
  each((body, name) => vector(scheme, name, secret, { [header]: prefix + hmac(body, options) }, body));

const headers = (scheme, make, secret = SECRET) =>
  each((body, name) => vector(scheme, name, secret, make(body), body));

const base64 = { encoding: 'base64' };
const all = [
  ...(await plain('airtable', 'X-Airtable-Content-MAC', { prefix: 'hmac-sha256=' }, BASE64_SECRET)),
  ...(await plain('asana', 'X-Hook-Signature')),
  ...(await plain('bitbucket', 'X-Hub-Signature', { prefix: 'sha256=' })),
  ...(await plain('docusign', 'X-DocuSign-Signature-1', base64)),
  ...(await plain('intercom', 'X-Hub-Signature', { prefix: 'sha1=', algorithm: 'sha1' })),
  ...(await plain('lemonsqueezy', 'X-Signature')),
  ...(await plain('microsoft_teams', 'Authorization', { prefix: 'HMAC ', ...base64 }, BASE64_SECRET)),
  ...(await plain('notion', 'X-Notion-Signature', { prefix: 'sha256=' })),
  ...(await plain('sentry', 'Sentry-Hook-Signature')),
  ...(await plain('typeform', 'Typeform-Signature', { prefix: 'sha256=', ...base64 })),
  ...(await plain('webex', 'X-Spark-Signature', { algorithm: 'sha1' })),
  ...(await plain('woocommerce', 'X-WC-Webhook-Signature', base64)),
  ...(await plain('xero', 'x-xero-signature', base64)),
  ...(await headers('calendly', (body) => ({
    'Calendly-Webhook-Signature': `t=${AT},v1=${hmac(`${AT}.${body}`)}`,
  }))),
  ...(await headers('zoom', (body) => ({
    'x-zm-request-timestamp': `${AT}`,
    'x-zm-signature': `v0=${hmac(`v0:${AT}:${body}`)}`,
  }))),
  ...(await headers('pagerduty', (body) => ({ 'X-PagerDuty-Signature': `v1=${hmac(body)}` }))),
  ...(await headers('pagerduty', (body) => ({
    'X-PagerDuty-Signature': `v1=${hmac(body, { secret: 'another secret' })},v1=${hmac(body)}`,
  }))).map((vector) => ({ ...vector, name: `${vector.name}-two-signatures` })),
  ...(await headers('zendesk', (body) => ({
    'X-Zendesk-Webhook-Signature': hmac(ISO + body, base64),
    'X-Zendesk-Webhook-Signature-Timestamp': ISO,
  }))),
  ...(await headers('trello', (body) => ({
    'X-Trello-Webhook': hmac(body + URL_, { algorithm: 'sha1', ...base64 }),
  }))),
  ...(await headers('twitch', (body) => {
    const [id, time] = ['befa7b53-d79d-478f-86b9-120f112b044e', '2026-01-01T00:00:00.634234626Z'];
    return {
      'Twitch-Eventsub-Message-Id': id,
      'Twitch-Eventsub-Message-Timestamp': time,
      'Twitch-Eventsub-Message-Signature': `sha256=${hmac(id + time + body)}`,
    };
  })),
  ...(await headers('supabase', (body) => ({
    'webhook-id': 'msg_of-the-vectors_1',
    'webhook-timestamp': `${AT}`,
    'webhook-signature': `v1,${hmac(`msg_of-the-vectors_1.${AT}.${body}`, base64)}`,
  }), `v1,whsec_${BASE64_SECRET}`)),
  ...(await headers('telegram', () => ({ 'X-Telegram-Bot-Api-Secret-Token': SECRET }))),
  ...(await headers('kick', (body) => {
    const id = '01JHZ5N4ZK3V6P0000000000XX';
    const signed = Buffer.from(`${id}.${ISO}.${body}`);
    const signature = signWith('sha256', signed, key('rsa'));
    confirm(verifyWith('sha256', signed, createPublicKey(key('rsa')), signature), 'kick');
    return {
      'Kick-Event-Message-Id': id,
      'Kick-Event-Message-Timestamp': ISO,
      'Kick-Event-Signature': signature.toString('base64'),
    };
  }, publicPem('rsa'))),
  ...(await headers('paypal', (body) => {
    const id = '69cd13f0-d67a-11e5-baa3-778b53f4ae55';
    const signed = `${id}|${ISO}|1JE4291016473214C|${zlib.crc32(body)}`;
    return {
      'PayPal-Auth-Algo': 'SHA256withRSA',
      'PayPal-Transmission-Id': id,
      'PayPal-Transmission-Time': ISO,
      'PayPal-Transmission-Sig': signWith('sha256', Buffer.from(signed), key('rsa')).toString('base64'),
    };
  }, publicPem('rsa'))).map((vector) => ({ ...vector, webhook_id: '1JE4291016473214C' })),
  ...(await each((body, name) => {
    const token = 'ae78b0c3a32ec5f6f4e2c7b0a9d1'.padEnd(50, '0');
    const signature = { timestamp: `${AT}`, token, signature: hmac(`${AT}${token}`) };
    const text = `{"signature":${JSON.stringify(signature)},"event-data":${body}}`;
    return vector('mailgun', name, SECRET, {}, text);
  })),
  ...(await each((body, name) => {
    const text = `{"value":[{"clientState":${JSON.stringify(SECRET)},"resourceData":${body}}]}`;
    return vector('microsoft_graph', name, SECRET, {}, text);
  })),
  // Algorithms that no preset has.
  ...(await each((body, name) => {
    const options = { key: key('p256'), dsaEncoding: 'ieee-p1363' };
    const signature = signWith('sha256', Buffer.from(body), options).toString('base64');
    const verify = { header: 'X-Signature', algorithm: 'ecdsa_p256_raw', encoding: 'base64' };
    return vector('custom', `ecdsa-raw-${name}`, publicDer('p256'), { 'X-Signature': signature }, body, { verify });
  })),
  ...(await each((body, name) => {
    const options = { key: key('rsa'), padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
    const signature = signWith('sha256', Buffer.from(`${AT}.${body}`), options).toString('base64');
    const verify = {
      header: 'X-Signature',
      algorithm: 'rsa_pss_sha256',
      encoding: 'base64',
      signed: '{timestamp}.{body}',
      timestamp_header: 'X-Timestamp',
    };
    const headers = { 'X-Signature': signature, 'X-Timestamp': `${AT}` };
    return vector('custom', `rsa-pss-${name}`, publicPem('rsa'), headers, body, { verify });
  })),
];
write('providers', 'node:crypto', 'any', all);
