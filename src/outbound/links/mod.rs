//! Links in responses: `Location`, `Content-Location`, `Refresh` and `Link`.
//!
//! A client resolves a link against the URL under which it knows attache, the provider means it against its own. So each is
//! resolved against the URL that the request was sent to (RFC 3986 section 5). What lies below the service's `server_url`
//! gets the form in which the request came, and anything else becomes, or stays, absolute.
//!
//! Invariant: what leaves is read alike by a client of RFC 3986 and by a browser (WHATWG URL), and leads into no other
//! service. A link that cannot be made so is dropped. Only a response with such a field costs anything.

mod address;
mod credential;
mod dots;
mod fields;
mod reference;
mod rewrite;

use super::Routes;
use crate::message::{Field, Fields};
use crate::plan::{Form, Plan};
use crate::route::Route;
use std::borrow::Cow;
use std::net::SocketAddr;

/// The facts about a request that decide about the links of its response.
#[derive(Clone, Copy)]
pub struct Links<'a> {
    routes: &'a Routes,
    route: &'a Route,
    form: Form,
    /// The target as the client sent it, in origin form.
    asked: &'a [u8],
    /// The target as it was sent to the service, without a credential in its query.
    sent: &'a [u8],
    /// The fields of the request.
    fields: &'a Fields,
    /// The listener's address; none on a unix socket.
    listener: Option<SocketAddr>,
}

/// The fate of one reference.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It stays as it is.
    Keep,
    /// It is replaced.
    Replace(Vec<u8>),
    /// It would lead into another service, or clients disagree on its place.
    Drop,
}

/// Returns true if a field holds links.
pub fn is_link(field: &Field<'_>) -> bool {
    // The length rules out nearly all fields.
    match field.name.len() {
        4 => field.is("link"),
        7 => field.is("refresh"),
        8 => field.is("location"),
        16 => field.is("content-location"),
        _ => false,
    }
}

impl<'a> Links<'a> {
    /// Returns the rules for the response to a request; `None` if its links stay as they are.
    pub fn new(
        routes: &'a Routes,
        plan: &'a Plan,
        asked: &'a [u8],
        fields: &'a Fields,
        listener: Option<SocketAddr>,
    ) -> Option<Self> {
        let route = &*plan.route;
        let edits = route.rewrite_links || credential::is_in_url(&route.credential);
        edits.then_some(Self { routes, route, form: plan.form, asked, sent: &plan.target, fields, listener })
    }

    /// Returns the value with which a field of links leaves; `None` if it is dropped.
    pub fn edit<'v>(&self, field: &Field<'v>) -> Option<Cow<'v, [u8]>> {
        match field.name.len() {
            7 => fields::refresh(field.value, |link| self.decide(link)),
            4 => fields::list(
                field.value,
                |link| self.decide(link),
                |text| credential::removed(&self.route.credential, text).is_some(),
            ),
            _ => fields::one(field.value, |link| self.decide(link)),
        }
    }

    fn decide(&self, link: &[u8]) -> Verdict {
        let verdict = if self.route.rewrite_links { self.rewrite(link) } else { Verdict::Keep };
        let clean = match &verdict {
            Verdict::Keep => credential::removed(&self.route.credential, link),
            Verdict::Replace(link) => credential::removed(&self.route.credential, link),
            Verdict::Drop => None,
        };
        clean.map_or(verdict, Verdict::Replace)
    }
}

#[cfg(test)]
mod tests;
