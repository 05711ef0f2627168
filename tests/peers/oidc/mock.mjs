// npm oauth2-mock-server: the grants and members the strict provider doesn't have (password, id_token).
// It checks no credentials, so it prints what it was asked, without secrets, for the test to check.
// Prints `ready PORT` on stdout; the token endpoint is http://127.0.0.1:PORT/token. Ends when stdin ends or on SIGTERM.
import { OAuth2Server } from 'oauth2-mock-server';

const server = new OAuth2Server();
await server.issuer.keys.generate('RS256');
server.service.on('beforeResponse', (response, req) => {
  const { grant_type, scope, username } = req.body;
  console.log(`issued ${JSON.stringify({ grant_type, scope, username })}`);
  if (process.env.PEER_TOKEN_TTL) response.body.expires_in = Number(process.env.PEER_TOKEN_TTL);
});
await server.start(0, '127.0.0.1');
console.log(`ready ${server.address().port}`);

const stop = () => process.exit(0);
process.stdin.resume();
process.stdin.on('end', stop);
process.on('SIGTERM', stop);
