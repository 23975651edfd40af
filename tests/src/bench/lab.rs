//! Where the benchmark of one card runs: what guests are started from, and their files.

use super::files::{BIG, File, INDEX};
use super::guest::{Role, Service};
use super::metric::{Guest, Neighbour};
use super::options::Options;
use crate::nic::Nic;
use crate::suite::repository;
use crate::{During, Outcome, ensure};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What QEMU starts.
#[derive(Clone, Debug)]
pub struct Image {
    /// For `-kernel`.
    pub kernel: PathBuf,
    /// For `-initrd`.
    pub module: Option<PathBuf>,
    /// For `-append`.
    pub append: String,
    /// How the line begins that tells that the guest is ready.
    pub ready: &'static str,
}

/// The place.
pub struct Lab<'a> {
    /// The command line.
    pub options: &'a Options,
    /// The card.
    pub nic: &'static Nic,
    /// How many runs may still be repeated because of noise: where it never ends, repeating
    /// all would only take three times as long.
    pub repeats: &'a Cell<u32>,
}

/// Makes what the guests are started from: Wharf's images with the files to serve. The
/// Linux guest has been made by `scripts/linux-peer`.
///
/// # Errors
/// If it cannot be made, or Linux is not there.
pub fn prepare(options: &Options) -> Outcome {
    for (name, files) in [("wharf", &[INDEX][..]), ("wharf-big", &[INDEX, BIG])] {
        let out = options.build.join("bench").join(name);
        let www = out.join("www");
        std::fs::create_dir_all(&www)?;
        for file in files {
            write_if_different(&www.join(file.name), *file)?;
        }
        let output = Command::new(repository().join("scripts/image"))
            .args([&options.bin, &out, &www])
            .output()
            .during("scripts/image")?;
        ensure(output.status.success(), || {
            format!("scripts/image: {}", String::from_utf8_lossy(&output.stderr))
        })?;
    }
    let stamp = linux(options).join("stamp");
    ensure(stamp.exists(), || {
        format!("there is no {}: run make bench", stamp.display())
    })
}

/// So that the file's date, which is in the image, is the same in every run.
fn write_if_different(path: &Path, file: File) -> Outcome {
    let contents = file.contents();
    if std::fs::read(path).is_ok_and(|there| there == contents) {
        return Ok(());
    }
    std::fs::write(path, contents).during(file.name)
}

/// Where `scripts/linux-peer` has put its guest.
pub fn linux(options: &Options) -> PathBuf {
    options.build.join("linux-peer")
}

impl Lab<'_> {
    /// A file of the running guest.
    pub fn file(&self, name: &str) -> PathBuf {
        self.options.build.join("bench").join(name)
    }

    /// What to start.
    ///
    /// # Errors
    /// If this guest has no such role.
    pub fn image(&self, guest: Guest, role: Role) -> Outcome<Image> {
        let linux = linux(self.options);
        let (kernel, module) = match guest {
            Guest::Wharf | Guest::Inside => {
                let big = matches!(role, Role::Serve { big: true, .. });
                let folder = self.file(if big { "wharf-big" } else { "wharf" });
                (folder.join("boot.elf"), Some(folder.join("wharf.tar")))
            }
            Guest::Epoll | Guest::Tuned => (linux.join("vmlinux"), Some(linux.join("epoll.cpio"))),
            Guest::Nginx => (linux.join("vmlinux"), Some(linux.join("nginx.cpio"))),
            Guest::EpollBzImage => (linux.join("bzImage"), Some(linux.join("epoll.cpio"))),
            Guest::NginxBzImage => (linux.join("bzImage"), Some(linux.join("nginx.cpio"))),
            Guest::Bare => (self.options.bin.join("floor"), None),
            Guest::Client => return Err("there is no guest".into()),
        };
        let (append, ready) = match guest {
            Guest::Wharf | Guest::Inside => wharf(role, self.nic.is_virtual()),
            Guest::Bare | Guest::Client => {
                bare(role).ok_or("the bare guest does nothing of the kind")?
            }
            Guest::Epoll | Guest::EpollBzImage => self.linux(role, "http=epoll"),
            Guest::Tuned => self.linux(role, "http=epoll tuned"),
            Guest::Nginx | Guest::NginxBzImage => self.linux(role, "http=nginx"),
        };
        Ok(Image {
            kernel,
            module,
            append,
            ready,
        })
    }

    fn linux(&self, role: Role, how: &str) -> (String, &'static str) {
        let (what, ready) = match role {
            Role::Serve { big: true, .. } => ("big".to_owned(), "serving"),
            Role::Serve { big: false, .. } => (String::new(), "serving"),
            Role::Beside(neighbour) => (format!("neighbour={}", neighbour.name()), "serving"),
            Role::Send(size) => (format!("send={size}"), "sending"),
            Role::Count => ("count".to_owned(), "counting"),
        };
        let card = self.nic.name;
        let common = "console=ttyS0 quiet panic=-1 mitigations=off";
        (format!("{common} card={card} {how} {what}"), ready)
    }

    /// Bytes of what a user would ship: kernel and module, Linux's packed.
    ///
    /// # Errors
    /// If one of the files is not there.
    pub fn size(&self, guest: Guest) -> Outcome<u64> {
        let image = self.image(guest, Role::PLAIN)?;
        let packed = |module: &PathBuf| match guest {
            Guest::Wharf => module.clone(),
            _ => module.with_extension("cpio.xz"),
        };
        let files = [Some(image.kernel), image.module.as_ref().map(packed)];
        let mut sum = 0;
        for file in files.into_iter().flatten() {
            sum += file.metadata().during(&file.to_string_lossy())?.len();
        }
        Ok(sum)
    }
}

fn wharf(role: Role, is_virtual: bool) -> (String, &'static str) {
    match role {
        Role::Serve { inside, .. } => {
            // What is not named runs apart; in a stack with a name all is.
            let runs = match (inside, is_virtual) {
                (None, false) => "",
                (Some(Service::Echo), false) => "inside=echosrv",
                (Some(Service::Web), false) => "inside=httpd",
                (None, true) => "run=echosrv,run=httpd",
                (Some(Service::Echo), true) => "inside=echosrv,run=httpd",
                (Some(Service::Web), true) => "inside=httpd,run=echosrv",
            };
            let words = match is_virtual {
                true => format!("nic.vfs=1 {},{runs}", stack("web", 0, 15)),
                false => runs.to_owned(),
            };
            (words, "Waiting for http connections")
        }
        // What sends takes card 0.
        Role::Beside(Neighbour::Sends) => (
            format!(
                "nic.vfs=2,first {},inside=echosrv run=rawsend,60,3600",
                stack("quiet", 1, 15)
            ),
            "rawsend: sending",
        ),
        Role::Beside(_) => (
            format!(
                "nic.vfs=2 {},inside=echosrv {},inside=echosrv",
                stack("quiet", 0, 15),
                stack("loud", 1, 16)
            ),
            "bound",
        ),
        Role::Send(size) => (format!("run=rawsend,{size},3600"), "rawsend: sending"),
        Role::Count => ("run=rawcount".to_owned(), "rawcount: counting"),
    }
}

/// A stack on a virtual function, at 10.0.2.`host`.
fn stack(name: &str, function: u8, host: u8) -> String {
    format!("stack={name},vf={function},ip=10.0.2.{host}/24")
}

fn bare(role: Role) -> Option<(String, &'static str)> {
    match role {
        Role::Send(size) => Some((size.to_string(), "floor: sending")),
        Role::Serve { .. } => Some(("answer".to_owned(), "floor: answering")),
        Role::Beside(_) | Role::Count => None,
    }
}
