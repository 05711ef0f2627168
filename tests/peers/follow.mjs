// Follows redirects and next pages through attache with Node's fetch, or, with a proxy, with Node's http client in absolute
// form.
//
// usage: [PROXY=URL] node follow.mjs URL...
//
// Prints one JSON line a URL: client, status, urls (the URL of each page after redirects), bodies, or error.
import http from 'node:http';

const proxy = process.env.PROXY;

const next = (link) => link?.split(/,\s*(?=<)/).map((part) => part.match(/^<([^>]*)>.*rel="?next"?/)?.[1]).find((found) => found !== undefined);

// Node's fetch knows no HTTP proxy without a package, its http client sends what it is told.
async function throughProxy(url, hops = 0) {
  if (hops > 20) throw new Error('too many redirects');
  const { hostname, port } = new URL(proxy);
  const answer = await new Promise((resolve, reject) => {
    const request = http.get({ host: hostname, port, path: url, headers: { Host: new URL(url).host } }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text: Buffer.concat(parts).toString() }));
    });
    request.on('error', reject);
  });
  if (answer.status >= 300 && answer.status < 400 && answer.headers.location !== undefined) {
    return throughProxy(new URL(answer.headers.location, url).href, hops + 1);
  }
  return { url, status: answer.status, link: answer.headers.link, text: answer.text };
}

async function direct(url) {
  const answer = await fetch(url);
  return { url: answer.url, status: answer.status, link: answer.headers.get('link') ?? undefined, text: await answer.text() };
}

async function follow(first) {
  const found = { client: proxy === undefined ? 'fetch' : 'http', status: null, urls: [], bodies: [] };
  for (let url = first; url !== undefined && found.urls.length < 20; ) {
    const page = await (proxy === undefined ? direct(url) : throughProxy(url));
    found.status = page.status;
    found.urls.push(page.url);
    found.bodies.push(page.text);
    const link = next(page.link);
    url = link === undefined ? undefined : new URL(link, page.url).href;
  }
  return found;
}

for (const first of process.argv.slice(2)) {
  console.log(JSON.stringify(await follow(first).catch((error) => ({ error: String(error) }))));
}
