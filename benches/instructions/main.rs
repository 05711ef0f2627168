//! User instructions of one request, counted by callgrind and compared with `baseline.toml`.
//!
//! `cargo build --release && cargo bench --profile dev --bench instructions`
//!
//! It builds nothing: the release binary has to exist, or `ATTACHE_BIN` names another. Each scenario runs twice, with
//! 1,000 and with 5,000 requests over one kept-alive connection. The difference is the steady state: start and stop
//! cancel out. Client, upstream and token endpoint are in this process and are not counted.
//!
//! | argument | |
//! | --- | --- |
//! | a scenario's name | runs only the scenarios named |
//! | `--bless` | writes the figures to `baseline.toml` instead of comparing them |
//! | `--keep FOLDER` | keeps callgrind's files there, for `callgrind_annotate` |
//!
//! # The caller beside the anonymous request
//!
//! `caller` costs 1.04 to 1.05 times `get`, some 2,500 instructions more. They are, beside up to 400 of the allocator, which
//! vary with the addresses:
//!
//! | instructions | |
//! | --- | --- |
//! | 430 | the search for the field that counts |
//! | 450 | the parsing of one more field |
//! | 240 | the search of every field for a proof, before the request leaves |
//! | 230 | the comparison with the connection's last proof, and the token's validity |
//! | 230 | two more members of the access log's line |
//! | 710 | the decision: the right on the service, the limits, the counts, the moves of the outcome |
//!
//! Every request but the first repeats its connection's last proof. One that does not costs 2,300 more, the SHA-256 of the
//! token without SHA extensions, which valgrind does not offer; a processor that has them needs a fraction.
//!
//! The number of tokens does not matter: the table is found by a part of the digest.

mod baseline;
mod callgrind;
mod peers;
mod scenarios;

use baseline::{Baseline, Verdict};
use callgrind::Attache;
use peers::{Load, Stub};
use scenarios::Scenario;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Number of requests of the two runs.
const FEW: u32 = 1_000;
const MANY: u32 = 5_000;

struct Options {
    names: Vec<String>,
    bless: bool,
    keep: Option<PathBuf>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut options = Self { names: Vec::new(), bless: false, keep: None };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // Cargo adds it.
                "--bench" => {}
                "--bless" => options.bless = true,
                "--keep" => options.keep = Some(arguments.next().ok_or("--keep needs a folder")?.into()),
                name if Scenario::ALL.iter().any(|scenario| scenario.name() == name) => {
                    options.names.push(argument);
                }
                _ => return Err(format!("unknown argument: {argument}").into()),
            }
        }
        Ok(options)
    }

    fn scenarios(&self) -> impl Iterator<Item = Scenario> {
        let wanted = |scenario: &Scenario| {
            self.names.is_empty() || self.names.iter().any(|name| name == scenario.name())
        };
        Scenario::ALL.into_iter().filter(wanted)
    }
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let result = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run()));
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

async fn run() -> Result<ExitCode, Box<dyn Error>> {
    let options = Options::parse(std::env::args().skip(1))?;
    let binary = callgrind::binary()?;
    let tools = callgrind::tools()?;
    let accepted = Baseline::read()?;
    println!("{}, {tools}", binary.display());
    println!("{:10} {:>14} {:>10} {:>8}", "scenario", "instr/request", "baseline", "change");
    let mut measured = accepted.clone();
    let mut has_risen = false;
    for scenario in options.scenarios() {
        let few = total(scenario, FEW, &binary, options.keep.as_deref()).await?;
        let many = total(scenario, MANY, &binary, options.keep.as_deref()).await?;
        let figure = many.saturating_sub(few) / u64::from(MANY - FEW);
        let verdict = accepted.compare(scenario.name(), figure);
        println!("{:10} {figure:>14} {verdict}", scenario.name());
        has_risen |= !matches!(verdict, Verdict::Within { .. } | Verdict::Fallen { .. });
        measured.set(scenario.name(), figure);
    }
    if options.bless {
        measured.write(&tools)?;
        println!("written to {}; the commit says why the figures moved", baseline::PATH);
    } else if has_risen {
        print!("{}", accepted.advice(&tools));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the instructions of a whole run: start, `requests` requests, stop.
async fn total(
    scenario: Scenario,
    requests: u32,
    binary: &Path,
    keep: Option<&Path>,
) -> Result<u64, Box<dyn Error>> {
    let stub = Stub::start().await?;
    let attache = Attache::start(binary, &scenario.config(stub.address()))?;
    let mut load = Load::connect(attache.address(scenario.listener())?).await?;
    let request = scenario.request();
    for _ in 0..requests {
        load.exchange(&request).await?;
    }
    drop(load);
    attache.finish(keep.map(|folder| folder.join(format!("callgrind.{}.{requests}", scenario.name()))))
}
