//! `pspf cache`: what packages left on this machine, and how to fill, check and empty it.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::{Args, Subcommand};
use pspf_format::{Class, Error as FormatError, Sha256};
use pspf_launcher::cache::{Access, Cache, Removal, Scope, Verdict, candidates};
use pspf_launcher::{Environment, Error, PackageFile, Thorough, check};
use pspf_unsealed::Opened;
use serde::Serialize;

use crate::build_cache_command::{self, BuildReport};
use crate::failure::{Failure, shown};
use crate::paths::{c_path, path};
use crate::voice::{print_json, size};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Schema of the JSON that these commands print.
const SCHEMA: u32 = 1;

/// Look after the cache of extracted slots, and the build cache
#[derive(Args, Debug)]
#[command(after_help = "\
Where they are: PSPF_CACHE_DIR, else XDG_CACHE_HOME/pspf, else ~/.cache/pspf.

The build cache, in the first of these places alone, holds frames that `pspf pack` has compressed, so that packing again
compresses only what changed. After each packing it holds at most PSPF_BUILD_CACHE_SIZE bytes (such as 500M or 5G; 2G by
default; 0 turns it off): what was not used for the longest time is removed.

Examples:
  pspf cache list                what is there, and when it was last used
  pspf cache warm tool.psp       fill it ahead, as in a container image
  pspf cache prune               remove what was not used for 30 days
  pspf cache verify              compare every file with what was signed")]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// List packages and slots, and what the build cache holds
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say where the caches are and how large
    Info {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Extract packages ahead of their first start
    ///
    /// Each package is checked as a whole, its slots are extracted, synced to disk and compared in full. What this
    /// records stays valid in a copy of the cache, on another machine or after a restart, as in a container image: the
    /// first start there compares every file once; a copy that cannot be written is taken as it is.
    Warm {
        /// Packages
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Remove packages and compressed frames that were not used for some time, and slots that no package uses
    Prune {
        /// Days since the last use
        #[arg(long, value_name = "DAYS", default_value_t = 30)]
        older_than: u32,
        /// Also what was used within a day, as long as no package starts meanwhile; never what a running program uses
        #[arg(long)]
        now: bool,
    },
    /// Remove packages, and the slots that only they use; or the build cache
    Remove {
        /// Package files or package ids
        #[arg(required_unless_present = "build", value_name = "FILE|ID")]
        packages: Vec<PathBuf>,
        /// All of the build cache
        #[arg(long)]
        build: bool,
        /// Also what was used within a day, as long as no package starts meanwhile; never what a running program uses
        #[arg(long)]
        now: bool,
    },
    /// Compare every extracted file with what was signed
    ///
    /// What is damaged is extracted anew at the next start; what could not be checked is compared then.
    Verify,
}

/// Prints what was asked for, or what was done.
pub(crate) fn run(args: &CacheArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    match &args.command {
        CacheCommand::List { json } => list(*json, out),
        CacheCommand::Info { json } => info(*json, out),
        CacheCommand::Warm { files } => files.iter().try_for_each(|file| warm(file, out)),
        CacheCommand::Prune { older_than, now } => {
            let unused_for = if *now { Duration::ZERO } else { DAY * (*older_than).max(1) };
            remove(&[Scope::All], unused_for, out)?;
            remove_workenvs(None, unused_for, out)?;
            build_cache_command::prune(unused_for, out)
        }
        CacheCommand::Remove { packages, build, now } => {
            let ids = packages.iter().map(|package| package_id(package)).collect::<Result<Vec<_>, _>>()?;
            let unused_for = if *now { Duration::ZERO } else { DAY };
            if !ids.is_empty() {
                let scopes: Vec<_> = ids.iter().copied().map(Scope::Package).collect();
                remove(&scopes, unused_for, out)?;
            }
            for id in ids {
                remove_workenvs(Some(id), unused_for, out)?;
            }
            if *build { build_cache_command::remove(out) } else { Ok(()) }
        }
        CacheCommand::Verify => verify(out),
    }
}

fn existing() -> Option<Cache> {
    Cache::for_commands(&Environment::of_process())
}

/// Where the first start would make a cache.
fn place() -> PathBuf {
    candidates(&Environment::of_process()).next().map(|candidate| path(&candidate.path).to_owned()).unwrap_or_default()
}

#[derive(Serialize)]
struct Report {
    schema: u32,
    directory: String,
    bytes: u64,
    packages: Vec<PackageReport>,
    slots: Vec<SlotReport>,
    /// Of packages without a seal.
    workenvs: Vec<WorkenvReport>,
    build: BuildReport,
}

#[derive(Serialize)]
struct PackageReport {
    package_id: Sha256,
    label: String,
    slots: Vec<Sha256>,
    last_used: i64,
}

#[derive(Serialize)]
struct SlotReport {
    key: Sha256,
    bytes: u64,
    packages: usize,
    last_used: Option<i64>,
}

#[derive(Serialize)]
struct WorkenvReport {
    id: Sha256,
    bytes: u64,
    last_used: u64,
}

fn report() -> anyhow::Result<Report> {
    let Some(cache) = existing() else {
        return Ok(Report {
            schema: SCHEMA,
            directory: place().to_string_lossy().into_owned(),
            bytes: 0,
            packages: Vec::new(),
            slots: Vec::new(),
            workenvs: Vec::new(),
            build: BuildReport::new()?,
        });
    };
    let listing = cache.list()?;
    let packages = listing.packages.into_iter().map(|package| PackageReport {
        package_id: package.package_id,
        label: package.label,
        slots: package.slots,
        last_used: package.last_used,
    });
    let slots = listing.slots.into_iter().map(|slot| SlotReport {
        key: slot.key,
        bytes: slot.bytes,
        packages: slot.packages,
        last_used: slot.last_used,
    });
    let slots: Vec<_> = slots.collect();
    let workenvs = pspf_workenv::list_workenvs(path(cache.path())).into_iter().map(|workenv| WorkenvReport {
        id: workenv.id,
        bytes: workenv.bytes,
        last_used: workenv.last_used.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
    });
    let workenvs: Vec<_> = workenvs.collect();
    let bytes = slots.iter().map(|slot| slot.bytes).chain(workenvs.iter().map(|workenv| workenv.bytes)).sum();
    Ok(Report {
        schema: SCHEMA,
        directory: cache.path().to_string_lossy().into_owned(),
        bytes,
        packages: packages.collect(),
        slots,
        workenvs,
        build: BuildReport::new()?,
    })
}

fn list(json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let report = report()?;
    if json {
        return Ok(print_json(&report, out)?);
    }
    for package in &report.packages {
        let keys: HashSet<_> = package.slots.iter().collect();
        let bytes = report.slots.iter().filter(|slot| keys.contains(&slot.key)).map(|slot| slot.bytes).sum();
        let (bytes, age) = (size(bytes), ago(package.last_used));
        writeln!(
            out,
            "{}  {}  {bytes} in {}, used {age}",
            package.package_id,
            package.label.escape_debug(),
            count(keys.len() as u64, "slot")
        )?;
    }
    for slot in &report.slots {
        writeln!(out, "slot {}  {}, in {}", slot.key, size(slot.bytes), count(slot.packages as u64, "package"))?;
    }
    for workenv in &report.workenvs {
        let used = ago(i64::try_from(workenv.last_used).unwrap_or(i64::MAX));
        writeln!(out, "work environment {}  {}, used {used}", workenv.id, size(workenv.bytes))?;
    }
    if report.slots.is_empty() && report.workenvs.is_empty() {
        writeln!(out, "nothing in {}", shown(Path::new(&report.directory)))?;
    }
    report.build.print(out)
}

fn info(json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let report = report()?;
    if json {
        return Ok(print_json(&report, out)?);
    }
    writeln!(out, "{}", report.directory.escape_debug())?;
    writeln!(
        out,
        "{}, {}, {}",
        count(report.packages.len() as u64, "package"),
        count(report.slots.len() as u64, "slot"),
        size(report.bytes)
    )?;
    report.build.print(out)
}

fn warm(package: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let file = PackageFile::open(&c_path(package))?;
    let sealed = file.unverified()?.verify_all().map_err(|error| file.wrong(error))?;
    let verified = file.opened(sealed)?;
    check(&file, &verified, Thorough::default())?;
    let environment = Environment::of_process();
    let fill = |cache: &Cache| cache.warm_package(&file, &verified);
    let (cache, slots) = Cache::in_first_place(&environment, Access::Shared, fill)?;
    let slots = count(slots.len() as u64, "slot");
    Ok(writeln!(out, "{}: {slots} in {}", shown(package), shown(path(cache.path())))?)
}

/// The id that is given, or that of the package at this path.
fn package_id(given: &Path) -> anyhow::Result<Sha256> {
    if let Some(id) = given.to_str().and_then(Sha256::from_hex) {
        return Ok(id);
    }
    let file = PackageFile::open(&c_path(given))?;
    match file.unverified() {
        Err(Error::Package { source: FormatError::NoSeal, .. }) => Ok(Opened::open(&file)?.package().id),
        unverified => Ok(unverified?.verify().map_err(|error| file.wrong(error))?.package_id()),
    }
}

fn remove(scopes: &[Scope], unused_for: Duration, out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(cache) = existing() else {
        return Ok(writeln!(out, "nothing in {}", shown(&place()))?);
    };
    let (mut packages, mut slots, mut bytes, mut kept) = (0, 0, 0, 0);
    for scope in scopes {
        let removed = cache.remove(&Removal { scope: scope.clone(), unused_for })?;
        packages += removed.packages;
        slots += removed.slots;
        bytes += removed.bytes;
        kept += removed.kept;
    }
    writeln!(out, "removed {} and {}, {}", count(packages, "package"), count(slots, "slot"), size(bytes))?;
    if kept > 0 {
        writeln!(out, "kept {kept} that are in use or were lately")?;
    }
    Ok(())
}

/// Removes work environments; says nothing where there are none.
fn remove_workenvs(only: Option<Sha256>, unused_for: Duration, out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(cache) = existing() else { return Ok(()) };
    let removed = pspf_workenv::remove_workenvs(path(cache.path()), only, unused_for)?;
    if removed.workenvs > 0 {
        writeln!(out, "removed {}, {}", count(removed.workenvs, "work environment"), size(removed.bytes))?;
    }
    if removed.kept > 0 {
        writeln!(out, "kept {} in use or used lately", count(removed.kept, "work environment"))?;
    }
    Ok(())
}

fn verify(out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(cache) = existing() else {
        return Ok(writeln!(out, "nothing in {}", shown(&place()))?);
    };
    let (mut damaged, mut unchecked) = (0, 0);
    for (key, verdict) in cache.audit()? {
        match verdict {
            Some(Verdict::Sound) => writeln!(out, "slot {key}: sound")?,
            Some(Verdict::Damaged(difference)) => {
                damaged += 1;
                writeln!(out, "slot {key}: damaged: {}", difference.to_string().escape_debug())?;
            }
            Some(Verdict::Missing) => writeln!(out, "slot {key}: removed meanwhile")?,
            None => {
                unchecked += 1;
                writeln!(out, "slot {key}: not checked: nothing says what it should be")?;
            }
        }
    }
    let place = shown(path(cache.path()));
    let failure = match (damaged, unchecked) {
        (0, 0) => return Ok(()),
        (0, _) => Failure::new(Class::Io, format!("not checked in {place}: {}", count(unchecked, "slot")))
            .hint("the next start of a package that needs them compares them in full, and says what they should be"),
        _ => Failure::new(Class::Integrity, format!("damage in {place}: {}", count(damaged, "slot"))).hint(
            "they are extracted anew at the next start of a package that needs them; what is damaged again then is not \
             what its package says: `pspf verify --deep`",
        ),
    };
    failure.err().context("checking the cache")
}

/// A number with its noun.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{ending}")
}

/// How long ago, for people.
pub(crate) fn ago(seconds: i64) -> String {
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    match SystemTime::now().duration_since(then).map_or(0, |since| since.as_secs()) {
        0..120 => "just now".to_owned(),
        seconds @ 120..7200 => format!("{} minutes ago", seconds / 60),
        seconds @ 7200..172_800 => format!("{} hours ago", seconds / 3600),
        seconds => format!("{} days ago", seconds / 86400),
    }
}
