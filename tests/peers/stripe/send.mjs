// A webhook as Stripe sends it, signed by Stripe's own library (npm stripe).
// usage: node send.mjs URL [PAYLOAD]      with PEER_SECRET in the environment
// Prints one JSON line: the status, the body, and the signature that was sent.
import Stripe from 'stripe';

const [url, payload = '{"id":"evt_1","object":"event","type":"charge.succeeded"}'] = process.argv.slice(2);
const secret = process.env.PEER_SECRET ?? 'whsec_peer_secret_of_the_test';
const signature = Stripe.webhooks.generateTestHeaderString({ payload, secret });
const answer = await fetch(url, {
  method: 'POST',
  body: payload,
  headers: { 'content-type': 'application/json; charset=utf-8', 'stripe-signature': signature },
});
console.log(JSON.stringify({ status: answer.status, body: await answer.text(), signature }));
