//! Brokers as processes of ours: started in a scratch directory, in a process group of their own,
//! and ended by their ids only.

use crate::proc::Tree;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process to start.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
}

impl Process {
    pub(crate) fn new(program: impl Into<PathBuf>, args: &[&str]) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Self { program: program.into(), args, env: Vec::new() }
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// As a person would type it.
    pub(crate) fn shown(&self) -> String {
        let env = self.env.iter().map(|(name, value)| format!("{name}='{value}'"));
        let program = self.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        env.chain([program]).chain(self.args.iter().cloned()).collect::<Vec<_>>().join(" ")
    }
}

/// What makes up a broker: the last process is the broker itself, those before serve it.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) processes: Vec<Process>,
}

impl Launch {
    pub(crate) fn one(process: Process) -> Self {
        Self { processes: vec![process] }
    }
}

/// A running broker. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Server {
    children: Vec<Child>,
    log: PathBuf,
}

/// A broker that has not ended by then is killed.
const PATIENCE: Duration = Duration::from_secs(30);

impl Server {
    pub(crate) fn start(launch: &Launch, dir: &Path) -> Result<Self> {
        let mut server = Self { children: Vec::new(), log: dir.join("output.log") };
        for process in &launch.processes {
            let log = File::options().create(true).append(true).open(&server.log)?;
            // The kernel ends the broker if this program dies without a word.
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--"]).arg(&process.program).args(&process.args);
            command.envs(process.env.iter().map(|(name, value)| (name, value)));
            command.current_dir(dir).process_group(0);
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            let child = command.spawn().with_context(|| process.shown())?;
            server.children.push(child);
        }
        Ok(server)
    }

    /// The broker's processes at this moment.
    pub(crate) fn tree(&self) -> Tree {
        Tree::of(&self.children.iter().map(Child::id).collect::<Vec<_>>())
    }

    /// An error with the end of its output if the broker has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        for child in &mut self.children {
            if let Some(status) = child.try_wait()? {
                let output = std::fs::read_to_string(&self.log).unwrap_or_default();
                let lines: Vec<&str> = output.lines().rev().take(15).collect();
                let last: Vec<&str> = lines.into_iter().rev().collect();
                bail!("the broker ended by itself ({status}):\n{}", last.join("\n"));
            }
        }
        Ok(())
    }

    /// Asks it to end in order, and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        let Some(mut child) = self.children.pop() else { return Ok(()) };
        if let Some(pid) = pid(child.id()) {
            kill_process(pid, Signal::TERM)?;
        }
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                eprintln!("  it did not end when asked: killed");
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.children.push(child);
        self.end();
        Ok(())
    }

    /// Ends it as a power cut would end the process.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        for mut child in self.children.drain(..).rev() {
            // The group is gone already where the broker ended in order.
            if let Some(group) = pid(child.id()) {
                let _gone = kill_process_group(group, Signal::KILL);
            }
            drop(child.wait());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn pid(id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(id).ok()?)
}
