//! Path and query are forwarded byte for byte, and never leave the server URL's own path.

use crate::harness::*;

/// Returns the target that the upstream receives for `target`.
async fn arrives(attache: &Attache, third_party: &Stub, target: &[u8]) -> Vec<u8> {
    let before = third_party.seen().heads;
    let answer = attache.send(get(target)).await;
    assert_eq!(answer.status, 200, "{}: {}", String::from_utf8_lossy(target), answer.text());
    third_party.head(before).await.target
}

#[tokio::test]
async fn path_and_query_are_forwarded_byte_for_byte() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let targets: [&[u8]; 20] = [
        b"/a/b",
        b"//a//b//",
        b"/a%2Fb%2fc",
        b"/a%20b+c",
        b"/?",
        b"/a?",
        b"/a??",
        b"/a?q=1&q=2&&=",
        b"/a?u=http://x/../y",
        b"/a?q=%2e%2e/&r=..",
        b"/a;v=1/b;w",
        b"/%",
        b"/%zz",
        b"/a:b@c,d=e!$&'()*~",
        b"/a..b/c..",
        b"/...",
        b"/.well-known/x",
        b"/..a",
        b"/%41%c3%a9",
        b"/a?x[]=1&y={z}|w",
    ];
    for target in targets {
        let arrived = arrives(&attache, &third_party, &[b"/mailer", target].concat()).await;
        assert_eq!(String::from_utf8_lossy(&arrived), String::from_utf8_lossy(target));
    }
}

#[tokio::test]
async fn bytes_beyond_ascii_are_forwarded_too() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    for target in ["/caf\u{e9}", "/a?name=J\u{fc}rgen"] {
        let arrived = arrives(&attache, &third_party, format!("/mailer{target}").as_bytes()).await;
        assert_eq!(String::from_utf8_lossy(&arrived), target);
    }
}

#[tokio::test]
async fn the_server_urls_path_is_a_prefix() {
    let third_party = third_party();
    for prefix in ["/v3", "/v3/"] {
        let attache = attache_for(&third_party, &format!("server_url: {{{{third_party}}}}{prefix}")).await;
        for (asked, expected) in [
            ("/mailer/x", "/v3/x"),
            ("/mailer//x", "/v3//x"),
            ("/mailer/", "/v3/"),
            ("/mailer/x/?", "/v3/x/?"),
        ] {
            let arrived = arrives(&attache, &third_party, asked.as_bytes()).await;
            assert_eq!(String::from_utf8_lossy(&arrived), expected, "{asked} under {prefix}");
        }
    }
}

#[tokio::test]
async fn a_service_alone_is_its_server_url() {
    let third_party = third_party();
    let bare = attache_for(&third_party, "").await;
    assert_eq!(arrives(&bare, &third_party, b"/mailer").await, b"/");
    assert_eq!(arrives(&bare, &third_party, b"/mailer?x=1").await, b"/?x=1");
    let prefixed = attache_for(&third_party, "server_url: {{third_party}}/v3").await;
    assert_eq!(arrives(&prefixed, &third_party, b"/mailer").await, b"/v3");
    assert_eq!(arrives(&prefixed, &third_party, b"/mailer?x=1").await, b"/v3?x=1");
    let slash = attache_for(&third_party, "server_url: {{third_party}}/v3/").await;
    assert_eq!(arrives(&slash, &third_party, b"/mailer").await, b"/v3/");
    assert_eq!(arrives(&slash, &third_party, b"/mailer?x=1").await, b"/v3/?x=1");
}

#[tokio::test]
async fn a_dot_segment_is_refused_in_every_spelling() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "server_url: {{third_party}}/v3").await;
    for path in [
        "/..",
        "/../x",
        "/a/../b",
        "/.",
        "/./x",
        "/a/.",
        "/%2e%2E/x",
        "/%2e/x",
        "/.%2e/x",
        "/%2e./x",
        "/..%2fx",
        "/..%2Fx",
        "/a%2f..",
        "/a%2f..%2fb",
        "/..\\x",
        "/a\\..",
        "/..%5cx",
        "/a%5C..%5Cb",
        "/..;/x",
        "/..;a=b/x",
        "/.;/x",
        "/%2e%2e%3b/x",
        "/..?q",
        "/a/..#f",
    ] {
        let answer = attache.send(get(format!("/mailer{path}"))).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        answer.problem("request_invalid", 400, "http_request_error");
    }
    assert_eq!(third_party.seen().heads, 0);
}

#[tokio::test]
async fn a_dot_segment_does_not_change_the_service() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    for target in ["/../mailer/x", "/other/../mailer/x", "/./mailer/x", "/mailer/../../x"] {
        let answer = attache.send(get(target)).await;
        assert!(matches!(answer.status, 400 | 404), "{target}: {}", answer.status);
    }
    assert_eq!(third_party.seen().heads, 0);
}
