//! Manual redirect: the user pastes the address of the final page, which the browser could not load if it runs on another
//! machine.

use crate::credentials::oauth2::{AuthorizationRequest, Redirected};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};
use zeroize::Zeroizing;

/// As long as the head of the request that it replaces.
const MAX_LINE: u64 = 16 * 1024;

/// Waits for a line that answers the request; `None` if `input` ends first.
pub(super) async fn redirected(
    authorization: &AuthorizationRequest,
    mut input: impl AsyncBufRead + Unpin,
) -> Option<Redirected> {
    loop {
        let mut line = Zeroizing::new(Vec::new());
        match (&mut input).take(MAX_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        if text.trim().is_empty() {
            continue;
        }
        match authorization.read(query(&text)) {
            Redirected::Foreign => {
                eprintln!("note: this is not the address of this login's final page; still waiting");
            }
            answer => return Some(answer),
        }
    }
}

/// Returns the query of a URL, or the text itself if it is only the query.
fn query(text: &str) -> &str {
    let text = text.trim();
    let text = text.split_once('?').map_or(text, |(_, query)| query);
    text.split_once('#').map_or(text, |(query, _)| query)
}

#[cfg(test)]
mod tests {
    use super::query;

    #[test]
    fn urls_and_queries_are_accepted() {
        for pasted in
            ["http://127.0.0.1:1/callback?code=c&state=s\n", "?code=c&state=s", " code=c&state=s#_=_\r\n"]
        {
            assert_eq!(query(pasted), "code=c&state=s", "{pasted:?}");
        }
    }
}
