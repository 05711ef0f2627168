// A webhook as its sender would send it now, signed by the sender's own library. python/deliver.py has other senders.
// usage: node deliver.mjs github | stripe | standard_webhooks URL [BODY]
// environment:
//   PEER_SECRET    what the sender and the receiver share; needed
//   PEER_AGE       sign as if that many seconds ago; below zero: in the future. Not for github, which signs no time.
//   PEER_TAMPER    body | signature: change one byte of it after signing
// Prints one JSON line: the status, the body, and the signature that was sent.
import { randomUUID } from 'node:crypto';
import { sign as signGithub } from '@octokit/webhooks-methods';
import { Webhook } from 'standardwebhooks';
import Stripe from 'stripe';

const senders = {
  github: {
    body: '{"zen":"Keep it logically awesome.","hook_id":1}',
    signature: 'x-hub-signature-256',
    headers: async ({ secret, body }) => ({
      'content-type': 'application/json',
      'user-agent': 'GitHub-Hookshot/044aadd',
      'x-github-event': 'ping',
      'x-github-delivery': randomUUID(),
      'x-hub-signature-256': await signGithub(secret, body),
    }),
  },
  stripe: {
    body: '{"id":"evt_1","object":"event","type":"charge.succeeded"}',
    signature: 'stripe-signature',
    headers: ({ secret, body, timestamp }) => ({
      'content-type': 'application/json; charset=utf-8',
      'stripe-signature': Stripe.webhooks.generateTestHeaderString({ payload: body, secret, timestamp }),
    }),
  },
  standard_webhooks: {
    body: '{"type":"invoice.paid","timestamp":"2026-01-01T00:00:00Z","data":{"id":"1"}}',
    signature: 'webhook-signature',
    headers: ({ secret, body, timestamp }) => {
      const id = `msg_${randomUUID()}`;
      return {
        'content-type': 'application/json',
        'webhook-id': id,
        'webhook-timestamp': `${timestamp}`,
        'webhook-signature': new Webhook(secret).sign(id, new Date(timestamp * 1000), body),
      };
    },
  },
};

function fail(why) {
  console.error(`deliver.mjs: ${why}`);
  process.exit(2);
}

const [scheme, url, given] = process.argv.slice(2);
const { PEER_SECRET: secret, PEER_AGE: age, PEER_TAMPER: tamper = '' } = process.env;
if (!Object.hasOwn(senders, scheme ?? '') || !url) fail(`usage: ${Object.keys(senders).join(' | ')} URL [BODY]`);
if (!secret) fail('PEER_SECRET is not set');
if (!['', 'body', 'signature'].includes(tamper)) fail('PEER_TAMPER is body or signature');
if (age !== undefined && !/^-?\d+$/.test(age)) fail('PEER_AGE is a whole number of seconds');
if (age !== undefined && scheme === 'github') fail('github signs no time, so PEER_AGE means nothing');

const sender = senders[scheme];
const text = given ?? sender.body;
const timestamp = Math.floor(Date.now() / 1000) - Number(age ?? 0);
const headers = await sender.headers({ secret, body: text, timestamp });
const body = Buffer.from(text);
if (tamper === 'body') {
  if (!body.length) fail('an empty body has no byte to change');
  body[body.length - 1] ^= 1;
}
if (tamper === 'signature') {
  // Far enough from the end to be a whole digit of the HMAC, in hex as in base64.
  const signature = headers[sender.signature];
  const at = signature.length - 20;
  headers[sender.signature] = signature.slice(0, at) + (signature[at] === '0' ? '1' : '0') + signature.slice(at + 1);
}
const answer = await fetch(url, { method: 'POST', body, headers, redirect: 'manual' });
const signature = headers[sender.signature];
console.log(JSON.stringify({ status: answer.status, body: await answer.text(), signature }));
