use super::*;

fn paths(patterns: &[&str]) -> Vec<PathPattern> {
    patterns.iter().map(|text| PathPattern::parse(text).unwrap()).collect()
}

fn checked(patterns: &[&str], rest: &str) -> Result<(), Denied> {
    check_path(&paths(patterns), rest.as_bytes())
}

#[test]
fn a_star_stands_for_any_rest_and_without_one_the_path_is_exact() {
    for (patterns, rest, expected) in [
        (&[][..], "/anything", Ok(())),
        (&["/*"], "", Ok(())),
        (&["/*"], "/", Ok(())),
        (&["*"], "/a/b", Ok(())),
        (&["/*"], "//a%2f..", Ok(())),
        (&["/"], "", Ok(())),
        (&["/"], "/a", Err(Denied::Path)),
        (&["/contacts*"], "/contacts", Ok(())),
        (&["/contacts*"], "/contacts/", Ok(())),
        (&["/contacts*"], "/contacts/1/notes", Ok(())),
        (&["/contacts*"], "/contacts-archive", Ok(())),
        (&["/contacts*"], "/contact", Err(Denied::Path)),
        (&["/contacts*"], "", Err(Denied::Path)),
        (&["/orders/*"], "/orders", Err(Denied::Path)),
        (&["/orders/*"], "/orders/", Ok(())),
        (&["/orders/*"], "/orders/1/lines", Ok(())),
        (&["/orders"], "/orders", Ok(())),
        (&["/orders"], "/orders/", Err(Denied::Path)),
        (&["/orders"], "/orders/1", Err(Denied::Path)),
        (&["/orders", "/contacts*"], "/contacts/1", Ok(())),
        (&["/projects/a%2Fb/*"], "/projects/a%2Fb/issues", Ok(())),
        (&["/projects/a%2Fb/*"], "/projects/a%2fb/issues", Err(Denied::Path)),
        (&["/projects/a%2Fb/*"], "/projects/a/b/issues", Err(Denied::Path)),
    ] {
        assert_eq!(checked(patterns, rest), expected, "{patterns:?} {rest}");
    }
}

#[test]
fn an_encoding_of_an_allowed_prefix_is_not_the_prefix() {
    for rest in [
        "/%63ontacts",
        "/Contacts",
        "/CONTACTS/1",
        "//contacts",
        "/;x/contacts",
        "/%2fcontacts",
        "%2fcontacts",
        "/\\contacts",
        "/%5ccontacts",
        "/admin/%2e%2e/contacts",
        "/admin%00/contacts",
        "/%00/contacts",
        "/ontacts%08",
        "/cont%61cts",
        "/c\u{f6}ntacts",
    ] {
        assert_eq!(checked(&["/contacts*", "/contacts"], rest), Err(Denied::Path), "{rest}");
    }
}

#[test]
fn no_spelling_of_a_segment_that_leads_up_leaves_a_prefix() {
    for rest in [
        "/../admin",
        "/./admin",
        "/..",
        "/.../admin",
        "/%2e%2e/admin",
        "/.%2E/admin",
        "/%252e%252e/admin",
        "/%25252e%25252e%25252fadmin",
        "/%2525252525252e%2525252525252e/admin",
        "/..%2fadmin",
        "/..%252fadmin",
        "/..%5cadmin",
        "/..\\admin",
        "\\..\\..\\admin",
        "%2f..%2fadmin",
        "%5c..%5cadmin",
        "/..;/admin",
        "/..;a=b/admin",
        "/..%3b/admin",
        "/..%253b/admin",
        "/;/../admin",
        "/;..;/admin",
        "/..%00/admin",
        "/..%2500/admin",
        "/..%20/admin",
        "/..+/admin",
        "/.%20./admin",
        "/.%09./admin",
        "/.%0d%0a./admin",
        "/..%0a/admin",
        "/..%3f/admin",
        "/..%23/admin",
        "/..:x/admin",
        "/..::$DATA/admin",
        "/..,/admin",
        "/%c0%ae%c0%ae/admin",
        "/%c0%2e%c0%2e/admin",
        "/%e0%80%ae%e0%80%ae/admin",
        "/%f0%80%80%ae%f0%80%80%ae/admin",
        "/%f8%80%80%80%ae%f8%80%80%80%ae/admin",
        "/%fc%80%80%80%80%ae%fc%80%80%80%80%ae/admin",
        "/..%c0%afadmin",
        "/..%c1%9cadmin",
        "/%25c0%25ae%25c0%25ae/admin",
        "/%ae%ae/admin",
        "/..%ef%bc%8fadmin",
        "/..%ef%bc%bcadmin",
        "/..%e2%88%95admin",
        "/%ef%bc%8e%ef%bc%8e/admin",
        "/%e2%80%a5/admin",
        "/%e2%80%a4%e2%80%a4/admin",
        "/%ef%b8%b0/admin",
        "/．．/admin",
        "/.%e2%80%8b./admin",
        "/.%c2%ad./admin",
        "/%u002e%u002e/admin",
        "/%uff0e%uff0e/admin",
        "/%25u002e%25u002e/admin",
        "/..%u2215admin",
        "/..%/admin",
        "/..%25/admin",
        "/%2%65%2%65/admin",
    ] {
        let rest = format!("/contacts{rest}");
        assert_eq!(checked(&["/contacts*"], &rest), Err(Denied::AmbiguousPath), "{rest}");
    }
}

#[test]
fn other_rests_are_forwarded() {
    for rest in [
        "/a.b",
        "/a..b",
        "/.hidden",
        "/v1.",
        "/100%25.pdf",
        "/a%20b",
        "/a%2Fb",
        "/a%252Fb",
        "//x",
        "/x;v=1",
        "/caf%C3%A9.pdf",
        "/J\u{fc}rgen",
        "/%E7%8E%8B",
        "/('a.b')",
        "/1:batch",
        "/a+b.c",
        "/x%3fy",
        "/%",
        "/%zz",
    ] {
        let rest = format!("/contacts{rest}");
        assert_eq!(checked(&["/contacts*"], &rest), Ok(()), "{rest}");
    }
}

#[test]
fn the_path_is_denied_before_the_method() {
    let rights = Rights { methods: vec![Method::GET], paths: paths(&["/contacts*"]) };
    for (method, rest, expected) in [
        (Method::GET, "/contacts", Ok(())),
        (Method::POST, "/contacts", Err(Denied::Method)),
        (Method::HEAD, "/contacts", Err(Denied::Method)),
        (Method::from_bytes(b"get").unwrap(), "/contacts", Err(Denied::Method)),
        (Method::POST, "/admin", Err(Denied::Path)),
    ] {
        assert_eq!(check(&rights, &method, rest.as_bytes()), expected, "{method} {rest}");
    }
    assert!(check(&Rights::default(), &Method::DELETE, b"/x").is_ok());
    assert_eq!(allow(&[Method::GET, Method::PUT]), "GET, PUT");
}

/// One way in which some server reads a path.
type Reading = fn(Vec<u8>) -> Vec<u8>;

const READINGS: [Reading; 12] = [
    percent_decoded,
    decoded_and_masked,
    overlong_decoded,
    sixteen_bit_decoded,
    |path| path.into_iter().map(|b| if b == b'\\' { b'/' } else { b }).collect(),
    |path| path.split(|&b| b == 0).next().unwrap_or_default().to_vec(),
    |path| path.split(|b| b"?#".contains(b)).next().unwrap_or_default().to_vec(),
    |path| path.into_iter().filter(|b| !b"\t\r\n".contains(b)).collect(),
    |path| each_segment(&path, |segment| segment.split(|&b| b == b';').next().unwrap_or_default().to_vec()),
    |path| {
        each_segment(&path, |segment| match segment {
            b"." | b".." | b"" => segment.to_vec(),
            _ => {
                let end = segment.iter().rposition(|b| !b" +".contains(b)).map_or(0, |at| at + 1);
                segment[..end].to_vec()
            }
        })
    },
    |path| compatibility_form(&path),
    dots_removed,
];

fn each_segment(path: &[u8], read: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    path.split(|&b| b == b'/').map(read).collect::<Vec<_>>().join(&b'/')
}

fn percent_decoded(path: Vec<u8>) -> Vec<u8> {
    percent_encoding::percent_decode(&path).collect()
}

/// Reads 7 bits of each octet outside of valid UTF-8.
fn decoded_and_masked(path: Vec<u8>) -> Vec<u8> {
    let path = percent_decoded(path);
    if std::str::from_utf8(&path).is_ok() { path } else { path.into_iter().map(|b| b & 0x7f).collect() }
}

fn overlong_decoded(path: Vec<u8>) -> Vec<u8> {
    let mut text = path;
    for (long, short) in [
        (&b"\xc0\xae"[..], b'.'),
        (b"\xc0\xaf", b'/'),
        (b"\xc1\x9c", b'\\'),
        (b"\xe0\x80\xae", b'.'),
        (b"\xf8\x80\x80\x80\xae", b'.'),
    ] {
        while let Some(at) = text.windows(long.len()).position(|part| part == long) {
            text.splice(at..at + long.len(), [short]);
        }
    }
    text
}

fn sixteen_bit_decoded(path: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8_lossy(&path).into_owned();
    text.replace("%u002e", ".").replace("%u2215", "/").into_bytes()
}

fn compatibility_form(path: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(path) else { return path.to_vec() };
    let text = text.replace(['．', '․', '。'], ".").replace(['／', '∕'], "/").replace('＼', "\\");
    text.replace('‥', "..").replace(['\u{200b}', '\u{ad}'], "").into_bytes()
}

/// Removes dot segments and empty ones.
fn dots_removed(path: Vec<u8>) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let ends_in_slash = path.ends_with(b"/");
    for segment in path.split(|&b| b == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let joined = kept.join(&b'/');
    let end: &[u8] = if ends_in_slash && !kept.is_empty() { b"/" } else { b"" };
    [b"/", joined.as_slice(), end].concat()
}

const PARTS: [&str; 44] = [
    "/",
    "/",
    "contacts",
    "admin",
    "a",
    ".",
    ".",
    "..",
    "%2e",
    "%2E",
    "%252e",
    "%25",
    "2e",
    "2f",
    "%2f",
    "%252f",
    "%5c",
    "\\",
    ";",
    ";x",
    "%3b",
    "%00",
    "%2500",
    "%20",
    "+",
    "%09",
    "%0a",
    "%3f",
    "%23",
    "%c0%ae",
    "%c0%af",
    "%ae",
    "%af",
    "%e0%80%ae",
    "%f8%80%80%80%ae",
    "%ef%bc%8e",
    "%ef%bc%8f",
    "%ef%bc%bc",
    "%e2%80%a5",
    "%e2%80%8b",
    "%u002e",
    "%u2215",
    "%",
    "\u{ff0f}",
];

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(4_000))]

    /// However often, and in whatever order, servers read a path: it stays within the right.
    #[test]
    fn no_reading_of_an_allowed_path_leaves_the_right(
        parts in proptest::collection::vec(proptest::sample::select(&PARTS[..]), 0..9),
        readings in proptest::collection::vec(proptest::sample::select(&READINGS[..]), 0..7),
    ) {
        let path = format!("/contacts{}", parts.concat());
        if checked(&["/contacts*"], &path).is_ok() {
            let mut read = path.clone().into_bytes();
            for reading in &readings {
                read = reading(read);
            }
            let read = dots_removed(read);
            proptest::prop_assert!(read.starts_with(b"/contacts"), "{path} is read as {}", read.escape_ascii());
        }
    }

    #[test]
    fn a_plain_path_is_matched_by_its_bytes(rest in "(/[a-z0-9_~-]{1,6}(\\.[a-z]{1,3})?){0,4}/?") {
        let path = format!("/contacts{rest}");
        proptest::prop_assert!(checked(&["/contacts*"], &path).is_ok(), "{}", path);
        proptest::prop_assert_eq!(checked(&["/contacts"], &path).is_ok(), rest.is_empty());
    }
}
