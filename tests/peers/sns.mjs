// Verifies messages of Amazon SNS by Amazon's own library. Prints a list of true and false for a file like
// {"certificate": PEM, "messages": [...]}.
// usage: node sns.mjs tests/sns/amazon.json
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Readable } from 'node:stream';

const require = createRequire(import.meta.url);
const https = require('node:https');
const { certificate, messages } = JSON.parse(readFileSync(process.argv[2], 'utf8'));

// The library fetches the certificate. It gets this one, whatever the URL.
https.get = (url, answered) => {
  const response = Readable.from([certificate]);
  response.statusCode = 200;
  answered(response);
  return { on: () => {} };
};
const Validator = require('sns-validator');

const verdicts = [];
for (const message of messages) {
  verdicts.push(await new Promise((resolve) => new Validator().validate(message, (error) => resolve(!error))));
}
console.log(JSON.stringify(verdicts));
