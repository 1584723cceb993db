//! Decides where a cluster lies, whom it belongs to and where its socket goes.
//! Leaves what is in the data directory to `initdb` and `cluster`.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown, fchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::OFlag;
use nix::unistd::{Gid, Uid, User};

use crate::{Error, find};

/// Where root puts data that the user it drops to could not reach where it was asked for.
const SHELTERS: [&str; 2] = ["/var/lib", "/tmp"];
const SHELTERED: &str = "stead-dev-";
const PARTIAL: &str = ".partial-";

/// The longest directory for a socket: macOS allows 104 bytes for the whole path, `/.s.PGSQL.5432` takes 14 and the end 1.
const SOCKET_DIR_MAX: usize = 88;

/// Whom PostgreSQL runs as, when that is not whoever runs this.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// One cluster's directories and owner, held against other processes while it lives.
#[derive(Debug)]
pub(crate) struct Place {
    /// The directory that was asked for, absolute.
    pub(crate) asked: PathBuf,
    /// The directory that holds the data: the same, or where a symbolic link points.
    pub(crate) data: PathBuf,
    pub(crate) account: Option<Account>,
    pub(crate) lock_path: PathBuf,
    _lock: File,
}

impl Place {
    /// Takes the lock and settles where the data is or will be; the data directory may not exist yet.
    pub(crate) fn settle(asked: &Path) -> Result<Self, Error> {
        let asked = std::path::absolute(asked).map_err(Error::directory(asked, "resolved"))?;
        let parent = asked.parent().ok_or_else(|| Error::ForeignDirectory { data_dir: asked.clone() })?;
        fs::create_dir_all(parent).map_err(Error::directory(parent, "created"))?;
        let data = fs::read_link(&asked).map_or_else(|_| asked.clone(), |target| parent.join(target));
        let account = owner_of(&data)?;
        let lock_path = sibling(&asked, ".lock");
        let lock = lock(&lock_path, &asked, account.as_ref())?;
        let mut place = Self { data, asked, account, lock_path, _lock: lock };
        place.find_shelter()?;
        Ok(place)
    }

    pub(crate) fn is_moved(&self) -> bool {
        self.data != self.asked
    }

    /// A new directory for `initdb` to work in until it is done; one that was cut off may still be tidying its own away.
    pub(crate) fn make_partial(&self) -> Result<PathBuf, Error> {
        let partial = sibling(&self.data, &format!("{PARTIAL}{:016x}", chance()));
        self.make_private(&partial).map_err(Error::directory(&partial, "created"))?;
        Ok(partial)
    }

    /// Clears what a cut-off `initdb` left, as far as that can be done now.
    pub(crate) fn clear_partials(&self) {
        let prefix = sibling(&self.data, PARTIAL);
        let left = fs::read_dir(parent_of(&self.data)).into_iter().flatten().flatten().map(|entry| entry.path());
        for partial in left.filter(|path| begins_with(path, &prefix)) {
            let _ = fs::remove_dir_all(partial);
        }
    }

    /// Makes a directory of mode 700 for whoever PostgreSQL runs as.
    pub(crate) fn make_private(&self, dir: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(dir)?;
        match &self.account {
            Some(account) => chown(dir, Some(account.uid), Some(account.gid)),
            None => Ok(()),
        }
    }

    /// Opens a file that is to belong to whoever PostgreSQL runs as.
    pub(crate) fn open_given(&self, path: &Path, opening: &mut OpenOptions) -> io::Result<File> {
        open_given(path, opening, self.account.as_ref())
    }

    /// The data directory itself, which is private, or a short stable name under `/tmp` when its path is too long for a
    /// socket or holds a comma, at which libpq would split it into several hosts.
    pub(crate) fn socket_dir(&self) -> PathBuf {
        let path = self.data.as_os_str().as_encoded_bytes();
        if path.len() <= SOCKET_DIR_MAX && !path.contains(&b',') {
            return self.data.clone();
        }
        PathBuf::from(format!("/tmp/stead-{:016x}", fnv(path)))
    }

    /// Makes the socket directory; one under `/tmp` that somebody else made first is refused.
    pub(crate) fn make_socket_dir(&self) -> Result<PathBuf, Error> {
        let dir = self.socket_dir();
        if dir == self.data {
            return Ok(dir);
        }
        match self.make_private(&dir) {
            Err(fault) if fault.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::directory(dir, "created")(fault));
            }
            _ => {}
        }
        let metadata = fs::symlink_metadata(&dir).map_err(Error::directory(&dir, "read"))?;
        if metadata.is_dir() && metadata.uid() == self.uid() && metadata.mode() & 0o077 == 0 {
            Ok(dir)
        } else {
            Err(Error::SocketDirectory { path: dir })
        }
    }

    fn uid(&self) -> u32 {
        self.account.as_ref().map_or_else(|| Uid::effective().as_raw(), |account| account.uid)
    }

    /// Moves a cluster that is still to be made to where the account can reach it, and leaves a symbolic link.
    fn find_shelter(&mut self) -> Result<(), Error> {
        let Some(account) = self.account.clone() else { return Ok(()) };
        if account.reaches(parent_of(&self.data)) {
            return Ok(());
        }
        if self.data.exists() && !is_empty(&self.data) {
            return Err(Error::Unreachable { data_dir: self.data.clone(), user: account.name });
        }
        if self.is_moved() && !is_sheltered(&self.data) {
            return Err(Error::Unreachable { data_dir: self.data.clone(), user: account.name });
        }
        let shelter = SHELTERS.iter().map(Path::new).find(|shelter| account.reaches(shelter) && is_writable(shelter));
        let Some(shelter) = shelter else {
            return Err(Error::Unreachable { data_dir: self.data.clone(), user: account.name });
        };
        let target = shelter.join(format!("{SHELTERED}{:016x}", chance()));
        if self.asked.is_symlink() {
            fs::remove_file(&self.asked).map_err(Error::directory(&self.asked, "replaced"))?;
        } else if self.asked.exists() {
            fs::remove_dir(&self.asked).map_err(Error::directory(&self.asked, "replaced"))?;
        }
        // The link comes first: a start that is cut off here finds the same shelter again instead of leaving it behind.
        symlink(&target, &self.asked).map_err(Error::directory(&self.asked, "created"))?;
        self.data = target;
        Ok(())
    }
}

impl Account {
    /// Whether this user can enter a directory, judged by entering it, so that access lists and mounts count too.
    fn reaches(&self, dir: &Path) -> bool {
        let mut enter = Command::new("/bin/sh");
        enter.args(["-c", "cd \"$1\"", "sh"]).arg(dir).uid(self.uid).gid(self.gid).current_dir("/");
        enter.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        enter.status().is_ok_and(|status| status.success())
    }
}

/// Deletes a directory that may be missing.
pub(crate) fn remove_tree(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => Err(Error::directory(dir, "removed")(fault)),
        _ => Ok(()),
    }
}

/// Deletes a file that may be missing.
pub(crate) fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => Err(Error::directory(path, "removed")(fault)),
        _ => Ok(()),
    }
}

/// Whether a directory is there and holds nothing.
pub(crate) fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

/// Root runs a cluster as its owner, a new one as `postgres` or `nobody`; everybody else runs only their own, as themselves.
fn owner_of(data: &Path) -> Result<Option<Account>, Error> {
    let root = Uid::effective().is_root();
    let found = fs::metadata(data).ok().filter(|_| !root || find::made_by(data).is_some());
    let account = match &found {
        Some(found) if root && found.uid() != 0 => {
            Some(Account { name: name_of(found.uid()), uid: found.uid(), gid: found.gid() })
        }
        _ if root => Some(servant()?),
        _ => None,
    };
    let runs_as = account.as_ref().map_or_else(|| Uid::effective().as_raw(), |account| account.uid);
    match found {
        Some(found) if found.uid() != runs_as => {
            Err(Error::ForeignOwner { data_dir: data.to_owned(), owner: name_of(found.uid()), user: name_of(runs_as) })
        }
        _ => Ok(account),
    }
}

fn servant() -> Result<Account, Error> {
    let user = ["postgres", "nobody"].into_iter().find_map(|name| User::from_name(name).ok().flatten());
    let User { name, uid, gid, .. } = user.filter(|user| !user.uid.is_root()).ok_or(Error::NoUser)?;
    Ok(Account { name, uid: uid.as_raw(), gid: Gid::as_raw(gid) })
}

fn name_of(uid: u32) -> String {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

/// Holds the lock file until dropped; a kill releases it, so it never goes stale.
fn lock(path: &Path, data_dir: &Path, account: Option<&Account>) -> Result<File, Error> {
    let mut opening = OpenOptions::new();
    opening.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = open_given(path, &mut opening, account).map_err(Error::directory(path, "created"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            return Err(Error::AlreadyRunning {
                data_dir: data_dir.to_owned(),
                pid: holder.trim().parse().unwrap_or(0),
            });
        }
        Err(TryLockError::Error(fault)) => return Err(Error::directory(path, "locked")(fault)),
    }
    let noted = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    noted.map_err(Error::directory(path, "written"))?;
    Ok(file)
}

/// Refuses a symbolic link: whoever owns the directory could make root write and give away any file through one.
fn open_given(path: &Path, opening: &mut OpenOptions, account: Option<&Account>) -> io::Result<File> {
    let file = opening.custom_flags(OFlag::O_NOFOLLOW.bits()).open(path)?;
    if let Some(account) = account {
        fchown(&file, Some(account.uid), Some(account.gid))?;
    }
    Ok(file)
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn begins_with(path: &Path, prefix: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().starts_with(prefix.as_os_str().as_encoded_bytes())
}

/// A number for a name that nobody has yet.
fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn parent_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn is_sheltered(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(SHELTERED))
}

fn is_writable(dir: &Path) -> bool {
    nix::unistd::access(dir, nix::unistd::AccessFlags::W_OK).is_ok()
}

/// FNV-1a: a hash whose value never changes between builds, as the name of a directory must not.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
