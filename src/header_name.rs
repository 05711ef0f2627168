//! Header names as some program behind us may read them.
//!
//! CGI, WSGI, Rack and PHP fold `-` to `_`; others take `.`, or whatever else is no letter or digit, for either, or don't
//! mind how many there are. So `X_Attache_User`, `x.attache.user` and `X--Attache~User` name what `X-Attache-User` names.
//! A list of exact names is how other proxies were walked past.

/// Families of which every name is attache's to say, on every route.
const RESERVED_FAMILIES: [&str; 2] = ["x-forwarded-", "x-attache-"];

/// Whether `name`, in some spelling, is attache's to say whatever the file says. No allocation.
pub fn is_reserved(name: &str) -> bool {
    // Nearly every name is told by its first letter.
    match name.bytes().find(u8::is_ascii_alphanumeric) {
        Some(b'x' | b'X') => RESERVED_FAMILIES.iter().any(|family| in_family(name, family)),
        Some(b'f' | b'F') => same(name, "forwarded"),
        _ => false,
    }
}

/// `name` in one spelling for all: lowercase, one `-` for any run of other characters than letters and digits, and none
/// at the ends. No allocation.
fn folded(name: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = name.trim_ascii_start();
    while let [first, more @ ..] = rest
        && !first.is_ascii_alphanumeric()
    {
        rest = more;
    }
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *rest.get(at)?;
        at += 1;
        if byte.is_ascii_alphanumeric() {
            return Some(byte.to_ascii_lowercase());
        }
        while !rest.get(at)?.is_ascii_alphanumeric() {
            at += 1;
        }
        Some(b'-')
    })
}

/// `name`, folded.
pub fn fold(name: &str) -> String {
    folded(name.as_bytes()).map(char::from).collect()
}

/// Whether `name` is `other`, which is folded, when it is folded itself.
pub fn same(name: &str, other: &str) -> bool {
    folded(name.as_bytes()).eq(other.bytes())
}

/// Whether the two are one name when both are folded.
pub fn alike(one: &str, other: &str) -> bool {
    folded(one.as_bytes()).eq(folded(other.as_bytes()))
}

/// Whether `name`, folded, begins with `family` and goes on.
fn in_family(name: &str, family: &str) -> bool {
    let mut name = folded(name.as_bytes());
    family.bytes().all(|byte| name.next() == Some(byte)) && name.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_one() {
        for name in
            ["X-Attache-User", "x_attache_user", "X.ATTACHE~user", "__x--attache!|user-", "x-.-attache+user"]
        {
            assert_eq!(fold(name), "x-attache-user", "{name}");
            assert!(same(name, "x-attache-user") && in_family(name, "x-attache-"), "{name}");
        }
        for name in ["x-attache", "x-attached-file", "xattache-user", "x-attache-", ""] {
            assert!(!in_family(name, "x-attache-"), "{name}");
        }
        assert!(alike("X_Attache.User", "x-attache--user") && !alike("x-a", "x-ab"));
        assert!(!same("x-attache-users", "x-attache-user") && !same("x-attache", "x-attache-user"));
    }
}
