//! `webhook.handshake`: the question of a provider before its first delivery.

use crate::secret::Secret;

/// The provider whose question is answered, and what the file says about it.
#[derive(Debug, Clone, PartialEq)]
pub enum Handshake {
    /// Meta: `hub.challenge` in a GET.
    Meta {
        /// `verify_token`: the token that the question must contain.
        verify_token: Option<Secret>,
    },
    /// Slack: `url_verification`, signed.
    Slack,
    /// Zoom: `endpoint.url_validation`, signed, answered by an HMAC.
    Zoom,
    /// Dropbox: `challenge` in a GET.
    Dropbox,
    /// X: `crc_token` in a GET, answered by an HMAC.
    X,
    /// Microsoft Graph: `validationToken` in a POST.
    MicrosoftGraph,
    /// WebSub: a hub verifies a subscription.
    Websub {
        /// `topics`: the subscriptions that are wanted.
        topics: Vec<String>,
        /// `verify_token`, of hubs of the earlier PubSubHubbub.
        verify_token: Option<Secret>,
    },
    /// CloudEvents: OPTIONS with `WebHook-Request-Origin`.
    Cloudevents {
        /// `origins`: the senders that may deliver. Empty: all.
        origins: Vec<String>,
    },
    /// Asana: brings the secret in `X-Hook-Secret`.
    Asana,
    /// Notion: brings the secret as `verification_token`.
    Notion,
    /// Okta: `X-Okta-Verification-Challenge` in a GET.
    Okta,
    /// Azure Event Grid: `SubscriptionValidation`.
    EventGrid,
    /// Twitch: `webhook_callback_verification`, signed.
    Twitch,
    /// Discord: a PING, signed.
    Discord,
    /// Trello: HEAD.
    Trello,
    /// Amazon SNS: `SubscriptionConfirmation`, signed, answered by a request of its `SubscribeURL`.
    Sns,
}

impl Handshake {
    /// The names in the file, after the word for none.
    pub const WORDS: &'static [&'static str] = &[
        "none",
        "meta",
        "slack",
        "zoom",
        "dropbox",
        "x",
        "microsoft_graph",
        "websub",
        "cloudevents",
        "asana",
        "notion",
        "okta",
        "event_grid",
        "twitch",
        "discord",
        "trello",
        "sns",
    ];

    /// Returns the handshake of this name, without settings. `None` for `none` and unknown names.
    pub fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "meta" => Self::Meta { verify_token: None },
            "slack" => Self::Slack,
            "zoom" => Self::Zoom,
            "dropbox" => Self::Dropbox,
            "x" => Self::X,
            "microsoft_graph" => Self::MicrosoftGraph,
            "websub" => Self::Websub { topics: Vec::new(), verify_token: None },
            "cloudevents" => Self::Cloudevents { origins: Vec::new() },
            "asana" => Self::Asana,
            "notion" => Self::Notion,
            "okta" => Self::Okta,
            "event_grid" => Self::EventGrid,
            "twitch" => Self::Twitch,
            "discord" => Self::Discord,
            "trello" => Self::Trello,
            "sns" => Self::Sns,
            _ => return None,
        })
    }

    /// Returns its name in the file.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Meta { .. } => "meta",
            Self::Slack => "slack",
            Self::Zoom => "zoom",
            Self::Dropbox => "dropbox",
            Self::X => "x",
            Self::MicrosoftGraph => "microsoft_graph",
            Self::Websub { .. } => "websub",
            Self::Cloudevents { .. } => "cloudevents",
            Self::Asana => "asana",
            Self::Notion => "notion",
            Self::Okta => "okta",
            Self::EventGrid => "event_grid",
            Self::Twitch => "twitch",
            Self::Discord => "discord",
            Self::Trello => "trello",
            Self::Sns => "sns",
        }
    }

    /// Returns the headers, in lower case, by which a question is told from a delivery.
    pub fn headers(&self) -> &'static [&'static str] {
        match self {
            Self::Cloudevents { .. } => &["webhook-request-origin"],
            Self::Asana => &["x-hook-secret"],
            Self::Notion => &["x-notion-signature"],
            Self::Okta => &["x-okta-verification-challenge"],
            Self::EventGrid => &["aeg-event-type"],
            Self::Twitch => &["twitch-eventsub-message-type"],
            _ => &[],
        }
    }

    /// Returns true if the provider signs its question, which is then answered only if the signature is valid.
    pub fn is_signed(&self) -> bool {
        matches!(self, Self::Slack | Self::Zoom | Self::Twitch | Self::Discord | Self::Sns)
    }

    /// Returns true if the answer is computed with the secret of the scheme with the same name. That scheme can tell its
    /// deliveries from such an answer.
    pub fn answers_with_secret(&self) -> bool {
        matches!(self, Self::Zoom | Self::X)
    }

    /// Returns the token that the question must contain.
    pub fn verify_token(&self) -> Option<&Secret> {
        match self {
            Self::Meta { verify_token } | Self::Websub { verify_token, .. } => verify_token.as_ref(),
            _ => None,
        }
    }

    /// Returns true if the question brings the secret that signs the deliveries.
    pub fn brings_secret(&self) -> bool {
        matches!(self, Self::Asana | Self::Notion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::Scheme;

    #[test]
    fn a_name_stands_for_one_handshake() {
        for name in &Handshake::WORDS[1..] {
            assert_eq!(Handshake::by_name(name).map(|handshake| handshake.as_str()), Some(*name));
        }
        assert_eq!(Handshake::by_name("none"), None);
    }

    #[test]
    fn the_handshakes_of_presets_exist() {
        for scheme in Scheme::NAMES.iter().filter_map(|name| Scheme::by_name(name)) {
            if let Some(name) = scheme.handshake() {
                assert!(Handshake::by_name(name).is_some(), "{name}");
            }
        }
    }
}
