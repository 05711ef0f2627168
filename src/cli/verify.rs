//! `attache verify`: explains why a captured request passes its webhook's signature check, or does not. The key, the
//! address, the user and the rates are not checked.
//!
//! It runs the same check as requests, on the captured request, and prints each step. It prints no secret, no signature
//! and no token: the valid signature is as sensitive as the secret for this one request.

mod handshake;
mod keys;
mod request;

use super::file::{self, File};
use super::stdout;
use crate::config::model::{Config, Handshake};
use crate::config::{Mode, is_usual_variable};
use crate::secret::Secret;
use crate::signature::{
    Algorithm, Delivery, Encoding, Field, Form, KeySource, Mark, Parts, Place, Scheme, SecretEncoding,
    SignatureAt, Signed, Template, TimeFormat, Trace, Verifier,
};
use crate::webhook::admission;
use http::HeaderName;
use jiff::Timestamp;
use keys::{GivenKeys, KeyArgs};
use request::Captured;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Maximum size of a captured request.
const MAX_REQUEST: u64 = 64 << 20;

/// The arguments of `attache verify`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what to check by").required(true).args(["service", "scheme"])))]
#[command(after_help = "Examples:
  attache verify --scheme stripe --secret env:STRIPE_SECRET <captured.txt
  attache verify --service mailer --request captured.txt --at 1764172800
  attache verify --scheme discord --public-key file:discord.pem --request captured.txt")]
pub struct VerifyArgs {
    /// The captured request: request line, headers, an empty line, the body, byte for byte; `-` is standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    request: PathBuf,
    /// Take scheme, secrets and tolerance from this service of the configuration
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// The provider's scheme, such as stripe or github, or hmac; an unknown one prints the list
    #[arg(long, value_name = "SCHEME")]
    scheme: Option<String>,
    /// A secret: `env:NAME`, `file:PATH`, or the text itself, which others on this machine can then see; may be repeated
    #[arg(long, value_name = "SECRET", conflicts_with = "service")]
    secret: Vec<String>,
    /// A public key, for a scheme that has one: `file:PATH`, `env:NAME`, or the text itself; may be repeated
    #[arg(long, value_name = "KEY", conflicts_with_all = ["service", "secret"])]
    public_key: Vec<String>,
    /// The id of the webhook, for a scheme that signs it
    #[arg(long, value_name = "ID", conflicts_with = "service")]
    webhook_id: Option<String>,
    /// The arrival of the request: a time (2026-12-31T00:00:00Z) or Unix seconds [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<Timestamp>,
    /// The maximum difference between a signed time and that, in seconds [default: the scheme's]
    #[arg(long, value_name = "SECONDS", conflicts_with = "service")]
    tolerance: Option<u32>,
    /// The external URL, for schemes that sign it [default: the configuration's]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    #[command(flatten)]
    hmac: HmacArgs,
    #[command(flatten)]
    keys: KeyArgs,
}

/// The options of `--scheme hmac`, as in the file.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "For --scheme hmac")]
struct HmacArgs {
    /// The header that holds the signature
    #[arg(long, value_name = "NAME", required_if_eq("scheme", "hmac"))]
    header: Option<HeaderName>,
    /// sha256, sha512, sha384 or sha1 [default: sha256]
    #[arg(long, value_name = "ALGORITHM", value_parser = parse_algorithm)]
    algorithm: Option<Algorithm>,
    /// hex, base64 or base64url [default: hex]
    #[arg(long, value_name = "ENCODING", value_parser = parse_encoding)]
    encoding: Option<Encoding>,
    /// The text before the signature
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// The signed text, such as `{timestamp}.{body}` [default: {body}]
    #[arg(long, value_name = "TEMPLATE", value_parser = parse_template)]
    signed: Option<Template>,
    /// The header that holds the time of signing
    #[arg(long, value_name = "NAME")]
    timestamp_header: Option<HeaderName>,
    /// The header that holds the delivery's id
    #[arg(long, value_name = "NAME")]
    id_header: Option<HeaderName>,
}

/// Explains; returns the exit status: 0 for a request that passes, 1 for one that does not, 2 if it can't be checked.
pub fn run(args: &VerifyArgs, config: Option<&Path>) -> i32 {
    match explain(args, config, Timestamp::now()) {
        Ok((page, passes)) => match stdout::write(page.as_bytes()) {
            0 => i32::from(!passes),
            failed => failed,
        },
        Err(VerifyError::Said) => 2,
        Err(VerifyError::Unsaid(problem)) => {
            eprintln!("error: {problem}");
            2
        }
    }
}

/// The reason why the request can't be checked.
enum VerifyError {
    /// The reason was printed already.
    Said,
    Unsaid(String),
}

impl From<String> for VerifyError {
    fn from(problem: String) -> Self {
        Self::Unsaid(problem)
    }
}

fn explain(args: &VerifyArgs, path: Option<&Path>, now: Timestamp) -> Result<(String, bool), VerifyError> {
    let config = config(args, path)?;
    let (verifier, handshake) = match (&args.service, &config) {
        (Some(service), Some(config)) => of_service(config, service)?,
        _ => of_arguments(args).map(|verifier| (verifier, None))?,
    };
    if args.scheme.as_deref() != Some("hmac") && args.hmac.is_given() {
        return Err("--header, --algorithm, --encoding, --prefix, --signed, --timestamp-header and --id-header are for \
                    --scheme hmac: other schemes define them"
            .to_owned()
            .into());
    }
    if args.tolerance.is_some() && verifier.tolerance().is_none() {
        return Err("--tolerance has no effect: the scheme signs no time".to_owned().into());
    }
    if args
        .public_url
        .as_deref()
        .is_some_and(|url| !url.starts_with("https://") && !url.starts_with("http://"))
    {
        return Err("--public-url must be a URL such as https://hooks.example.com".to_owned().into());
    }
    let from_file = config.as_ref().and_then(|config| config.public_url.as_deref());
    let public_url = args.public_url.as_deref().map(|url| url.trim_end_matches('/')).or(from_file);
    if verifier.scheme().has_url() && public_url.is_none() {
        return Err("the scheme signs the URL: set the external URL with --public-url".to_owned().into());
    }
    let captured = Captured::parse(&read(args)?)?;
    let at = args.at.unwrap_or(now);
    let keys = args.keys.read(config.as_deref(), verifier.token())?;
    let (mut page, passes) = page((&verifier, &keys), &captured, public_url, at)?;
    if let Some(remark) = handshake.and_then(|handshake| handshake::remark(&handshake, &captured, passes)) {
        let _ = writeln!(page, "{remark}");
    }
    Ok((page, passes))
}

fn config(args: &VerifyArgs, path: Option<&Path>) -> Result<Option<Box<Config>>, VerifyError> {
    if args.service.is_none() {
        return Ok(None);
    }
    match file::read(path, Mode::Full) {
        Ok(File::Valid(config)) => Ok(Some(config)),
        Ok(File::Missing(looked_for)) => Err(looked_for.into()),
        Err(_) => Err(VerifyError::Said),
    }
}

fn of_service(config: &Config, name: &str) -> Result<(Verifier, Option<Handshake>), String> {
    let service = config.services.get(name).ok_or_else(|| {
        let nearest = file::nearest(name, config.services.keys().map(String::as_str));
        let hint = nearest.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
        format!("there is no service `{name}`{hint}")
    })?;
    let webhook = service.webhook.as_ref();
    let verifier = webhook.and_then(|webhook| webhook.verify.clone());
    if let Some(unread) = webhook.and_then(|webhook| webhook.unread.as_ref())
        && verifier.as_ref().is_some_and(|verifier| !verifier.has_secrets())
    {
        return Err(format!("{unread}; `attache check` says why"));
    }
    let none = || format!("services.{name}.webhook has no `verify`: a call needs only its key");
    let (mut verifier, webhook) = verifier.zip(webhook).ok_or_else(none)?;
    if webhook.is_secret_brought {
        verifier = handshake::with_kept_secret(config, name, &verifier)?;
    }
    Ok((verifier, webhook.handshake.clone()))
}

fn of_arguments(args: &VerifyArgs) -> Result<Verifier, String> {
    let name = args.scheme.as_deref().unwrap_or_default();
    let scheme = match (name, &args.hmac.header) {
        ("hmac", Some(header)) => Scheme::Hmac(Box::new(args.hmac.parts(header.clone())?)),
        ("custom", _) => {
            return Err("a custom scheme has its parts in the configuration: use --service".to_owned());
        }
        _ => Scheme::by_name(name).ok_or_else(|| {
            let hint = file::nearest(name, Scheme::NAMES.iter().copied());
            let hint = hint.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
            format!("there is no scheme `{name}`{hint}; known are {}", Scheme::NAMES.join(", "))
        })?,
    };
    match scheme.key_source() {
        KeySource::Issuer => {
            return Err(format!("--scheme {name} needs an issuer of the configuration: use --service"));
        }
        KeySource::Topics if args.keys.topics()?.is_empty() => {
            return Err(format!("--scheme {name} needs the ARN of a topic: --topic ARN"));
        }
        KeySource::Topics => {
            let tolerance = args.tolerance.map(|seconds| Duration::from_secs(seconds.into()));
            let tolerance = tolerance.unwrap_or(scheme.default_tolerance());
            let verifier = Verifier::new(scheme, &[], tolerance).map_err(|(_, fault)| fault.to_string())?;
            return Ok(verifier.with_topics(args.keys.topics()?));
        }
        KeySource::Secret | KeySource::PublicKey => {}
    }
    let given = if scheme.has_public_key() { &args.public_key } else { &args.secret };
    if given.is_empty() {
        return Err(match scheme.has_public_key() {
            true => format!("--scheme {name} needs the provider's public key: --public-key file:PATH"),
            false => format!("--scheme {name} needs a secret: --secret env:NAME"),
        });
    }
    if scheme.needs_webhook_id() != args.webhook_id.is_some() {
        return Err(match &args.webhook_id {
            Some(_) => "--webhook-id has no effect: the scheme signs none".to_owned(),
            None => format!("--scheme {name} signs the webhook's id: set it with --webhook-id"),
        });
    }
    let secrets = given.iter().map(|text| secret(text)).collect::<Result<Vec<_>, _>>()?;
    let tolerance = args.tolerance.map(|seconds| Duration::from_secs(seconds.into()));
    let tolerance = tolerance.unwrap_or(scheme.default_tolerance());
    let verifier = Verifier::new(scheme, &secrets, tolerance)
        .map_err(|(index, fault)| format!("secret {} is not one of this scheme: {fault}", index + 1))?;
    Ok(match &args.webhook_id {
        Some(id) => verifier.with_webhook_id(id),
        None => verifier,
    })
}

impl HmacArgs {
    fn is_given(&self) -> bool {
        let Self { header, algorithm, encoding, prefix, signed, timestamp_header, id_header } = self;
        let names = [header, timestamp_header, id_header];
        names.iter().any(|name| name.is_some())
            || algorithm.is_some()
            || encoding.is_some()
            || prefix.is_some()
            || signed.is_some()
    }

    fn parts(&self, header: HeaderName) -> Result<Parts, String> {
        let signed = match &self.signed {
            Some(signed) => signed.clone(),
            None => Template::parse("{body}", TimeFormat::Seconds).map_err(|fault| fault.to_string())?,
        };
        for (option, given, wanted, name) in [
            ("--timestamp-header", self.timestamp_header.is_some(), signed.has_timestamp(), "{timestamp}"),
            ("--id-header", self.id_header.is_some(), signed.has_id(), "{id}"),
        ] {
            if given != wanted {
                return Err(format!("{option} and `{name}` in --signed require each other"));
            }
        }
        let form = Form::Prefixed(self.prefix.clone().unwrap_or_default().into());
        let header_of = |name: &Option<HeaderName>| name.clone().map(Field::Header);
        Ok(Parts {
            place: Place {
                signature: SignatureAt::Headers(vec![header], form),
                encoding: self.encoding.unwrap_or(Encoding::Hex),
                time: header_of(&self.timestamp_header).map(|field| (field, TimeFormat::Seconds)),
                id: header_of(&self.id_header),
                require: Vec::new(),
            },
            secret: SecretEncoding::Raw,
            signed,
            algorithm: self.algorithm.unwrap_or(Algorithm::Sha256),
        })
    }
}

/// Reads `env:NAME`, `file:PATH` or the text itself. No message quotes it.
fn secret(text: &str) -> Result<Secret, String> {
    let value = if let Some(name) = text.strip_prefix("env:") {
        std::env::var(name).map_err(|_| match is_usual_variable(name) {
            true => format!("the environment variable `{name}` is not set, or is not text"),
            false => "the environment variable of a secret is not set, or is not text; `env:` takes its NAME, which is \
                      not shown, since it may be the secret itself"
                .to_owned(),
        })?
    } else if let Some(path) = text.strip_prefix("file:") {
        let text = std::fs::read_to_string(path).map_err(|error| format!("can't read {path}: {error}"))?;
        let text = zeroize::Zeroizing::new(text);
        let cut = text.strip_suffix('\n').unwrap_or(&text);
        cut.strip_suffix('\r').unwrap_or(cut).to_owned()
    } else {
        text.to_owned()
    };
    if value.is_empty() { Err("a secret is empty".to_owned()) } else { Ok(Secret::new(value)) }
}

fn read(args: &VerifyArgs) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let failed = |error: std::io::Error| format!("can't read {}: {error}", args.request.display());
    let read = if args.request.as_os_str() == "-" {
        if std::io::stdin().is_terminal() {
            return Err(
                "there is no request: give the captured one with --request FILE, or on standard input"
                    .to_owned(),
            );
        }
        std::io::stdin().lock().take(MAX_REQUEST + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(&args.request).map_err(failed)?.take(MAX_REQUEST + 1).read_to_end(&mut bytes)
    };
    read.map_err(failed)?;
    if bytes.len() as u64 > MAX_REQUEST {
        Err("the request is larger than 64 MiB".to_owned())
    } else {
        Ok(bytes)
    }
}

fn page(
    (verifier, keys): (&Verifier, &GivenKeys),
    captured: &Captured,
    public_url: Option<&str>,
    at: Timestamp,
) -> Result<(String, bool), String> {
    let mut trace = Trace::on();
    let delivery = Delivery {
        method: &captured.method,
        target: &captured.target,
        public_url,
        headers: &captured.headers,
        body: &captured.body,
    };
    let now = SystemTime::try_from(at).map_err(|_| "--at is out of range".to_owned())?;
    let verdict = admission::verify_at(verifier, &delivery, keys, now, &mut trace);
    let mut page = String::new();
    // Writing to a String can't fail.
    let _ = writeln!(page, "scheme {}, at {at}", verifier.scheme().as_str());
    let (count, length) = (captured.headers.len(), captured.body.len());
    let _ = writeln!(page, "  -  {} with {count} headers and a body of {length} bytes", captured.method);
    for remark in &captured.remarks {
        let _ = writeln!(page, "  !  {remark}");
    }
    for step in trace.steps() {
        let mark = match step.mark {
            Mark::Passed => "ok",
            Mark::Failed => "NO",
            Mark::Note => " -",
        };
        let _ = writeln!(page, " {mark}  {}", step.text);
    }
    let _ = match &verdict {
        Ok(Signed { id: Some(id), .. }) => {
            let id: String = id.chars().filter(|c| !c.is_control()).collect();
            writeln!(page, "  -  the id of the delivery is {id}\nthe signature is valid")
        }
        Ok(_) => writeln!(page, "the signature is valid"),
        Err(fault) => writeln!(page, "the signature is NOT valid: {fault}\n{}", advice(fault, captured)),
    };
    if let Err(crate::signature::Fault::Missing(_)) = &verdict {
        let others = Scheme::of_headers(&captured.headers);
        if !others.is_empty() {
            let _ = writeln!(page, "the request has the headers of: {}", others.join(", "));
        }
    }
    Ok((page, verdict.is_ok()))
}

/// Returns what to check next.
fn advice(fault: &crate::signature::Fault, captured: &Captured) -> &'static str {
    use crate::signature::Fault;
    match fault {
        Fault::Missing(_) => {
            "check that the provider signs this webhook, and that it uses this scheme; a proxy in between may \
             have dropped the header"
        }
        Fault::Duplicate(_) => "a proxy in between may have added the second one",
        Fault::Malformed(..) => "check that the provider uses this scheme, in this version",
        Fault::Stale(..) => {
            "for a request captured earlier, give its arrival with --at; else compare the clocks"
        }
        Fault::Future(..) => "compare the clocks of this machine and of the provider",
        Fault::Mismatch if captured.body.ends_with(b"\n") => {
            "check that the secret is the one of this webhook; the body ends with a line break, which an editor may have added"
        }
        Fault::Mismatch => {
            "check that the secret is the one of this webhook, and that the body is unchanged byte for byte, not parsed and written \
             again"
        }
        Fault::Content(_) => "check that the provider uses this scheme",
        Fault::Token(_) => {
            "compare `issuers` with the token; a captured token may have expired: give its arrival with --at"
        }
        Fault::Claim(_) => {
            "compare `claims` with the token's; the token itself is a credential, so do not print it"
        }
        Fault::Certificate(_) => {
            "give the certificate at `SigningCertURL` of this very message; for an older message, give its arrival with --at"
        }
        Fault::NeedsKey(_) | Fault::KeyUnavailable(_) => {
            "this command fetches nothing: give the certificate at `SigningCertURL` with --certificate, or the issuer's keys \
             with --jwks"
        }
    }
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    let seconds = text.parse::<i64>().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    seconds
        .or_else(|| text.parse().ok())
        .ok_or_else(|| "neither a time like 2026-12-31T00:00:00Z nor Unix seconds".to_owned())
}

fn parse_algorithm(text: &str) -> Result<Algorithm, String> {
    one_of(text, &Algorithm::ALL)
}

fn parse_encoding(text: &str) -> Result<Encoding, String> {
    one_of(text, &Encoding::ALL)
}

fn one_of<T: Copy>(text: &str, known: &[(&str, T)]) -> Result<T, String> {
    let found = known.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        format!("not one of {}", names.join(", "))
    })
}

fn parse_template(text: &str) -> Result<Template, String> {
    Template::parse(text, TimeFormat::Seconds)
        .map_err(|fault| format!("{fault}; known: {}", Template::PLACEHOLDERS))
}

#[cfg(test)]
mod tests;
