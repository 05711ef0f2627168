//! A certificate authority of the test's own.

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;

pub(crate) struct CertificateAuthority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl CertificateAuthority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, "attache test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("a CA") }
    }

    /// What goes into `tls.ca`.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Certificate and key, as PEM, of who proves to be `name`, a DNS name or an address.
    pub(crate) fn leaf_pem(&self, name: &str) -> (String, String) {
        let (leaf, key) = self.leaf(name);
        (leaf.pem(), key.serialize_pem())
    }

    /// A server that proves to be `name`, a DNS name or an address.
    pub(super) fn server(&self, name: &str) -> Arc<ServerConfig> {
        let (leaf, key) = self.leaf(name);
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone(), self.issuer.der().clone()], key)
            .expect("a server");
        Arc::new(config)
    }

    fn leaf(&self, name: &str) -> (Certificate, KeyPair) {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &self.issuer).expect("a certificate");
        (leaf, key)
    }
}
