// A webhook as GitHub sends it, signed by GitHub's own library (npm @octokit/webhooks-methods).
// usage: node sign.mjs URL [PAYLOAD]      with PEER_SECRET in the environment
// Prints one JSON line: the status, the body, and the signature that was sent.
import { randomUUID } from 'node:crypto';
import { sign } from '@octokit/webhooks-methods';

const [url, payload = '{"zen":"Keep it logically awesome.","hook_id":1}'] = process.argv.slice(2);
const signature = await sign(process.env.PEER_SECRET ?? 'peer-webhook-secret-of-the-test', payload);
const answer = await fetch(url, {
  method: 'POST',
  body: payload,
  headers: {
    'content-type': 'application/json',
    'user-agent': 'GitHub-Hookshot/044aadd',
    'x-github-event': 'ping',
    'x-github-delivery': randomUUID(),
    'x-hub-signature-256': signature,
  },
});
console.log(JSON.stringify({ status: answer.status, body: await answer.text(), signature }));
