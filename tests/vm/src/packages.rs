//! Kernels out of Debian's packages, unpacked into the target folder; nothing is installed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    kernel::Kernel,
    workplace::{Workplace, output, program},
};

/// A kernel, ready to boot.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// Such as `6.1.0-56-cloud-amd64`.
    pub release: String,
    /// What QEMU boots.
    pub image: PathBuf,
    /// Below it is `lib/modules/RELEASE`, with the lists that depmod makes.
    pub root: PathBuf,
}

/// The kernel as it is in the target folder, or, where it is not, or `anew`, as Debian has it today.
///
/// # Errors
///
/// When the package is unknown here, cannot be had, or has no kernel in it.
pub fn prepare(kernel: Kernel, workplace: &Workplace, anew: bool) -> Result<Unpacked> {
    let kernels = workplace.directory.join("kernels");
    let root = kernels.join(kernel.name());
    if !anew && let Ok(unpacked) = find(&root) {
        return Ok(unpacked);
    }
    // Renamed once it is whole, so that an interrupted run leaves nothing that looks ready.
    let partial = kernels.join(format!("{}.partial", kernel.name()));
    clear(&partial)?;
    fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
    let archive = download(kernel.package(), &partial)?;
    output(program("dpkg-deb").arg("--extract").arg(&archive).arg(&partial))?;
    fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
    let unpacked = find(&partial)?;
    output(program("depmod").arg("--basedir").arg(&partial).arg(&unpacked.release))?;
    clear(&root)?;
    fs::rename(&partial, &root).with_context(|| format!("cannot rename {}", partial.display()))?;
    find(&root)
}

fn find(root: &Path) -> Result<Unpacked> {
    let boot = root.join("boot");
    let entries = fs::read_dir(&boot).with_context(|| format!("cannot read {}", boot.display()))?;
    for entry in entries {
        let name = entry.with_context(|| format!("cannot read {}", boot.display()))?.file_name();
        if let Some(release) = name.to_str().and_then(|name| name.strip_prefix("vmlinuz-")) {
            let modules = root.join("lib/modules").join(release);
            ensure!(modules.is_dir(), "there is no folder {}", modules.display());
            return Ok(Unpacked { release: release.to_owned(), image: boot.join(&name), root: root.to_owned() });
        }
    }
    bail!("there is no kernel in {}", boot.display())
}

/// The archive of what `package` depends on today.
fn download(package: &str, directory: &Path) -> Result<PathBuf> {
    let fetch = || -> Result<()> {
        let image = newest_image(package)?;
        eprintln!("+ apt-get download {image}");
        output(program("apt-get").args(["download", "-q", &image]).current_dir(directory)).map(drop)
    };
    if let Err(error) = fetch() {
        // The lists are not there, or older than what the mirror still has.
        eprintln!("{error:#}\n+ apt-get update");
        output(program("apt-get").args(["update", "-q"])).context("cannot renew the lists of packages")?;
        fetch()?;
    }
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let archive = paths.find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    archive.with_context(|| format!("apt-get left no archive in {}", directory.display()))
}

fn newest_image(package: &str) -> Result<String> {
    let depends = output(program("apt-cache").args(["depends", package]))?;
    let image = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let image = image.filter(|image| image.starts_with("linux-image-"));
    Ok(image.with_context(|| format!("the lists of packages do not say which kernel {package} is"))?.to_owned())
}

fn clear(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    Ok(())
}
