//! `pspf pack`: the whole story from PATH to a verified package.

use std::fs::File;
use std::io::{self, IsTerminal, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use pspf_format::{Draft, Layout, Metadata};

use crate::args::PackArgs;
use crate::build_cache::BuildCache;
use crate::compress::Settings;
use crate::failure::{Failure, shown};
use crate::input::Input;
use crate::output::{Destination, Staged};
use crate::pack_report::PackReport;
use crate::plan::{Plan, SlotContent, SlotPlan};
use crate::provider::hold_to_version;
use crate::signers::Signers;
use crate::slot::{StoredSlot, Storing};
use crate::stub::Launcher;

/// Where there is no SOURCE_DATE_EPOCH: 1980, the first year that every archive format can say. `tar` finds 1970
/// implausible.
pub(crate) const DEFAULT_MTIME: u64 = 315_532_800;
/// The largest time that a tar header holds.
const MAX_MTIME: u64 = 0o777_7777_7777;

/// Runs `pspf pack` and prints its report to `out`.
pub(crate) fn run(mut args: PackArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    if let Some(provider) = &args.provider {
        args.python.program = Some(provider.program());
        // Before anything is installed for it.
        args.package_version.as_deref().map_or(Ok(()), hold_to_version)?;
    }
    let (destination, report) = pack(&args, Input::find(&args)?)?;
    report.finish(args.json, out)?;
    if args.run { crate::start::become_package(&destination, &args.args) } else { Ok(()) }
}

/// Packs this input, whatever `args.path` is.
pub(crate) fn pack(args: &PackArgs, input: Input) -> anyhow::Result<(Destination, PackReport)> {
    let started = Instant::now();
    let epoch = source_date_epoch()?;
    let package = input.package(args)?;
    let file_name = match &args.provider {
        Some(provider) => provider.program_of(package.version.as_str()),
        None => format!("{}.psp", package.name),
    };
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from(file_name));
    let destination = Destination::new(path)?;
    let inputs = [&input.file, &args.launcher, &args.passphrase.passphrase_file].into_iter().flatten();
    destination.hold_apart(inputs.chain(&args.key).map(PathBuf::as_path))?;
    let launcher = Launcher::load(args.launcher.as_deref())?;
    let signers = Signers::load_or_make(&args.key, &args.passphrase)?;
    let manifest = input.file.clone();
    let sources = input.sources();
    let notes = input.notes.clone();
    // What was unpacked for this is removed when it is packed.
    let _staging = input.staging.clone();
    let named = |error: anyhow::Error| match &manifest {
        Some(file) => error.context(shown(file)),
        None => error,
    };
    let plan = Plan::new(input, package, &destination.real, &launcher.platform, args.compat).map_err(named)?;
    let launcher = launcher.for_plan(&plan, args.launcher.as_deref())?;
    let mut warnings = notes;
    warnings.extend(plan_warnings(&plan));
    warnings.extend(launcher.oddity());
    warnings.extend(crate::program::look(&plan, &launcher.platform).map_err(named)?);

    crate::interrupt::prepare().context("preparing to be interrupted")?;
    let cache = BuildCache::open(&sources)?;
    let progress = progress(plan.slots.iter().map(SlotPlan::content_size).sum());
    let storing = Storing {
        settings: Settings::all_cores(args.level, cache, progress.clone()),
        mtime: epoch.unwrap_or(DEFAULT_MTIME),
    };
    let mut spool = destination.spool()?;
    let store = |slot: &SlotPlan| {
        progress.set_message(slot.id.to_string());
        storing.store(slot, &mut spool).with_context(|| format!("slot `{}`", slot.id))
    };
    let stored: anyhow::Result<Vec<_>> = plan.slots.iter().map(store).collect();
    let cache = storing.settings.cache;
    // Also where packing has failed: what it kept stays useful, and counts.
    cache.iter().for_each(BuildCache::hold_to_limit);
    progress.finish_and_clear();
    let stored = stored?;
    warnings.extend(stored.iter().filter_map(pyc_warning));

    let metadata = plan.metadata(
        launcher.metadata(),
        &launcher.platform,
        stored.iter().map(|slot| slot.metadata.clone()).collect(),
    )?;
    let mut staged = destination.stage()?;
    write(&mut staged, &metadata, &launcher, &spool, &signers, epoch.unwrap_or(0))
        .with_context(|| format!("writing {}", shown(&destination.path)))?;
    let read_back = crate::readback::verify(staged.file()?, &destination.path, &signers.public_keys(), args.json)?;
    staged.commit()?;
    let mut report = PackReport::new(&destination.path, &read_back, &launcher, &stored, &signers);
    report.build_cache = cache.map(|cache| cache.path().to_string_lossy().into_owned());
    report.seconds = started.elapsed().as_secs_f64();
    report.warnings = warnings;
    Ok((destination, report))
}

/// The time that everything inside the package gets.
fn source_date_epoch() -> anyhow::Result<Option<u64>> {
    let Some(value) = std::env::var_os("SOURCE_DATE_EPOCH") else { return Ok(None) };
    let number = value.to_str().and_then(|text| text.parse().ok()).filter(|&number| number <= MAX_MTIME);
    match number {
        Some(number) => Ok(Some(number)),
        None => Failure::usage(format!("SOURCE_DATE_EPOCH is `{}`", value.to_string_lossy().escape_debug()))
            .hint(format!("it is a number of seconds since 1970, at most {MAX_MTIME}"))
            .err(),
    }
}

/// Writes every part to its place. What lies between is a hole, and so zero.
fn write(
    staged: &mut Staged,
    metadata: &Metadata,
    launcher: &Launcher,
    spool: &File,
    signers: &Signers,
    build_timestamp: u64,
) -> anyhow::Result<()> {
    let stored_metadata = metadata.to_stored()?;
    let layout = Layout::new(launcher.bytes.len() as u64, stored_metadata.len() as u64, &metadata.pspf)?;
    let mut draft = Draft::new(&layout, &metadata.launcher, &stored_metadata, build_timestamp);
    signers.take_over(&mut draft, &metadata.to_json())?;
    signers.sign(&mut draft)?;
    let file = staged.file()?;
    let mut put = |offset: u64, bytes: &[u8]| {
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    };
    put(layout.launcher.offset, &launcher.bytes)?;
    put(layout.metadata.offset, &stored_metadata)?;
    put(layout.slot_table.offset, &layout.table)?;
    put(layout.trailer.offset, &draft.trailer()?)?;
    let mut from = 0;
    for span in &layout.slots {
        crate::output::copy(spool, from, file, *span)?;
        from += span.len;
    }
    Ok(())
}

fn progress(total: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    let template = "{msg:12} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// What is worth knowing about the inputs.
fn plan_warnings(plan: &Plan) -> Vec<String> {
    let mut warnings = Vec::new();
    for slot in &plan.slots {
        let SlotContent::Tree(tree) = &slot.content else { continue };
        let (id, oddities) = (&slot.id, &tree.oddities);
        if let Some(first) = oddities.elevated.first() {
            let first = shown(first);
            let count = oddities.elevated.len();
            warnings.push(format!("slot `{id}`: setuid or setgid is dropped from {count} files, the first is {first}"));
        }
        for output in &oddities.own_output {
            warnings.push(format!("slot `{id}`: {} of an earlier `pspf pack` is left out", shown(output)));
        }
        for pattern in &oddities.unmatched {
            warnings.push(format!("slot `{id}`: include pattern `{}` matches nothing", pattern.escape_debug()));
        }
        if tree.files.is_empty() {
            warnings.push(format!("slot `{id}` holds no file"));
        }
    }
    warnings
}

fn pyc_warning(slot: &StoredSlot) -> Option<String> {
    let first = slot.stale_pyc.first.as_ref()?;
    Some(format!(
        "slot `{}`: {} .pyc files are checked by time and would be compiled again at every start, the first is `{}`; \
         run `python -m compileall -q -f --invalidation-mode unchecked-hash DIRECTORY` before packing",
        slot.metadata.id,
        slot.stale_pyc.count,
        first.escape_debug()
    ))
}
