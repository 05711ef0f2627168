//! The schemes that are known by name, as data. A provider is a row: its name in the file, and the four parts.
//!
//! A row says what the file can say with `scheme: custom`. Its proof is a request in `tests/vectors` that the provider's
//! own library signed, or an independent computation; `docs/webhook-providers.md` names which. A test fails on a row
//! without either.

use super::algorithm::Algorithm::{self, EcdsaP256, Ed25519, RsaSha256, Sha1, Sha256, Token};
use super::form::Encoding::{Base64, Hex};
use super::key::SecretEncoding::{Base64 as Base64Secret, Hex as HexSecret, Whsec};
use super::parts::Parts;
use super::row::ValueAt::{Header, Member, Pair};
use super::row::{Preset, Row};
use super::time::TimeFormat::{Milliseconds, Rfc3339, Seconds};

macro_rules! presets {
    ($($(#[$doc:meta])* $variant:ident = $name:literal: $preset:expr;)*) => {
        /// A scheme of signatures: a preset by its name, or the parts in the file.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Scheme {
            $($(#[$doc])* $variant,)*
            /// Any other provider, as the file says.
            Custom(Box<Parts>),
            /// The same under its other name, for an HMAC.
            Hmac(Box<Parts>),
        }

        impl Scheme {
            /// Every name in the file; the last two have their parts in the file.
            pub const NAMES: &'static [&'static str] = &[$($name,)* "hmac", "custom"];

            /// Returns the preset with this name.
            pub fn by_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Returns the name in the file.
            pub fn as_str(&self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Custom(_) => "custom",
                    Self::Hmac(_) => "hmac",
                }
            }

            pub(super) fn preset(&self) -> Option<&'static Preset> {
                match self {
                    $(Self::$variant => {
                        static PRESET: Preset = $preset;
                        Some(&PRESET)
                    })*
                    Self::Custom(_) | Self::Hmac(_) => None,
                }
            }
        }
    };
}

const fn sha256_hex(header: &'static str) -> Row {
    Row::header(header, Sha256, Hex)
}

const fn sha256_base64(header: &'static str) -> Row {
    Row::header(header, Sha256, Base64)
}

/// `t=TIME,v1=SIGNATURE` over `TIME.BODY`.
const fn like_stripe(header: &'static str) -> Row {
    sha256_hex(header).pairs(',', "v1").time(Pair("t"), Seconds).signed("{timestamp}.{body}")
}

/// The three headers of Standard Webhooks.
const fn standard(signature: &'static str, timestamp: &'static str, id: &'static str) -> Row {
    sha256_base64(signature)
        .versions()
        .time(Header(timestamp), Seconds)
        .id(Header(id))
        .secret(Whsec)
        .signed("{id}.{timestamp}.{body}")
}

/// A token of an issuer, which signs nothing of the request.
const BEARER: Row = Row::header("authorization", Algorithm::Jwt, Base64).prefix("Bearer ");

const STANDARD: Row = standard("webhook-signature", "webhook-timestamp", "webhook-id");

const ADYEN_SIGNATURE: &str = "/notificationItems/0/NotificationRequestItem/additionalData/hmacSignature";
const ADYEN_FIELDS: &str = "{body:/notificationItems/0/NotificationRequestItem/pspReference}:\
     {body:/notificationItems/0/NotificationRequestItem/originalReference?}:\
     {body:/notificationItems/0/NotificationRequestItem/merchantAccountCode}:\
     {body:/notificationItems/0/NotificationRequestItem/merchantReference?}:\
     {body:/notificationItems/0/NotificationRequestItem/amount/value}:\
     {body:/notificationItems/0/NotificationRequestItem/amount/currency}:\
     {body:/notificationItems/0/NotificationRequestItem/eventCode}:\
     {body:/notificationItems/0/NotificationRequestItem/success}";

presets! {
    /// GitHub, Gitea, Forgejo.
    Github = "github": Preset::new(
        sha256_hex("x-hub-signature-256")
            .prefix("sha256=")
            .unsigned_event(&["X-GitHub-Delivery", "X-Gitea-Delivery"]),
    );
    /// GitLab: the signature that it has since 18, or the plain token.
    Gitlab = "gitlab": Preset::new(STANDARD).or(
        Row::header("x-gitlab-token", Token, Hex).unsigned_event(&["Idempotency-Key", "X-Gitlab-Event-UUID"]),
    );
    /// Stripe.
    Stripe = "stripe": Preset::new(like_stripe("stripe-signature")).id_member("id");
    /// Slack.
    Slack = "slack": Preset::new(
        sha256_hex("x-slack-signature")
            .prefix("v0=")
            .time(Header("x-slack-request-timestamp"), Seconds)
            .signed("v0:{timestamp}:{body}"),
    )
    .id_member("event_id")
    .handshake("slack");
    /// Shopify.
    Shopify = "shopify": Preset::new(sha256_base64("x-shopify-hmac-sha256").unsigned_event(&[
        "X-Shopify-Webhook-Id",
        "X-Shopify-Event-Id",
        "X-Shopify-Topic",
    ]));
    /// Twilio: over the URL and the form.
    Twilio = "twilio": Preset::new(Row::header("x-twilio-signature", Sha1, Base64).signed("{form}"));
    /// <https://www.standardwebhooks.com>.
    StandardWebhooks = "standard_webhooks": Preset::new(STANDARD);
    /// The same under Svix's header names.
    Svix = "svix": Preset::new(standard("svix-signature", "svix-timestamp", "svix-id")).or(STANDARD);
    /// Meta: Facebook, Instagram, WhatsApp.
    Meta = "meta": Preset::new(sha256_hex("x-hub-signature-256").prefix("sha256=")).handshake("meta");
    /// Dropbox.
    Dropbox = "dropbox": Preset::new(sha256_hex("x-dropbox-signature")).repeating().handshake("dropbox");
    /// X, formerly Twitter.
    X = "x":
        Preset::new(sha256_base64("x-twitter-webhooks-signature").prefix("sha256=")).objects_only().handshake("x");
    /// Microsoft Graph, which signs nothing, but sends a token back in every notification.
    MicrosoftGraph = "microsoft_graph":
        Preset::new(Row::member("/value/*/clientState", Token, Hex)).repeating().handshake("microsoft_graph");
    /// Adyen: payment webhooks, whose signature is in the body.
    Adyen = "adyen": Preset::new(
        Row::member(ADYEN_SIGNATURE, Sha256, Base64).secret(HexSecret).signed(ADYEN_FIELDS),
    );
    /// Adyen: platform, banking and management webhooks.
    AdyenPlatform = "adyen_platform": Preset::new(sha256_base64("hmacsignature").secret(HexSecret));
    /// Airtable.
    Airtable = "airtable":
        Preset::new(sha256_hex("x-airtable-content-mac").prefix("hmac-sha256=").secret(Base64Secret));
    /// Asana.
    Asana = "asana": Preset::new(sha256_hex("x-hook-signature")).repeating().handshake("asana");
    /// Bitbucket, Cloud and Data Center; Jira.
    Bitbucket = "bitbucket": Preset::new(
        sha256_hex("x-hub-signature")
            .prefix("sha256=")
            .unsigned_event(&["X-Request-UUID", "X-Atlassian-Webhook-Identifier"]),
    );
    /// Microsoft Bot Framework: Teams and other channels of Azure AI Bot Service.
    BotFramework = "bot_framework": Preset::new(BEARER);
    /// Box.
    Box = "box": Preset::new(
        sha256_base64("box-signature-primary")
            .or_in(&["box-signature-secondary"])
            .time(Header("box-delivery-timestamp"), Rfc3339)
            .require(&[("box-signature-version", "1"), ("box-signature-algorithm", "HmacSHA256")])
            .signed("{body}{timestamp}"),
    )
    .tolerance(600)
    .id_member("id");
    /// Calendly.
    Calendly = "calendly": Preset::new(like_stripe("calendly-webhook-signature"));
    /// Contentful: requests of an app.
    Contentful = "contentful": Preset::new(
        sha256_hex("x-contentful-signature")
            .time(Header("x-contentful-timestamp"), Milliseconds)
            .signed("{method}\n{target}\n{headers:x-contentful-signed-headers}\n{body}"),
    );
    /// Discord.
    Discord = "discord": Preset::new(
        Row::header("x-signature-ed25519", Ed25519, Hex)
            .time(Header("x-signature-timestamp"), Seconds)
            .signed("{timestamp}{body}"),
    );
    /// DocuSign Connect: a header for each of its keys.
    Docusign = "docusign": Preset::new(sha256_base64("x-docusign-signature-1").or_in(&[
        "x-docusign-signature-2",
        "x-docusign-signature-3",
        "x-docusign-signature-4",
        "x-docusign-signature-5",
    ]));
    /// Google Cloud Pub/Sub: authenticated push. Google signs a token for any audience and any customer, so the service
    /// account tells whose it is.
    GooglePubsub = "google_pubsub": Preset::new(BEARER).claims(&["email"], &["email_verified"]);
    /// HubSpot, version 3.
    Hubspot = "hubspot": Preset::new(
        sha256_base64("x-hubspot-signature-v3")
            .time(Header("x-hubspot-request-timestamp"), Milliseconds)
            .signed("{method}{url}{body}{timestamp}"),
    );
    /// Intercom.
    Intercom = "intercom":
        Preset::new(Row::header("x-hub-signature", Sha1, Hex).prefix("sha1=")).id_member("id");
    /// Kick.
    Kick = "kick": Preset::new(
        Row::header("kick-event-signature", RsaSha256, Base64)
            .id(Header("kick-event-message-id"))
            .time(Header("kick-event-message-timestamp"), Rfc3339)
            .signed("{id}.{timestamp}.{body}"),
    );
    /// Lemon Squeezy.
    LemonSqueezy = "lemonsqueezy": Preset::new(sha256_hex("x-signature"));
    /// LINE.
    Line = "line": Preset::new(sha256_base64("x-line-signature"));
    /// Linear.
    Linear = "linear":
        Preset::new(sha256_hex("linear-signature").time(Member("/webhookTimestamp"), Milliseconds));
    /// Mailgun: nothing of the event is signed.
    Mailgun = "mailgun": Preset::new(
        Row::member("/signature/signature", Sha256, Hex)
            .time(Member("/signature/timestamp"), Seconds)
            .id(Member("/signature/token"))
            .signed("{timestamp}{id}"),
    );
    /// Microsoft Teams: outgoing webhooks.
    MicrosoftTeams = "microsoft_teams":
        Preset::new(sha256_base64("authorization").prefix("HMAC ").secret(Base64Secret)).id_member("id");
    /// Mux.
    Mux = "mux": Preset::new(like_stripe("mux-signature")).id_member("id");
    /// Notion.
    Notion = "notion":
        Preset::new(sha256_hex("x-notion-signature").prefix("sha256=")).id_member("id").handshake("notion");
    /// Paddle Billing.
    Paddle = "paddle": Preset::new(
        sha256_hex("paddle-signature")
            .pairs(';', "h1")
            .time(Pair("ts"), Seconds)
            .signed("{timestamp}:{body}"),
    )
    .id_member("event_id");
    /// PagerDuty, version 3.
    Pagerduty = "pagerduty": Preset::new(sha256_hex("x-pagerduty-signature").pairs(',', "v1"));
    /// PayPal, which signs a CRC-32 of the body.
    Paypal = "paypal": Preset::new(
        Row::header("paypal-transmission-sig", RsaSha256, Base64)
            .id(Header("paypal-transmission-id"))
            .time(Header("paypal-transmission-time"), Rfc3339)
            .require(&[("paypal-auth-algo", "SHA256withRSA")])
            .signed("{id}|{timestamp}|{webhook_id}|{body:crc32}"),
    )
    .with_webhook_id();
    /// SendGrid: the event webhook.
    Sendgrid = "sendgrid": Preset::new(
        Row::header("x-twilio-email-event-webhook-signature", EcdsaP256, Base64)
            .time(Header("x-twilio-email-event-webhook-timestamp"), Seconds)
            .signed("{timestamp}{body}"),
    );
    /// Sentry.
    Sentry = "sentry":
        Preset::new(sha256_hex("sentry-hook-signature").unsigned_event(&["Request-ID"]));
    /// Amazon SNS. The time is that of the publication: SNS retries for an hour.
    Sns = "sns": Preset::new(
        Row::member("/Signature", Algorithm::Sns, Base64)
            .id(Member("/MessageId"))
            .time(Member("/Timestamp"), Rfc3339),
    )
    .tolerance(4200)
    .handshake("sns");
    /// Square.
    Square = "square":
        Preset::new(sha256_base64("x-square-hmacsha256-signature").signed("{url}{body}")).id_member("event_id");
    /// Supabase: auth hooks.
    Supabase = "supabase": Preset::new(STANDARD);
    /// Telegram bots, which send the secret itself.
    Telegram = "telegram": Preset::new(Row::header("x-telegram-bot-api-secret-token", Token, Hex));
    /// Trello.
    Trello = "trello": Preset::new(Row::header("x-trello-webhook", Sha1, Base64).signed("{body}{url}"));
    /// Twitch EventSub.
    Twitch = "twitch": Preset::new(
        sha256_hex("twitch-eventsub-message-signature")
            .prefix("sha256=")
            .id(Header("twitch-eventsub-message-id"))
            .time(Header("twitch-eventsub-message-timestamp"), Rfc3339)
            .signed("{id}{timestamp}{body}"),
    )
    .tolerance(600);
    /// Typeform.
    Typeform = "typeform":
        Preset::new(sha256_base64("typeform-signature").prefix("sha256=")).id_member("event_id");
    /// Webex.
    Webex = "webex": Preset::new(Row::header("x-spark-signature", Sha1, Hex));
    /// WooCommerce.
    Woocommerce = "woocommerce": Preset::new(
        sha256_base64("x-wc-webhook-signature").unsigned_event(&["X-WC-Webhook-Delivery-ID"]),
    );
    /// WorkOS: milliseconds.
    Workos = "workos": Preset::new(
        sha256_hex("workos-signature").pairs(',', "v1").time(Pair("t"), Milliseconds).signed("{timestamp}.{body}"),
    )
    .id_member("id");
    /// Xero.
    Xero = "xero": Preset::new(sha256_base64("x-xero-signature"));
    /// Zendesk.
    Zendesk = "zendesk": Preset::new(
        sha256_base64("x-zendesk-webhook-signature")
            .time(Header("x-zendesk-webhook-signature-timestamp"), Rfc3339)
            .signed("{timestamp}{body}"),
    )
    .id_member("id");
    /// Zoom.
    Zoom = "zoom": Preset::new(
        sha256_hex("x-zm-signature")
            .prefix("v0=")
            .time(Header("x-zm-request-timestamp"), Seconds)
            .signed("v0:{timestamp}:{body}"),
    );
}
