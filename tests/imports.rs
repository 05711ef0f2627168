//! Checks which module imports which, and which crate is used where, against the two blocks in CONTRIBUTING.md.
//!
//! The blocks are the only list. Comments, strings and test code of `src/` are ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// One file of `src/`, without comments, strings and test code.
struct Source {
    file: PathBuf,
    /// `["config", "parse", "tls"]` for `src/config/parse/tls.rs`.
    module: Vec<String>,
    code: String,
}

#[test]
fn modules_import_only_what_contributing_allows() {
    let allowed = block("Who may import whom:");
    let modules: BTreeSet<&str> = allowed.keys().map(String::as_str).collect();
    let mut problems = Vec::new();
    for source in sources() {
        let own = source.module[0].as_str();
        let Some(may) = allowed.get(own) else {
            problems.push(format!("{}: no line for `{own}`", source.file.display()));
            continue;
        };
        for path in imports(&source, &modules) {
            let is_own = path[0] == own;
            if !is_own && modules.contains(path[0].as_str()) && !may.iter().any(|entry| covers(entry, &path))
            {
                problems.push(format!(
                    "{}: `{own}` may not import `{}`",
                    source.file.display(),
                    path.join("::")
                ));
            }
        }
    }
    assert!(
        problems.is_empty(),
        "against \"Who may import whom\" in CONTRIBUTING.md:\n{}",
        problems.join("\n")
    );
}

#[test]
fn the_allowed_imports_have_no_cycle() {
    let mut left: BTreeMap<String, BTreeSet<String>> = block("Who may import whom:")
        .into_iter()
        .map(|(module, may)| (module, may.iter().map(|entry| head(entry)).map(str::to_owned).collect()))
        .collect();
    while let Some(leaf) = left.iter().find(|(_, may)| may.is_empty()).map(|(module, _)| module.clone()) {
        left.remove(&leaf);
        left.values_mut().for_each(|may| {
            may.remove(&leaf);
        });
    }
    assert!(left.is_empty(), "a cycle, or a name without a line of its own, among {left:#?}");
}

#[test]
fn crates_are_used_only_where_contributing_allows() {
    let mut problems = Vec::new();
    for (name, places) in block("Which crate is used where:") {
        for source in sources() {
            let is_allowed = places.iter().any(|place| covers(place, &source.module));
            if !is_allowed && uses_crate(&source.code, &name) {
                problems.push(format!("{}: `{name}` is not for this module", source.file.display()));
            }
        }
    }
    assert!(
        problems.is_empty(),
        "against \"Which crate is used where\" in CONTRIBUTING.md:\n{}",
        problems.join("\n")
    );
}

/// Returns the lines `a, b → c, d::e` of the fenced block below `title`. Lines of the same module add up, `every
/// module` stands for each that its line does not name, and `nothing else` for no entry.
fn block(title: &str) -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(Path::new(ROOT).join("CONTRIBUTING.md")).expect("CONTRIBUTING.md");
    let (_, rest) =
        text.split_once(&format!("\n{title}\n\n```text\n")).unwrap_or_else(|| panic!("no {title:?}"));
    let (block, _) = rest.split_once("```").expect("an end");
    let names =
        |list: &str| -> BTreeSet<String> { list.split(',').map(|name| name.trim().to_owned()).collect() };
    let (mut lines, mut every) = (BTreeMap::<String, BTreeSet<String>>::new(), BTreeSet::new());
    for line in block.lines() {
        let (left, right) = line.split_once('→').unwrap_or_else(|| panic!("no arrow: {line}"));
        let may = if right.trim() == "nothing else" { BTreeSet::new() } else { names(right) };
        if left.trim() == "every module" {
            every = may;
            continue;
        }
        for name in names(left) {
            lines.entry(name).or_default().extend(may.iter().cloned());
        }
    }
    lines.values_mut().for_each(|may| may.extend(every.iter().cloned()));
    for name in every {
        lines.entry(name).or_default();
    }
    lines
}

/// Returns the first segment of `a::b`.
fn head(entry: &str) -> &str {
    entry.split("::").next().unwrap_or(entry)
}

/// Returns true if `path` is the module `entry` or inside it.
fn covers(entry: &str, path: &[String]) -> bool {
    let entry: Vec<&str> = entry.split("::").collect();
    entry.len() <= path.len() && entry.iter().zip(path).all(|(a, b)| a == b)
}

/// Returns every file except `lib.rs`, `main.rs` and those of tests.
fn sources() -> Vec<Source> {
    let src = Path::new(ROOT).join("src");
    let (mut folders, mut sources) = (vec![src.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let is_test = stem == "tests" || stem == "testing" || stem.ends_with("_tests");
            if is_test || stem == "lib" || stem == "main" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let file = path.strip_prefix(&src).expect("inside src").to_owned();
            let mut module: Vec<String> =
                file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
            module.pop_if(|last| last == "mod");
            let code = without_tests(&without_text(&std::fs::read_to_string(&path).expect("a file")));
            sources.push(Source { file, module, code });
        }
    }
    sources
}

/// Returns the code without comments and without the content of strings and characters.
fn without_text(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut at) = (String::new(), 0);
    let find = |from: usize, end: &[char]| {
        (from..chars.len()).find(|&i| chars[i..].starts_with(end)).map_or(chars.len(), |i| i + end.len())
    };
    while at < chars.len() {
        let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
        at = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => find(at, &['\n']) - 1,
            '/' if chars.get(at + 1) == Some(&'*') => find(at, &['*', '/']),
            'r' if chars.get(at + 1 + hashes) == Some(&'"') => {
                let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                find(at + 2 + hashes, &end)
            }
            '"' => {
                let mut end = at + 1;
                while chars[end] != '"' {
                    end += if chars[end] == '\\' { 2 } else { 1 };
                }
                end + 1
            }
            // Any other quote begins a lifetime.
            '\'' if chars.get(at + 1) == Some(&'\\') => find(at + 3, &['\'']),
            '\'' if chars.get(at + 2) == Some(&'\'') => at + 3,
            other => {
                code.push(other);
                at + 1
            }
        };
    }
    code
}

/// Returns the code without the items that are marked `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut parts = code.split("#[cfg(test)]");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut depth = 0;
        let end = part.char_indices().find(|&(_, c)| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0 && (c == '}' || c == ';')
        });
        kept.push_str(end.map_or("", |(at, _)| &part[at + 1..]));
    }
    kept
}

/// Returns the paths from the crate's root that the file names by `crate::` or by enough `super::`.
fn imports(source: &Source, modules: &BTreeSet<&str>) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    for (at, _) in source.code.match_indices("crate::") {
        paths(&source.code[at + "crate::".len()..], &mut Vec::new(), &mut found);
    }
    let to_root = "super::".repeat(source.module.len());
    for (at, _) in source.code.match_indices(&to_root) {
        let mut named = BTreeSet::new();
        paths(&source.code[at + to_root.len()..], &mut Vec::new(), &mut named);
        found.extend(named.into_iter().filter(|path| modules.contains(path[0].as_str())));
    }
    found
}

/// Expands the use tree at the start of `rest`; returns what follows it.
fn paths<'a>(rest: &'a str, prefix: &mut Vec<String>, found: &mut BTreeSet<Vec<String>>) -> &'a str {
    let rest = rest.trim_start();
    if let Some(mut group) = rest.strip_prefix('{') {
        loop {
            group = paths(group, prefix, found).trim_start();
            match group.strip_prefix(',') {
                Some(next) => group = next,
                None => return group.strip_prefix('}').unwrap_or(group),
            }
        }
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    if name.is_empty() {
        return rest.strip_prefix('*').unwrap_or(rest);
    }
    if name == "self" && !prefix.is_empty() {
        found.insert(prefix.clone());
        return rest;
    }
    prefix.push(name.to_owned());
    let rest = match rest.strip_prefix("::") {
        Some(more) => paths(more, prefix, found),
        None => {
            found.insert(prefix.clone());
            match rest.strip_prefix(" as ") {
                Some(alias) => alias.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'),
                None => rest,
            }
        }
    };
    prefix.pop();
    rest
}

/// Returns true if the code names the crate `name`, and not a module of that name.
fn uses_crate(code: &str, name: &str) -> bool {
    let (mut used, mut rest, mut at) = (BTreeSet::new(), String::new(), 0);
    while at < code.len() {
        let line = code[at..].split_inclusive('\n').next().unwrap_or_default();
        match line.split_once("use ") {
            Some((before, _)) if before.trim().is_empty() || before.trim().starts_with("pub") => {
                let tree = code[at + before.len() + "use ".len()..].trim_start_matches("::");
                at = code.len() - paths(tree, &mut Vec::new(), &mut used).len();
            }
            _ => {
                rest.push_str(line);
                at += line.len();
            }
        }
    }
    let is_declared = code.contains(&format!("mod {name};")) || code.contains(&format!("mod {name} {{"));
    let is_imported = used.iter().any(|path| path.len() > 1 && path.last().is_some_and(|last| last == name));
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let is_named = rest.match_indices(&format!("{name}::")).any(|(at, _)| !rest[..at].ends_with(is_word));
    !is_declared && (used.iter().any(|path| path[0] == name) || (is_named && !is_imported))
}

#[test]
fn code_is_parsed_correctly() {
    let text = "use crate::{a::{b, c as d}, e}; // crate::f\nlet x = \"crate::g\"; let y = r#\"\"crate::h\"#;\nlet z = '\"';
        #[cfg(test)]\nmod tests { use crate::i::J; }\nfn k<'a>() { crate::l::m(); super::n::o(); }";
    let code = without_tests(&without_text(text));
    let source = Source { file: PathBuf::new(), module: vec!["p".into()], code };
    let found = imports(&source, &BTreeSet::from(["n"]));
    let found: Vec<String> = found.into_iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["a::b", "a::c", "e", "l::m", "n::o"]);
    assert!(uses_crate("use a::b;\nuse x::{y, z};", "x") && uses_crate("fn f() -> x::Y {}", "x"));
    assert!(!uses_crate("use a::{b, x::y};\nuse super::x;\nfn f() -> x::Y {}", "x"));
}
