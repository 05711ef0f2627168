//! Warnings of `attache check` about listeners: certificates that are not valid, and an admin listener without proofs.

use crate::config::decode::{At, Decoder};
use crate::config::model::{Config, Validity};
use crate::config::problem::Finding;
use crate::config::tree::View;
use crate::x509;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::time::SystemTime;

pub(super) fn report(decoder: &Decoder<'_>, root: &At<'_>, config: &Config, now: SystemTime) {
    report_certificates(decoder, root, config, now);
    report_admin(decoder, root, config);
    report_tokens(decoder, root, config, now);
}

fn report_certificates(decoder: &Decoder<'_>, root: &At<'_>, config: &Config, now: SystemTime) {
    for (name, listener) in config.listen.all() {
        let pem = listener.tls.as_ref().and_then(|tls| tls.identity.as_ref());
        let leaf = pem.and_then(|pem| CertificateDer::from_pem_slice(pem.expose().as_bytes()).ok());
        let Some(dates) = leaf.and_then(|leaf| x509::dates(&leaf)) else { continue };
        let (what, label) = if now > dates.not_after {
            ("has expired", "clients refuse it")
        } else if now < dates.not_before {
            ("is not valid yet", "clients refuse it until then")
        } else {
            continue;
        };
        within(decoder, *root, &["listen", name, "tls", "certificate"], &mut |at| {
            let message = format!("{at} {what}");
            let finding = Finding::warning("certificate_dates", decoder.place(at), message);
            decoder.report(finding.label(label).help("replace the files; they are watched"));
        });
    }
}

fn report_admin(decoder: &Decoder<'_>, root: &At<'_>, config: &Config) {
    if config.listen.admin.address.stays_on_this_machine() || config.listen.admin_asks() {
        return;
    }
    within(decoder, *root, &["listen", "admin"], &mut |at| {
        let message = "listen.admin is reachable from other machines, and asks for no proof";
        let finding = Finding::warning("open_admin", decoder.place(at), message);
        let label = "/status and the status page are not served to other machines; /metrics is";
        let help =
            "write `admin: { address: …, tokens: [{ id: NAME, sha256: … }] }` to reach them from there";
        decoder.report(finding.label(label).help(help));
    });
}

fn report_tokens(decoder: &Decoder<'_>, root: &At<'_>, config: &Config, now: SystemTime) {
    let tokens = &config.listen.admin_tokens.tokens;
    let expired = tokens.iter().filter(|key| key.validity_at(now) == Validity::Expired);
    for key in expired {
        within(decoder, *root, &["listen", "admin", "tokens"], &mut |at| {
            let message = format!("the token `{}` of listen.admin has expired", key.id);
            let finding = Finding::warning("expired_key", decoder.key(at), message);
            let label = "requests with it are answered with 401";
            decoder.report(finding.label(label).help("remove the token, or set a later time"));
        });
    }
}

/// Calls `visit` with the value below a path of keys, if the file has it.
fn within(decoder: &Decoder<'_>, at: At<'_>, path: &[&'static str], visit: &mut dyn FnMut(&At<'_>)) {
    let Some((key, path)) = path.split_first() else { return visit(&at) };
    if matches!(decoder.tree.view(at.node), View::Mapping(_))
        && let Some(map) = decoder.names(&at)
        && let Some(below) = map.get(key)
    {
        within(decoder, below, path, visit);
    }
}
