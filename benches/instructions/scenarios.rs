//! The requests that are counted, and the configuration for each.

use attache::secret::{hex, sha256};
use std::net::SocketAddr;

/// One kind of request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// GET with a header account.
    Get,
    /// POST of 16 KiB with a header account.
    Post,
    /// A webhook call by key, among ten services.
    Webhook,
    /// GET with an OAuth2 account whose token was obtained.
    OAuth2,
    /// GET of a caller with one of 10,000 tokens, with a header account.
    Caller,
}

/// Number of services in every configuration.
const SERVICES: usize = 10;
/// Number of callers, where there are any, and of the tokens of each.
const CALLERS: usize = 100;
const TOKENS: usize = 100;

impl Scenario {
    pub(crate) const ALL: [Self; 5] = [Self::Get, Self::Post, Self::Webhook, Self::OAuth2, Self::Caller];

    /// Returns the name in the table, in the baseline and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Webhook => "webhook",
            Self::OAuth2 => "oauth2",
            Self::Caller => "caller",
        }
    }

    /// Returns the listener to which the requests are sent.
    pub(crate) fn listener(self) -> &'static str {
        if self == Self::Webhook { "webhooks" } else { "outbound" }
    }

    /// Returns the bytes of one request.
    pub(crate) fn request(self) -> Vec<u8> {
        let fields = "Host: api.example\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n";
        let with_body = |target: &str, body: &str| {
            let length = body.len();
            format!(
                "POST {target} HTTP/1.1\r\n{fields}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        };
        match self {
            Self::Get => format!("GET /mailer/v1/messages?limit=20 HTTP/1.1\r\n{fields}\r\n"),
            Self::OAuth2 => format!("GET /erp/v1/messages?limit=20 HTTP/1.1\r\n{fields}\r\n"),
            Self::Caller => {
                let token = token(CALLERS / 2, TOKENS / 2);
                format!(
                    "GET /mailer/v1/messages?limit=20 HTTP/1.1\r\n{fields}X-Attache-Token: {token}\r\n\r\n"
                )
            }
            Self::Post => with_body("/mailer/v1/messages", &"x".repeat(16 << 10)),
            Self::Webhook => {
                with_body(&format!("/webhooks/{}/delivered", key(SERVICES / 2)), &"x".repeat(512))
            }
        }
        .into_bytes()
    }

    /// Returns the configuration, with `stub` as upstream, receiver and token endpoint.
    pub(crate) fn config(self, stub: SocketAddr) -> String {
        let mut yaml = format!(
            "listen: {{ outbound: 127.0.0.1:0, webhooks: 127.0.0.1:0, admin: 127.0.0.1:0 }}
threads: 1
log: {{ access: stdout }}
accounts:
  mailer: {{ authorization: {{ header: {{ name: X-API-KEY, value: 0123456789abcdef0123456789abcdef }} }} }}
  erp:
    authorization:
      oauth2:
        grant: client_credentials
        token_url: http://{stub}/token
        client_id: bench
        client_secret: a secret of the bench
users:
  bot: {{}}
services:
  mailer: {{ account: mailer, server_url: 'http://{stub}/api', timeout: 60s }}
  erp: {{ account: erp, server_url: 'http://{stub}/api', timeout: 60s }}
"
        );
        for n in 0..SERVICES {
            let digest = hex(&sha256(key(n).as_bytes()));
            yaml.push_str(&format!(
                "  hook-{n}:
    webhook:
      user: bot
      forward_to: http://{stub}/hooks
      api_keys: [ {{ id: first, sha256: {digest} }} ]
"
            ));
        }
        if self == Self::Caller {
            yaml.push_str("callers:\n");
            for caller in 0..CALLERS {
                yaml.push_str(&format!("  caller-{caller}:\n    services: [mailer]\n    tokens:\n"));
                for number in 0..TOKENS {
                    let digest = hex(&sha256(token(caller, number).as_bytes()));
                    yaml.push_str(&format!("      - {{ id: t{number}, sha256: {digest} }}\n"));
                }
            }
        }
        yaml
    }
}

/// Returns a token of the caller `caller-{caller}`.
fn token(caller: usize, number: usize) -> String {
    format!("att_instructions_of_the_bench_{caller:04}_{number:04}")
}

/// Returns the webhook key of the service `hook-{n}`.
fn key(n: usize) -> String {
    format!("whk_instructions_of_the_bench_{n:04}")
}
