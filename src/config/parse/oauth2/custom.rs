//! `grant: custom`: `request`, `assertion` and `response`.

use super::client::{MAX_SECRETS, Method as ClientMethod};
use super::{assertion, request};
use crate::config::decode::{At, Decoder, Map};
use crate::config::header::Purpose;
use crate::config::model::{ClientAuth, CustomGrant, CustomParams, CustomResponse, JsonParam, Param};
use crate::config::parse::accounts::plain_text_of;
use crate::config::parse::headers::headers;
use crate::config::problem::Finding;
use crate::config::scalar;
use crate::config::schema::is_source;
use crate::config::secrets::PlainText;
use crate::config::tree::{Entry, View};
use crate::header_name::{FieldName, same};
use http::{HeaderValue, Method};

/// A value of `request.auth`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Auth {
    None,
    Basic,
    Assertion,
}

const AUTHS: [(&str, Auth); 3] =
    [("none", Auth::None), ("basic", Auth::Basic), ("assertion", Auth::Assertion)];

/// A value of `request.format`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Form,
    Json,
    None,
}

const FORMATS: [(&str, Format); 3] = [("form", Format::Form), ("json", Format::Json), ("none", Format::None)];

/// A value of `request.method`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Post,
    Get,
    Put,
}

const VERBS: [(&str, Verb); 3] = [("POST", Verb::Post), ("GET", Verb::Get), ("PUT", Verb::Put)];

/// Keys that describe a request of RFC 6749, and what describes this one instead.
const UNUSED: [(&str, &str); 7] = [
    ("client_auth", "write `request: { auth: … }`"),
    ("client_assertion", "write `request: { auth: assertion }` and `assertion`"),
    ("scopes", "write them in `request: { params: … }`"),
    ("scope_separator", "write the scopes in `request: { params: … }`"),
    ("bearer_token_type", "write `response: { token: POINTER }`"),
    ("token_params", "write `request: { params: … }`"),
    ("token_headers", "write `request: { headers: … }`"),
];

/// Reads `request.auth`. Without it, the key that only one value uses decides.
pub(super) fn auth(decoder: &Decoder<'_>, map: &Map<'_>) -> Option<Auth> {
    if let Some(at) = map.get("request")
        && let Some(at) = decoder.mapping(&at)?.get("auth")
    {
        return decoder.one_of(&at, &AUTHS);
    }
    Some(if map.get("assertion").is_some() {
        Auth::Assertion
    } else if map.get("client_secret").is_some() {
        Auth::Basic
    } else {
        Auth::None
    })
}

/// Returns the client authentication that `auth` stands for. Outside of RFC 6749 the secret is not form-encoded.
pub(super) fn method(auth: Auth) -> ClientMethod {
    if auth == Auth::Basic { ClientMethod::BasicRaw } else { ClientMethod::None }
}

/// Reads `client_secret`, and reports keys that this grant does not use.
pub(super) fn client_auth(decoder: &Decoder<'_>, map: &Map<'_>, auth: Auth) -> Option<ClientAuth> {
    for (key, help) in UNUSED {
        if let Some(at) = map.get(key) {
            decoder.no_use(&at, "`grant: custom`", "this grant describes its own request", help);
        }
    }
    let word = AUTHS.iter().find(|(_, known)| *known == auth).map_or("", |(word, _)| word);
    let unused = |key: &'static str, of: &str| {
        let help = format!("remove it, or write `request: {{ auth: {of} }}`");
        if let Some(at) = map.get(key) {
            decoder.no_use(&at, &format!("`auth: {word}`"), "it would not be sent", &help);
        }
    };
    if auth != Auth::Assertion {
        unused("assertion", "assertion");
    }
    if auth != Auth::Basic {
        unused("client_id", "basic");
        unused("client_secret", "basic");
        return Some(ClientAuth::None);
    }
    let at = decoder.required(map, "client_secret")?;
    let secrets = decoder.secrets(&at, MAX_SECRETS, |_, _| Ok(()))?;
    Some(ClientAuth::BasicRaw(secrets.into_iter().map(|(secret, _)| secret).collect()))
}

/// Reads the grant. `auth` is `None` if it is invalid.
pub(super) fn grant(decoder: &Decoder<'_>, map: &Map<'_>, auth: Option<Auth>) -> Option<CustomGrant> {
    let sent = match map.get("request") {
        Some(at) => decoder.mapping(&at).and_then(|map| request(decoder, &map, auth)),
        None => Some((Method::POST, CustomParams::Form(Vec::new()), Vec::new())),
    };
    let assertion = match auth {
        Some(Auth::Assertion) => {
            let help = "write `assertion: { key: { file: PATH }, issuer: ID }`";
            let at = decoder.required_or(map, "assertion", Some(help));
            at.and_then(|at| assertion::bare(decoder, &at)).map(Some)
        }
        Some(Auth::None | Auth::Basic) => Some(None),
        None => None,
    };
    let response = match map.get("response") {
        Some(at) => decoder.mapping(&at).and_then(|map| response(decoder, &map)),
        None => Some(CustomResponse::default()),
    };
    let (method, params, headers) = sent?;
    Some(CustomGrant { method, params, headers, assertion: assertion?, response: response? })
}

type Headers = Vec<(FieldName, HeaderValue)>;

fn request(
    decoder: &Decoder<'_>,
    map: &Map<'_>,
    auth: Option<Auth>,
) -> Option<(Method, CustomParams, Headers)> {
    let verb = map.get("method").map_or(Some(Verb::Post), |at| decoder.one_of(&at, &VERBS));
    let format = match map.get("format") {
        Some(at) => {
            let format = decoder.one_of(&at, &FORMATS);
            if verb == Some(Verb::Get) && format.is_some_and(|format| format != Format::None) {
                let help = "remove it, or use `method: POST`";
                decoder.no_use(&at, "`method: GET`", "its parameters are in the query", help);
            }
            format
        }
        None if verb == Some(Verb::Get) => Some(Format::None),
        None => Some(Format::Form),
    };
    let params = map.get("params").map(|at| match format {
        Some(Format::Json) => members(decoder, &at).map(CustomParams::Json),
        Some(Format::None) => texts(decoder, &at).map(CustomParams::Query),
        _ => texts(decoder, &at).map(CustomParams::Form),
    });
    let params = params.unwrap_or_else(|| {
        Some(match format {
            Some(Format::None) => CustomParams::Query(Vec::new()),
            Some(Format::Json) => CustomParams::Json(Vec::new()),
            _ => CustomParams::Form(Vec::new()),
        })
    });
    let refused = |name: &str| match auth {
        _ if same(name, "content-type") => Some(("`format` decides it", None)),
        Some(Auth::Basic | Auth::Assertion) if same(name, "authorization") => {
            Some(("`auth` sets this header", Some("remove it, or use `auth: none`")))
        }
        _ => None,
    };
    let headers = map
        .get("headers")
        .map_or(Some(Vec::new()), |at| headers(decoder, &at, Purpose::Sent, plain_text_of, refused));
    format?;
    let method = match verb? {
        Verb::Post => Method::POST,
        Verb::Get => Method::GET,
        Verb::Put => Method::PUT,
    };
    Some((method, params?, headers?))
}

/// Reads parameters of a query or a form. A list repeats its name.
fn texts(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Vec<(String, Param)>> {
    let mut all = Vec::new();
    for (name, at) in decoder.names(at)?.entries() {
        let is_source = |entries: &[Entry]| is_source(entries.iter().map(|(key, _)| decoder.tree.key(*key)));
        if let View::Mapping(entries) = decoder.tree.view(at.node)
            && !is_source(entries)
        {
            let message = format!("{at} must be a text");
            let finding = Finding::error("wrong_type", decoder.key(&at), message).label("this is a mapping");
            decoder.report(finding.help("with `format: json` a value may have any type"));
            continue;
        }
        all.extend(request::param_values(decoder, &at).into_iter().map(|value| (name.to_owned(), value)));
    }
    Some(all)
}

/// Reads the members of a JSON object.
fn members(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Vec<(String, JsonParam)>> {
    let read = |(name, at): (&str, At<'_>)| (name.to_owned(), json(decoder, &at));
    let members: Vec<_> = decoder.names(at)?.entries().map(read).collect();
    members.into_iter().map(|(name, value)| Some((name, value?))).collect()
}

/// Reads a value of any JSON type. A mapping that names a source is a secret.
fn json(decoder: &Decoder<'_>, at: &At<'_>) -> Option<JsonParam> {
    match decoder.tree.view(at.node) {
        View::Mapping(entries) if is_source(entries.iter().map(|(key, _)| decoder.tree.key(*key))) => {
            decoder.secret(at, PlainText::WARN).map(JsonParam::Secret)
        }
        View::Mapping(_) => members(decoder, at).map(JsonParam::Object),
        View::Sequence(_) => {
            let items: Vec<_> = decoder.sequence(at)?.map(|item| json(decoder, &item)).collect();
            items.into_iter().collect::<Option<_>>().map(JsonParam::List)
        }
        View::Scalar { .. } => decoder.json(at).map(JsonParam::Value),
    }
}

fn response(decoder: &Decoder<'_>, map: &Map<'_>) -> Option<CustomResponse> {
    let pointer = |key| {
        let at = map.get(key)?;
        Some(decoder.parsed(&at, "invalid_pointer", "a JSON Pointer", scalar::json_pointer))
    };
    let or = |found: Option<Option<String>>, default: String| found.unwrap_or(Some(default));
    let given = ["token", "expires_in", "expires_at", "error"].map(pointer);
    let [token, expires_in, expires_at, error] = given;
    let default = CustomResponse::default();
    let (token, expires_in) = (or(token, default.token), or(expires_in, default.expires_in));
    let (expires_at, error) = (expires_at.map_or(Some(None), |at| at.map(Some)), or(error, default.error));
    Some(CustomResponse { token: token?, expires_in: expires_in?, expires_at: expires_at?, error: error? })
}
