//! Reload: a valid file takes effect as a whole, an invalid one changes nothing.

use crate::harness::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::task::JoinSet;

#[tokio::test]
async fn a_rewritten_file_takes_effect() {
    let (first, second) = (third_party().answers(200, "first"), third_party().answers(200, "second"));
    let mut attache = attache_for(&first, "").await;
    assert_eq!(attache.send(get("/mailer/x")).await.text(), "first");
    attache.give("third_party", second.url());
    attache.reload(&mailer(""), "applied").await;
    assert_eq!(attache.send(get("/mailer/x")).await.text(), "second");
    let metrics = attache.metrics().await;
    assert_eq!(metrics.value("attache_config_last_reload_successful", &[]), Some(1.0));
}

#[tokio::test]
async fn an_invalid_file_changes_nothing_and_is_reported_until_fixed() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let hash = attache.status().await["config"]["hash"].clone();
    assert!(hash.as_str().is_some_and(|hash| hash.len() == 64), "{hash}");
    attache.reload(&mailer("timeuot: 5s"), "rejected").await;
    assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
    let metrics = attache.metrics().await;
    assert_eq!(metrics.value("attache_config_last_reload_successful", &[]), Some(0.0));
    let config = attache.status().await["config"].clone();
    assert_eq!((&config["hash"], &config["last_reload"]["result"]), (&hash, &"rejected".into()));
    assert!(config["last_reload"]["problems"].to_string().contains("timeuot"), "{config}");
    let text = std::fs::read_to_string(attache.config()).expect("the file");
    assert_eq!(config["last_reload"]["hash"], sha256_hex(&text));
    attache.stderr_line("timeuot").await;
    attache.reload(&mailer("idle_timeout: 5s"), "applied").await;
    let metrics = attache.metrics().await;
    assert_eq!(metrics.value("attache_config_last_reload_successful", &[]), Some(1.0));
    let config = attache.status().await["config"].clone();
    assert_eq!(config["last_reload"]["result"], "applied");
    assert_ne!(config["hash"], hash);
}

#[tokio::test]
async fn a_file_restored_to_its_former_content_is_no_longer_a_problem() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    attache.reload(&mailer("timeuot: 5s"), "rejected").await;
    attache.rewrite(&mailer(""));
    let mended = async || {
        let metrics = attache.metrics().await;
        metrics.value("attache_config_last_reload_successful", &[]).filter(|&good| good == 1.0)
    };
    eventually("the problem to be over", mended).await;
}

#[tokio::test]
async fn sighup_reads_the_file_at_once() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let before = attache.reloads("unchanged").await;
    attache.sighup();
    attache.reloaded("unchanged", before).await;
    assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
}

#[tokio::test]
async fn signals_that_follow_each_other_are_one_read() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let (before, started) = (attache.reloads("unchanged").await, Instant::now());
    for _ in 0..100 {
        attache.sighup();
    }
    attache.reloaded("unchanged", before).await;
    // The content before the last signal is read.
    attache.rewrite(&mailer("timeout: 9s"));
    let applied = attache.reloads("applied").await;
    attache.sighup();
    attache.reloaded("applied", applied).await;
    let reads = attache.reloads("unchanged").await - before;
    let quarters = started.elapsed().as_secs_f64() / 0.25;
    assert!(reads <= quarters + 1.0, "{reads} reads in {quarters} quarters of a second");
}

#[tokio::test]
async fn a_rotated_secret_file_takes_effect() {
    let (third_party, old, new) = (third_party(), secret("old"), secret("new"));
    let lines = "account: { authorization: { header: { name: X-Key, value: { file: '{{key_file}}' } } } }";
    let setup = attache().given("third_party", third_party.url()).file("key_file", &format!("{old}\n"));
    let attache = setup.with(&mailer(lines)).await;
    attache.send(get("/mailer/x")).await;
    assert_eq!(third_party.head(0).await.all("x-key"), [old]);
    let before = attache.reloads("applied").await;
    attache.rewrite_file("key_file", &format!("{new}\n"));
    attache.reloaded("applied", before).await;
    attache.send(get("/mailer/x")).await;
    assert_eq!(third_party.head(1).await.all("x-key"), [new]);
}

#[tokio::test]
async fn a_change_of_listen_is_a_success_that_waits_for_a_restart() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let listen = "listen: { outbound: 127.0.0.1:0, webhooks: 127.0.0.1:0, admin: 127.0.0.2:0 }\n";
    attache.reload(&format!("{listen}{}", mailer("")), "needs_restart").await;
    assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
    let metrics = attache.metrics().await;
    assert_eq!(metrics.value("attache_config_last_reload_successful", &[]), Some(1.0));
    assert_eq!(metrics.value("attache_config_restart_needed", &[("key", "listen")]), Some(1.0));
    assert_eq!(attache.status().await["config"]["restart_needed"], serde_json::json!(["listen"]));
    // It stays pending until the next start or until the change is reverted.
    let more = format!("{listen}threads: 3\n{}", mailer("timeout: 9s"));
    attache.reload(&more, "needs_restart").await;
    assert_eq!(attache.status().await["config"]["restart_needed"], serde_json::json!(["listen", "threads"]));
    attache.reload(&mailer("timuot: 9s"), "rejected").await;
    assert_eq!(attache.status().await["config"]["restart_needed"], serde_json::json!(["listen", "threads"]));
    attache.reload(&mailer("timeout: 9s"), "applied").await;
    assert_eq!(attache.status().await["config"]["restart_needed"], serde_json::json!([]));
    assert!(!attache.metrics().await.0.contains("attache_config_restart_needed"));
}

#[tokio::test]
async fn the_log_shows_what_is_served_and_what_changed() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let start = attache.stderr_line("attache [0-9.]+ serving").await;
    for field in ["path=/", "hash=", "services=1", "accounts=1", "users=0", "keys=0"] {
        assert!(start.contains(field), "{field} is not in {start}");
    }
    let more = "  crm: { account: { authorization: none }, server_url: '{{third_party}}' }\n";
    attache.reload(&format!("{}{more}", mailer("timeout: 9s")), "applied").await;
    attache.stderr_line(r#"configuration applied services="\+crm ~mailer" hash=""#).await;
    let before = attache.reloads("unchanged").await;
    attache.rewrite(&format!("# A comment.\n{}{more}", mailer("timeout: 9s")));
    attache.reloaded("unchanged", before).await;
    attache.stderr_line("configuration unchanged").await;
    let config = &attache.status().await["config"];
    let text = std::fs::read_to_string(attache.config()).expect("the file");
    assert_eq!(config["hash"], sha256_hex(&text), "the hash of a comment is waited for, too");
    assert_eq!(config["last_reload"]["hash"], config["hash"]);
}

#[tokio::test]
async fn the_series_of_a_removed_service_vanish() {
    let third_party = third_party();
    let both = format!(
        "{}  crm: {{ account: {{ authorization: none }}, server_url: '{{{{third_party}}}}' }}\n",
        mailer("")
    );
    let attache = attache().given("third_party", third_party.url()).with(&both).await;
    attache.send(get("/crm/x")).await;
    attache.send(get("/mailer/x")).await;
    let counted = async || attache.metrics().await.0.contains(r#"service="crm""#).then_some(());
    eventually("the request to be counted", counted).await;
    attache.reload(&mailer(""), "applied").await;
    let gone = async || (!attache.metrics().await.0.contains(r#"service="crm""#)).then_some(());
    eventually("the series to vanish", gone).await;
    assert!(attache.metrics().await.0.contains(r#"service="mailer""#));
    attache.send(get("/crm/x")).await.problem("service_unknown", 404, "destination_not_found");
}

#[tokio::test]
async fn a_request_in_flight_ends_under_the_file_it_began_with() {
    let third_party = third_party().hangs();
    let attache = attache_for(&third_party, "timeout: 2s").await;
    let outbound = attache.outbound();
    let mut waiting = JoinSet::new();
    waiting.spawn(send(outbound, get("/mailer/x")));
    third_party.head(0).await;
    attache.reload(&mailer("timeout: 60s\ntimeout_message: Another message."), "applied").await;
    let answer = waiting.join_next().await.expect("one").expect("an answer");
    let problem = answer.problem("service_timeout", 504, "http_response_timeout");
    assert_eq!(problem["detail"], "Mailer is not answering.");
}

#[tokio::test]
async fn fifty_reloads_under_load_lose_no_request() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let (outbound, stop) = (attache.outbound(), Arc::new(AtomicBool::new(false)));
    let mut load = JoinSet::new();
    for n in 0..8 {
        let stop = Arc::clone(&stop);
        load.spawn(async move {
            let mut connection = Connection::open(outbound).await;
            let mut count = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                if n % 2 == 0 {
                    connection = Connection::open(outbound).await;
                }
                assert_eq!(connection.exchange(post("/mailer/x", "body")).await.status, 200);
                count += 1;
            }
            count
        });
    }
    for n in 0..50 {
        let before = attache.reloads("applied").await;
        attache.rewrite(&mailer(&format!("timeout: {}s", 10 + n)));
        attache.sighup();
        attache.reloaded("applied", before).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut total = 0;
    while let Some(count) = load.join_next().await {
        total += count.expect("no request failed");
    }
    assert!(total > 50, "only {total} requests");
}

#[tokio::test]
async fn a_folder_is_read_in_lexical_order_and_watched() {
    let third_party = third_party();
    let folder = tempfile::tempdir().expect("a folder");
    let listen = "listen: { outbound: 127.0.0.1:0, webhooks: 127.0.0.1:0, admin: 127.0.0.1:0 }\n";
    std::fs::write(folder.path().join("10-listen.yaml"), listen).expect("write");
    let service = mailer("").replace("{{third_party}}", &third_party.url());
    std::fs::write(folder.path().join("20-mailer.yaml"), service).expect("write");
    let attache = attache().at(folder.path()).await;
    assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
    let before = attache.reloads("applied").await;
    std::fs::write(folder.path().join("15-users.yaml"), "users: { bot: {} }\n").expect("write");
    attache.reloaded("applied", before).await;
    let before = attache.reloads("rejected").await;
    std::fs::write(folder.path().join("30-more.yaml"), listen).expect("write");
    attache.reloaded("rejected", before).await;
    attache.stderr_line("10-listen.yaml").await;
}

#[tokio::test]
async fn an_unchanged_service_keeps_its_connections() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    attache.send(get("/mailer/1")).await;
    let more = format!("users: {{ bot: {{}} }}\n{}", mailer(""));
    attache.reload(&more, "applied").await;
    attache.send(get("/mailer/2")).await;
    assert_eq!(third_party.seen().opened, 1);
}

#[tokio::test]
async fn a_file_replaced_behind_a_symlink_takes_effect() {
    let (first, second) = (third_party().answers(200, "first"), third_party().answers(200, "second"));
    let folder = tempfile::tempdir().expect("a folder");
    let listen = "listen: { outbound: 127.0.0.1:0, webhooks: 127.0.0.1:0, admin: 127.0.0.1:0 }\n";
    // As Kubernetes mounts a ConfigMap: the file is a link through `..data`, which is swapped.
    for (version, third_party) in [("v1", &first), ("v2", &second)] {
        let at = folder.path().join(version);
        std::fs::create_dir(&at).expect("a folder");
        let yaml = mailer("").replace("{{third_party}}", &third_party.url());
        std::fs::write(at.join("attache.yaml"), format!("{listen}{yaml}")).expect("write");
    }
    let link =
        |to: &str, name: &str| std::os::unix::fs::symlink(to, folder.path().join(name)).expect("a link");
    link("v1", "..data");
    link("..data/attache.yaml", "attache.yaml");
    let attache = attache().at(&folder.path().join("attache.yaml")).await;
    assert_eq!(attache.send(get("/mailer/x")).await.text(), "first");
    let before = attache.reloads("applied").await;
    link("v2", "..data_new");
    std::fs::rename(folder.path().join("..data_new"), folder.path().join("..data")).expect("rename");
    attache.reloaded("applied", before).await;
    assert_eq!(attache.send(get("/mailer/x")).await.text(), "second");
}

#[tokio::test]
async fn with_log_format_json_each_line_is_an_object_and_problems_are_a_field() {
    let third_party = third_party();
    let yaml = |lines: &str| format!("log: {{ format: json }}\n{}", mailer(lines));
    let plain = secret("plain");
    let warned = format!(
        "{}accounts: {{ b: {{ authorization: {{ query: {{ name: k, value: {plain} }} }} }} }}\n",
        yaml("")
    );
    let attache = attache().given("third_party", third_party.url()).with(&warned).await;
    attache.reload(&yaml("timeuot: 5s"), "rejected").await;
    attache.stderr_line("timeuot").await;
    // The format can change at run time.
    attache.reload(&mailer("idle_timeout: 5s"), "applied").await;
    attache.stderr_line(r"INFO .*configuration").await;
    let stderr = attache.said();
    let lines: Vec<serde_json::Value> = stderr
        .lines()
        .skip_while(|line| line.is_empty())
        .filter(|line| line.starts_with('{') && line.contains("\"level\""))
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect();
    let find =
        |text: &str| lines.iter().find(|line| line["message"].as_str().is_some_and(|m| m.contains(text)));
    let warned =
        lines.iter().find(|line| line["message"] == "the configuration has problems").expect("the warnings");
    assert_eq!((&warned["level"], &warned["problems"][0]["severity"]), (&"warn".into(), &"warning".into()));
    let rejected = find("the last valid one stays").expect("the problems");
    assert_eq!(
        (&rejected["level"], &rejected["problems"][0]["code"]),
        (&"error".into(), &"unknown_key".into())
    );
    assert!(
        find("ready")
            .is_some_and(|line| line["time"].is_string() && line["target"] == "attache::server::serving")
    );
}
