//! The token requests of RFC 6749, as the `oauth2` crate makes them.

use super::error::Failure;
use super::exchange::Wire;
use crate::config::model::{self, Grant};
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AuthType, ClientId, ClientSecret, EndpointNotSet, EndpointSet, ExtraTokenFields, RequestTokenError,
    ResourceOwnerPassword, ResourceOwnerUsername, Scope, StandardRevocableToken, StandardTokenResponse,
    TokenUrl,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A token answer, with the member of OpenID Connect beside RFC 6749's.
pub(super) type Answer = StandardTokenResponse<OpenId, BasicTokenType>;

type Client = oauth2::Client<
    BasicErrorResponse,
    Answer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// What OpenID Connect adds to the answer.
#[derive(Deserialize, Serialize)]
pub(super) struct OpenId {
    #[serde(default, skip_serializing)]
    pub(super) id_token: Option<String>,
}

impl ExtraTokenFields for OpenId {}

impl fmt::Debug for OpenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenId([secret])")
    }
}

/// Asks for a token by the account's grant.
pub(super) async fn ask(
    config: &model::OAuth2,
    wire: &Wire<'_>,
) -> Result<Answer, RequestTokenError<Failure, BasicErrorResponse>> {
    let client = client(config);
    let scopes = config.scopes.iter().cloned().map(Scope::new);
    let params = config.token_params.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    match &config.grant {
        Grant::ClientCredentials => {
            let request = client.exchange_client_credentials().add_scopes(scopes);
            params.fold(request, |r, (name, value)| r.add_extra_param(name, value)).request_async(wire).await
        }
        Grant::Password { username, password } => {
            let username = ResourceOwnerUsername::new(username.expose().to_owned());
            let password = ResourceOwnerPassword::new(password.expose().to_owned());
            let request = client.exchange_password(&username, &password).add_scopes(scopes);
            params.fold(request, |r, (name, value)| r.add_extra_param(name, value)).request_async(wire).await
        }
    }
}

fn client(config: &model::OAuth2) -> Client {
    oauth2::Client::new(ClientId::new(config.client_id.clone()))
        .set_client_secret(ClientSecret::new(config.client_secret.expose().to_owned()))
        .set_auth_type(match config.client_auth {
            model::ClientAuth::Basic => AuthType::BasicAuth,
            model::ClientAuth::Post => AuthType::RequestBody,
        })
        .set_token_uri(TokenUrl::from_url(config.token_url.clone()))
}
