//! Redirects and next pages, followed by the clients that people use.

use crate::harness::*;
use serde_json::{Value, json};

/// A provider below `/v3` that redirects to the first of three pages. Each page is for the holder of the credential, and
/// names the next one in another way. `/v3/led/N` redirects to the Nth of `astray`.
fn provider(astray: &'static [&'static str]) -> Stub {
    third_party().scripted(move |request| {
        let answer = |text: String| vec![Step::Send(text.into_bytes())];
        let target = request.target();
        let host = request.header("host").unwrap_or_default().to_owned();
        let page = |n: usize, next: &str| {
            let link =
                if next.is_empty() { String::new() } else { format!("Link: <{next}>; rel=\"next\"\r\n") };
            answer(format!("HTTP/1.1 200 OK\r\n{link}Content-Length: 6\r\n\r\npage {n}"))
        };
        if request.header("x-key").is_none() {
            return answer("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_owned());
        }
        let redirect = |status: u16, to: &str| {
            answer(format!("HTTP/1.1 {status} Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"))
        };
        match target.as_str() {
            "/v3/start" => redirect(302, &format!("http://{host}/v3/pages?page=1")),
            "/v3/pages?page=1" => page(1, &format!("http://{host}/v3/pages?page=2")),
            "/v3/pages?page=2" => page(2, "/v3/pages?page=3"),
            "/v3/pages?page=3" => page(3, "pages?page=4"),
            "/v3/pages?page=4" => page(4, ""),
            led => match led.strip_prefix("/v3/led/").and_then(|n| astray.get(n.parse::<usize>().ok()?)) {
                Some(to) => redirect(307, &to.replace("PROVIDER", &host)),
                None => answer("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned()),
            },
        }
    })
}

async fn attache_before(mailer: &Stub, bank: &Stub) -> Attache {
    let yaml = "
        http_proxy: true
        services:
          mailer:
            account: { authorization: { header: { name: X-Key, value: { env: MAILER_KEY } } } }
            server_url: '{{mailer}}/v3'
            hosts: [mailer.internal, localhost]
          bank:
            account: { authorization: { header: { name: X-Key, value: { env: BANK_KEY } } } }
            server_url: '{{bank}}'
            hosts: [bank.internal]";
    let setup = attache().given("mailer", mailer.url()).given("bank", bank.url());
    setup.env("MAILER_KEY", secret("mailer")).env("BANK_KEY", secret("bank")).with(yaml).await
}

/// Follows each URL with requests, httpx, Node and Go.
async fn follow(urls: &[&str], proxy: Option<&str>) -> Vec<Value> {
    let environment: Vec<(&str, &str)> = proxy.iter().map(|proxy| ("PROXY", *proxy)).collect();
    let option: Vec<&str> = proxy.iter().flat_map(|proxy| ["--proxy", proxy]).collect();
    let arguments = [&option[..], urls].concat();
    let (python, node, go) = tokio::join!(
        python("python/paginate.py", &arguments, &[]),
        node("follow.mjs", urls, &environment),
        go("go/follow.go", urls, &environment),
    );
    let finished = [python, node, go];
    assert!(finished.iter().all(|finished| finished.code == Some(0)), "{finished:?}");
    let lines = finished.iter().flat_map(|finished| finished.stdout.lines());
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}")))
        .collect()
}

#[tokio::test]
async fn every_client_follows_redirects_and_pages_through_attache() {
    let (mailer, bank) = (provider(&[]), third_party());
    let attache = attache_before(&mailer, &bank).await;
    let here = format!("http://{}", attache.outbound());
    let by_host = format!("http://localhost:{}", attache.outbound().port());
    for (base, proxy, below) in [
        (format!("{here}/mailer"), None, format!("{here}/mailer/pages?page=")),
        (by_host.clone(), None, format!("{by_host}/pages?page=")),
        (format!("{}/v3", mailer.url()), Some(here.as_str()), format!("{}/v3/pages?page=", mailer.url())),
    ] {
        let start = format!("{base}/start");
        let found = follow(&[&start], proxy).await;
        let clients: Vec<&str> = found.iter().filter_map(|found| found["client"].as_str()).collect();
        let node = if proxy.is_some() { "http" } else { "fetch" };
        assert_eq!(clients, ["requests", "httpx", node, "go"], "{found:?}");
        for found in found {
            let client = &found["client"];
            assert_eq!(found["bodies"], json!(["page 1", "page 2", "page 3", "page 4"]), "{client}: {found}");
            let urls: Vec<String> = (1..=4).map(|n| format!("{below}{n}")).collect();
            assert_eq!(found["urls"], json!(urls), "{client}");
        }
    }
}

#[tokio::test]
async fn curl_follows_redirects_in_each_form() {
    let (mailer, bank) = (provider(&[]), third_party());
    let attache = attache_before(&mailer, &bank).await;
    let (at, port) = (attache.outbound().to_string(), attache.outbound().port());
    let resolve = format!("mailer.internal:{port}:127.0.0.1");
    let by_path = format!("http://{at}/mailer/start");
    let by_host = format!("http://mailer.internal:{port}/start");
    let by_url = format!("{}/v3/start", mailer.url());
    let proxy = format!("http://{at}");
    for arguments in
        [vec!["-L", &by_path], vec!["-L", "--resolve", &resolve, &by_host], vec!["-L", "-x", &proxy, &by_url]]
    {
        let finished = curl(&arguments).await;
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "page 1"), "{arguments:?}");
    }
    let tunnel = curl(&["-x", &proxy, "-p", &by_url]).await;
    assert!(tunnel.stderr.contains("405"), "{tunnel:?}");
}

/// Each would lead into `bank` if it were passed on as it is.
const ASTRAY: [&str; 16] = [
    "../bank/pay",
    "../../bank/pay",
    "../../../../bank/pay",
    "/bank/pay",
    "%2e%2e/%2e%2e/bank/pay",
    "..\\..\\bank\\pay",
    "/v3/../bank/pay",
    "/v3/%2e%2e/bank/pay",
    "http:../../bank/pay",
    "//bank.internal:ATTACHE/pay",
    "/\\bank.internal:ATTACHE/pay",
    "http://127.0.0.1:ATTACHE/bank/pay",
    "http://localhost:ATTACHE/bank/pay",
    "http:\\\\127.0.0.1:ATTACHE\\bank\\pay",
    "ht\ttp://127.0.0.1:ATTACHE/bank/pay",
    "http://BANK/pay",
];

#[tokio::test]
async fn no_client_of_one_service_is_led_into_another() {
    let bank = third_party();
    let astray = ASTRAY.map(|to| to.replace("BANK", &bank.address().to_string()));
    // The port is known once attache runs, and the provider answers by then.
    let port = std::sync::Arc::new(std::sync::OnceLock::<u16>::new());
    let known = std::sync::Arc::clone(&port);
    let mailer = third_party().scripted(move |request| {
        let target = request.target();
        let n = target.rsplit('/').next().and_then(|n| n.parse::<usize>().ok());
        let answer = match n.and_then(|n| astray.get(n)) {
            Some(to) => {
                let to = to.replace("ATTACHE", &known.get().copied().unwrap_or_default().to_string());
                format!("HTTP/1.1 307 Over There\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
            }
            None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
        };
        vec![Step::Send(answer.into_bytes())]
    });
    let attache = attache_before(&mailer, &bank).await;
    port.set(attache.outbound().port()).expect("set once");
    let here = format!("http://{}", attache.outbound());
    // A client in proxy form names a bank that attache knows; elsewhere that is a URL of another host, which stays.
    let (by_path, by_proxy) = (ASTRAY.len() - 1, ASTRAY.len());
    let urls =
        |base: &str, count: usize| -> Vec<String> { (0..count).map(|n| format!("{base}/led/{n}")).collect() };
    for (base, proxy, count) in [
        (format!("{here}/mailer"), None, by_path),
        (format!("http://localhost:{}", attache.outbound().port()), None, by_path),
        (format!("{}/v3", mailer.url()), Some(here.as_str()), by_proxy),
    ] {
        let urls = urls(&base, count);
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let found = follow(&urls, proxy).await;
        assert_eq!(found.len(), 4 * count);
        let mut arguments = vec!["-L", "-X", "POST", "-d", "x"];
        arguments.extend(proxy.iter().flat_map(|proxy| ["-x", proxy]));
        curl(&[&arguments[..], &urls].concat()).await;
        assert_eq!(
            bank.seen().heads,
            0,
            "{base}: {:?}",
            bank.requests().last().map(|request| request.target())
        );
    }
}

#[tokio::test]
async fn links_stay_as_they_are_without_rewrite_links_but_for_a_credential() {
    let account = "account: { authorization: { query: { name: key, value: { env: KEY } } } }";
    for (rewrite, location) in [("true", "/mailer/b?page=2"), ("false", "/v3/b?page=2")] {
        let third_party = third_party().scripted(|request| {
            let target = request.target();
            let (_, query) = target.split_once('?').expect("a query");
            let head = format!(
                "HTTP/1.1 200 OK\r\nLocation: /v3/b?page=2&{query}\r\nLink: <?{query}>; rel=self\r\n"
            );
            vec![Step::Send(format!("{head}Content-Length: 0\r\n\r\n").into_bytes())]
        });
        let yaml =
            mailer(&format!("server_url: '{{{{third_party}}}}/v3'\n{account}\nrewrite_links: {rewrite}"));
        let setup = attache().given("third_party", third_party.url()).env("KEY", secret("query+/="));
        let attache = setup.with(&yaml).await;
        let answer = attache.send(get("/mailer/a")).await;
        assert_eq!(answer.header("location"), Some(location));
        assert_eq!(answer.header("link"), Some("<>; rel=self"));
    }
}

#[tokio::test]
async fn early_hints_have_rewritten_links_and_other_answers_are_untouched() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </v3/style.css>; rel=preload\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nX-Location: /v3/x\r\nLocations: /v3/x\r\nContent-Length: 0\r\n\r\n";
    let third_party = third_party().answers_raw([hints, answer].concat());
    let attache = attache_for(&third_party, "server_url: '{{third_party}}/v3'").await;
    let answer = attache.send(get("/mailer/a")).await;
    assert_eq!(answer.informational[0].header("link"), Some("</mailer/style.css>; rel=preload"));
    assert_eq!((answer.header("x-location"), answer.header("locations")), (Some("/v3/x"), Some("/v3/x")));
}
