//! `attache diff`: the effect of a reload. [`Changes`] decides what counts as a change, as for the log of a reload; the
//! effective files provide the fields.

use super::{file, stdout};
use crate::config::changes::{Changes, Named, RestartKey};
use crate::config::effective::{Effective, Leaf};
use clap::ValueEnum;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;

/// The arguments of `attache diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  attache diff /etc/attache/attache.yaml attache.yaml
  git show main:attache.yaml | attache diff - attache.yaml --format markdown

Exit status: 0 if nothing differs, 1 if something differs, 2 if a file is invalid.
A secret in a file is shown only as changed; secrets from other sources are not read.")]
pub struct DiffArgs {
    /// The file or folder in effect
    old: PathBuf,
    /// The new file or folder
    new: PathBuf,
    /// The format of the changes
    #[arg(long, value_enum, default_value_t = DiffFormat::Human)]
    format: DiffFormat,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DiffFormat {
    /// Lines for display
    Human,
    /// One JSON object
    Json,
    /// A list for a pull request
    Markdown,
}

/// A field that differs.
struct FieldChange {
    path: String,
    old: Option<Leaf>,
    new: Option<Leaf>,
}

/// The change of one entry of a section.
struct EntryChange {
    sign: char,
    name: String,
    fields: Vec<FieldChange>,
    /// The difference in words, where fields do not show it.
    note: Option<&'static str>,
    needs_restart: bool,
}

/// Prints the differences; returns the exit status.
pub fn run(args: &DiffArgs) -> i32 {
    const BAD: i32 = 2;
    let (Ok(old), Ok(new)) = (file::inspect(Some(&args.old)), file::inspect(Some(&args.new))) else {
        return BAD;
    };
    let mut changes = Changes::between(&old.config, &new.config);
    let is_source = |leaf: &Option<Leaf>| leaf.as_ref().is_some_and(Leaf::is_source);
    changes.add_sources((&old.config, &new.config), |path| {
        let mut fields = fields(&old.effective, &new.effective, path).into_iter();
        fields.any(|field| is_source(&field.old) || is_source(&field.new))
    });
    let sections = sections(&changes, &old.effective, &new.effective);
    let text = match args.format {
        DiffFormat::Human => human(&sections),
        DiffFormat::Json => format!("{:#}\n", as_json(&changes, &sections)),
        DiffFormat::Markdown => markdown(&sections),
    };
    match stdout::write(text.as_bytes()) {
        0 => i32::from(!changes.is_empty()),
        _ => BAD,
    }
}

type SectionChange = (&'static str, Vec<EntryChange>);

fn sections(changes: &Changes, old: &Effective, new: &Effective) -> Vec<SectionChange> {
    let named = |section: &'static str, names: &Named| {
        let all = [('+', &names.added), ('-', &names.removed), ('~', &names.changed)];
        let entries = all.into_iter().flat_map(|(sign, names)| {
            names.iter().map(move |name| EntryChange {
                sign,
                name: name.clone(),
                fields: if sign == '~' { fields(old, new, &[section, name]) } else { Vec::new() },
                note: None,
                needs_restart: false,
            })
        });
        (section, entries.collect::<Vec<_>>())
    };
    let settings = changes.settings.iter().map(|key| {
        // The callers have a section of their own.
        let Named { added, removed, .. } = &changes.callers;
        let note = (*key == "callers").then_some(match (&added[..], &removed[..]) {
            ([_, ..], _) => "clients have to be callers",
            (_, [_, ..]) => "clients need not be callers any more",
            // Empty: no client is let in.
            _ => "in one of the two only",
        });
        let fields = if note.is_some() { Vec::new() } else { fields(old, new, &[key]) };
        let waits = |field: &FieldChange| {
            let path =
                if field.path.is_empty() { (*key).to_owned() } else { format!("{key}.{}", field.path) };
            RestartKey::ALL.into_iter().any(|waiting| waiting.covers(&path))
        };
        EntryChange {
            sign: '~',
            name: (*key).to_owned(),
            needs_restart: fields.iter().any(waits),
            note,
            fields,
        }
    });
    let all = [
        named("services", &changes.services),
        named("issuers", &changes.issuers),
        named("accounts", &changes.accounts),
        named("users", &changes.users),
        named("callers", &changes.callers),
        ("settings", settings.collect()),
    ];
    all.into_iter().filter(|(_, entries)| !entries.is_empty()).collect()
}

/// Returns the fields below a path that differ.
fn fields(old: &Effective, new: &Effective, path: &[&str]) -> Vec<FieldChange> {
    let (mut old, new) = (old.fields(path), new.fields(path));
    let mut differing = Vec::new();
    for (path, new) in new {
        let old = old.remove(&path);
        if old.as_ref() != Some(&new) {
            differing.push(FieldChange { path, old, new: Some(new) });
        }
    }
    differing.extend(old.into_iter().map(|(path, old)| FieldChange { path, old: Some(old), new: None }));
    differing.sort_by(|one, other| one.path.cmp(&other.path));
    differing
}

impl EntryChange {
    /// Returns the differences, one line each.
    fn shown(&self) -> Vec<String> {
        match (self.sign, self.fields.as_slice()) {
            ('~', []) if self.note.is_some() => self.note.into_iter().map(str::to_owned).collect(),
            ('~', []) => vec!["the same entries in another order, or spelling".to_owned()],
            (_, fields) => fields.iter().map(FieldChange::shown).collect(),
        }
    }
}

impl FieldChange {
    /// Returns `timeout: 10s → 20s`, and for a secret only that it changed.
    fn shown(&self) -> String {
        let colon = if self.path.is_empty() { "" } else { ": " };
        let path = format!("{}{colon}", self.path);
        match (&self.old, &self.new) {
            // The difference is in hidden values.
            (Some(old), Some(new)) if old.to_string() == new.to_string() => format!("{path}changed"),
            (Some(old), Some(new)) => format!("{path}{old} → {new}"),
            (None, Some(new)) => format!("{path}{new} (new)"),
            (Some(old), None) => format!("{path}{old} (gone)"),
            (None, None) => path,
        }
    }
}

fn human(sections: &[SectionChange]) -> String {
    let mut out = String::new();
    for (section, entries) in sections {
        let _ = writeln!(out, "{section}");
        for entry in entries {
            let restart = if entry.needs_restart { "   needs a restart" } else { "" };
            let _ = writeln!(out, "  {} {}{restart}", entry.sign, entry.name);
            for field in entry.shown() {
                let _ = writeln!(out, "      {field}");
            }
        }
    }
    if out.is_empty() {
        out.push_str("no change\n");
    }
    out
}

fn markdown(sections: &[SectionChange]) -> String {
    let mut out = String::new();
    for (section, entries) in sections {
        let _ = write!(out, "{}**{section}**\n\n", if out.is_empty() { "" } else { "\n" });
        for entry in entries {
            let what = match entry.sign {
                '+' => "added",
                '-' => "removed",
                _ => "changed",
            };
            let restart = if entry.needs_restart { ", needs a restart" } else { "" };
            let _ = writeln!(out, "- `{}` {what}{restart}", entry.name);
            for field in entry.shown() {
                // A backtick inside would end the code span.
                let _ = writeln!(out, "  - `{}`", field.replace('`', "'"));
            }
        }
    }
    if out.is_empty() {
        out.push_str("No change.\n");
    }
    out
}

fn as_json(changes: &Changes, sections: &[SectionChange]) -> Value {
    let value = |leaf: &Option<Leaf>| leaf.as_ref().map(ToString::to_string);
    let entries = |name: &str| {
        let found = sections.iter().find(|(section, _)| *section == name);
        let entries = found.map(|(_, entries)| &entries[..]).unwrap_or_default();
        let of = |sign| entries.iter().filter(move |entry| entry.sign == sign);
        let changed: serde_json::Map<String, Value> = of('~')
            .map(|entry| {
                let field = |field: &FieldChange| {
                    json!({ "path": field.path, "old": value(&field.old), "new": value(&field.new) })
                };
                (entry.name.clone(), entry.fields.iter().map(field).collect())
            })
            .collect();
        json!({
            "added": of('+').map(|entry| &entry.name).collect::<Vec<_>>(),
            "removed": of('-').map(|entry| &entry.name).collect::<Vec<_>>(),
            "changed": changed,
        })
    };
    let waiting: Vec<&str> = sections
        .iter()
        .flat_map(|(_, entries)| entries)
        .filter(|entry| entry.needs_restart)
        .map(|entry| entry.name.as_str())
        .collect();
    json!({
        "same": changes.is_empty(),
        "services": entries("services"),
        "issuers": entries("issuers"),
        "accounts": entries("accounts"),
        "users": entries("users"),
        "callers": entries("callers"),
        "keys": { "added": changes.keys.added, "removed": changes.keys.removed, "changed": changes.keys.changed },
        "settings": entries("settings")["changed"],
        "restart_needed": waiting,
    })
}
