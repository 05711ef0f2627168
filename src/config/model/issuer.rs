//! Issuers of tokens, and where their public keys are.

use super::{CaBundle, ForwardProxy, PresentedToken, ServerUrl, UnreadSecret, UsedProxy};
use crate::jwt::key_set::KeySet;
use std::path::PathBuf;

/// An issuer of tokens that prove who a client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// Its key under `issuers`.
    pub key: String,
    /// `issuer`: the claim `iss` of its tokens, compared byte by byte.
    pub issuer: String,
    /// `audience`: the claim `aud` of its tokens names one of them. Never empty.
    pub audiences: Vec<String>,
    /// `jwks`: its public keys.
    pub jwks: Jwks,
    /// A file or secret of `jwks` that can't be read.
    pub unread: Option<UnreadSecret>,
}

/// `jwks`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Jwks {
    /// `file`: read with the configuration, and watched.
    File {
        /// The path.
        path: PathBuf,
        /// Its keys.
        keys: KeySet,
    },
    /// `url`: fetched in the background.
    Url(Box<JwksUrl>),
    /// The file can't be read, or a certificate or token that the URL needs.
    Unavailable,
}

/// `jwks` with a `url`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwksUrl {
    /// `url`.
    pub url: url::Url,
    /// `ca`: the only trusted roots; `None` is the system's.
    pub ca: Option<CaBundle>,
    /// `token`: the bearer token of the request.
    pub token: Option<PresentedToken>,
    /// The file's `proxy`.
    pub proxy: UsedProxy,
}

impl JwksUrl {
    /// Returns the forward proxy on the way to the URL. It is no part of the comparison: a change of the file's `proxy`
    /// changes no issuer.
    pub fn forward_proxy(&self) -> Option<&ForwardProxy> {
        self.proxy.for_server(&ServerUrl::of(&self.url)?).map(|proxy| &**proxy)
    }

    /// Returns the URL without its query, which may hold a secret.
    pub fn shown(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.into()
    }
}
