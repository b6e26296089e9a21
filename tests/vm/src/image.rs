//! The file system that a machine has in its memory: the programs, what they load, the kernel's modules, nothing else.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use cpio::newc::{Builder, trailer};

use crate::{
    modules::{Modules, WANTED},
    packages::Unpacked,
    workplace::{self, Workplace, output, program},
};

/// Folders that the guest mounts something on, or that programs expect.
const FOLDERS: [&str; 6] = ["dev", "proc", "run", "sys", "tmp", "var"];

/// Programs of this machine that the guest starts.
const PROGRAMS: [&str; 3] = ["ip", "nft", "modprobe"];

const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const SECRET: u32 = 0o100_600;
const LINK: u32 = 0o120_777;

/// Everything in it, by path without the first `/`.
#[derive(Debug, Default)]
pub struct Image {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    mode: u32,
    content: Vec<u8>,
}

impl Image {
    /// What every machine with this kernel has.
    ///
    /// # Errors
    ///
    /// When a program, library or module is not there, or cannot be read.
    pub fn new(kernel: &Unpacked, workplace: &Workplace) -> Result<Self> {
        let mut image = Self::default();
        for folder in FOLDERS {
            image.add(folder, DIRECTORY, Vec::new());
        }
        // `ip netns` looks below /var/run in some versions, below /run in others.
        image.add("var/run", LINK, b"../run".to_vec());
        image.add_program("init", &stripped(&workplace.guest, workplace)?)?;
        image.add_program("bin/heartbeat", &stripped(&workplace.heartbeat, workplace)?)?;
        for program in PROGRAMS {
            image.add_program(&format!("sbin/{program}"), &workplace::locate(program)?)?;
        }
        image.add_modules(kernel, workplace)?;
        Ok(image)
    }

    /// A file that only its owner may read.
    pub fn add_secret(&mut self, path: &str, content: Vec<u8>) {
        self.add(path, SECRET, content);
    }

    /// Writes it in the form that the kernel unpacks.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let failed = || format!("cannot write {}", path.display());
        let mut archive = BufWriter::new(File::create(path).with_context(failed)?);
        for (number, (name, entry)) in (1..).zip(&self.entries) {
            let size = u32::try_from(entry.content.len()).with_context(|| format!("{name} is too large"))?;
            let mut writer = Builder::new(name).mode(entry.mode).ino(number).nlink(1).write(archive, size);
            writer.write_all(&entry.content).with_context(failed)?;
            archive = writer.finish().with_context(failed)?;
        }
        trailer(archive).and_then(|mut archive| archive.flush()).with_context(failed)
    }

    /// Adds an entry and the folders that it is in.
    fn add(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        for (end, _) in path.match_indices('/') {
            let folder = || Entry { mode: DIRECTORY, content: Vec::new() };
            self.entries.entry(path[..end].to_owned()).or_insert_with(folder);
        }
        self.entries.insert(path.to_owned(), Entry { mode, content });
    }

    /// Adds a program and the libraries that it loads, these where they are on this machine.
    fn add_program(&mut self, path: &str, file: &Path) -> Result<()> {
        self.add(path, EXECUTABLE, workplace::read(file)?);
        let loaded = output(program("ldd").arg(file))?;
        for library in loaded.lines().filter_map(library) {
            let place = library.trim_start_matches('/');
            if !self.entries.contains_key(place) {
                self.add(place, EXECUTABLE, workplace::read(Path::new(library))?);
            }
        }
        Ok(())
    }

    /// Adds the wanted modules, with lists that name no others.
    fn add_modules(&mut self, kernel: &Unpacked, workplace: &Workplace) -> Result<()> {
        let place = format!("lib/modules/{}", kernel.release);
        let all = kernel.root.join(&place);
        let list = |name: &str| {
            Ok::<_, anyhow::Error>(String::from_utf8_lossy(&workplace::read(&all.join(name))?).into_owned())
        };
        let files = Modules::parse(&list("modules.dep")?, &list("modules.builtin")?).files_of(&WANTED)?;

        let scratch = workplace.of_machine(&format!("modules-{}", kernel.release))?;
        let own = scratch.join(&place);
        for file in &files {
            copy(&all.join(file), &own.join(file))?;
        }
        for name in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
            copy(&all.join(name), &own.join(name))?;
        }
        output(program("depmod").arg("--basedir").arg(&scratch).arg(&kernel.release))?;
        for entry in fs::read_dir(&own).with_context(|| format!("cannot read {}", own.display()))? {
            let path = entry.with_context(|| format!("cannot read {}", own.display()))?.path();
            if let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|_| path.is_file()) {
                self.add(&format!("{place}/{name}"), EXECUTABLE, workplace::read(&path)?);
            }
        }
        for file in &files {
            self.add(&format!("{place}/{file}"), EXECUTABLE, workplace::read(&own.join(file))?);
        }
        fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))
    }
}

/// The file in a line of ldd: `libc.so.6 => /lib/libc.so.6 (0x7f)` or `/lib64/ld-linux-x86-64.so.2 (0x7f)`.
fn library(line: &str) -> Option<&str> {
    line.split_whitespace().find(|word| word.starts_with('/'))
}

/// Without what only debuggers read: a machine unpacks it by emulation, into its memory.
fn stripped(file: &Path, workplace: &Workplace) -> Result<PathBuf> {
    let name = file.file_name().with_context(|| format!("{} is no file", file.display()))?;
    let small = workplace.directory.join(name);
    output(program("objcopy").arg("--strip-debug").arg(file).arg(&small))?;
    Ok(small)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().with_context(|| format!("{} is in no folder", to.display()))?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_what_is_in_them() {
        let mut image = Image::default();
        image.add_secret("etc/heartbeat/key", b"secret".to_vec());
        image.add("etc", DIRECTORY, Vec::new());
        let paths: Vec<&str> = image.entries.keys().map(String::as_str).collect();
        assert_eq!(paths, ["etc", "etc/heartbeat", "etc/heartbeat/key"]);

        let file = tempfile::NamedTempFile::new().unwrap();
        image.write(file.path()).unwrap();
        let mut archive = File::open(file.path()).unwrap();
        let mut read = Vec::new();
        loop {
            let mut entry = cpio::newc::Reader::new(archive).unwrap();
            if entry.entry().is_trailer() {
                break;
            }
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            read.push((entry.entry().name().to_owned(), entry.entry().mode(), content));
            archive = entry.finish().unwrap();
        }
        assert_eq!(read.len(), 3);
        assert_eq!(read[2], ("etc/heartbeat/key".to_owned(), SECRET, b"secret".to_vec()));
    }

    #[test]
    fn libraries_are_read_from_what_ldd_prints() {
        assert_eq!(
            library("\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)"),
            Some("/lib/x86_64-linux-gnu/libc.so.6")
        );
        assert_eq!(library("\t/lib64/ld-linux-x86-64.so.2 (0x00007f)"), Some("/lib64/ld-linux-x86-64.so.2"));
        assert_eq!(library("\tlinux-vdso.so.1 (0x00007f)"), None);
    }
}
