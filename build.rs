//! Sets `ATTACHE_COMMIT`, the commit that `--version`, `/status` and `attache_build_info` name.
//!
//! The variable of that name wins, for a build from a source archive. Without it and without git it is `unknown`.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=ATTACHE_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let given = std::env::var("ATTACHE_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(head).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=ATTACHE_COMMIT={commit}");
}

/// The commit that is checked out. `None` in an archive, also if it lies inside another project's repository.
fn head() -> Option<String> {
    let root = Path::new(&git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()?;
    if root != Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().ok()? {
        return None;
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    // A switch of branches changes HEAD, a commit its branch; a branch that git has packed has no file of its own.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        let path = git(&["rev-parse", "--git-path", name])?;
        // A file that is not there would run this script at each build.
        if Path::new(&path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    Some(commit)
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
