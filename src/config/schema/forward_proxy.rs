//! The keys of `proxy`.

use super::{Kind, Shape, key};

/// A forward proxy.
pub(super) static PROXY: Shape = Shape {
    name: "proxy",
    doc: "The forward proxy through which attache reaches services, token endpoints and key sets: https by CONNECT, http in \
          absolute form. This host and `forward_to` are always reached directly.",
    example: "{ url: http://proxy.corp.example:3128 }",
    keys: &[
        key("url", Kind::Url, "The proxy, an http URL.").also(&["address", "server", "host"]),
        key("username", Kind::Text, "The user at the proxy (Basic).").also(&["user"]),
        key("password", Kind::Secret, "Its password.").also(&["pass"]),
        key(
            "no_proxy",
            Kind::List(&Kind::Text),
            "The servers that are reached directly: a name and all names below it (`corp.example`, `.corp.example`), an \
             address or a network (for URLs with an address), each with an optional `:PORT`; `*` is all.",
        )
        .also(&["bypass", "exclude", "noproxy"]),
        key(
            "from_environment",
            Kind::Bool,
            "True takes `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, in lower or upper case, in place of `url`.",
        )
        .default("false"),
    ],
    extends: None,
    elsewhere: &[],
};

/// `proxy` of one service, account or key set.
pub(super) const OWN_PROXY: Kind = Kind::OneOf(&[Kind::Word(&["direct"]), Kind::Map(&PROXY)]);
