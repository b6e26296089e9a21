//! One virtual machine: a QEMU process that emulates, so that it needs neither KVM nor any right.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ExitStatus, Stdio},
    sync::mpsc::SyncSender,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    console::Console,
    packages::Unpacked,
    qmp::Qmp,
    report::{Report, SWITCH_OFF},
    workplace::program,
};

/// The program that emulates.
const EMULATOR: &str = "qemu-system-x86_64";

/// Between two looks whether the process has ended.
const PAUSE: Duration = Duration::from_millis(20);

/// What to start.
#[derive(Clone, Debug)]
pub struct MachineSpec<'a> {
    /// The kernel.
    pub kernel: &'a Unpacked,
    /// The file system in memory, as [`crate::image::Image::write`] wrote it.
    pub image: &'a Path,
    /// Variables that process 1 finds in its environment; the kernel passes them on.
    pub variables: Vec<(&'static str, String)>,
    /// Arguments of QEMU for interfaces.
    pub interfaces: Vec<String>,
    /// Processors.
    pub cpus: u8,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// The machine's own folder: its console and its control socket.
    pub directory: PathBuf,
}

/// Something came from a machine.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The number that [`Machine::start`] was given.
    pub machine: u16,
    /// When the host had it.
    pub at: Instant,
    /// What it was; `None`: nothing more will come, the process has closed its output.
    pub report: Option<Report>,
}

/// A running machine; ended on drop, and by the kernel when the thread that started it ends.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    input: Option<ChildStdin>,
    reader: Option<JoinHandle<()>>,
    console: Console,
    socket: PathBuf,
}

impl Machine {
    /// Starts it. What it reports goes to `arrivals`, under `number`.
    ///
    /// # Errors
    ///
    /// When QEMU cannot be started.
    pub fn start(spec: &MachineSpec<'_>, number: u16, arrivals: SyncSender<Arrival>) -> Result<Self> {
        let console = Console::of(&spec.directory);
        let socket = spec.directory.join("qmp");
        // `setpriv` becomes QEMU, under the same process id: a crash of this process ends it too.
        let mut command = program("setpriv");
        command.args(["--pdeathsig", "KILL", EMULATOR]);
        command.args([
            "-machine",
            "q35",
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
        ]);
        command.args(["-smp", &spec.cpus.to_string(), "-m", &format!("{}M", spec.memory_mib)]);
        command.arg("-kernel").arg(&spec.kernel.image).arg("-initrd").arg(spec.image);
        command.args(["-append", &kernel_arguments(&spec.variables)]);
        command.args(["-chardev".to_owned(), format!("file,id=console,path={}", console.path().display())]);
        command.args(["-serial", "chardev:console", "-serial", "stdio"]);
        command.args(["-qmp", &format!("unix:{},server=on,wait=off", socket.display())]);
        command.args(&spec.interfaces);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().with_context(|| format!("cannot start `{EMULATOR}`"))?;
        let input = child.stdin.take();
        let output = child.stdout.take();
        // Made before anything that can fail, so that the process is ended then.
        let mut machine = Self { child, input, reader: None, console, socket };
        let output = output.context("QEMU has no output")?;
        machine.reader = Some(std::thread::spawn(move || {
            // A closed channel means that nobody wants to know any more.
            let tell = |report| arrivals.send(Arrival { machine: number, at: Instant::now(), report }).is_ok();
            let lines = BufReader::new(output).split(b'\n').map_while(Result::ok);
            let mut reports = lines.filter_map(|line| Report::parse(&String::from_utf8_lossy(&line)));
            if reports.all(|report| tell(Some(report))) {
                tell(None);
            }
        }));
        Ok(machine)
    }

    /// Its control socket.
    ///
    /// # Errors
    ///
    /// As [`Qmp::connect`].
    pub fn control(&self) -> Result<Qmp> {
        Qmp::connect(&self.socket)
    }

    /// What the kernel printed.
    #[must_use]
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Tells the guest that all was read, so that it may switch the machine off, and waits for that.
    ///
    /// # Errors
    ///
    /// When the process does not end within `limit`, or not with 0.
    pub fn switch_off(&mut self, limit: Duration) -> Result<()> {
        let input = self.input.as_mut().context("QEMU has no input")?;
        input.write_all(format!("{SWITCH_OFF}\n").as_bytes()).context("cannot write to the machine")?;
        input.flush().context("cannot write to the machine")?;
        let status = self.wait(limit)?;
        if !status.success() {
            bail!("QEMU ended with {status}");
        }
        Ok(())
    }

    /// Ends the process at once, as a power cut would: the guest can do nothing any more.
    ///
    /// # Errors
    ///
    /// When it cannot be ended.
    pub fn cut_power(&mut self) -> Result<()> {
        self.child.kill().context("cannot end QEMU")?;
        self.child.wait().context("cannot wait for QEMU")?;
        Ok(())
    }

    fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().context("cannot ask after QEMU")? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("the machine has not switched itself off within {limit:?}");
            }
            // A process that ends gives no sign that could be waited for with a limit.
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The reader ends with the output, or with the channel: it is not waited for, as the channel may be full.
        drop(self.reader.take());
    }
}

/// Messages on the first serial port; a panic ends the process, as QEMU is told not to reboot.
fn kernel_arguments(variables: &[(&'static str, String)]) -> String {
    let mut arguments = "console=ttyS0 quiet loglevel=5 panic=-1 PATH=/sbin:/bin".to_owned();
    for (name, value) in variables {
        arguments.push_str(&format!(" {name}={value}"));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_words_of_the_kernels_command_line() {
        let arguments =
            kernel_arguments(&[("HEARTBEAT_ROLE", "member".to_owned()), ("HEARTBEAT_NODE", "2".to_owned())]);
        assert!(arguments.ends_with("PATH=/sbin:/bin HEARTBEAT_ROLE=member HEARTBEAT_NODE=2"), "{arguments}");
    }
}
