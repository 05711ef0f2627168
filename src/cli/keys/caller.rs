//! `attache keys new --caller`: a new token of a caller.

use super::stanza::{IN_LINE, STEP};
use super::{Item, NewArgs, fresh, from_here, indented, new_expiry, new_id};
use crate::cli::file;
use crate::config::model::{Caller, Config};
use crate::config::{self, Written};
use crate::secret::hex;
use jiff::Timestamp;
use std::path::Path;

/// Returns what the command prints.
pub(super) fn page(
    name: &str,
    args: &NewArgs,
    (config, path): (Option<&Config>, Option<&Path>),
    now: Timestamp,
) -> Result<String, String> {
    let callers = config.and_then(|config| config.callers.as_ref());
    let caller = callers.and_then(|callers| callers.get(name)).map(|caller| &**caller);
    if let (None, Some(callers)) = (caller, callers)
        && let Some(known) = file::nearest(name, callers.keys().map(String::as_str))
    {
        eprintln!("note: the file has no caller `{name}`, but `{known}`; this is a new one");
    }
    let taken: Vec<&str> = caller.iter().flat_map(|c| &c.tokens).map(|token| token.id.as_str()).collect();
    let id = new_id(args, &taken, now, &format!("callers.{name} already has a token"))?;
    let expires_at = new_expiry(args, now)?.map(|at| at.to_string());
    let token = fresh("att_")?;
    let item = Item { id: &id, sha256: hex(&token.sha256()), expires_at };
    let items =
        serde_yaml::to_string(&[item]).map_err(|error| format!("can't write the lines to paste: {error}"))?;
    let (lines, place) = lines(name, caller, callers.is_some(), &items, &Layout::of(path, name));
    let text = token.expose();
    let attempt = config.and_then(|config| from_here(&config.listen.outbound.address));
    let secure = config.is_some_and(|config| config.listen.outbound.tls.is_some());
    let attempt = attempt.map(|address| {
        // The certificate is for the name that programs call.
        let (insecure, scheme) = if secure { (" -k", "https") } else { ("", "http") };
        format!("try: curl{insecure} -H 'X-Attache-Token: {text}' {scheme}://{address}/SERVICE/\n")
    });
    Ok(format!(
        "token: {text}\n{attempt}\n\
         # The token is shown only now: give it to the program, which sends it as `X-Attache-Token: TOKEN` or as\n\
         # `Authorization: Bearer TOKEN`.\n\
         # {place}:\n{lines}",
        attempt = attempt.unwrap_or_default(),
    ))
}

/// The number of spaces before the lines of each level, and the sections that have no lines.
struct Layout {
    caller: usize,
    setting: usize,
    token: usize,
    /// The way in which the file writes `callers`, the caller and its tokens.
    sections: [Written; 3],
}

impl Layout {
    fn of(path: Option<&Path>, name: &str) -> Self {
        let whole = ["callers", name, "tokens"];
        let written =
            |depth: usize| path.map_or(Written::Absent, |path| config::written(path, &whole[..depth]));
        let sections = [1, 2, 3].map(written);
        let [callers, of_caller, of_tokens] = sections.map(Written::spaces);
        let caller = callers.filter(|spaces| *spaces > 0).unwrap_or(STEP);
        let setting = of_caller.unwrap_or(2 * caller);
        Self { caller, setting, token: of_tokens.unwrap_or(setting + caller), sections }
    }
}

/// Returns the lines to paste, and where.
fn lines(
    name: &str,
    caller: Option<&Caller>,
    has_callers: bool,
    items: &str,
    layout: &Layout,
) -> (String, String) {
    let items = indented(items, layout.token);
    let in_line = |section: Written| if section == Written::InLine { IN_LINE } else { "" };
    let [callers, of_caller, of_tokens] = layout.sections;
    let tokens = format!("{:1$}tokens:\n{items}", "", layout.setting);
    match caller {
        Some(caller) if !caller.tokens.is_empty() => {
            (items, format!("Add these lines under callers.{name}.tokens{}", in_line(of_tokens)))
        }
        Some(_) => {
            let place =
                format!("Add these lines under callers.{name}, in the place of `tokens` if it is there");
            (tokens, place + in_line(of_caller))
        }
        None => {
            let head = if has_callers { "" } else { "callers:\n" };
            let place = match has_callers {
                true => format!(
                    "Add these lines under callers, with the services that it may use{}",
                    in_line(callers)
                ),
                false => "Add these lines at the left margin, with the services that it may use. From then on, a request \
                          without a token is refused (`caller_rules: report` only logs it)"
                    .to_owned(),
            };
            let caller = format!("{:1$}{name}:\n", "", layout.caller);
            let services = format!("{:1$}services: [SERVICE]\n", "", layout.setting);
            (format!("{head}{caller}{tokens}{services}"), place)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn the_lines_fit_the_place_that_they_name() {
        let args = NewArgs { service: None, caller: Some("billing".into()), id: None, expires: None };
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        let page = page("billing", &args, (None, None), now).unwrap();
        let token = page.strip_prefix("token: ").unwrap().lines().next().unwrap();
        assert!(token.starts_with("att_") && token.len() == 47, "{page}");
        let yaml = page.split_once("only logs it):\n").unwrap().1;
        let read: serde_yaml::Value = serde_yaml::from_str(yaml).unwrap();
        let item = &read["callers"]["billing"]["tokens"][0];
        assert_eq!(item["id"].as_str(), Some("2026-11"));
        assert_eq!(item["sha256"].as_str(), Some(&*hex(&Secret::new(token).sha256())));
    }
}
