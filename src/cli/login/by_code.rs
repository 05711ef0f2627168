//! The login by a browser (RFC 6749 section 4.1, RFC 8252): on a loopback port, or by a pasted address.

use super::loopback::Loopback;
use super::{Login, LoginError, PATIENCE, browser, paste, print};
use crate::credentials::oauth2::{AuthorizationRequest, Redirected, SignIn, SignInError, SignedIn};
use crate::secret::Secret;
use std::sync::Arc;
use tokio::time::timeout;

/// The way in which the redirect of the browser arrives.
enum Redirect {
    /// On a loopback port.
    Received(Loopback),
    /// The user pastes its address: `redirect_url` is on another machine.
    Pasted,
}

impl Login<'_> {
    pub(super) async fn by_code(
        &self,
        sign_in: &SignIn,
        redirect_url: Option<&url::Url>,
    ) -> Result<SignedIn, LoginError> {
        let (redirect, uri) = match redirect_url.filter(|url| url.scheme() == "https") {
            Some(url) => (Redirect::Pasted, url.clone()),
            None => {
                let listening = Loopback::bind(redirect_url).await;
                let loopback = listening.map_err(|(address, cause)| LoginError::Listen { address, cause })?;
                let uri = loopback.uri().clone();
                (Redirect::Received(loopback), uri)
            }
        };
        let Some(authorization) = sign_in.authorization(&uri) else {
            return Err(LoginError::Account("the account's grant is not authorization_code".into()));
        };
        let authorization = Arc::new(authorization);
        print(format_args!(
            "Open this URL in a browser, and sign in as the user for whom `{}` acts:\n\n    {}\n\n",
            self.account,
            authorization.url(),
        ));
        let minutes = PATIENCE.as_secs() / 60;
        if let Redirect::Received(_) = redirect {
            print(format_args!(
                "Waiting for the browser's redirect to {uri} (at most {minutes} minutes; Ctrl-C ends it).\n\n"
            ));
        }
        // If attache opens no browser, the user's browser may be on another machine.
        let is_opened = !self.no_browser && browser::open(authorization.url());
        match redirect {
            Redirect::Pasted => print(format_args!(
                "Its last page is at {uri}: copy the address of that page from the address bar, with everything \
                 after\nthe `?`, and paste it here (at most {minutes} minutes; Ctrl-C ends it).\n"
            )),
            Redirect::Received(_) if !is_opened => print(format_args!(
                "If the browser runs on another machine, its last page fails to load: copy the address of that page from \
                 the\naddress bar, and paste it here.\n"
            )),
            Redirect::Received(_) => {}
        }
        let code = self.code(redirect, &authorization, !is_opened).await?;
        Ok(sign_in.finish(&authorization, &code).await?)
    }

    async fn code(
        &self,
        redirect: Redirect,
        authorization: &Arc<AuthorizationRequest>,
        paste: bool,
    ) -> Result<Secret, LoginError> {
        let redirected = async {
            match redirect {
                Redirect::Pasted => {
                    paste::redirected(authorization, io_stdin()).await.ok_or(LoginError::NoAddress)
                }
                Redirect::Received(loopback) => Ok(tokio::select! {
                    redirected = loopback.redirected(authorization) => redirected,
                    Some(redirected) = paste::redirected(authorization, io_stdin()), if paste => redirected,
                }),
            }
        };
        match timeout(PATIENCE, redirected).await.map_err(|_| LoginError::TooLate)?? {
            Redirected::Code(code) => Ok(code),
            Redirected::Refused { error, description } => {
                Err(SignInError::Refused { code: error, words: description }.into())
            }
            Redirected::WrongIssuer { named } => Err(authorization.wrong_issuer(named).into()),
            // Neither source returns this.
            Redirected::Foreign => Err(LoginError::BrokenOff),
        }
    }
}

fn io_stdin() -> tokio::io::BufReader<tokio::io::Stdin> {
    tokio::io::BufReader::new(tokio::io::stdin())
}
