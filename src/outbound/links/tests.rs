//! A corpus of references, read as a client of RFC 3986 and as a browser reads them.

use super::dots;
use super::reference::Parts;
use super::{Links, Verdict};
use crate::config::{Mode, load};
use crate::credentials::oauth2::{TokenClient, Tokens};
use crate::message::Fields;
use crate::outbound::path::{Target, has_dot_segment};
use crate::outbound::{Call, Routes};
use crate::plan::Form;
use crate::snapshot::Snapshot;
use crate::transport::Transport;
use std::borrow::Cow;
use std::sync::Arc;
use url::Url;

/// A service `mailer`, one with a longer path, and one that no client of it may get into.
struct World {
    routes: Routes,
    _runtime: tokio::runtime::Runtime,
}

impl World {
    fn new(mailer: &str) -> Self {
        Self::with(mailer, "account: { authorization: none }")
    }

    fn with(mailer: &str, lines: &str) -> Self {
        let longer =
            if mailer.contains('{') { "https://api.other.example" } else { &format!("{mailer}/admin") };
        let yaml = format!(
            "
http_proxy: true
services:
  mailer: {{ server_url: '{mailer}', allow_plaintext: true, hosts: [mailer.internal], {lines} }}
  admin: {{ server_url: '{longer}', account: {{ authorization: none }} }}
  bank: {{ server_url: 'https://api.bank.example', account: {{ authorization: none }}, hosts: [bank.internal] }}
"
        );
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("attache.yaml");
        std::fs::write(&path, yaml).expect("write");
        let loaded = load(&path, Mode::Full);
        let config = loaded.config.unwrap_or_else(|| panic!("{}", loaded.problems.render_human(false)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let transport = Arc::new(Transport::new(1));
        let tokens = Tokens::new(TokenClient::new(&transport), runtime.handle().clone());
        let snapshot = {
            let _entered = runtime.enter();
            Snapshot::build(config, None, &tokens, &transport, 1024)
        };
        Self { routes: snapshot.routes, _runtime: runtime }
    }

    /// Decides about a reference in the response to a request.
    fn decide(&self, form: Form, asked: &str, reference: &[u8]) -> Verdict {
        let host = host(form);
        let fields = Fields::collect([(&b"Host"[..], host.as_bytes())]);
        let call = Call {
            method: &http::Method::GET,
            target: asked.as_bytes(),
            fields: &fields,
            absolute: form == Form::Proxy,
        };
        let plan = self.routes.plan(&call).unwrap_or_else(|refusal| panic!("{asked}: {}", refusal.detail));
        assert_eq!((plan.form, plan.route.service.as_str()), (form, "mailer"));
        let listener = Some(([127, 0, 0, 1], 8080).into());
        let links = Links::new(&self.routes, &plan, asked.as_bytes(), &fields, listener).expect("links");
        links.decide(reference)
    }

    /// Asserts that no client that follows `link` gets to another service than `mailer`.
    fn assert_safe(&self, form: Form, asked: &str, link: &[u8], of: &str) {
        assert!(link.iter().all(|b| !b.is_ascii_control()), "{of:?}");
        let text = String::from_utf8_lossy(link);
        if form != Form::Proxy {
            // A network-path reference is another host's.
            assert!(!text.starts_with("//") || of.starts_with("//"), "{of:?}: {text}");
        }
        let base = format!("http://{}{asked}", host(form));
        // As a browser does it.
        if let Ok(url) = Url::parse(&base).expect("a base").join(&text)
            && let Some(host) = url.host_str()
        {
            let authority = url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
            self.assert_not_astray(form, url.scheme() == "http", &authority, url.path(), of);
        }
        // As RFC 3986 says.
        let parts = Parts::of(link);
        let base_host = host(form);
        let authority = match (parts.scheme, parts.authority) {
            (Some(scheme), _) if !scheme.to_ascii_lowercase().starts_with(b"http") => return,
            (_, Some(authority)) => String::from_utf8_lossy(authority).into_owned(),
            (_, None) => base_host.to_owned(),
        };
        let path = match parts.path {
            [] if parts.authority.is_none() => asked.split('?').next().expect("a path").as_bytes().to_vec(),
            path if path.starts_with(b"/") => path.to_vec(),
            path => {
                let folder = asked.split('?').next().expect("a path");
                [&folder.as_bytes()[..=folder.rfind('/').expect("a slash")], path].concat()
            }
        };
        let path = dots::remove(Cow::Owned(path));
        let is_http = parts.scheme.is_none_or(|scheme| scheme.eq_ignore_ascii_case(b"http"));
        let authority = authority.rsplit('@').next().expect("a host").to_owned();
        self.assert_not_astray(form, is_http, &authority, &String::from_utf8_lossy(&path.path), of);
    }

    fn assert_not_astray(&self, form: Form, is_http: bool, authority: &str, path: &str, of: &str) {
        if Target::parse(path.as_bytes()).is_none_or(|target| has_dot_segment(target.path)) {
            // attache refuses it.
            return;
        }
        let reaches = match form {
            Form::Proxy => is_http,
            // The names that attache can know: the client's own, the listener's, and those of `hosts`.
            Form::Path | Form::Host => {
                let near = ["127.0.0.1:8080", "localhost:8080", "mailer.internal:8080", "bank.internal"];
                near.iter().any(|near| near.eq_ignore_ascii_case(authority))
                    || authority.eq_ignore_ascii_case(host(form))
            }
        };
        if !reaches {
            return;
        }
        let fields = Fields::collect([(&b"Host"[..], authority.as_bytes())]);
        let call = Call {
            method: &http::Method::GET,
            target: path.as_bytes(),
            fields: &fields,
            absolute: form == Form::Proxy,
        };
        if let Ok(plan) = self.routes.plan(&call) {
            assert_eq!(plan.route.service, "mailer", "{of:?} leads astray: {authority} {path}");
        }
    }
}

const ATTACHE: &str = "attache.example:8080";

fn host(form: Form) -> &'static str {
    match form {
        Form::Path => ATTACHE,
        Form::Host => "mailer.internal:8080",
        Form::Proxy => "api.mailer.example",
    }
}

/// `=`: stays; `-`: dropped; else what it is replaced by. The request is `/mailer/a/b?x=1`, sent as `/v3/a/b?x=1`.
const CORPUS: &[(&str, &str)] = &[
    // Relative, staying.
    ("", "="),
    ("#f", "="),
    ("?page=2", "="),
    ("?page=2#f", "="),
    ("c", "="),
    ("./c", "="),
    ("c/d?e#f", "="),
    ("../c", "="),
    (".", "="),
    ("..", "="),
    ("c:d", "="),
    ("./c:d", "="),
    ("c d", "="),
    ("%41", "="),
    ("c;v=1/d", "="),
    ("b?x=../../bank", "="),
    // Relative, leaving the prefix.
    ("../..", "https://api.mailer.example/"),
    ("../../bank/pay", "https://api.mailer.example/bank/pay"),
    ("../../../../../bank/pay", "https://api.mailer.example/bank/pay"),
    ("../../v3/c", "/mailer/c"),
    ("../../v3x/c", "https://api.mailer.example/v3x/c"),
    ("%2e%2e/%2e%2e/bank/pay", "https://api.mailer.example/bank/pay"),
    ("%2e%2e/c", "/mailer/c"),
    (".%2E/c", "/mailer/c"),
    ("..%2f..%2fbank", "https://api.mailer.example/bank"),
    ("..;/..;/bank", "https://api.mailer.example/bank"),
    ("..%00/..%00/bank", "https://api.mailer.example/bank"),
    ("%c0%ae%c0%ae/%c0%ae%c0%ae/bank", "https://api.mailer.example/bank"),
    ("..\\..\\bank\\pay", "https://api.mailer.example/bank/pay"),
    ("..%5c..%5cbank", "https://api.mailer.example/bank"),
    ("c\\d", "/mailer/a/c/d"),
    // Absolute paths.
    ("/v3/c", "/mailer/c"),
    ("/v3", "/mailer"),
    ("/v3/", "/mailer/"),
    ("/v3/c?d#e", "/mailer/c?d#e"),
    ("/%76%33/c", "/mailer/c"),
    ("/v3%2fc", "https://api.mailer.example/v3%2fc"),
    ("/v3/../bank/pay", "https://api.mailer.example/bank/pay"),
    ("/bank/pay", "https://api.mailer.example/bank/pay"),
    ("/mailer/c", "https://api.mailer.example/mailer/c"),
    ("/", "https://api.mailer.example/"),
    ("/v3//evil.example/c", "/mailer//evil.example/c"),
    ("/v3/a b", "/mailer/a%20b"),
    // The same origin.
    ("https://api.mailer.example/v3/c", "/mailer/c"),
    ("HTTPS://API.Mailer.Example:443/v3/c?d=e%20f", "/mailer/c?d=e%20f"),
    ("https://user:pw@api.mailer.example/v3/c", "/mailer/c"),
    ("https://%61pi.mailer.example/v3/c", "/mailer/c"),
    ("//api.mailer.example/v3/c", "/mailer/c"),
    ("https://api.mailer.example", "="),
    ("https://api.mailer.example/v4/c", "="),
    ("https://api.mailer.example/v3/../v4/c", "https://api.mailer.example/v4/c"),
    ("https:/v3/c", "/mailer/c"),
    ("https:c", "/mailer/a/c"),
    ("https:../../bank/pay", "https://api.mailer.example/bank/pay"),
    // Another origin.
    ("http://api.mailer.example/v3/c", "="),
    ("https://api.mailer.example:8443/v3/c", "="),
    ("https://cdn.example/v3/c?d#e", "="),
    ("https://cdn.example/../bank", "https://cdn.example/bank"),
    ("//cdn.example/c", "https://cdn.example/c"),
    ("///cdn.example/c", "https://cdn.example/c"),
    ("/\\cdn.example/c", "https://cdn.example/c"),
    ("/\\\\cdn.example/c", "https://cdn.example/c"),
    ("\\\\cdn.example\\c", "https://cdn.example/c"),
    ("http:/cdn.example/c", "http://cdn.example/c"),
    ("http:\\\\cdn.example\\c", "http://cdn.example/c"),
    ("http:cdn.example", "http://cdn.example/"),
    ("https:///cdn.example/c", "https://cdn.example/c"),
    ("https://cdn.example\\@api.mailer.example/v3/c", "https://cdn.example/@api.mailer.example/v3/c"),
    ("https://api.mailer.example@cdn.example/v3/c", "="),
    ("https://a@b@api.mailer.example/v3/c", "/mailer/c"),
    ("ht\ttps://cdn.example/c", "https://cdn.example/c"),
    ("/\t/cdn.example/c", "https://cdn.example/c"),
    ("https://b\u{fc}cher.example/c", "https://xn--bcher-kva.example/c"),
    ("https://[2001:db8::1]:8443/c", "="),
    ("https://[::1", "-"),
    ("https://exa mple/c", "-"),
    ("https://a:port/c", "-"),
    ("https://", "-"),
    // Other schemes.
    ("mailto:a@b.example", "="),
    ("urn:a:b", "="),
    ("javascript:alert(1)", "="),
    ("java\tscript:x/../../../bank/pay", "javascript:x/../../../bank/pay"),
    ("data:text/html,x", "="),
    ("ftp://cdn.example/c", "="),
    ("1a:b/../../../bank/pay", "https://api.mailer.example/bank/pay"),
    // attache itself.
    ("http://attache.example:8080/bank/pay", "-"),
    ("http://attache.example:8080/mailer/c", "="),
    ("http://attache.example:8080/mailer/../bank/pay", "-"),
    ("http://attache.example:8080/mailer/%2e%2e/bank/pay", "-"),
    ("//ATTACHE.example.:8080/bank/pay", "-"),
    ("https://attache.example:8080/bank/pay", "-"),
    ("http://x@attache.example:8080/bank/pay", "-"),
    ("http://127.0.0.1:8080/bank/pay", "-"),
    ("http://0x7f.1:8080/bank/pay", "-"),
    ("http://[::ffff:127.0.0.1]:8080/bank/pay", "-"),
    ("http://localhost:8080/bank/pay", "-"),
    ("http://bank.internal/pay", "-"),
    ("http://BANK.internal.:1234/pay", "-"),
    ("http://mailer.internal:8080/c", "="),
    ("http:attache.example:8080/bank/pay", "-"),
    ("\\\\attache.example:8080\\bank\\pay", "-"),
];

#[test]
fn a_link_takes_the_form_of_the_path() {
    let world = World::new("https://api.mailer.example/v3");
    let mut wrong = Vec::new();
    for (reference, expected) in CORPUS {
        let found = match world.decide(Form::Path, "/mailer/a/b?x=1", reference.as_bytes()) {
            Verdict::Keep => "=".to_owned(),
            Verdict::Replace(link) => String::from_utf8(link).expect("ASCII"),
            Verdict::Drop => "-".to_owned(),
        };
        if found != *expected {
            wrong.push(format!("{reference:?}: {found}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every row in every form, with and without a path prefix and https.
#[test]
fn no_link_leads_into_another_service() {
    let long = "../".repeat(2000) + "bank/pay";
    let more = [
        long.as_str(),
        "admin/x",
        "../admin/x",
        "/v3/admin/x",
        "//bank.internal/pay",
        "/.//bank.internal/pay",
    ];
    for url in ["https://api.mailer.example/v3", "https://api.mailer.example", "http://api.mailer.example/v3"]
    {
        let world = World::new(url);
        let below = url.strip_prefix("https://api.mailer.example").unwrap_or("/v3");
        for (form, asked) in [
            (Form::Path, "/mailer/a/b?x=1".to_owned()),
            (Form::Path, "/mailer".to_owned()),
            (Form::Path, "/mailer/".to_owned()),
            (Form::Path, "/mailer?x=1".to_owned()),
            (Form::Host, "/a/b?x=1".to_owned()),
            (Form::Host, "/".to_owned()),
            (Form::Host, "//a".to_owned()),
            (Form::Proxy, format!("{below}/a/b?x=1")),
            (Form::Proxy, format!("{below}/")),
        ] {
            for reference in CORPUS.iter().map(|(reference, _)| *reference).chain(more) {
                match world.decide(form, &asked, reference.as_bytes()) {
                    Verdict::Keep => world.assert_safe(form, &asked, reference.as_bytes(), reference),
                    Verdict::Replace(link) => world.assert_safe(form, &asked, &link, reference),
                    Verdict::Drop => {}
                }
            }
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_safe() {
    let world = World::new("https://api.mailer.example/v3");
    let decide = |reference: &[u8]| world.decide(Form::Path, "/mailer/a/b", reference);
    assert_eq!(decide(b"c\xff"), Verdict::Keep);
    assert_eq!(decide(b"/v3/c\xff\xc0"), Verdict::Replace(b"/mailer/c%FF%C0".to_vec()));
    assert_eq!(decide(b"\\\\\xff\xfe/x"), Verdict::Drop);
}

#[test]
fn a_link_takes_the_form_of_the_host() {
    let world = World::new("https://api.mailer.example/v3");
    let link = |reference: &str| match world.decide(Form::Host, "/a/b", reference.as_bytes()) {
        Verdict::Keep => "=".to_owned(),
        Verdict::Replace(link) => String::from_utf8(link).expect("ASCII"),
        Verdict::Drop => "-".to_owned(),
    };
    for (reference, expected) in [
        ("c", "="),
        ("../c", "="),
        ("/v3/c?d", "/c?d"),
        ("/v3", "/"),
        ("https://api.mailer.example/v3/c", "/c"),
        ("/v3//bank.internal/pay", "/.//bank.internal/pay"),
        ("https://api.mailer.example/v3//bank.internal/pay", "/.//bank.internal/pay"),
        ("../../v3/\\bank.internal/pay", "/.//bank.internal/pay"),
        ("../../bank/pay", "https://api.mailer.example/bank/pay"),
        ("http://bank.internal:8080/pay", "-"),
        ("http://mailer.internal:8080/c", "="),
        ("http://127.0.0.1:8080/bank/pay", "-"),
    ] {
        assert_eq!(link(reference), expected, "{reference}");
    }
}

#[test]
fn a_link_takes_the_form_of_the_proxied_url() {
    let world = World::new("https://api.mailer.example/v3");
    let link = |reference: &str| match world.decide(Form::Proxy, "/v3/a/b", reference.as_bytes()) {
        Verdict::Keep => "=".to_owned(),
        Verdict::Replace(link) => String::from_utf8(link).expect("ASCII"),
        Verdict::Drop => "-".to_owned(),
    };
    for (reference, expected) in [
        ("c", "="),
        ("/v3/c", "="),
        ("https://api.mailer.example/v3/c?d", "http://api.mailer.example/v3/c?d"),
        ("../../bank", "https://api.mailer.example/bank"),
        // Below another service's longer path.
        ("../admin/x", "https://api.mailer.example/v3/admin/x"),
        ("https://api.mailer.example/v3/admin", "https://api.mailer.example/v3/admin"),
        ("http://api.mailer.example/v3/c", "="),
        ("http://api.bank.example/pay", "-"),
        ("http://bank.internal/pay", "-"),
        ("https://api.bank.example/pay", "="),
        ("http://127.0.0.1:8080/bank/pay", "-"),
    ] {
        assert_eq!(link(reference), expected, "{reference}");
    }
}

#[test]
fn a_query_credential_never_remains_in_a_link() {
    for rewrite in [true, false] {
        let lines = format!(
            "rewrite_links: {rewrite}, account: {{ authorization: {{ query: {{ name: key, value: hunter2-hunter2 }} }} }}"
        );
        let world = World::with("https://api.mailer.example/v3", &lines);
        for reference in [
            "?key=hunter2-hunter2",
            "c?a=1&key=hunter2-hunter2",
            "/v3/c?key=hunter2-hunter2&page=2",
            "https://api.mailer.example/v4?key=hunter2%2Dhunter2",
            "https://cdn.example/?k%65y=hunter2-hunter2#key=hunter2-hunter2",
            "https://cdn.example/hunter2-hunter2",
            "https://cdn.example/?next=%2Fv3%3Fkey%3Dhunter2%252Dhunter2",
        ] {
            match world.decide(Form::Path, "/mailer/a/b", reference.as_bytes()) {
                Verdict::Replace(link) => {
                    let link = String::from_utf8(link).expect("ASCII");
                    assert!(!link.contains("hunter2"), "{reference}: {link}");
                }
                other => panic!("{reference}: {other:?}"),
            }
        }
    }
}

/// As with Telegram, whose links hold the token.
#[test]
fn a_path_credential_never_remains_in_a_link() {
    let token = "123456:hunter2-hunter2";
    for (rewrite, form, asked) in [
        (true, Form::Path, "/mailer/a/b"),
        (true, Form::Host, "/a/b"),
        (true, Form::Proxy, "/botANYTHING/a/b"),
        (false, Form::Path, "/mailer/a/b"),
    ] {
        let lines = format!("rewrite_links: {rewrite}, account: {{ authorization: {{ path: '{token}' }} }}");
        let world = World::with("https://api.mailer.example/bot{credential}", &lines);
        let link = |reference: &str| match world.decide(form, asked, reference.as_bytes()) {
            Verdict::Keep => reference.to_owned(),
            Verdict::Replace(link) => String::from_utf8(link).expect("ASCII"),
            Verdict::Drop => "-".to_owned(),
        };
        for reference in [
            "/bot123456:hunter2-hunter2/c",
            "/bot123456%3Ahunter2%2Dhunter2/c",
            "https://api.mailer.example/bot123456:hunter2-hunter2/c",
            "../../bot123456:hunter2-hunter2/c",
            "/file/bot123456:hunter2-hunter2/c",
            "https://cdn.example/?token=123456%253Ahunter2-hunter2",
        ] {
            assert!(!link(reference).contains("hunter2"), "{form:?} {reference}: {}", link(reference));
        }
        let below = link("/bot123456:hunter2-hunter2/c?d");
        match form {
            _ if !rewrite => assert_eq!(below, "/bot%5Bredacted%5D/c?d"),
            Form::Path => assert_eq!(below, "/mailer/c?d"),
            Form::Host => assert_eq!(below, "/c?d"),
            Form::Proxy => assert_eq!(below, "http://api.mailer.example/botANYTHING/c?d"),
        }
        assert_eq!(link("c"), "c");
        if rewrite {
            assert_eq!(link("/other"), "https://api.mailer.example/other");
        }
    }
}

#[test]
fn every_link_of_a_field_is_rewritten() {
    use crate::message::Field;
    let world = World::new("https://api.mailer.example/v3");
    let fields = Fields::collect([(&b"Host"[..], ATTACHE.as_bytes())]);
    let call = Call { method: &http::Method::GET, target: b"/mailer/a", fields: &fields, absolute: false };
    let plan = world.routes.plan(&call).unwrap_or_else(|_| panic!("a plan"));
    let links = Links::new(&world.routes, &plan, b"/mailer/a", &fields, None).expect("links");
    let edit = |name: &str, value: &str| {
        let field = Field { name: name.as_bytes(), value: value.as_bytes() };
        assert!(super::is_link(&field), "{name}");
        links.edit(&field).map(|value| String::from_utf8(value.into_owned()).expect("text"))
    };
    let rows = [
        ("Location", "/v3/b", "/mailer/b"),
        ("content-location", "https://api.mailer.example/v3/b", "/mailer/b"),
        ("Location", "http://attache.example:8080/bank", "-"),
        ("Refresh", "5", "5"),
        ("Refresh", "5; url=c", "5; url=c"),
        ("Refresh", "5; URL=/v3/c", "5;url=/mailer/c"),
        ("Refresh", "0,url='/v3/c' url=/bank", "0;url=/mailer/c"),
        ("Refresh", "0; /v3/c", "0;url=/mailer/c"),
        ("Refresh", "1.5 url = \"/v3/c\"", "1;url=/mailer/c"),
        ("Refresh", "0; url=c'?url=/bank", "0;url=c%27?url=/bank"),
        ("Refresh", "url=/bank/pay", "-"),
        ("Refresh", "0; url=http://attache.example:8080/bank", "-"),
        ("Link", "</v3/b?page=2>; rel=\"next\"", "</mailer/b?page=2>; rel=\"next\""),
        ("Link", "<b>;rel=next,<c> ; rel=prev", "<b>;rel=next,<c> ; rel=prev"),
        (
            "Link",
            "<https://api.mailer.example/v3/b>; rel=\"next\"; title=\"a, b; \\\"c\\\"\", <https://cdn.example/>; rel=x",
            "</mailer/b>; rel=\"next\"; title=\"a, b; \\\"c\\\"\", <https://cdn.example/>; rel=x",
        ),
        ("Link", "</v3/b>; anchor=\"/v3/c\"; rel=x", "</mailer/b>; anchor=\"/mailer/c\"; rel=x"),
        ("Link", "<b>; anchor=#x; rel=x", "<b>; anchor=#x; rel=x"),
        ("Link", "</v3/b>; title=\"x, </bank/pay>\"; rel=next", "</mailer/b>; rel=next"),
        ("Link", "<http://attache.example:8080/bank>; rel=next, <b>; rel=x", "<b>; rel=x"),
        ("Link", "<b>; anchor=\"http://attache.example:8080/bank\", <c>", "<c>"),
        ("Link", "<b, </bank>; rel=next", "-"),
        ("Link", "<b>; rel=next, bank; rel=next", "<b>; rel=next"),
        ("Link", "/bank; rel=next", "-"),
        ("Link", ", ,<b>,, <c>", ", ,<b>,, <c>"),
    ];
    let mut wrong = Vec::new();
    for (name, value, expected) in rows {
        let found = edit(name, value).unwrap_or("-".to_owned());
        if found != expected {
            wrong.push(format!("{name}: {value}\n  {found}\n  not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!super::is_link(&Field { name: b"Linq", value: b"" }));
}

#[test]
fn a_credential_never_remains_in_a_parameter_of_a_link() {
    use crate::message::Field;
    for rewrite in [true, false] {
        let lines = format!(
            "rewrite_links: {rewrite}, account: {{ authorization: {{ query: {{ name: key, value: hunter2-hunter2 }} }} }}"
        );
        let world = World::with("https://api.mailer.example/v3", &lines);
        let fields = Fields::collect([(&b"Host"[..], ATTACHE.as_bytes())]);
        let call =
            Call { method: &http::Method::GET, target: b"/mailer/a", fields: &fields, absolute: false };
        let plan = world.routes.plan(&call).unwrap_or_else(|_| panic!("a plan"));
        let links = Links::new(&world.routes, &plan, b"/mailer/a", &fields, None).expect("links");
        for parameter in [
            "rel=\"https://api.mailer.example/rels/next?key=hunter2-hunter2\"",
            "title=\"hunter2\\-hunter2\"",
            "title*=UTF-8''hunter2%2Dhunter2",
            "anchor=\"?key=hunter2-hunter2\"",
        ] {
            let value = format!("<b>; {parameter}; type=\"text/html\"");
            let field = Field { name: b"Link", value: value.as_bytes() };
            let edited = links.edit(&field).map(|value| String::from_utf8(value.into_owned()).expect("text"));
            let edited = edited.unwrap_or_default();
            assert!(edited.starts_with("<b>") && edited.ends_with("; type=\"text/html\""), "{edited}");
            assert!(!edited.contains("hunter2"), "{edited}");
        }
    }
}
