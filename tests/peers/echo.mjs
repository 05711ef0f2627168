// Node's own HTTP server, which says what it received: a document of method, target, fields, body and trailers.
// Some paths answer in other ways. Prints `ready PORT` on stdout. Ends when stdin ends or on SIGTERM.
import { createServer } from 'node:http';

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
  const answer = answers[request.url];
  if (answer) return answer(response);
  const { method, url, rawHeaders, httpVersion, rawTrailers } = request;
  const body = Buffer.concat(parts).toString('latin1');
  const connection = request.socket.remotePort;
  response.setHeader('Content-Type', 'application/json');
  response.end(JSON.stringify({ method, url, rawHeaders, httpVersion, rawTrailers, body, connection }));
});
server.listen(0, '127.0.0.1', () => console.log(`ready ${server.address().port}`));

const stop = () => process.exit(0);
process.stdin.resume();
process.stdin.on('end', stop);
process.on('SIGTERM', stop);
