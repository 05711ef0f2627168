//! attache under callgrind.

use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// The binary to measure: `ATTACHE_BIN`, or the release binary.
pub(crate) fn binary() -> Result<PathBuf, Box<dyn Error>> {
    let given = std::env::var_os("ATTACHE_BIN").map(PathBuf::from);
    let binary = given.unwrap_or_else(|| {
        // Cargo names the binary of this bench's own profile.
        let own = Path::new(env!("CARGO_BIN_EXE_attache"));
        let target = own.parent().and_then(Path::parent).unwrap_or(own);
        target.join("release/attache")
    });
    if binary.is_file() {
        return Ok(binary);
    }
    Err(format!("{} is not there; build it: cargo build --release", binary.display()).into())
}

/// Returns the versions that the figures depend on.
pub(crate) fn tools() -> Result<String, Box<dyn Error>> {
    let version = |program: &str| -> Result<String, Box<dyn Error>> {
        let output = Command::new(program)
            .arg("--version")
            .output()
            .map_err(|error| format!("{program}: {error}; `.ci/setup bench` installs it"))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    Ok(format!("{}, {}, {}", version("rustc")?, version("valgrind")?, std::env::consts::ARCH))
}

/// A running attache.
pub(crate) struct Attache {
    folder: TempDir,
    child: Child,
    addresses: HashMap<String, SocketAddr>,
    stderr: Option<std::thread::JoinHandle<()>>,
}

impl Attache {
    /// Starts it with this configuration and waits until it is ready.
    pub(crate) fn start(binary: &Path, config: &str) -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        // attache watches the file's folder and its parent, and reads the file again when either changes. Nothing else
        // may happen in them.
        let quiet = folder.path().join("around/config");
        std::fs::create_dir_all(&quiet)?;
        let file = quiet.join("attache.yaml");
        std::fs::write(&file, config)?;
        let out = folder.path().join("callgrind.out");
        let mut child = Command::new("valgrind")
            .args(["--tool=callgrind", "--quiet"])
            .arg(format!("--callgrind-out-file={}", out.display()))
            .arg(binary)
            .args(["run", "-c"])
            .arg(&file)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take();
        let mut attache = Self { folder, child, addresses: HashMap::new(), stderr: None };
        let mut lines = BufReader::new(stderr.ok_or("no stderr")?).lines();
        let mut said = String::new();
        loop {
            let line = lines.next().transpose()?.ok_or_else(|| format!("attache did not start:\n{said}"))?;
            let words: Vec<&str> = line.split_whitespace().collect();
            let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            if let (Some(listener), Some(address)) = (value("listener"), value("address")) {
                attache.addresses.insert(listener.to_owned(), address.parse()?);
            }
            if words.contains(&"ready") {
                break;
            }
            said.push_str(&line);
            said.push('\n');
        }
        // A full pipe would block it.
        attache.stderr = Some(std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop)));
        Ok(attache)
    }

    /// Returns the address of a listener.
    pub(crate) fn address(&self, listener: &str) -> Result<SocketAddr, Box<dyn Error>> {
        let unknown = || format!("attache did not print the address of {listener}");
        Ok(*self.addresses.get(listener).ok_or_else(unknown)?)
    }

    /// Stops it and returns the total number of instructions. `keep` is the destination of callgrind's file.
    pub(crate) fn finish(mut self, keep: Option<PathBuf>) -> Result<u64, Box<dyn Error>> {
        let kill = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        let status = self.child.wait()?;
        if !kill.success() || !status.success() {
            return Err(format!("attache ended with {status}").into());
        }
        let out = self.folder.path().join("callgrind.out");
        let text = std::fs::read_to_string(&out)?;
        let line = text.lines().find_map(|line| line.strip_prefix("totals: "));
        let total = line.ok_or("callgrind wrote no totals")?.trim().parse()?;
        if let Some(path) = keep {
            std::fs::copy(&out, path)?;
        }
        Ok(total)
    }
}

impl Drop for Attache {
    fn drop(&mut self) {
        // Both fail if it has ended already.
        let _killed = self.child.kill();
        let _status = self.child.wait();
        if let Some(stderr) = self.stderr.take() {
            let _ended = stderr.join();
        }
    }
}
