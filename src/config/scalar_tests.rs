use super::*;
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

fn millis(text: &str) -> Option<u128> {
    duration(text).ok().map(|d| d.as_millis())
}

#[test]
fn durations_are_whole_numbers_with_units_in_descending_order() {
    let good = [
        ("500ms", 500),
        ("10s", 10_000),
        ("1m30s", 90_000),
        ("2h", 7_200_000),
        ("0s", 0),
        ("1h1ms", 3_600_001),
    ];
    for (text, expected) in good {
        assert_eq!(millis(text), Some(expected), "{text}");
    }
    for text in [
        "",
        "10",
        "s",
        "1.5s",
        "30s1m",
        "1s1s",
        "-1s",
        "+1s",
        "10 s",
        "1d",
        "99999999999999999999s",
        "9999999999999999h",
        "10S",
    ] {
        assert_eq!(millis(text), None, "{text}");
    }
    assert_eq!(duration("10").unwrap_err().help.as_deref(), Some("write `10s` for seconds"));
}

#[test]
fn sizes_are_bytes_or_powers_of_1024() {
    let good = [
        ("0", 0),
        ("512B", 512),
        ("64KiB", 65_536),
        ("1MiB", 1 << 20),
        ("2GiB", 2 << 30),
        ("1048576", 1 << 20),
    ];
    for (text, expected) in good {
        assert_eq!(size(text), Ok(expected), "{text}");
    }
    for text in ["", "KiB", "1MB", "1 MiB", "-1", "1.5MiB", "99999999999GiB", "1é"] {
        assert!(size(text).is_err(), "{text}");
    }
    assert_eq!(size("5kb").unwrap_err().help.as_deref(), Some("write `5KiB`"));
}

#[test]
fn listen_addresses_are_ip_and_port_or_a_socket() {
    assert_eq!(listen_addr("127.0.0.1:0"), Ok(ListenAddr::Tcp((Ipv4Addr::LOCALHOST, 0).into())));
    assert_eq!(listen_addr("[::1]:8080"), Ok(ListenAddr::Tcp((Ipv6Addr::LOCALHOST, 8080).into())));
    assert_eq!(listen_addr("unix:/run/a.sock"), Ok(ListenAddr::Unix("/run/a.sock".into())));
    for text in ["localhost:8080", ":8080", "8080", "127.0.0.1", "::1:8080", "unix:", "127.0.0.1:65536"] {
        assert!(listen_addr(text).is_err(), "{text}");
    }
    assert!(listen_addr(&format!("unix:/{}", "x".repeat(107))).is_err());
}

#[test]
fn instants_have_a_date_a_time_and_an_offset() {
    let second = |text| {
        instant(text).ok().and_then(|t| t.duration_since(SystemTime::UNIX_EPOCH).ok()).map(|d| d.as_secs())
    };
    assert_eq!(second("1970-01-01T00:00:10Z"), Some(10));
    assert_eq!(second("1970-01-01T02:00:10+02:00"), Some(10));
    assert!(instant("1960-01-01T00:00:00Z").is_ok());
    for text in
        ["", "2026-12-31", "2026-12-31T00:00:00", "tomorrow", "2026-13-01T00:00:00Z", "1798675200", "ä"]
    {
        assert!(instant(text).is_err(), "{text}");
    }
    assert_eq!(
        instant("2027-01-02").unwrap_err().help.as_deref(),
        Some("write it like `2027-01-02T00:00:00Z`")
    );
}

#[test]
fn a_server_url_is_parsed_and_its_path_kept_as_written() {
    let parsed = server_url("HTTPS://API.Bücher.example:443/V3/%41b;x=1//").unwrap();
    let expected = ServerUrl {
        tls: true,
        host: Host::Name("api.xn--bcher-kva.example".into()),
        port: 443,
        authority: "api.xn--bcher-kva.example".into(),
        path: "/V3/%41b;x=1/".into(),
    };
    assert_eq!(parsed, expected);
    let parsed = server_url("http://[::1]:8080").unwrap();
    assert_eq!((parsed.authority.as_str(), parsed.port, parsed.path.as_str()), ("[::1]:8080", 8080, ""));
    assert_eq!(parsed.host, Host::Ip(Ipv6Addr::LOCALHOST.into()));
    assert_eq!(server_url("http://a.example//").unwrap().path, "");
    assert_eq!(server_url("http://a.example:80/").unwrap().authority, "a.example");
    assert_eq!(server_url("http://a.example:443/").unwrap().authority, "a.example:443");
}

#[test]
fn no_spelling_of_a_dot_segment_gets_into_a_prefix() {
    for path in [
        "/..",
        "/.",
        "/a/../b",
        "/%2e%2E",
        "/.%2e/",
        "/a/..;x/b",
        "/%2e;",
        "/a%2f..%2fb",
        "/a/..%5cb",
        "/..\\b",
        "/./",
    ] {
        assert!(server_url(&format!("https://a.example{path}")).is_err(), "{path}");
    }
    for path in ["/...", "/.well-known", "/a..b", "/..a", "/a.", "/%2e%2e%2e"] {
        assert!(server_url(&format!("https://a.example{path}")).is_ok(), "{path}");
    }
}

#[test]
fn loopback_is_a_literal_or_localhost() {
    let of = |text: &str| is_loopback(token_url(text).unwrap().host().as_ref());
    assert!(of("http://127.8.9.1/") && of("http://[::1]:1/"));
    assert!(of("http://localhost/") && of("http://LOCALHOST/"));
    assert!(!of("http://localhost.example/") && !of("http://10.0.0.1/") && !of("http://0.0.0.0/"));
}

proptest! {
    #[test]
    fn nothing_panics(text in "\\PC*") {
        let _ = (duration(&text), size(&text), listen_addr(&text), instant(&text), server_url(&text), token_url(&text));
        let _ = (method(&text), name(&text), sha256(&text, "`attache keys new`"));
        let _ = server_url(&format!("https://{text}"));
        let _ = server_url(&format!("https://a.example/{text}"));
    }

    #[test]
    fn an_accepted_path_has_no_dot_segment_once_decoded(path in "(/|\\.|%2e|%2F|%5c|;|a|%25){0,12}") {
        if let Ok(url) = server_url(&format!("https://a.example/{path}")) {
            let decoded = String::from_utf8(percent_decode(&url.path).unwrap()).unwrap();
            prop_assert!(decoded.split(['/', '\\']).all(|s| !matches!(s.split(';').next(), Some("." | ".."))));
        }
    }
}

#[test]
fn a_plain_scalar_of_any_json_type() {
    use serde_json::json;
    for (text, value) in [
        ("7", json!(7)),
        ("-7", json!(-7)),
        ("+7", json!(7)),
        ("0x1f", json!(31)),
        ("18446744073709551615", json!(u64::MAX)),
        ("1.5", json!(1.5)),
        ("1e3", json!(1000.0)),
        ("True", json!(true)),
        ("false", json!(false)),
        ("~", json!(null)),
    ] {
        assert_eq!(json(text), Some(value), "{text}");
    }
    for text in
        ["a", "yes", "2026-11-27", "1.2.3", "+49 30 1", ".inf", "-.inf", ".nan", "-", ".", "0o9", "7a"]
    {
        assert_eq!(json(text), None, "{text}");
    }
}

#[test]
fn a_network_of_mapped_addresses_is_the_ipv4_network() {
    for (text, expected) in [
        ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
        ("::ffff:cb00:7107", "203.0.113.7/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("::/0", "::/0"),
        ("::ffff:0:0:0/80", "::ffff:0:0:0/80"),
    ] {
        assert_eq!(network(text).map(|network| network.to_string()), Ok(expected.to_owned()), "{text}");
    }
    let refused = network("::ffff:203.0.113.7/120").unwrap_err();
    assert_eq!(refused.help.as_deref(), Some("write `203.0.113.0/24`"));
}
