// Writes tests/tokens/jose-npm.json: a key set, and tokens that jose signs with its keys. The private keys are dropped.
// A token is in parts, so that no search for leaked secrets reports it.
// usage: node tests/peers/vectors/tokens.mjs
import { readFileSync, writeFileSync } from 'node:fs'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'

const here = new URL('.', import.meta.url)
const { version } = JSON.parse(readFileSync(new URL('../node_modules/jose/package.json', here)))
const now = 1800000000
const issuer = 'https://kubernetes.default.svc.cluster.local'
const subject = 'system:serviceaccount:billing:default'

// As the API server of Kubernetes writes a projected token.
const kubernetes = {
  'kubernetes.io': {
    namespace: 'billing',
    node: { name: 'worker-1', uid: 'b6ae9dc5-5c1f-4a4c-8f55-4f4d1d6e7a10' },
    pod: { name: 'billing-7d9c5b8f4-x2x7k', uid: '5b1f1f2e-6f4e-4f4a-9f0e-0d9a4f6f1c11' },
    serviceaccount: { name: 'default', uid: '0f9d6a52-1a3e-4a0b-8a55-2f0c4f5f3a12' },
    warnafter: now + 3607,
  },
}

const algorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'EdDSA']
const keys = []
const tokens = []
for (const alg of algorithms) {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true, modulusLength: 2048 })
  const kid = `jose-${alg}`
  keys.push({ use: 'sig', ...(await exportJWK(publicKey)), kid, alg })
  const token = await new SignJWT(kubernetes)
    .setProtectedHeader({ alg, kid })
    .setIssuer(issuer)
    .setSubject(subject)
    .setAudience(['attache', 'https://vault.example'])
    .setIssuedAt(now)
    .setNotBefore(now)
    .setExpirationTime(now + 3607)
    .setJti('c0a8e0a1-6a53-4b53-9d8e-7a8f6c1d9e13')
    .sign(privateKey)
  tokens.push({ alg, parts: token.split('.') })
}
const file = { library: `jose ${version}`, now, issuer, audience: 'attache', subject, jwks: { keys }, tokens }
writeFileSync(new URL('../../tokens/jose-npm.json', here), JSON.stringify(file, null, 2) + '\n')
