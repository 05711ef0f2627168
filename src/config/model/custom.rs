//! `grant: custom`: a token request that is not of RFC 6749.

use super::{Assertion, Param};
use crate::header_name::FieldName;
use crate::secret::Secret;
use http::{HeaderValue, Method};
use serde_json::Value;

/// The request for a token, and where its answer has it. The client's secret is in `client_auth`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomGrant {
    /// `request.method`. Default POST.
    pub method: Method,
    /// `request.params` and `request.format`.
    pub params: CustomParams,
    /// `request.headers`, marked sensitive.
    pub headers: Vec<(FieldName, HeaderValue)>,
    /// `assertion`, sent as `Authorization: Bearer …`, with `request.auth: assertion`.
    pub assertion: Option<Assertion>,
    /// `response`.
    pub response: CustomResponse,
}

/// The parameters of the request, by the place in which they are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CustomParams {
    /// In the query, without a body: `format: none`, and the default of GET.
    Query(Vec<(String, Param)>),
    /// `format: form`, the default.
    Form(Vec<(String, Param)>),
    /// `format: json`: the members of an object.
    Json(Vec<(String, JsonParam)>),
}

/// A value of `params` with `format: json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonParam {
    /// A value of the file, neither list nor object.
    Value(Value),
    /// A text from a source of secrets.
    Secret(Secret),
    /// A list.
    List(Vec<JsonParam>),
    /// An object.
    Object(Vec<(String, JsonParam)>),
}

/// JSON Pointers (RFC 6901) into the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomResponse {
    /// `token`. Default `/access_token`.
    pub token: String,
    /// `expires_in`: seconds. Default `/expires_in`.
    pub expires_in: String,
    /// `expires_at`: RFC 3339 or Unix seconds. Preferred to `expires_in` if the answer has it.
    pub expires_at: Option<String>,
    /// `error`: a value other than null, false, 0 and the empty text is a refusal. Default `/error`.
    pub error: String,
}

impl Default for CustomResponse {
    /// Returns the members of RFC 6749.
    fn default() -> Self {
        let pointer = str::to_owned;
        Self {
            token: pointer("/access_token"),
            expires_in: pointer("/expires_in"),
            expires_at: None,
            error: pointer("/error"),
        }
    }
}
