// A certified OpenID provider (npm oidc-provider) as the token endpoint: it checks the client's credentials itself.
// Client id, secret and the way the client proves itself come from the environment:
//   PEER_CLIENT_ID, PEER_CLIENT_SECRET, PEER_CLIENT_AUTH (client_secret_basic | client_secret_post),
//   PEER_SCOPES (separated by spaces), PEER_TOKEN_TTL (seconds).
// Prints `ready PORT` on stdout; the token endpoint is http://127.0.0.1:PORT/token. Ends when stdin ends or on SIGTERM.
import Provider from 'oidc-provider';
import http from 'node:http';

const env = process.env;
const server = http.createServer();
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const { port } = server.address();

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: env.PEER_CLIENT_ID ?? 'attache',
      client_secret: env.PEER_CLIENT_SECRET ?? 'peer-client-secret-of-the-test',
      token_endpoint_auth_method: env.PEER_CLIENT_AUTH ?? 'client_secret_basic',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      scope: env.PEER_SCOPES ?? 'contacts.read contacts.write',
    },
  ],
  scopes: (env.PEER_SCOPES ?? 'contacts.read contacts.write').split(' '),
  features: {
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    devInteractions: { enabled: false },
  },
  ttl: { ClientCredentials: Number(env.PEER_TOKEN_TTL ?? 600) },
});
// The test counts how often a token was asked for, and reads why one was refused.
provider.on('grant.success', () => console.log('issued'));
provider.on('grant.error', (_ctx, error) => console.log(`refused ${error.error}`));

server.on('request', provider.callback());
console.log(`ready ${port}`);

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
process.on('SIGTERM', () => process.exit(0));
