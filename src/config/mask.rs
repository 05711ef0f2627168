//! Keeps secrets out of the lines a problem shows.
//!
//! A value is shown only if it stands under a key that never holds a secret. The rule is that way round so that a
//! misspelt `vlaue: …` is masked too, and so that no rule of the file has to remember to hide anything. A file that
//! is not YAML has no keys to go by; its lines are masked by the same rule over what looks like a key.

use super::source::{Line, Source, Span};
use super::tree::{NodeId, Tree, View, is_like_a_key};
use std::collections::HashSet;

/// What stands for each character of a masked value.
const MASK: char = '•';

/// Keys of single values that never are, and never contain, a secret.
const SHOWN: [&str; 89] = [
    "access",
    "account",
    "active",
    "actor_token_type",
    "admin",
    "algorithm",
    "allow_anonymous_callers",
    "allow_from",
    "allow_plaintext",
    "answer",
    "audience",
    "authorization_url",
    "bearer_token_type",
    "body",
    "burst",
    "ca",
    "certificate",
    "client_auth",
    "client_certificate",
    "client_id",
    "client_key",
    "connect_timeout",
    "connections",
    "content_type",
    "credential",
    "default_lifetime",
    "device_authorization_url",
    "dir",
    "disabled",
    "drain",
    "encoding",
    "env",
    "expires_at",
    "file",
    "format",
    "forward_to",
    "grant",
    "id",
    "id_header",
    "idle_timeout",
    "issuer",
    "key_id",
    "key_in",
    "level",
    "lifetime",
    "max_body",
    "method_denied",
    "methods",
    "name",
    "not_before",
    "outbound",
    "per",
    "prefix",
    "private_network",
    "public_url",
    "rate_limited",
    "redirect_url",
    "request_denied",
    "request_too_large",
    "requested_token_type",
    "requests",
    "retry_on",
    "retry_on_401",
    "scheme",
    "scopes",
    "server_url",
    "service",
    "sha256",
    "signature_invalid",
    "signed",
    "status",
    "subject",
    "subject_token_type",
    "threads",
    "timeout",
    "timeout_message",
    "timestamp_header",
    "token_timeout",
    "token_url",
    "tolerance",
    "trusted_proxies",
    "ttl",
    "user",
    "user_inactive",
    "version",
    "via",
    "webhooks",
    "window",
    "wrong_keys",
];

/// Keys whose value is a secret or says where it comes from.
const SECRET: [&str; 12] = [
    "actor_token",
    "client_secret",
    "key",
    "password",
    "refresh_token",
    "secret",
    "secrets",
    "subject_token",
    "token",
    "username",
    "value",
    "verify_token",
];

/// What such a value may consist of.
const SECRET_PARTS: [&str; 4] = ["credential", "env", "file", "prefix"];

/// Keys of maps from the operator's own names to values that may be secrets: no name there says that one is not.
const NAMED_VALUES: [&str; 4] = ["authorization_params", "claims", "token_headers", "token_params"];

/// Of a long line of broken YAML, as much is looked at before what is shown.
const MAX_BEFORE: usize = 512;
/// As far above a line of broken YAML the key it stands below is looked for.
const MAX_LINES_UP: usize = 1000;

/// Keys of maps whose keys are the operator's own, so that `accounts: { key: … }` is an account and no secret.
const NAMES: [&str; 3] = ["accounts", "services", "users"];

/// How PEM begins: what belongs into a file, pasted where the file's path should be.
const PEM: &str = "-----BEGIN";

/// Keys that hold no value themselves, only other keys.
const SECTIONS: [&str; 25] = [
    "accounts",
    "api_keys",
    "assertion",
    "authorization",
    "authorization_params",
    "basic",
    "claims",
    "client_assertion",
    "header",
    "headers",
    "identity",
    "limits",
    "oauth2",
    "query",
    "rate_limit",
    "refusals",
    "replay",
    "services",
    "state",
    "statuses",
    "tls",
    "token_headers",
    "token_params",
    "verify",
    "webhook",
];

/// How far before a part of a long line a comment, an anchor or a tag may begin that goes on in it.
const MAX_MARK_BEFORE: usize = 64 << 10;

/// Which parts of which files must not be shown.
#[derive(Debug, Default)]
pub(super) struct Masks {
    spans: Vec<Span>,
    /// Files without a tree.
    unparsed: HashSet<u32>,
}

impl Masks {
    /// Walks every file's tree, and `hidden`: values that no longer have a meaning (those of unknown keys).
    pub(super) fn new(
        tree: &Tree<'_>,
        sources: &[Source],
        roots: &[Option<NodeId>],
        hidden: &[NodeId],
    ) -> Self {
        let mut masks = Self::default();
        for (root, file) in roots.iter().zip(0..) {
            match root {
                Some(root) => masks.walk(tree, sources, *root, Rule::Mask),
                None => {
                    masks.unparsed.insert(file);
                }
            }
        }
        for (key, value) in &tree.repeated {
            if is_odd(tree, *key) {
                masks.spans.push(tree.span(*key));
            }
            // What its parent would say of it is not known here, and no message needs its text.
            masks.walk(tree, sources, *value, Rule::MaskAll);
        }
        for node in hidden {
            masks.walk(tree, sources, *node, Rule::MaskAll);
        }
        masks.spans.sort_unstable();
        // Some lie within others: a part of a URL within a value that is hidden as a whole.
        masks.spans.dedup_by(|next, before| {
            let overlap = next.file == before.file && next.start < before.end;
            if overlap {
                before.end = before.end.max(next.end);
            }
            overlap
        });
        masks
    }

    /// The characters of a line, or of a part of it: offset in the file, and what is shown there.
    pub(super) fn mask_line<'a>(
        &'a self,
        source: &'a Source,
        file: u32,
        line: &Line,
    ) -> impl Iterator<Item = (usize, char)> + 'a {
        let text = &source.text()[line.start..line.end];
        let from = line.start;
        let hidden: Vec<(usize, usize)> = if self.unparsed.contains(&file) {
            lexical_at(source.text(), from, line.end)
        } else {
            let mut hidden = self.in_line(file, line);
            // What begins before the part that is shown may go on in it.
            let whole = source.line(from as u32);
            let begin = whole.start.max(from.saturating_sub(MAX_MARK_BEFORE));
            let begin = (begin..=from).find(|at| source.text().is_char_boundary(*at)).unwrap_or(from);
            let marks = beside_nodes(&source.text()[begin..line.end]);
            hidden.extend(marks.map(|(start, end)| (begin + start, begin + end)));
            hidden
        };
        // Spaces within a secret are hidden as well; those around it place the excerpt.
        let (blank, end) = (from + text.len() - text.trim_start().len(), from + text.trim_end().len());
        text.char_indices().map(move |(at, original)| {
            let at = at + from;
            let masked =
                (blank..end).contains(&at) && hidden.iter().any(|(from, to)| (*from..*to).contains(&at));
            (at, if masked { MASK } else { original })
        })
    }

    fn in_line(&self, file: u32, line: &Line) -> Vec<(usize, usize)> {
        // Spans are sorted and do not overlap, so those of a line lie side by side.
        let behind = self.spans.partition_point(|s| (s.file, s.start as usize) < (file, line.end));
        let overlaps = |s: &&Span| s.file == file && s.end as usize > line.start;
        let within = self.spans[..behind].iter().rev().take_while(overlaps);
        within.map(|s| (s.start as usize, s.end as usize)).collect()
    }

    fn walk(&mut self, tree: &Tree<'_>, sources: &[Source], node: NodeId, rule: Rule) {
        let span = tree.span(node);
        match tree.view(node) {
            View::Scalar { .. } if rule == Rule::Show => self.url_parts(&sources[span.file as usize], span),
            View::Scalar { text: "none", .. } if rule == Rule::Mask => {}
            View::Scalar { text: "", plain: true } => {}
            View::Scalar { .. } => self.spans.push(span),
            View::Sequence(items) => {
                for item in items {
                    self.walk(tree, sources, *item, rule);
                }
            }
            View::Mapping(entries) => {
                for (key, value) in entries {
                    let name = tree.key(*key);
                    let is_null = matches!(tree.view(*value), View::Scalar { text: "", plain: true });
                    let is_known = |known: &[&str]| known.contains(&name);
                    // Without a value, what stands where a key belongs may be the second half of one: `value: a,b`.
                    let stray = is_null
                        && rule != Rule::Names
                        && !(is_known(&SHOWN)
                            || is_known(&SECRET)
                            || is_known(&SECTIONS)
                            || is_known(&NAMES));
                    let hidden = stray || rule == Rule::MaskAll || is_odd(tree, *key);
                    if hidden {
                        self.spans.push(tree.span(*key));
                        self.walk(tree, sources, *key, Rule::MaskAll);
                    }
                    let below = match rule {
                        Rule::MaskAll => Rule::MaskAll,
                        Rule::Secret if !SECRET_PARTS.contains(&name) => {
                            if !hidden {
                                self.spans.push(tree.span(*key));
                            }
                            Rule::MaskAll
                        }
                        Rule::NamedValues => Rule::Secret,
                        Rule::Names => Rule::Mask,
                        Rule::Secret | Rule::Mask | Rule::Show => Rule::under(name),
                    };
                    self.walk(tree, sources, *value, below);
                }
            }
        }
    }

    /// The user info, query and fragment of a URL that is otherwise shown; and what is a key rather than its path.
    fn url_parts(&mut self, source: &Source, span: Span) {
        let raw = &source.text()[span.start as usize..span.end as usize];
        if raw.contains(PEM) {
            self.spans.push(span);
            return;
        }
        let mut mask = |from: usize, to: usize| {
            self.spans.push(Span {
                file: span.file,
                start: span.start + from as u32,
                end: span.start + to as u32,
            });
        };
        for (from, to) in url_secrets(raw) {
            mask(from, to);
        }
    }
}

/// How the scalars below a key are treated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    Show,
    Mask,
    /// And unknown keys of a mapping, too: `value: {the-secret-itself}`.
    Secret,
    /// And the scalars below every key of a mapping, whatever its name.
    NamedValues,
    /// Whatever the keys of a mapping are called, what stands below them is no value.
    Names,
    MaskAll,
}

impl Rule {
    fn under(key: &str) -> Self {
        if SECRET.contains(&key) {
            Self::Secret
        } else if NAMED_VALUES.contains(&key) {
            Self::NamedValues
        } else if NAMES.contains(&key) {
            Self::Names
        } else if SHOWN.contains(&key) {
            Self::Show
        } else {
            Self::Mask
        }
    }
}

/// The ranges of a URL's user info, and of its query and fragment.
fn url_secrets(raw: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let scheme = raw.find("//");
    let mut rest = scheme.map_or(0, |at| at + 2);
    if let Some(at) = raw.rfind('@')
        && at > rest
    {
        found.push((rest, at));
        rest = at;
    }
    // Without a scheme it may be a sentence that asks something.
    if let Some(query) = raw[rest..].find(['?', '#']).map(|at| rest + at + 1)
        && (scheme.is_some() || raw[query..].contains('='))
    {
        found.push((query, raw.len()));
    }
    found
}

/// The ranges of `from..to`, which lies within one line of broken YAML, that may hold a secret. What stands before it
/// on its line counts, and so does the key above: below `token_headers:` no name says that a value may be shown.
fn lexical_at(text: &str, from: usize, to: usize) -> Vec<(usize, usize)> {
    let start = text[..from].rfind('\n').map_or(0, |at| at + 1);
    // A line without end must not cost more than it shows.
    let cut = from.saturating_sub(MAX_BEFORE).max(start);
    let cut = (cut..=from).find(|at| text.is_char_boundary(*at)).unwrap_or(from);
    let line = &text[cut..to];
    let indent = |line: &str| line.len() - line.trim_start_matches([' ', '-']).len();
    let above = text[..start].lines().rev().take(MAX_LINES_UP);
    let above = above.filter(|above| !above.trim_start().is_empty() && !above.trim_start().starts_with('#'));
    let parent = above.into_iter().find(|above| indent(above) < indent(line));
    let key = parent.and_then(|parent| parent.trim_start_matches([' ', '-']).split(':').next());
    let named_values = key.is_some_and(|key| NAMED_VALUES.contains(&key));
    let all = lexical(line, named_values).into_iter().map(|(s, e)| (s + cut, e + cut));
    all.filter(|(s, e)| *s < to && *e > from).collect()
}

/// The ranges of a line of broken YAML that may hold a secret: whatever does not follow a key that is [`SHOWN`].
fn lexical(line: &str, mut named_values: bool) -> Vec<(usize, usize)> {
    let mut hidden = Vec::new();
    let hide =
        |hidden: &mut Vec<(usize, usize)>, from: usize, to: usize, shown: bool| match line.get(from..to) {
            Some(text) if shown && !text.contains(PEM) => {
                hidden.extend(url_secrets(text).into_iter().map(|(s, e)| (s + from, e + from)))
            }
            Some("") | None => {}
            Some(_) => hidden.push((from, to)),
        };
    let (mut from, mut shown, mut at) = (0, false, 0);
    while at < line.len() {
        let starts_word = !line[..at].chars().next_back().is_some_and(is_key_char);
        let len = line[at..].find(|c| !is_key_char(c)).unwrap_or(line.len() - at);
        let word = &line[at..at + len];
        let after = &line[at + len..];
        if starts_word
            && len > 0
            && is_key(word, after, line[..at].trim_matches([' ', '\t', '-', '{']).is_empty())
        {
            hide(&mut hidden, from, at, shown);
            named_values |= NAMED_VALUES.contains(&word);
            shown = SHOWN.contains(&word) && !named_values;
            at += len + 1;
            from = at;
        } else if len > 0 {
            at += len;
        } else {
            at += line[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    hide(&mut hidden, from, line.len(), shown);
    let punctuation =
        |c: char| matches!(c, '{' | '[' | '-' | ']' | '}' | ',' | '?' | ':') || c.is_whitespace();
    hidden.retain(|(start, end)| !line[*start..*end].chars().all(punctuation));
    for (start, end) in &mut hidden {
        let text = &line[*start..*end];
        (*start, *end) = (*end - text.trim_start().len(), *start + text.trim_end().len());
    }
    hidden
}

fn is_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

fn is_key(word: &str, after: &str, first: bool) -> bool {
    let Some(value) = after.strip_prefix(':') else { return false };
    if !(value.is_empty() || value.starts_with([' ', '\t'])) {
        return false;
    }
    let known = SHOWN.contains(&word) || SECRET.contains(&word) || SECTIONS.contains(&word);
    let value = value.trim_start();
    known || (first && (value.is_empty() || value.starts_with(['{', '['])))
}

/// Whether what stands where a key belongs looks like none: it may be a value, and in `{{ PLACEHOLDER }}` it is a mapping.
fn is_odd(tree: &Tree<'_>, key: NodeId) -> bool {
    !matches!(tree.view(key), View::Scalar { .. }) || !is_like_a_key(tree.key(key))
}

/// What of a line is no part of any node: a comment, an anchor, an alias, a tag. A secret that begins with `#`, `&`, `*` or
/// `!`, or has ` #` in it, is one of these, or ends in one. It may be more than that: within quotes they are nothing.
fn beside_nodes(line: &str) -> impl Iterator<Item = (usize, usize)> {
    let bytes = line.as_bytes();
    let begins =
        |at: usize| at == 0 || bytes[at - 1].is_ascii_whitespace() || b"[{,:".contains(&bytes[at - 1]);
    let comment = (0..bytes.len()).find(|&at| bytes[at] == b'#' && begins(at));
    let end = comment.unwrap_or(bytes.len());
    let marks = (0..end).filter(move |&at| b"&*!".contains(&bytes[at]) && begins(at)).map(move |at| {
        let after = bytes[at..end].iter().position(|b| b.is_ascii_whitespace() || b",]}".contains(b));
        (at, after.map_or(end, |after| at + after))
    });
    comment.map(|at| (at, bytes.len())).into_iter().chain(marks)
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
