//! The resolver, built from `/etc/resolv.conf` and `/etc/hosts` and rebuilt when one of them changes.
//!
//! Invariant: a file that became unreadable or names no name server leaves the former resolver in place.

use super::locked;
use arc_swap::ArcSwapOption;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::parse_resolv_conf;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Interval between two checks of the files.
const CHECK: Duration = Duration::from_secs(1);

/// Supplies the resolver.
pub(super) struct ResolverSource {
    resolver: ArcSwapOption<TokioResolver>,
    files: Option<Mutex<ResolverFiles>>,
}

struct ResolverFiles {
    resolv_conf: PathBuf,
    hosts: PathBuf,
    seen: [Option<FileStamp>; 2],
    check_from: Instant,
}

/// Identity of a file's content: modification time, its nanoseconds, size, inode, device.
type FileStamp = (i64, i64, u64, u64, u64);

impl ResolverSource {
    pub(super) fn fixed(config: ResolverConfig, options: ResolverOpts) -> Self {
        let resolver = build(config, options).map(Arc::new);
        Self { resolver: ArcSwapOption::new(resolver.ok()), files: None }
    }

    pub(super) fn system(now: Instant) -> Self {
        Self::files("/etc/resolv.conf".into(), "/etc/hosts".into(), now)
    }

    fn files(resolv_conf: PathBuf, hosts: PathBuf, now: Instant) -> Self {
        // The stamps are taken first: a change between them and the reading is found by the next check.
        let mut files = ResolverFiles { resolv_conf, hosts, seen: [None; 2], check_from: now + CHECK };
        files.seen = files.stamps();
        let resolver = read(&files.resolv_conf).or_else(|error| {
            warn_unusable(&files.resolv_conf, &error, "only /etc/hosts answers");
            build(ResolverConfig::from_name_servers(Vec::new()), ResolverOpts::default())
        });
        let resolver = ArcSwapOption::new(resolver.ok().map(Arc::new));
        Self { resolver, files: Some(Mutex::new(files)) }
    }

    /// Returns the resolver for the files as of `now`, or of a second before.
    pub(super) fn resolver_at(&self, now: Instant) -> Option<Arc<TokioResolver>> {
        if let Some(files) = &self.files {
            let mut files = locked(files);
            if files.changed_at(now) {
                match read(&files.resolv_conf) {
                    Ok(resolver) => self.resolver.store(Some(Arc::new(resolver))),
                    Err(error) => {
                        warn_unusable(&files.resolv_conf, &error, "the former configuration stays in use");
                    }
                }
            }
        }
        self.resolver.load_full()
    }
}

impl ResolverFiles {
    fn changed_at(&mut self, now: Instant) -> bool {
        if now < self.check_from {
            return false;
        }
        self.check_from = now + CHECK;
        let stamps = self.stamps();
        std::mem::replace(&mut self.seen, stamps) != stamps
    }

    fn stamps(&self) -> [Option<FileStamp>; 2] {
        [&self.resolv_conf, &self.hosts].map(|path| {
            let file = fs::metadata(path).ok()?;
            Some((file.mtime(), file.mtime_nsec(), file.size(), file.ino(), file.dev()))
        })
    }
}

fn read(resolv_conf: &Path) -> Result<TokioResolver, NetError> {
    let (config, options) = parse_resolv_conf(fs::read(resolv_conf)?)?;
    build(config, options)
}

fn build(config: ResolverConfig, options: ResolverOpts) -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    // The entries of `Names` are the only cache. The resolver's own keeps answers for up to a day.
    builder.options_mut().cache_size = 0;
    builder.build()
}

fn warn_unusable(path: &Path, error: &NetError, consequence: &str) {
    tracing::warn!(path = %path.display(), %error, "no usable name server configuration; {consequence}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_files_again_when_they_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let [resolv_conf, hosts] = ["resolv.conf", "hosts"].map(|name| folder.path().join(name));
        fs::write(&resolv_conf, "nameserver 192.0.2.1\n").expect("writes");
        let start = Instant::now();
        let source = ResolverSource::files(resolv_conf.clone(), hosts.clone(), start);
        let resolver =
            |seconds| source.resolver_at(start + Duration::from_secs(seconds)).expect("a resolver");
        let mut last = resolver(0);
        let mut is_new = |seconds| {
            let next = resolver(seconds);
            !Arc::ptr_eq(&std::mem::replace(&mut last, Arc::clone(&next)), &next)
        };

        assert!(!is_new(2));
        fs::write(&resolv_conf, "nameserver 192.0.2.1\noptions ndots:3\n").expect("writes");
        assert!(!is_new(2), "looked at the files twice within a second");
        assert!(is_new(3));
        assert!(!is_new(4));
        // A file is moved into place.
        let staged = folder.path().join("new");
        fs::write(&staged, "nameserver 192.0.2.2\noptions ndots:4\n").expect("writes");
        fs::rename(&staged, &resolv_conf).expect("renames");
        assert!(is_new(5));
        fs::write(&hosts, "192.0.2.3 a.example\n").expect("writes");
        assert!(is_new(6));
        fs::write(&resolv_conf, "").expect("writes");
        assert!(!is_new(7), "an empty file replaced a good one");
        fs::remove_file(&resolv_conf).expect("removes");
        assert!(!is_new(8), "a missing file replaced a good one");
        fs::write(&resolv_conf, "nameserver 192.0.2.1\noptions ndots:2\n").expect("writes");
        assert!(is_new(9));
        assert_eq!(resolver(9).options().ndots, 2);
        assert_eq!(resolver(9).options().cache_size, 0);
    }

    #[test]
    fn starts_without_a_name_server() {
        let source =
            ResolverSource::files("/nowhere/resolv.conf".into(), "/nowhere/hosts".into(), Instant::now());
        assert!(source.resolver_at(Instant::now()).is_some());
    }
}
