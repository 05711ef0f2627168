// A certified OpenID provider (npm oidc-provider): it checks the client's credentials, PKCE, the user's consent and
// the reuse of refresh tokens itself. What it is for one test comes from the environment:
//   PEER_CLIENT_ID, PEER_CLIENT_SECRET
//   PEER_CLIENT_AUTH   a token_endpoint_auth_method of RFC 7591; default client_secret_basic
//   PEER_ALGORITHM     RS256 | PS256 | ES256 | EdDSA: makes a key for private_key_jwt, prints `key "PEM"`
//   PEER_GRANT         client_credentials (default), or what has a refresh token: refresh_token (prints the first one:
//                      `refresh_token TOKEN`), authorization_code, device_code
//   PEER_SCOPES (separated by spaces), PEER_TOKEN_TTL (seconds)
//   PEER_TLS_KEY, PEER_TLS_CERTIFICATE   also serve TLS, prints `tls PORT`
//   PEER_CLIENT_CA     the CA of client certificates (tls_client_auth: the name must be attache.test)
//   PEER_CLIENT_CERTIFICATE   the client's own (self_signed_tls_client_auth)
// The client `inspector` with the secret `inspector` may introspect every token.
// Prints `ready PORT`, and a line for each thing that happens: `issued`, `rotated N`, `refused ERROR`, `revoked`.
// The token endpoint is http://127.0.0.1:PORT/token. Ends when stdin ends or on SIGTERM.
import { Provider } from 'oidc-provider';
import { X509Certificate, generateKeyPairSync } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';

const env = process.env;
const listen = async (server) => {
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return server.address().port;
};

const server = http.createServer();
const port = await listen(server);
let tls;
if (env.PEER_TLS_KEY) {
  const asked = { requestCert: true, rejectUnauthorized: false, ca: env.PEER_CLIENT_CA };
  tls = https.createServer({ key: env.PEER_TLS_KEY, cert: env.PEER_TLS_CERTIFICATE, ...asked });
  console.log(`tls ${await listen(tls)}`);
}

const keys = [];
const kinds = { RS256: ['rsa', { modulusLength: 2048 }], PS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }], EdDSA: ['ed25519', {}] };
if (env.PEER_ALGORITHM) {
  const { privateKey, publicKey } = generateKeyPairSync(...kinds[env.PEER_ALGORITHM]);
  keys.push({ ...publicKey.export({ format: 'jwk' }), kid: 'peer', alg: env.PEER_ALGORITHM });
  console.log(`key ${JSON.stringify(privateKey.export({ type: 'pkcs8', format: 'pem' }))}`);
}
if (env.PEER_CLIENT_CERTIFICATE) {
  const certificate = new X509Certificate(env.PEER_CLIENT_CERTIFICATE);
  keys.push({ ...certificate.publicKey.export({ format: 'jwk' }), x5c: [certificate.raw.toString('base64')] });
}

const grant = env.PEER_GRANT ?? 'client_credentials';
const method = env.PEER_CLIENT_AUTH ?? 'client_secret_basic';
const scopes = env.PEER_SCOPES ?? 'contacts.read contacts.write';
const grants = {
  client_credentials: { grant_types: ['client_credentials'], redirect_uris: [], response_types: [] },
  device_code: {
    grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'], redirect_uris: [], response_types: [],
  },
  authorization_code: {
    grant_types: ['authorization_code', 'refresh_token'],
    redirect_uris: ['http://127.0.0.1/callback'],
    response_types: ['code'],
    application_type: 'native',
  },
};
grants.refresh_token = grants.authorization_code;

const ttl = Number(env.PEER_TOKEN_TTL ?? 600);
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: env.PEER_CLIENT_ID ?? 'attache',
      token_endpoint_auth_method: method,
      ...(method.startsWith('client_secret') && { client_secret: env.PEER_CLIENT_SECRET ?? 'peer-client-secret-of-the-test' }),
      ...(method === 'tls_client_auth' && { tls_client_auth_san_dns: 'attache.test' }),
      ...(keys.length > 0 && { jwks: { keys } }),
      ...(env.PEER_ALGORITHM && { token_endpoint_auth_signing_alg: env.PEER_ALGORITHM }),
      ...grants[grant],
      ...(grant === 'client_credentials' && { scope: scopes }),
    },
    { client_id: 'inspector', client_secret: 'inspector', redirect_uris: [], response_types: [], grant_types: [] },
  ],
  clientAuthMethods: ['none', 'client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt',
    'tls_client_auth', 'self_signed_tls_client_auth'],
  scopes: ['openid', 'offline_access', ...scopes.split(' ')],
  pkce: { required: () => true },
  rotateRefreshToken: true,
  cookies: { keys: ['of a test'] },
  features: {
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    deviceFlow: { enabled: true },
    devInteractions: { enabled: grant !== 'client_credentials' },
    mTLS: {
      enabled: true,
      tlsClientAuth: true,
      selfSignedTlsClientAuth: true,
      getCertificate: ({ req: { socket } }) => {
        const { raw } = socket.getPeerCertificate?.() ?? {};
        return raw && new X509Certificate(raw).toString();
      },
      certificateAuthorized: ({ req: { socket } }) => socket.authorized,
      certificateSubjectMatches: ({ req: { socket } }, property, expected) =>
        property === 'tls_client_auth_san_dns' && socket.getPeerCertificate().subjectaltname === `DNS:${expected}`,
    },
  },
  ttl: { AccessToken: ttl, ClientCredentials: ttl, RefreshToken: 86400, Grant: 86400, Session: 86400, Interaction: 3600,
    DeviceCode: 600 },
});
// The test counts how often a token was asked for, and reads why one was refused.
provider.on('grant.success', ({ oidc }) => {
  const { RotatedRefreshToken, RefreshToken } = oidc.entities;
  if (RotatedRefreshToken) console.log(`rotated ${RefreshToken.rotations}`);
  console.log('issued');
});
provider.on('grant.error', (_ctx, error) => console.log(`refused ${error.error}`));
provider.on('grant.revoked', () => console.log('revoked'));
provider.on('server_error', (_ctx, error) => console.error(error));

if (grant === 'refresh_token') {
  // The grant that a consent in a browser would have given.
  const consent = new provider.Grant({ accountId: 'robot', clientId: 'attache' });
  consent.addOIDCScope(`openid offline_access ${scopes}`);
  const token = new provider.RefreshToken({
    accountId: 'robot', client: await provider.Client.find('attache'), grantId: await consent.save(),
    gty: 'authorization_code', scope: `openid offline_access ${scopes}`,
  });
  console.log(`refresh_token ${await token.save()}`);
}

server.on('request', provider.callback());
tls?.on('request', provider.callback());
console.log(`ready ${port}`);

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
process.on('SIGTERM', () => process.exit(0));
