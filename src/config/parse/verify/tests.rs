use crate::config::{Mode, load};
use crate::signature::Scheme;
use std::path::Path;

/// The presets can be spelled out with `scheme: custom`.
#[test]
fn presets_can_be_spelled_out() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config_cases/valid_verify_parts.yaml");
    let loaded = load(&path, Mode::Offline);
    let config = loaded.config.unwrap_or_else(|| panic!("{}", loaded.problems.render_human(false)));
    for (name, service) in &config.services {
        let verifier =
            service.webhook.as_ref().and_then(|webhook| webhook.verify.as_ref()).expect("a verifier");
        let preset = Scheme::by_name(name).expect("a preset");
        let (mut spelled, known) = (verifier.scheme().ways().remove(0), preset.ways().remove(0));
        if preset.needs_webhook_id() {
            assert!(!spelled.signed.covers_body());
            spelled.signed = known.signed.clone();
        }
        assert_eq!(spelled, known, "{name}");
        assert_eq!(
            verifier.tolerance(),
            preset.has_timestamp().then(|| preset.default_tolerance()),
            "{name}"
        );
    }
    assert!(config.services.len() >= 16);
}
