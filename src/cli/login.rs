//! `attache login ACCOUNT`: the account's owner signs in, and the refresh token is stored for `attache run`.
//!
//! Everything that can fail without the user is tried first: the file, the store, the listener. Instructions for the
//! user are printed on stdout, failures on stderr, and neither contains a code, a token, or the state outside of the
//! URL.

mod browser;
mod loopback;
mod paste;

use super::file::{self, File};
use crate::config::Mode;
use crate::config::model::{Config, Grant, OAuth2, StateStore};
use crate::credentials::oauth2::{
    Authorization, BuildError, Cause, Failure, Redirected, SignIn, SignInError, SignedIn, TokenClient,
};
use crate::secret::Secret;
use crate::state::{FileStore, StateError};
use crate::transport::Transport;
use loopback::Loopback;
use std::error::Error as _;
use std::fmt::Display;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

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
    #[error("the file has no `state` in which the refresh token can be stored")]
    NoState,
    #[error("can't set up the client for the identity provider{}", cause(.0))]
    Client(#[from] BuildError),
    #[error("can't listen on {address} for the browser's redirect: {cause}")]
    Listen { address: String, cause: io::Error },
    #[error("can't store a refresh token (state.dir): {0}")]
    State(#[from] StateError),
    #[error(transparent)]
    SignIn(#[from] SignInError),
    #[error("no login within {} minutes", PATIENCE.as_secs() / 60)]
    TooLate,
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
    let config = match file::read(path, Mode::Full) {
        Ok(File::Valid(config)) => config,
        Ok(File::Missing(looked_for)) => {
            eprintln!("error: {looked_for}");
            return 1;
        }
        Err(status) => return status,
    };
    match sign_in(&config, args) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("error: {error}");
            if let Some(help) = help(&error, args, &config, path) {
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

fn help(error: &LoginError, args: &LoginArgs, config: &Config, path: Option<&Path>) -> Option<String> {
    Some(match error {
        LoginError::SignIn(SignInError::NoRefreshToken) => {
            refresh_token_help(find(config, &args.account).ok()?)
        }
        LoginError::State(StateError::ForeignOwner { owner, .. }) => {
            let config = path.map(|path| format!(" -c {}", path.display())).unwrap_or_default();
            format!("sudo -u '#{owner}' attache login {}{config} --no-browser", args.account)
        }
        LoginError::State(StateError::Io { cause, .. })
            if cause.kind() == io::ErrorKind::PermissionDenied =>
        {
            "run it as the user that `attache run` runs as".to_owned()
        }
        LoginError::SignIn(SignInError::Denied(Failure { cause: Cause::Rejected { code }, .. })) => {
            match &**code {
                "redirect_uri_mismatch" | "invalid_request" => {
                    "is the redirect URL registered with the provider? `redirect_url` sets another one"
                        .to_owned()
                }
                "invalid_grant" => "the code was used already, or has expired: sign in again".to_owned(),
                _ => return None,
            }
        }
        _ => return None,
    })
}

/// Returns what providers require for a refresh token, without what the account has already.
fn refresh_token_help(oauth2: &OAuth2) -> String {
    let mut remedies = Vec::new();
    if !oauth2.scopes.iter().any(|scope| scope == "offline_access") {
        remedies.push("most providers require the scope `offline_access` for it");
    }
    if let Grant::AuthorizationCode { authorization_params, .. } = &oauth2.grant {
        let has = |wanted: &str| authorization_params.iter().any(|(name, _)| name == wanted);
        if !has("prompt") {
            // OpenID Connect Core 1.0 section 11: without it the scope `offline_access` is ignored.
            remedies.push(
                "many OpenID providers issue one only with `authorization_params: { prompt: consent }`",
            );
        }
        if !has("access_type") {
            remedies
                .push("Google requires `authorization_params: { access_type: offline, prompt: consent }`");
        }
    }
    remedies.push("some give one only at the first consent: withdraw that there, and sign in again");
    remedies.join("; ")
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

    async fn by_code(
        &self,
        sign_in: &SignIn,
        redirect_url: Option<&url::Url>,
    ) -> Result<SignedIn, LoginError> {
        let listening = Loopback::bind(redirect_url).await;
        let loopback = listening.map_err(|(address, cause)| LoginError::Listen { address, cause })?;
        let Some(authorization) = sign_in.authorization(loopback.uri()) else {
            return Err(LoginError::Account("the account's grant is not authorization_code".into()));
        };
        let authorization = Arc::new(authorization);
        print(format_args!(
            "Open this URL in a browser, and sign in as the user for whom `{}` acts:\n\n    {}\n\n\
             Waiting for the browser's redirect to {} (at most {} minutes; Ctrl-C ends it).\n",
            self.account,
            authorization.url(),
            loopback.uri(),
            PATIENCE.as_secs() / 60,
        ));
        // If attache opens no browser, the user's browser may be on another machine.
        let paste = self.no_browser || !browser::open(authorization.url());
        if paste {
            print(format_args!(
                "If the browser runs on another machine, its last page fails to load: copy the address of that page from \
                 the\naddress bar, and paste it here.\n"
            ));
        }
        let code = self.code(loopback, &authorization, paste).await?;
        Ok(sign_in.finish(&authorization, &code).await?)
    }

    async fn code(
        &self,
        loopback: Loopback,
        authorization: &Arc<Authorization>,
        paste: bool,
    ) -> Result<Secret, LoginError> {
        let redirected = async {
            tokio::select! {
                redirected = loopback.redirected(authorization) => redirected,
                redirected = paste::redirected(authorization, io_stdin()), if paste => redirected,
            }
        };
        match timeout(PATIENCE, redirected).await.map_err(|_| LoginError::TooLate)? {
            Redirected::Code(code) => Ok(code),
            Redirected::Refused { error, description } => {
                Err(SignInError::from(Failure::rejected(error).with_words(description)).into())
            }
            // Neither source returns this.
            Redirected::Foreign => Err(LoginError::BrokenOff),
        }
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
        print(format_args!(
            "`{account}` is signed in; its refresh token is stored in {}.\n",
            state.dir.display()
        ));
        if let Some(scope) = &signed_in.scope {
            print(format_args!("Scopes granted: {scope}\n"));
        }
        if !signed_in.missing_scopes.is_empty() {
            eprintln!("warning: granted without the scopes {}", signed_in.missing_scopes.join(" "));
        }
        print(format_args!("A running attache uses it within seconds; /status shows it.\n"));
    }
}

fn io_stdin() -> tokio::io::BufReader<tokio::io::Stdin> {
    tokio::io::BufReader::new(tokio::io::stdin())
}

/// A closed reader is not a failure: the browser may be open already.
fn print(text: impl Display) {
    use io::Write as _;
    let mut out = io::stdout().lock();
    let _ = write!(out, "{text}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests;
