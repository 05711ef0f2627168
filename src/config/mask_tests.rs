use super::*;

fn shown(line: &str) -> String {
    let source = Source::new("a.yaml".into(), line.to_owned());
    let masks = Masks { spans: Vec::new(), unparsed: HashSet::from([0]) };
    masks.mask_line(&source, 0, &source.line(0)).map(|(_, shown)| shown).collect()
}

#[test]
fn a_line_of_broken_yaml_shows_known_keys_and_their_harmless_values_only() {
    assert_eq!(shown("    timeout: 10s: x"), "    timeout: 10s: x");
    assert_eq!(shown("  mailer:"), "  mailer:");
    assert_eq!(shown("  value: hunter2: x"), "  value: ••••••••••");
    assert_eq!(shown("  - { id: a, value: \"hunter2 }"), "  - { id: a, value: ••••••••••");
    assert_eq!(shown("  hunter2 goes on"), "  •••••••••••••••");
    assert_eq!(shown("header: { name: X, value: hunter2, id: b"), "header: { name: X, value: •••••••• id: b");
}

#[test]
fn a_line_of_broken_yaml_shows_nothing_of_a_key_or_a_token() {
    assert_eq!(shown("state: { dir: /var/x, key: hunter2: x }"), "state: { dir: /var/x, key: ••••••••••••");
    assert_eq!(shown("  token: hunter2: x"), "  token: ••••••••••");
    assert_eq!(shown("  subject_token: hunter2: x"), "  subject_token: ••••••••••");
    assert_eq!(shown("  MIIEvQIBADANBgkq"), "  ••••••••••••••••");
    assert_eq!(shown("  \"private_key\": \"hunter2\","), "  •••••••••••••••••••••••••");
    assert_eq!(
        shown("  client_key: -----BEGIN PRIVATE KEY-----: x"),
        "  client_key: ••••••••••••••••••••••••••••••"
    );
    assert_eq!(shown("token_headers: { id: hunter2: x"), "token_headers: { id: ••••••••••");
    assert_eq!(shown("prefix: Bearer : x"), "prefix: Bearer : x");
}

#[test]
fn a_line_of_broken_yaml_below_headers_of_a_token_request_shows_no_value() {
    let text = "token_headers:\n  # who\n  X-Id: a\n\n  id: hunter2\nclient_id: b";
    let source = Source::new("a.yaml".into(), text.to_owned());
    let masks = Masks { spans: Vec::new(), unparsed: HashSet::from([0]) };
    let line = |start: usize| -> String {
        let line = source.line(u32::try_from(start).unwrap());
        masks.mask_line(&source, 0, &line).map(|(_, shown)| shown).collect()
    };
    assert_eq!(line(text.find("id: h").unwrap()), "  id: •••••••");
    assert_eq!(line(text.find("client_id").unwrap()), "client_id: b");
}

#[test]
fn a_url_is_shown_without_user_info_and_query() {
    assert_eq!(url_secrets("https://u:p@a.example/x?key=1"), [(8, 11), (24, 29)]);
    assert_eq!(url_secrets("https://a.example/x"), []);
}
