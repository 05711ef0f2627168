// Node's own HTTP server, which says what it received: a document of method, target, fields, body and trailers.
// Some paths answer in other ways; `/delay/N` waits for N seconds first. Prints `ready PORT` on stdout. Ends on SIGTERM,
// and when stdin is a pipe that ends.
import { fstatSync } from 'node:fs';
import { createServer } from 'node:http';
import { setTimeout as wait } from 'node:timers/promises';

const answers = {
  '/length': (response) => response.writeHead(200, { 'Content-Length': '6' }).end('length'),
  '/chunked': (response) => {
    response.writeHead(200, { 'Content-Type': 'text/plain' });
    response.write('chun');
    response.end('ked');
  },
  '/trailers': (response) => {
    response.writeHead(200, { Trailer: 'X-Trailing' });
    response.write('body');
    response.addTrailers({ 'X-Trailing': 'bogus' });
    response.end();
  },
  '/close': (response) => {
    response.writeHead(200, { Connection: 'close', 'Content-Length': '5' });
    response.end('close');
  },
  '/until-close': (response) => {
    response.useChunkedEncodingByDefault = false;
    response.removeHeader('transfer-encoding');
    response.shouldKeepAlive = false;
    response.writeHead(200, { Connection: 'close' });
    response.end('until the end');
  },
  '/204': (response) => response.writeHead(204).end(),
  '/304': (response) => response.writeHead(304, { ETag: '"x"' }).end(),
  '/hints': (response) => {
    response.writeEarlyHints({ link: '</style.css>; rel=preload' });
    response.writeHead(200, { 'Content-Length': '5' }).end('hints');
  },
  '/cookies': (response) => {
    response.writeHead(200, { 'Set-Cookie': ['a=1', 'b=2'], 'Content-Length': '0' }).end();
  },
  '/cut': (response) => {
    response.writeHead(200, { 'Content-Length': '100' });
    response.write('part');
    setTimeout(() => response.destroy(), 50);
  },
};

const server = createServer(async (request, response) => {
  const parts = [];
  try {
    for await (const part of request) parts.push(part);
  } catch {
    return; // The request was cut.
  }
  const delay = /^\/delay\/(\d+)$/.exec(request.url);
  if (delay) await wait(1000 * Number(delay[1]));
  const answer = answers[request.url];
  if (answer) return answer(response);
  const { method, url, headers, rawHeaders, httpVersion, rawTrailers } = request;
  const body = Buffer.concat(parts).toString('latin1');
  const connection = request.socket.remotePort;
  response.setHeader('Content-Type', 'application/json');
  const document = { method, url, headers, rawHeaders, httpVersion, rawTrailers, body, connection };
  response.end(`${JSON.stringify(document, null, 2)}\n`);
});
server.listen(0, '127.0.0.1', () => console.log(`ready ${server.address().port}`));

const stop = () => process.exit(0);
const stdin = fstatSync(0);
if (stdin.isFIFO() || stdin.isSocket()) process.stdin.resume().on('end', stop);
process.on('SIGTERM', stop);
