//! The keys of a webhook's handshake, and of a secret that comes with one.

use super::{Kind, SECRET, Shape, key};
use crate::config::model::Handshake;

/// The value of `handshake`.
pub(super) const HANDSHAKE: Kind = Kind::OneOf(&[Kind::Word(Handshake::WORDS), Kind::Map(&SETTINGS)]);

static SETTINGS: Shape = Shape {
    name: "handshake",
    doc: "The handshake that is answered, with its settings. Exactly one of these.",
    example: "{ meta: { verify_token: { env: NAME } } }",
    keys: &[
        key("meta", Kind::Map(&META), "Facebook, Instagram, WhatsApp: `hub.challenge`."),
        key("slack", Kind::Map(&PLAIN), "`url_verification`, once its signature is valid."),
        key(
            "zoom",
            Kind::Map(&PLAIN),
            "`endpoint.url_validation`, once its signature is valid. Needs `verify.scheme: zoom`.",
        ),
        key("dropbox", Kind::Map(&PLAIN), "`challenge`."),
        key("x", Kind::Map(&PLAIN), "`crc_token`. Needs `verify.scheme: x`."),
        key("microsoft_graph", Kind::Map(&PLAIN), "`validationToken`."),
        key("websub", Kind::Map(&WEBSUB), "A hub's verification of a subscription."),
        key("cloudevents", Kind::Map(&CLOUDEVENTS), "`OPTIONS` with `WebHook-Request-Origin`."),
        key("asana", Kind::Map(&PLAIN), "`X-Hook-Secret`, which is kept. Needs `state`."),
        key("notion", Kind::Map(&PLAIN), "`verification_token`, which is kept. Needs `state`."),
        key("okta", Kind::Map(&PLAIN), "`X-Okta-Verification-Challenge`."),
        key("event_grid", Kind::Map(&PLAIN), "`SubscriptionValidation`."),
        key("twitch", Kind::Map(&PLAIN), "`webhook_callback_verification`, once its signature is valid."),
        key("discord", Kind::Map(&PLAIN), "A PING, once its signature is valid."),
        key("trello", Kind::Map(&PLAIN), "`HEAD`."),
        key(
            "sns",
            Kind::Map(&PLAIN),
            "The subscription to a topic is confirmed, once its signature is valid. Needs `verify.scheme: sns`.",
        ),
    ],
    extends: None,
    elsewhere: &[],
};

/// A handshake without settings.
static PLAIN: Shape = Shape {
    name: "handshake.plain",
    doc: "A handshake that has no settings.",
    example: "{}",
    keys: &[],
    extends: None,
    elsewhere: &[],
};

const VERIFY_TOKEN: &str = "The token that the question must contain. Default: the key in the URL is enough.";

static META: Shape = Shape {
    name: "handshake.meta",
    doc: "The handshake of Meta.",
    example: "{ verify_token: { env: NAME } }",
    keys: &[key("verify_token", Kind::Secret, VERIFY_TOKEN)],
    extends: None,
    elsewhere: &[],
};

static WEBSUB: Shape = Shape {
    name: "handshake.websub",
    doc: "The handshake of WebSub and PubSubHubbub.",
    example: "{ topics: [https://blog.example/feed] }",
    keys: &[
        key(
            "topics",
            Kind::List(&Kind::Text),
            "The topics that are wanted: their URLs, as the hub names them. A subscription to another one is not confirmed; the end of \
             one of these neither.",
        )
        .required()
        .also(&["topic"]),
        key("verify_token", Kind::Secret, VERIFY_TOKEN),
    ],
    extends: None,
    elsewhere: &[],
};

static CLOUDEVENTS: Shape = Shape {
    name: "handshake.cloudevents",
    doc: "The handshake of CloudEvents. `rate_limit` of the webhook is the rate that it allows.",
    example: "{ origins: [eventgrid.azure.net] }",
    keys: &[key(
        "origins",
        Kind::List(&Kind::Text),
        "The host names of the senders that may deliver. Default: all.",
    )
    .also(&["origin"])],
    extends: None,
    elsewhere: &[],
};

/// A secret of `verify`.
pub(super) static BROUGHT: Shape = Shape {
    name: "verify.secret",
    doc: "The source of a signing secret. Exactly one of these.",
    example: "{ env: NAME }",
    keys: &[key(
        "handshake",
        Kind::Bool,
        "True: the provider brings it in the handshake `asana` or `notion`, and attache keeps it in `state.dir`.",
    )],
    extends: Some(&SECRET),
    elsewhere: &[],
};
