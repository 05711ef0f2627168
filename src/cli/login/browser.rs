//! Opening a browser, if there is one.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use url::Url;

/// Asks the desktop to open `url`; false if there is none, or it has no such program. It can't detect
/// if a window opened.
pub(super) fn open(url: &Url) -> bool {
    let has = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if cfg!(target_os = "macos") {
        start("open", url.as_str())
    } else {
        (has("DISPLAY") || has("WAYLAND_DISPLAY")) && start("xdg-open", url.as_str())
    }
}

/// Starts a child process without waiting for it.
fn start(program: &str, argument: &str) -> bool {
    let mut command = Command::new(program);
    // In its own process group, so that Ctrl-C does not end the browser.
    command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().is_ok()
}
