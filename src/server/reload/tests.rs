use super::*;
use crate::admin::View as _;
use crate::server::bound::BoundServer;

const FILE: &str =
    "listen: { outbound: 127.0.0.1:0, webhooks: 127.0.0.1:0, admin: 127.0.0.1:0 }\nservices: {}\n";

async fn reloader(folder: &Path) -> Reloader {
    let _installed_already = rustls::crypto::ring::default_provider().install_default();
    let path = folder.join("attache.yaml");
    std::fs::write(&path, FILE).unwrap();
    let config = config::load(&path, Mode::Full).config.unwrap();
    let fixed = Fixed::of(&config);
    let passed = crate::server::activation::PassedSockets::take().unwrap();
    let server = BoundServer::new(&path, config, &Problems::default(), None, passed).await.unwrap();
    let BoundServer { state, tokens, grants, log, .. } = server;
    Reloader { path, state, tokens, grants, log, fixed, background: JoinSet::new() }
}

#[tokio::test]
async fn a_read_that_panics_is_a_rejected_reload() {
    let folder = tempfile::tempdir().unwrap();
    let mut reloader = reloader(folder.path()).await;
    assert!(reloader.reload_by(|_, _| panic!("hunter2")).await.is_none());
    let last = reloader.state.report().config.last_reload;
    assert_eq!((last.result, &last.problems[0]["code"]), ("rejected", &"internal".into()));
    assert!(last.hash.is_none() && !format!("{last:?}").contains("hunter2"), "{last:?}");
    assert!(reloader.state.metrics().contains("attache_config_last_reload_successful 0"));
    assert!(reloader.reload().await.is_some());
    assert_eq!(reloader.state.report().config.last_reload.result, "unchanged");
    assert!(reloader.state.metrics().contains("attache_config_last_reload_successful 1"));
}
