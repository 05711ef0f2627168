//! The lines of a webhook key that are pasted into the file, in the indentation of the file.

use crate::config::model::Config;
use crate::config::{self, Written};
use serde::Serialize;
use std::path::Path;

/// The receiver of a new webhook, for the operator to change.
const RECEIVER: &str = "http://127.0.0.1:3000";
/// Spaces of each level, if the file does not show its own.
pub(super) const STEP: usize = 2;

/// The parts that the file lacks for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lacks {
    /// None: the key is added to others.
    Nothing,
    /// The webhook has `api_keys: []`.
    Keys,
    /// The service has no webhook.
    Webhook,
    /// The file does not have the service.
    Service,
    /// The file has no services at all.
    Services,
}

/// The number of spaces before the lines of each level, and the sections that have no lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    service: usize,
    webhook: usize,
    setting: usize,
    key: usize,
    user: usize,
    /// The way in which the file writes `services`, the service, its webhook and the webhook's keys.
    sections: [Written; 4],
    users: Written,
}

impl Layout {
    /// Takes the layout of the file at `path`, as far as it shows one.
    pub(super) fn of(path: Option<&Path>, service: &str) -> Self {
        let written = |section: &[&str]| path.map_or(Written::Absent, |path| config::written(path, section));
        let users = written(&["users"]);
        let whole = ["services", service, "webhook", "api_keys"];
        let sections = [1, 2, 3, 4].map(|depth| written(&whole[..depth]));
        let [services, of_service, of_webhook, of_keys] = sections.map(Written::spaces);
        let step = services.or_else(|| users.spaces()).filter(|spaces| *spaces > 0).unwrap_or(STEP);
        let webhook = of_service.unwrap_or(2 * step);
        let setting = of_webhook.unwrap_or(webhook + step);
        let key = of_keys.unwrap_or(setting + step);
        Self { service: step, webhook, setting, key, user: users.spaces().unwrap_or(step), sections, users }
    }

    /// Returns the way in which the file writes the section to which lines are added.
    fn target(&self, lacks: Lacks) -> Written {
        let [services, service, webhook, keys] = self.sections;
        match lacks {
            Lacks::Services | Lacks::Service => services,
            Lacks::Webhook => service,
            Lacks::Keys => webhook,
            Lacks::Nothing => keys,
        }
    }
}

/// The words about a section to which lines can't be added as it is.
pub(super) const IN_LINE: &str = ", after giving each entry there a line of its own";

/// A `webhook` for the operator to complete.
#[derive(Serialize)]
struct FirstWebhook<'a> {
    user: &'a str,
    forward_to: &'static str,
}

/// Returns the lines that add `item` to the file, and their place.
pub(super) fn lines(
    service: &str,
    lacks: Lacks,
    item: &impl Serialize,
    config: Option<&Config>,
    layout: Layout,
) -> Result<(String, String), String> {
    let items = yaml(&[item], layout.key)?;
    let is_in_line = layout.target(lacks) == Written::InLine;
    let in_line = if is_in_line { IN_LINE } else { "" };
    let place = match lacks {
        Lacks::Nothing => {
            return Ok((items, format!("under services.{service}.webhook.api_keys{in_line}")));
        }
        Lacks::Keys => {
            let place = format!("under services.{service}.webhook.api_keys, instead of `[]`{in_line}");
            return Ok((items, place));
        }
        Lacks::Webhook => format!("under services.{service}, with your receiver in forward_to{in_line}"),
        Lacks::Service => format!("under services, with your receiver in forward_to{in_line}"),
        Lacks::Services if is_in_line => {
            "in place of the file's empty `services`, with your receiver in forward_to".to_owned()
        }
        Lacks::Services => "at the left margin, with your receiver in forward_to".to_owned(),
    };
    let user = format!("{service}-bot");
    let mut lines = String::new();
    if lacks == Lacks::Services {
        lines.push_str("services:\n");
    }
    if lacks != Lacks::Webhook {
        lines.push_str(&format!("{:1$}{key}:\n", "", layout.service, key = name(service)?));
    }
    let webhook = yaml(&FirstWebhook { user: &user, forward_to: RECEIVER }, layout.setting)?;
    lines.push_str(&format!("{:1$}webhook:\n{webhook}", "", layout.webhook));
    lines.push_str(&format!("{:1$}api_keys:\n{items}", "", layout.setting));
    let entry = format!("{:1$}{key}: {{}}\n", "", layout.user, key = name(&user)?);
    // A user of its own: an existing one may belong to another service.
    match config.map(|config| &config.users) {
        Some(users) if users.contains_key(&user) => {}
        Some(users) if !users.is_empty() => {
            let in_line = if layout.users == Written::InLine { IN_LINE } else { "" };
            lines.push_str(&format!("# and under users{in_line}:\n{entry}"));
        }
        _ => {
            let place = match layout.users {
                Written::InLine => "in place of the file's empty `users`",
                Written::Absent | Written::Lines(_) => "at the left margin, at the end of the file",
            };
            lines.push_str(&format!("# and {place}:\nusers:\n{entry}"));
        }
    }
    Ok((lines, place))
}

/// Returns a name as YAML, in quotes if it would be read as something else than a text.
fn name(text: &str) -> Result<String, String> {
    serde_yaml::to_string(text).map(|text| text.trim_end().to_owned()).map_err(unwritable)
}

/// Returns `value` as YAML, each line behind `depth` spaces.
fn yaml(value: &impl Serialize, depth: usize) -> Result<String, String> {
    serde_yaml::to_string(value).map(|text| super::indented(&text, depth)).map_err(unwritable)
}

fn unwritable(error: serde_yaml::Error) -> String {
    format!("can't write the lines to paste: {error}")
}
