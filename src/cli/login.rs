//! `attache login ACCOUNT`: the account's owner signs in, and the tokens are stored for `attache run`.
//!
//! Everything that can fail without the user is tried first: the file, the store, the listener. Instructions for the
//! user are printed on stdout, failures on stderr, and neither contains a code, a token, or the state outside of the
//! URL.

mod browser;
mod by_code;
mod help;
mod loopback;
mod paste;

use super::file;
use crate::config::Mode;
use crate::config::model::{Config, Grant, OAuth2, StateStore};
use crate::credentials::oauth2::{BuildError, Lasts, SignIn, SignInError, SignedIn, TokenClient};
use crate::state::{FileStore, StateError};
use crate::transport::Transport;
use jiff::{Timestamp, Unit};
use std::error::Error as _;
use std::fmt::Display;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Time limit for the user in the browser.
const PATIENCE: Duration = Duration::from_secs(600);

/// The arguments of `attache login`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  attache login calendar
  attache login services/calendar --no-browser")]
pub struct LoginArgs {
    /// A key under `accounts`, or services/NAME for the account written in place there
    account: String,
    /// Do not open a browser; the address of the final page can be pasted instead
    #[arg(long)]
    no_browser: bool,
}

/// Why a login failed.
#[derive(Debug, thiserror::Error)]
enum LoginError {
    #[error("{0}")]
    Account(String),
    #[error("the file has no `state` in which the tokens can be stored")]
    NoState,
    #[error("can't set up the client for the identity provider{}", cause(.0))]
    Client(#[from] BuildError),
    #[error("can't listen on {address} for the browser's redirect: {cause}")]
    Listen { address: String, cause: io::Error },
    #[error("can't store the tokens (state.dir): {0}")]
    State(#[from] StateError),
    #[error(transparent)]
    SignIn(#[from] SignInError),
    #[error("no login within {} minutes", PATIENCE.as_secs() / 60)]
    TooLate,
    #[error("standard input ended before the address of the final page was pasted")]
    NoAddress,
    #[error("interrupted: nothing was stored")]
    BrokenOff,
    #[error("can't start: {0}")]
    Io(#[from] io::Error),
}

fn cause(error: &BuildError) -> String {
    error.source().map(|cause| format!(": {cause}")).unwrap_or_default()
}

/// Signs the account in; returns the exit status.
pub fn run(args: &LoginArgs, path: Option<&Path>) -> i32 {
    let config = match file::require(path, Mode::Full) {
        Ok(config) => config,
        Err(status) => return status,
    };
    match sign_in(&config, args) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("error: {error}");
            if let Some(help) = help::of(&error, args, path) {
                eprintln!("  help: {help}");
            }
            1
        }
    }
}

fn sign_in(config: &Config, args: &LoginArgs) -> Result<(), LoginError> {
    let oauth2 = find(config, &args.account).map_err(LoginError::Account)?;
    let state = config.state.as_ref().ok_or(LoginError::NoState)?;
    let new = !state.dir.exists();
    let store = Arc::new(FileStore::open(&state.dir, &state.keys)?);
    if new {
        file::warn_of_new_folder(&state.dir);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let result = runtime.block_on(async {
        let login = Login { account: &args.account, oauth2, state, no_browser: args.no_browser };
        tokio::select! {
            result = login.run(store) => result,
            Ok(()) = tokio::signal::ctrl_c() => Err(LoginError::BrokenOff),
        }
    });
    // A thread may still wait for a line on stdin.
    runtime.shutdown_background();
    result
}

/// Returns the account of that name, if its grant has a login.
fn find<'a>(config: &'a Config, name: &str) -> Result<&'a OAuth2, String> {
    let accounts = file::accounts(config);
    let interactive =
        |grant: &Grant| matches!(grant, Grant::AuthorizationCode { .. } | Grant::DeviceCode { .. });
    let Some(account) = accounts.get(name) else {
        let hint = file::nearest(name, accounts.keys().copied());
        let hint = hint.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
        return Err(format!("there is no account `{name}`{hint}"));
    };
    if let Some(unread) = account.unread.as_ref().filter(|unread| unread.blocks) {
        return Err(format!("account `{name}` can't be used: {unread}; `attache check` says why"));
    }
    if let Some(oauth2) = file::oauth2(account).filter(|oauth2| interactive(&oauth2.grant)) {
        return Ok(oauth2);
    }
    let those: Vec<String> = accounts
        .iter()
        .filter(|(_, account)| file::oauth2(account).is_some_and(|oauth2| interactive(&oauth2.grant)))
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    let those = match &*those {
        [] => "no account of the file has one of these".to_owned(),
        those => format!("those that can: {}", those.join(", ")),
    };
    Err(format!(
        "account `{name}` has no login: the grants authorization_code and device_code have one ({those})"
    ))
}

struct Login<'a> {
    account: &'a str,
    oauth2: &'a OAuth2,
    state: &'a StateStore,
    no_browser: bool,
}

impl Login<'_> {
    async fn run(&self, store: Arc<FileStore>) -> Result<(), LoginError> {
        let transport = Arc::new(Transport::new(1));
        let sign_in = SignIn::new(self.account, self.oauth2, &TokenClient::new(&transport), store)?;
        if let Some(unreadable) = sign_in.prepare().await? {
            eprintln!("note: the stored grant of `{}` will be replaced: {unreadable}", self.account);
        }
        let signed_in = match &self.oauth2.grant {
            Grant::AuthorizationCode { redirect_url, .. } => {
                self.by_code(&sign_in, redirect_url.as_ref()).await?
            }
            _ => self.by_device(&sign_in).await?,
        };
        self.done(&signed_in);
        Ok(())
    }

    async fn by_device(&self, sign_in: &SignIn) -> Result<SignedIn, LoginError> {
        let device = sign_in.device().await?;
        print(format_args!(
            "Open this URL in a browser, sign in as the user for whom `{}` acts, and enter the code:\n\n    {}\n    code: {}\n\n",
            self.account,
            device.url(),
            device.user_code(),
        ));
        if let Some(url) = device.complete_url() {
            print(format_args!("Or this one, which contains the code:\n\n    {url}\n\n"));
        }
        let limit = match device.expires_in().as_secs().div_ceil(60) {
            0 | 1 => "a minute".to_owned(),
            minutes => format!("{minutes} minutes"),
        };
        print(format_args!("Waiting for the confirmation (at most {limit}; Ctrl-C ends it).\n"));
        Ok(sign_in.confirmed(&device).await?)
    }

    fn done(&self, signed_in: &SignedIn) {
        let Self { account, state, .. } = self;
        let dir = state.dir.display();
        match signed_in.lasts {
            Lasts::Refreshed => {
                print(format_args!("`{account}` is signed in; its refresh token is stored in {dir}.\n"));
            }
            Lasts::Until(end) => {
                let end = Timestamp::try_from(end).map(|end| end.round(Unit::Second).unwrap_or(end));
                let end = end.map_or_else(|_| "its token expires".to_owned(), |end| end.to_string());
                print(format_args!(
                    "`{account}` is signed in until {end}; its access token is stored in {dir}.\n"
                ));
            }
            Lasts::UntilRevoked => print(format_args!(
                "`{account}` is signed in until its access token is revoked: the identity provider stated no expiry. It is \
                 stored in {dir}.\n"
            )),
        }
        if let Lasts::Until(_) = signed_in.lasts {
            eprintln!("warning: the identity provider issued no refresh token");
            eprintln!("  help: {}", help::for_refresh_token(self.oauth2));
        }
        if let Some(scope) = &signed_in.scope {
            print(format_args!("Scopes granted: {scope}\n"));
        }
        if !signed_in.missing_scopes.is_empty() {
            eprintln!("warning: granted without the scopes {}", signed_in.missing_scopes.join(" "));
        }
        print(format_args!("A running attache uses it within seconds; /status shows it.\n"));
    }
}

/// A closed reader is not a failure: the browser may be open already.
fn print(text: impl Display) {
    use io::Write as _;
    let mut out = io::stdout().lock();
    let _ = write!(out, "{text}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests;
