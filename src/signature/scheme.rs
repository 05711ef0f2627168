//! The schemes that are known by name.

use super::key::{Key, SecretFault};
use super::recipe::{Algorithm, Encoding, Form, Recipe, Template};
use crate::secret::Secret;
use http::HeaderName;
use std::borrow::Cow;

/// How a provider signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// GitHub, and whoever copied it (Gitea, Forgejo, Bitbucket).
    Github,
    /// GitLab: the plain token, or the signature it has since 18.
    Gitlab,
    /// Stripe.
    Stripe,
    /// Slack.
    Slack,
    /// Shopify.
    Shopify,
    /// Twilio: over the URL and the form.
    Twilio,
    /// <https://www.standardwebhooks.com>.
    StandardWebhooks,
    /// The same under Svix's header names.
    Svix,
    /// Meta: Facebook, Instagram, WhatsApp.
    Meta,
    /// Dropbox.
    Dropbox,
    /// X, once Twitter.
    X,
    /// Microsoft Graph, which signs nothing, but sends a token back.
    MicrosoftGraph,
    /// Whatever signs with an HMAC, as the file says.
    Hmac(Box<Recipe>),
}

impl Scheme {
    /// Every scheme that needs no recipe from the file, by its name there.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::named().into_iter().find(|scheme| scheme.as_str() == name)
    }

    /// Every name, that of the generic one last.
    pub fn names() -> Vec<&'static str> {
        Self::named().iter().map(Self::as_str).chain(["hmac"]).collect()
    }

    /// Checks that a secret is one of this scheme.
    ///
    /// # Errors
    ///
    /// Why it is not.
    pub fn fits(&self, secret: &Secret) -> Result<(), SecretFault> {
        Key::new(self, secret).map(drop)
    }

    fn named() -> [Self; 12] {
        [
            Self::Github,
            Self::Gitlab,
            Self::Stripe,
            Self::Slack,
            Self::Shopify,
            Self::Twilio,
            Self::StandardWebhooks,
            Self::Svix,
            Self::Meta,
            Self::Dropbox,
            Self::X,
            Self::MicrosoftGraph,
        ]
    }

    /// Its name in the file.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::Stripe => "stripe",
            Self::Slack => "slack",
            Self::Shopify => "shopify",
            Self::Twilio => "twilio",
            Self::StandardWebhooks => "standard_webhooks",
            Self::Svix => "svix",
            Self::Meta => "meta",
            Self::Dropbox => "dropbox",
            Self::X => "x",
            Self::MicrosoftGraph => "microsoft_graph",
            Self::Hmac(_) => "hmac",
        }
    }

    /// Whether the time of signing is signed, and so can be held to a tolerance.
    pub fn has_timestamp(&self) -> bool {
        self.recipes().iter().any(|recipe| recipe.signed.has_timestamp())
    }

    /// Whether the outside address is signed, and so has to be known.
    pub fn has_url(&self) -> bool {
        *self == Self::Twilio || self.recipes().iter().any(|recipe| recipe.signed.has_url())
    }

    /// Every header that decides, of whichever form.
    pub fn headers(&self) -> Vec<HeaderName> {
        let recipes = self.recipes();
        let of_recipes = recipes.iter().flat_map(|recipe| {
            let parts = [Some(&recipe.header), recipe.timestamp.as_ref(), recipe.id.as_ref()];
            parts.into_iter().flatten().chain(recipe.signed.headers())
        });
        let own = match self {
            Self::Gitlab => self.token_header(),
            Self::Twilio => Some(super::twilio::SIGNATURE),
            _ => None,
        };
        of_recipes.cloned().chain(own).collect()
    }

    /// The header that shows the secret itself, which nobody needs to see once it was checked.
    pub fn token_header(&self) -> Option<HeaderName> {
        (*self == Self::Gitlab).then_some(super::GITLAB_TOKEN)
    }

    /// Whether deliveries that differ have bodies that don't, so that one can't be told from another's return.
    pub fn repeats_itself(&self) -> bool {
        matches!(self, Self::Dropbox | Self::MicrosoftGraph)
    }

    /// Where in a JSON body the provider's id of a delivery stands. The body is signed, and the id with it.
    pub fn id_member(&self) -> Option<&'static str> {
        match self {
            Self::Stripe => Some("id"),
            Self::Slack => Some("event_id"),
            _ => None,
        }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Twilio => Algorithm::Sha1,
            Self::Hmac(recipe) => recipe.algorithm,
            _ => Algorithm::Sha256,
        }
    }

    /// How it signs; of several, the one whose header is sent counts. Empty: no MAC over parts of the request.
    pub(super) fn recipes(&self) -> Vec<Recipe> {
        match self {
            Self::Github | Self::Meta => {
                vec![mac("x-hub-signature-256", "sha256=", Encoding::Hex, "{body}", None)]
            }
            Self::Shopify => vec![mac("x-shopify-hmac-sha256", "", Encoding::Base64, "{body}", None)],
            Self::Dropbox => vec![mac("x-dropbox-signature", "", Encoding::Hex, "{body}", None)],
            Self::X => vec![mac("x-twitter-webhooks-signature", "sha256=", Encoding::Base64, "{body}", None)],
            Self::Slack => vec![mac(
                "x-slack-signature",
                "v0=",
                Encoding::Hex,
                "v0:{timestamp}:{body}",
                Some("x-slack-request-timestamp"),
            )],
            Self::Stripe => {
                let recipe = mac("stripe-signature", "", Encoding::Hex, "{timestamp}.{body}", None);
                vec![Recipe { form: Form::Pairs, ..recipe }]
            }
            Self::StandardWebhooks | Self::Gitlab => vec![STANDARD.recipe()],
            Self::Svix => vec![SVIX.recipe(), STANDARD.recipe()],
            Self::Twilio | Self::MicrosoftGraph => Vec::new(),
            Self::Hmac(recipe) => vec![(**recipe).clone()],
        }
    }
}

fn mac(
    header: &'static str,
    prefix: &'static str,
    encoding: Encoding,
    signed: &str,
    timestamp: Option<&'static str>,
) -> Recipe {
    Recipe {
        header: HeaderName::from_static(header),
        form: Form::Prefixed(Cow::Borrowed(prefix)),
        algorithm: Algorithm::Sha256,
        encoding,
        timestamp: timestamp.map(HeaderName::from_static),
        id: None,
        signed: Template::parse(signed).expect("the templates of this file are tested"),
    }
}

/// The three headers of Standard Webhooks.
struct Family {
    signature: &'static str,
    timestamp: &'static str,
    id: &'static str,
}

const STANDARD: Family =
    Family { signature: "webhook-signature", timestamp: "webhook-timestamp", id: "webhook-id" };
const SVIX: Family = Family { signature: "svix-signature", timestamp: "svix-timestamp", id: "svix-id" };

impl Family {
    fn recipe(&self) -> Recipe {
        let signed = "{id}.{timestamp}.{body}";
        let recipe = mac(self.signature, "", Encoding::Base64, signed, Some(self.timestamp));
        Recipe { form: Form::Versions, id: Some(HeaderName::from_static(self.id)), ..recipe }
    }
}
