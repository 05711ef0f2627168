//! `proxy`: of the whole file, and of a service, an account or a key set.

use super::accounts::basic_value;
use super::loops::{self, Listener};
use super::optional;
use crate::config::decode::{At, Decoder, Given, Map};
use crate::config::model::{ForwardProxy, NoProxy, ProxyRules, ServerUrl, UsedProxy};
use crate::config::problem::Finding;
use crate::config::scalar::{self, Invalid};
use crate::config::secrets::PlainText;
use crate::config::tree::View;
use http::HeaderValue;
use percent_encoding::percent_decode_str;
use std::sync::Arc;

/// The proxies that the parts of a file may use.
#[derive(Default)]
pub(super) struct Proxies {
    /// The file's.
    pub(super) of_file: Option<Arc<ProxyRules>>,
    /// `proxy` of the file is invalid.
    is_invalid: bool,
}

impl Proxies {
    /// Reads `proxy` of the file.
    pub(super) fn read(decoder: &Decoder<'_>, at: Option<At<'_>>, listener: Option<&Listener>) -> Self {
        let Some(at) = at else { return Self::default() };
        let rules = owned_rules(decoder, &at, listener);
        Self { is_invalid: rules.is_none(), of_file: rules.map(Arc::new) }
    }

    /// Returns the file's proxy; `None` if it is invalid, which was reported.
    pub(super) fn inherited(&self) -> Option<UsedProxy> {
        (!self.is_invalid).then(|| UsedProxy { rules: self.of_file.clone(), is_own: false })
    }

    /// Reads `proxy` of a part of the file: `direct`, or a proxy of its own. Without it, the file's.
    pub(super) fn of_part(&self, decoder: &Decoder<'_>, at: Option<At<'_>>) -> Option<UsedProxy> {
        let Some(at) = at else { return self.inherited() };
        match decoder.tree.view(at.node) {
            View::Scalar { text: "direct", .. } => Some(UsedProxy { rules: None, is_own: true }),
            View::Mapping(_) => {
                let rules = owned_rules(decoder, &at, None)?;
                Some(UsedProxy { rules: Some(Arc::new(rules)), is_own: true })
            }
            View::Scalar { .. } if decoder.is_null(&at) => decoder.empty(&at),
            View::Scalar { .. } | View::Sequence(_) => {
                // A URL may hold a password.
                decoder.hide(at.node);
                decoder.wrong_type(&at, "`direct`, or a mapping with a `url`")
            }
        }
    }
}

/// Reads a proxy with its own secrets: a password that can't be read concerns only what uses the proxy.
fn owned_rules(decoder: &Decoder<'_>, at: &At<'_>, listener: Option<&Listener>) -> Option<ProxyRules> {
    let (rules, unread) = decoder.secrets.owned(at.to_string(), || rules(decoder, at, listener));
    Some(ProxyRules { unread, ..rules? })
}

fn rules(decoder: &Decoder<'_>, at: &At<'_>, listener: Option<&Listener>) -> Option<ProxyRules> {
    let map = decoder.mapping(at)?;
    let from_environment = map.get("from_environment").map_or(Some(false), |at| decoder.bool(&at));
    let url = optional(map.get("url"), |at| url(decoder, at, listener));
    let authorization = authorization(decoder, &map);
    let no_proxy = optional(map.get("no_proxy"), |at| no_proxy(decoder, at));
    let own = match (url, from_environment?) {
        (Given::Invalid, _) => return None,
        (Given::Value(url), false) => {
            let proxy = Arc::new(ForwardProxy { url, authorization: authorization.checked().ok()? });
            ProxyRules { http: Some(Arc::clone(&proxy)), https: Some(proxy), ..ProxyRules::default() }
        }
        (Given::Absent, false) => {
            return decoder.required_or(&map, "url", Some("or set `from_environment: true`")).and(None);
        }
        (Given::Absent, true) => {
            if let Some(at) = map.get("username").or_else(|| map.get("password")) {
                let help = "remove it; the variable's URL has them";
                decoder.no_use(&at, "`from_environment`", "the proxy is the environment's", help);
            }
            environment(decoder, &map.get("from_environment")?)?
        }
        (Given::Value(_), true) => {
            let at = map.get("from_environment")?;
            let help = "remove one of them";
            decoder.no_use(&at, "a `url`", "the proxy is that of `url`", help);
            return None;
        }
    };
    let mut rules = own;
    rules.no_proxy.extend(no_proxy.or(Vec::new())?);
    Some(rules)
}

fn url(decoder: &Decoder<'_>, at: &At<'_>, listener: Option<&Listener>) -> Option<ServerUrl> {
    let url = decoder.parsed(at, "invalid_url", "the URL of a proxy", scalar::proxy_url)?;
    loops::check(decoder, at, &url, listener);
    Some(url)
}

/// Reads `username` and `password`.
fn authorization(decoder: &Decoder<'_>, map: &Map<'_>) -> Given<HeaderValue> {
    match (map.get("username"), map.get("password")) {
        (None, None) => Given::Absent,
        (Some(user), Some(password)) => {
            let user =
                decoder.parsed(&user, "invalid_username", "a user name", |text| match text.contains(':') {
                    true => Err(Invalid { label: "a user name has no `:`", help: None }),
                    false => Ok(text.to_owned()),
                });
            let password = decoder.secret(&password, PlainText::WARN);
            match (user, password) {
                (Some(user), Some(password)) => basic_value(&user, password.expose()).into(),
                _ => Given::Invalid,
            }
        }
        (user, _) => {
            let missing = if user.is_some() { "password" } else { "username" };
            decoder.required_or(map, missing, Some("the proxy is given both or none"));
            Given::Invalid
        }
    }
}

fn no_proxy(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Vec<NoProxy>> {
    let (mut all, mut is_fine) = (Vec::new(), true);
    for item in decoder.sequence(at)? {
        match decoder.parsed(&item, "invalid_no_proxy", "a name, an address or a network", scalar::no_proxy) {
            Some(entry) => all.push(entry),
            None => is_fine = false,
        }
    }
    is_fine.then_some(all)
}

/// Takes the proxies from the environment. The lower-case variable comes first, as in curl.
fn environment(decoder: &Decoder<'_>, at: &At<'_>) -> Option<ProxyRules> {
    let variable = |name: &'static str| decoder.secrets.env_if_set(name).map(|value| (name, value));
    // A CGI server puts the request's `Proxy` header into HTTP_PROXY.
    let is_cgi = variable("REQUEST_METHOD").is_some();
    let http = variable("http_proxy").or_else(|| variable("HTTP_PROXY").filter(|_| !is_cgi));
    let https = variable("https_proxy").or_else(|| variable("HTTPS_PROXY"));
    let proxy = |found: Option<(&'static str, String)>| match found {
        None => Some(None),
        Some((name, value)) => {
            decoder.secrets.digest(value.as_bytes());
            let proxy = from_text(&value);
            if proxy.is_none() {
                let message = format!("the variable {name} does not hold the URL of an http proxy");
                let finding = Finding::error("invalid_url", decoder.place(at), message);
                decoder.report(
                    finding
                        .label("it is read because of this")
                        .help("write it like `http://USER:PASSWORD@proxy.corp.example:3128`"),
                );
            }
            proxy.map(|proxy| Some(Arc::new(proxy)))
        }
    };
    let (http, https) = (proxy(http), proxy(https));
    let list = variable("no_proxy").or_else(|| variable("NO_PROXY"));
    let list = list.iter().flat_map(|(name, value)| {
        let entries = value.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(move |entry| (name, entry))
    });
    let mut no_proxy = Vec::new();
    for (name, entry) in list {
        match scalar::no_proxy(entry) {
            Ok(entry) => no_proxy.push(entry),
            Err(_) => {
                let message = format!("an entry of the variable {name} is no name, address or network");
                let finding = Finding::warning("invalid_no_proxy", decoder.place(at), message);
                decoder.report(finding.label("it is read because of this, and the entry is ignored"));
            }
        }
    }
    Some(ProxyRules { http: http?, https: https?, from_environment: true, no_proxy, unread: None })
}

/// Parses the value of a variable: a URL with or without its scheme, which may hold user and password.
fn from_text(text: &str) -> Option<ForwardProxy> {
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = url::Url::parse(text.trim()).ok().filter(|url| url.scheme() == "http")?;
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    let server = scalar::proxy_url(&format!("http://{}{port}", url.host_str()?)).ok()?;
    let decode = |text: &str| percent_decode_str(text).decode_utf8().map(|text| text.into_owned()).ok();
    let authorization = match (url.username(), url.password()) {
        ("", None) => None,
        (user, password) => Some(basic_value(&decode(user)?, &decode(password.unwrap_or_default())?)?),
    };
    Some(ForwardProxy { url: server, authorization })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_may_hold_user_and_password() {
        let parsed = |text| from_text(text).map(|proxy| (proxy.url.authority, proxy.authorization));
        let basic = |user: &str, password| basic_value(user, password);
        for (text, expected) in [
            ("http://proxy.example:3128", Some(("proxy.example:3128", None))),
            ("proxy.example:3128", Some(("proxy.example:3128", None))),
            ("http://proxy.example:3128/", Some(("proxy.example:3128", None))),
            ("http://u:p%40ss@proxy.example:3128", Some(("proxy.example:3128", basic("u", "p@ss")))),
            ("http://u@proxy.example", Some(("proxy.example", basic("u", "")))),
            ("http://[::1]:3128", Some(("[::1]:3128", None))),
            ("https://proxy.example:3128", None),
            ("socks5://proxy.example:1080", None),
            ("http://", None),
        ] {
            let expected = expected.map(|(authority, value)| (authority.to_owned(), value));
            assert_eq!(parsed(text), expected, "{text}");
        }
    }
}
