//! A stub token endpoint (RFC 6749 section 3.2).

use super::stub::{Received, Step, Stub, third_party};
use std::time::Duration;

/// Issues a fixed access token, valid for an hour, by default.
pub(crate) struct TokenEndpoint {
    stub: Stub,
    answer: Answer,
}

#[derive(Debug, Clone)]
struct Answer {
    status: u16,
    body: String,
    after: Duration,
}

pub(crate) fn token_endpoint() -> TokenEndpoint {
    let answer = Answer { status: 200, body: String::new(), after: Duration::ZERO };
    TokenEndpoint { stub: third_party(), answer }
}

impl TokenEndpoint {
    pub(crate) fn url(&self) -> String {
        format!("{}/token", self.stub.url())
    }

    pub(crate) fn issues(self, token: &str) -> Self {
        self.issues_for(token, 3600)
    }

    pub(crate) fn issues_for(self, token: &str, expires_in: u64) -> Self {
        self.answers(
            200,
            &format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{expires_in}}}"#),
        )
    }

    /// Uses another name in its URL.
    pub(crate) fn named(mut self, name: &str) -> Self {
        self.stub = self.stub.named(name);
        self
    }

    /// Answers with `invalid_client` or another error (RFC 6749 section 5.2).
    pub(crate) fn rejects(self, error: &str) -> Self {
        self.answers(401, &format!(r#"{{"error":"{error}"}}"#))
    }

    pub(crate) fn down(self) -> Self {
        self.answers(503, "down for maintenance")
    }

    pub(crate) fn garbage(self) -> Self {
        self.answers(200, "<html>Welcome!</html>")
    }

    pub(crate) fn hangs(self) -> Self {
        self.stub.does(|_request| vec![Step::Hang]);
        self
    }

    /// Delays each answer by this time from now on.
    pub(crate) fn delays(mut self, after: Duration) -> Self {
        self.answer.after = after;
        self.apply()
    }

    pub(crate) fn answers(mut self, status: u16, body: &str) -> Self {
        self.answer.status = status;
        body.clone_into(&mut self.answer.body);
        self.apply()
    }

    /// Issues a new token for each request: `token(0)`, `token(1)`, …
    pub(crate) fn issues_each(self, token: impl Fn(usize) -> String + Send + Sync + 'static) -> Self {
        self.issues_each_for(3600, token)
    }

    /// As [`TokenEndpoint::issues_each`], each valid for `expires_in` seconds.
    pub(crate) fn issues_each_for(
        self,
        expires_in: u64,
        token: impl Fn(usize) -> String + Send + Sync + 'static,
    ) -> Self {
        let count = std::sync::atomic::AtomicUsize::new(0);
        self.stub.does(move |_request| {
            let nth = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let token = token(nth);
            let body =
                format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{expires_in}}}"#);
            vec![json(200, &body)]
        });
        self
    }

    pub(crate) fn count(&self) -> usize {
        self.stub.requests().len()
    }

    pub(crate) async fn request(&self, n: usize) -> Received {
        self.stub.wait_until("a token request", |seen| seen.complete > n).await;
        self.stub.requests().swap_remove(n)
    }

    fn apply(self) -> Self {
        let Answer { status, body, after } = self.answer.clone();
        self.stub.does(move |_request| vec![Step::Pause(after), json(status, &body)]);
        self
    }
}

/// Returns an answer in JSON that must not be cached.
pub(crate) fn json(status: u16, body: &str) -> Step {
    let length = body.len();
    Step::Send(
        format!(
            "HTTP/1.1 {status} Stubbed\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes(),
    )
}
