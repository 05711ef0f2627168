// npm yaml-language-server, as an editor talks to it: over stdio, in the Language Server Protocol.
// Its argument is a JSON object: `schema`, a path; `files`, paths; `completions` and `hovers`, each a list of
// `{file, line, character}`. Prints one: `diagnostics`, by file, each `{line, message}`; `completions`, the labels of
// each place; `hovers`, the text of each. Lines count from 1, characters from 0. Ends after a minute at the latest.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';

const input = JSON.parse(process.argv[2]);
const main = fileURLToPath(new URL('node_modules/yaml-language-server/bin/yaml-language-server', import.meta.url));
const uri = (path) => pathToFileURL(path).href;
const server = spawn(process.execPath, [main, '--stdio'], { stdio: ['pipe', 'pipe', 'inherit'] });

const stop = (message) => {
  console.error(message);
  server.kill();
  process.exit(1);
};
setTimeout(() => stop('the language server takes too long'), 60_000).unref();
server.on('exit', (code) => stop(`the language server ended with ${code}`));

const send = (message) => {
  const body = Buffer.from(JSON.stringify({ jsonrpc: '2.0', ...message }));
  server.stdin.write(`Content-Length: ${body.length}\r\n\r\n`);
  server.stdin.write(body);
};

const waiting = new Map();
const request = (method, params) =>
  new Promise((resolve, reject) => {
    const id = waiting.size + 1;
    waiting.set(id, { resolve, reject });
    send({ id, method, params });
  });

const settings = {
  yaml: {
    schemas: { [uri(input.schema)]: ['*.yaml'] },
    schemaStore: { enable: false },
    validate: true,
    completion: true,
    hover: true,
  },
};

const published = new Map();
const receive = (message) => {
  if (message.method === 'textDocument/publishDiagnostics') {
    published.get(message.params.uri)?.(message.params.diagnostics);
  } else if (message.method && message.id !== undefined) {
    const asked = message.method === 'workspace/configuration' ? message.params.items : [];
    send({ id: message.id, result: asked.map(({ section }) => settings[section] ?? null) });
  } else if (message.id !== undefined) {
    const { resolve, reject } = waiting.get(message.id);
    if (message.error) reject(new Error(message.error.message));
    else resolve(message.result);
  }
};

let rest = Buffer.alloc(0);
server.stdout.on('data', (data) => {
  rest = Buffer.concat([rest, data]);
  for (;;) {
    const end = rest.indexOf('\r\n\r\n');
    if (end < 0) return;
    const length = Number(/content-length: *(\d+)/i.exec(rest.subarray(0, end).toString())[1]);
    if (rest.length < end + 4 + length) return;
    const body = rest.subarray(end + 4, end + 4 + length).toString();
    rest = rest.subarray(end + 4 + length);
    receive(JSON.parse(body));
  }
});

const open = (file) =>
  new Promise((resolve) => {
    published.set(uri(file), resolve);
    const text = readFileSync(file, 'utf8');
    send({
      method: 'textDocument/didOpen',
      params: { textDocument: { uri: uri(file), languageId: 'yaml', version: 1, text } },
    });
  });
const at = ({ file, line, character }) => ({
  textDocument: { uri: uri(file) },
  position: { line: line - 1, character },
});

await request('initialize', {
  processId: process.pid,
  rootUri: null,
  capabilities: {
    textDocument: {
      completion: { completionItem: { documentationFormat: ['markdown'] } },
      hover: { contentFormat: ['markdown'] },
      publishDiagnostics: {},
    },
  },
});
send({ method: 'initialized', params: {} });
send({ method: 'workspace/didChangeConfiguration', params: { settings } });

const diagnostics = {};
await Promise.all(
  input.files.map(async (file) => {
    const found = await open(file);
    diagnostics[file] = found.map(({ range, message }) => ({ line: range.start.line + 1, message }));
  }),
);
const completions = [];
for (const place of input.completions) {
  const { items } = await request('textDocument/completion', at(place));
  completions.push(items.map((item) => item.label));
}
const hovers = [];
for (const place of input.hovers) {
  const found = await request('textDocument/hover', at(place));
  hovers.push(found ? found.contents.value : '');
}
console.log(JSON.stringify({ diagnostics, completions, hovers }));
server.removeAllListeners('exit');
server.kill();
process.exit(0);
