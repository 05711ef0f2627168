use super::*;

/// Returns what is shown of each line of a file, without its problems.
fn shown(text: &str) -> String {
    let source = [Source::new("a.yaml".into(), text.to_owned())];
    let mut tree = Tree::default();
    let root = tree.read(0, &source[0], &mut Vec::new());
    let whole = Span { file: 0, start: 0, end: text.len() as u32 };
    let redaction = Redaction::new(&tree, &source, &[root], &[], &[whole]);
    let mut lines = Vec::new();
    let mut start = 0;
    for line in text.split('\n') {
        let place = source[0].line(start);
        lines.push(redaction.redact_line(&source[0], 0, &place).map(|(_, shown)| shown).collect::<String>());
        start += line.len() as u32 + 1;
    }
    lines.join("\n")
}

fn account(authorization: &str) -> String {
    let text = format!("accounts: {{ a: {{ authorization: {authorization} }} }}");
    let shown = shown(&text);
    let shown = shown.strip_prefix("accounts: { a: { authorization: ").unwrap();
    shown.strip_suffix(" } }").unwrap().to_owned()
}

#[test]
fn a_secret_is_hidden_and_its_source_is_shown() {
    assert_eq!(account("{ header: { name: X, value: hunter2 } }"), "{ header: { name: X, value: ••••••• } }");
    assert_eq!(account("{ bearer: { env: NAME } }"), "{ bearer: { env: NAME } }");
    assert_eq!(account("{ bearer: { hunter2: x } }"), "{ bearer: { •••••••: • } }");
    assert_eq!(account("none"), "none");
    assert_eq!(account("hunter2"), "•••••••");
    assert_eq!(
        account("{ oauth2: { client_id: a, token_params: { b: c } } }"),
        "{ oauth2: { client_id: a, token_params: { b: • } } }"
    );
}

#[test]
fn the_value_of_an_unknown_key_is_shown_only_if_it_cannot_be_secret() {
    assert_eq!(shown("services: { a: { timeuot: 10s } }"), "services: { a: { timeuot: 10s } }");
    assert_eq!(account("{ header: { vlaue: hunter2 } }"), "{ header: { vlaue: ••••••• } }");
    assert_eq!(shown("x: { y: hunter2, timeout: 1s }"), "x: { y: •••••••, timeout: 1s }");
    assert_eq!(shown("value: hunter2"), "value: •••••••");
    assert_eq!(shown("\u{a0} verify: hunter2"), "\u{a0} verify: •••••••");
    assert_eq!(shown("y:\"hunter2: hunter2"), "y:••••••••: •••••••");
    assert_eq!(shown("users: { a: { secret:hunter2: x } }"), "users: { a: { secret:•••••••: • } }");
}

#[test]
fn text_outside_of_nodes_is_hidden() {
    assert_eq!(shown("threads: 4 # hunter2"), "threads: 4 •••••••••");
    assert_eq!(shown("threads: &hunter2"), "threads: ••••••••");
    assert_eq!(shown("threads: 4 # - x"), "threads: 4 •••••");
    assert_eq!(shown("public_url: https://u:p@a.example/x?y=z"), "public_url: https://•••@a.example/x?•••");
}

#[test]
fn a_file_that_does_not_parse_shows_each_line_up_to_its_first_colon() {
    let broken = |line: &str| {
        let shown = shown(&format!("{line}\n  a: b: c"));
        shown.split('\n').next().unwrap().to_owned()
    };
    assert_eq!(broken("    timeout: 10s: x"), "    timeout: ••••••");
    assert_eq!(broken("  mailer:"), "  mailer:");
    assert_eq!(broken("  - { id: a, value: \"hunter2 }"), "  - { id: ••••••••••••••••••••");
    assert_eq!(broken("  hunter2 goes on"), "  •••••••••••••••");
    assert_eq!(broken("  timeout = hunter2"), "  timeout •••••••••");
    assert_eq!(broken("  \"private_key\": \"hunter2\","), "  \"private_key\": ••••••••••");
    assert_eq!(broken("  hunter2/x+y=: z"), "  •••••••••••••••");
}

#[test]
fn a_url_is_shown_without_user_info_and_query() {
    assert_eq!(url_secrets("https://u:p@a.example/x?key=1"), [(8, 11), (24, 29)]);
    assert_eq!(url_secrets("https://a.example/x"), []);
}
