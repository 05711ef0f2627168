// A person at a browser, for the pages of oidc/server.mjs: follows redirects, keeps cookies, and sends every form off,
// signing in as `robot`. Ends at the first page without a form and prints its status and path (a query has the code).
// usage: browser.mjs URL
const jar = new Map();
const answers = { login: 'robot', password: 'of a test' };

async function ask(url, options) {
  const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
  const answer = await fetch(url, { redirect: 'manual', headers: cookie ? { cookie } : {}, ...options });
  for (const line of answer.headers.getSetCookie()) {
    const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
    if (value) jar.set(name, value);
    else jar.delete(name);
  }
  return answer;
}

const attribute = (tag, name) => new RegExp(`\\b${name}="([^"]*)"`).exec(tag)?.[1].replaceAll('&amp;', '&');

let url = new URL(process.argv[2]);
let answer = await ask(url);
for (let page = 0; page < 20; page += 1) {
  const location = answer.headers.get('location');
  const text = await answer.text();
  const form = /<form[^>]*>[\s\S]*<\/form>/.exec(text)?.[0];
  if (location) {
    url = new URL(location, url);
    answer = await ask(url);
  } else if (form) {
    const body = new URLSearchParams();
    for (const [input] of form.matchAll(/<input[^>]*>/g)) {
      const name = attribute(input, 'name');
      body.set(name, attribute(input, 'value') ?? answers[name] ?? '');
    }
    url = new URL(attribute(form, 'action'), url);
    answer = await ask(url, { method: 'POST', body });
  } else {
    console.log(`${answer.status} ${url.pathname}`);
    process.exit(answer.ok ? 0 : 1);
  }
}
throw new Error(`no end of pages at ${url.pathname}`);
