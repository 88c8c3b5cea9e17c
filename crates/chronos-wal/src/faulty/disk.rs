//! The state of the file system and its faults.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use super::inode::{Fate, Inode, Luck};
use super::{Fault, Lost, Operation};

#[derive(Clone)]
pub(super) struct Disk {
    /// Counts restarts; files opened before one fail after it.
    generation: u64,
    dirs: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    /// Changes of names since the last sync of their folder, in order.
    changes: Vec<NameChange>,
    inodes: BTreeMap<u64, Inode>,
    next_id: u64,
    nonces: Random,
    calls: HashMap<Operation, u64>,
    once: Vec<(Operation, u64, Fault)>,
    always: HashMap<Operation, Fault>,
    power: Power,
    pub(super) capacity_bytes: Option<u64>,
}

#[derive(Clone)]
enum NameChange {
    Link { path: PathBuf, id: u64 },
    Unlink { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf, id: u64 },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Power {
    On,
    /// Goes during this many-th changing call from now.
    Until(u64),
    Off,
}

/// What remains of a call after the faults.
enum Verdict {
    Go,
    /// Only this many bytes.
    Short(usize),
    /// This many bytes, then the error.
    Torn(usize),
    Fail(io::Error),
    /// The power goes while the call is under way.
    Interrupted,
}

/// Splitmix64.
#[derive(Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number less than `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

impl Disk {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            generation: 0,
            dirs: BTreeSet::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            inodes: BTreeMap::new(),
            next_id: 0,
            nonces: Random(seed),
            calls: HashMap::new(),
            once: Vec::new(),
            always: HashMap::new(),
            power: Power::On,
            capacity_bytes: None,
        }
    }

    pub(super) fn fail(&mut self, operation: Operation, nth: u64, fault: Fault) {
        let call = self.calls(operation) + nth;
        self.once.push((operation, call, fault));
    }

    pub(super) fn fail_always(&mut self, operation: Operation, fault: Fault) {
        self.always.insert(operation, fault);
    }

    pub(super) fn heal(&mut self) {
        self.once.clear();
        self.always.clear();
    }

    pub(super) fn cut_power_at(&mut self, nth: u64) {
        self.power = Power::Until(nth);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.power == Power::Off
    }

    pub(super) fn calls(&self, operation: Operation) -> u64 {
        self.calls.get(&operation).copied().unwrap_or(0)
    }

    pub(super) fn disconnect(&mut self) {
        self.generation += 1;
    }

    pub(super) fn power_loss(&mut self, seed: u64) -> Lost {
        let random = &mut Random(seed);
        let mut lost = Lost::default();
        self.generation += 1;
        self.power = Power::On;
        self.heal();
        for inode in self.inodes.values_mut() {
            inode.lose_power(random, &mut lost);
        }
        let luck = Luck::draw(random);
        self.names = std::mem::take(&mut self.durable_names);
        for change in std::mem::take(&mut self.changes) {
            // A name is one or the other, never torn.
            if matches!(luck.of_one(random), Fate::Lost) {
                lost.names += 1;
                continue;
            }
            match change {
                NameChange::Link { path, id } => {
                    self.names.insert(path, id);
                }
                NameChange::Unlink { path } => {
                    self.names.remove(&path);
                }
                NameChange::Rename { from, to, id } => {
                    self.names.remove(&from);
                    self.names.insert(to, id);
                }
            }
        }
        self.durable_names = self.names.clone();
        lost
    }

    pub(super) fn paths(&self, dir: &Path) -> Vec<PathBuf> {
        let inside = |path: &&PathBuf| path.parent() == Some(dir);
        self.names.keys().filter(inside).cloned().collect()
    }

    pub(super) fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let inode = self.inodes.get(self.names.get(path)?)?;
        Some(inode.content().to_vec())
    }

    pub(super) fn set_content(&mut self, path: &Path, content: Vec<u8>) {
        let id = match self.names.get(path) {
            Some(id) => *id,
            None => self.new_id(),
        };
        self.inodes.insert(id, Inode::durable(content));
        self.names.insert(path.to_owned(), id);
        self.durable_names.insert(path.to_owned(), id);
    }

    pub(super) fn nonce(&mut self) -> u64 {
        self.nonces.next()
    }

    pub(super) fn available_bytes(&self) -> u64 {
        self.capacity_bytes
            .map_or(1 << 40, |capacity| capacity.saturating_sub(self.used()))
    }

    pub(super) fn create_dir_all(&mut self, dir: &Path) -> io::Result<()> {
        self.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<(u64, u64)> {
        self.enter_whole(Operation::Create)?;
        if !path.parent().is_some_and(|dir| self.dirs.contains(dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let id = match self.names.get(path) {
            Some(id) => {
                let id = *id;
                if let Some(inode) = self.inodes.get_mut(&id) {
                    inode.truncate(0);
                }
                id
            }
            None => {
                let id = self.new_id();
                self.inodes.insert(id, Inode::default());
                self.names.insert(path.to_owned(), id);
                self.changes.push(NameChange::Link {
                    path: path.to_owned(),
                    id,
                });
                id
            }
        };
        Ok((id, self.generation))
    }

    pub(super) fn open(&mut self, path: &Path) -> io::Result<(u64, u64)> {
        self.enter_whole(Operation::Open)?;
        match self.names.get(path) {
            Some(id) => Ok((*id, self.generation)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.enter_whole(Operation::Rename)?;
        let id = self.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.names.insert(to.to_owned(), id);
        self.changes.push(NameChange::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
            id,
        });
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.enter_whole(Operation::Remove)?;
        self.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        self.changes.push(NameChange::Unlink {
            path: path.to_owned(),
        });
        Ok(())
    }

    pub(super) fn list(&mut self, dir: &Path) -> io::Result<Vec<String>> {
        self.enter_whole(Operation::List)?;
        if !self.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let name = |path: PathBuf| Some(path.file_name()?.to_str()?.to_owned());
        Ok(self.paths(dir).into_iter().filter_map(name).collect())
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.enter_whole(Operation::SyncDir)?;
        self.durable_names
            .retain(|path, _| path.parent() != Some(dir));
        for path in self.paths(dir) {
            if let Some(id) = self.names.get(&path) {
                self.durable_names.insert(path, *id);
            }
        }
        self.changes.retain(|change| {
            let (NameChange::Link { path, .. }
            | NameChange::Unlink { path }
            | NameChange::Rename { to: path, .. }) = change;
            path.parent() != Some(dir)
        });
        Ok(())
    }

    pub(super) fn len_bytes(&mut self, file: (u64, u64)) -> io::Result<u64> {
        Ok(self.inode(file)?.content().len() as u64)
    }

    pub(super) fn pread(
        &mut self,
        file: (u64, u64),
        buffer: &mut [u8],
        position: u64,
    ) -> io::Result<usize> {
        let most = match self.enter(Operation::Read) {
            Verdict::Go => buffer.len(),
            Verdict::Short(most) => most.min(buffer.len()),
            Verdict::Torn(_) | Verdict::Interrupted => return Err(eio()),
            Verdict::Fail(error) => return Err(error),
        };
        let content = self.inode(file)?.content();
        let from = usize::try_from(position)
            .unwrap_or(usize::MAX)
            .min(content.len());
        let len = most.min(content.len() - from);
        buffer[..len].copy_from_slice(&content[from..from + len]);
        Ok(len)
    }

    pub(super) fn pwritev(
        &mut self,
        file: (u64, u64),
        buffers: &[IoSlice<'_>],
        position: u64,
    ) -> io::Result<usize> {
        let mut bytes = Vec::new();
        for buffer in buffers {
            bytes.extend_from_slice(buffer);
        }
        let (len, error) = match self.enter(Operation::Write) {
            Verdict::Go => (bytes.len(), None),
            // Writing nothing at all is not a short write but an error.
            Verdict::Short(most) => (most.max(1).min(bytes.len()), None),
            Verdict::Torn(most) => (most.min(bytes.len()), Some(eio())),
            // All of it may be on its way.
            Verdict::Interrupted => (bytes.len(), Some(eio())),
            Verdict::Fail(error) => return Err(error),
        };
        let room = usize::try_from(self.available_bytes()).unwrap_or(usize::MAX);
        let inode = self.inode(file)?;
        let position = usize::try_from(position).map_err(|_| eio())?;
        let inside = inode.content().len().saturating_sub(position);
        let len = len.min(inside + room);
        if len == 0 && !bytes.is_empty() && error.is_none() {
            return Err(enospc());
        }
        inode.write(&bytes[..len], position);
        error.map_or(Ok(len), Err)
    }

    pub(super) fn fdatasync(&mut self, file: (u64, u64)) -> io::Result<()> {
        match self.enter(Operation::Sync) {
            Verdict::Go => {
                self.inode(file)?.sync();
                Ok(())
            }
            // The medium has whatever it has.
            Verdict::Interrupted => Err(eio()),
            Verdict::Fail(error) => {
                self.inode(file)?.fail_sync();
                Err(error)
            }
            Verdict::Short(_) | Verdict::Torn(_) => {
                self.inode(file)?.fail_sync();
                Err(eio())
            }
        }
    }

    pub(super) fn truncate(&mut self, file: (u64, u64), length: u64) -> io::Result<()> {
        self.enter_whole(Operation::Truncate)?;
        let length = usize::try_from(length).map_err(|_| eio())?;
        self.inode(file)?.truncate(length);
        Ok(())
    }

    pub(super) fn allocate(&mut self, file: (u64, u64)) -> io::Result<()> {
        self.enter_whole(Operation::Allocate)?;
        self.inode(file).map(|_| ())
    }

    pub(super) fn used(&self) -> u64 {
        let files = self.names.values().filter_map(|id| self.inodes.get(id));
        files.map(|inode| inode.content().len() as u64).sum()
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn inode(&mut self, (id, generation): (u64, u64)) -> io::Result<&mut Inode> {
        if generation != self.generation {
            return Err(eio());
        }
        self.inodes.get_mut(&id).ok_or_else(eio)
    }

    /// For calls that are done whole or not at all.
    fn enter_whole(&mut self, operation: Operation) -> io::Result<()> {
        match self.enter(operation) {
            Verdict::Go => Ok(()),
            Verdict::Fail(error) => Err(error),
            Verdict::Short(_) | Verdict::Torn(_) | Verdict::Interrupted => Err(eio()),
        }
    }

    fn enter(&mut self, operation: Operation) -> Verdict {
        let call = self.calls.entry(operation).or_default();
        *call += 1;
        let call = *call;
        let changes = !matches!(
            operation,
            Operation::Open | Operation::List | Operation::Read
        );
        match self.power {
            Power::Off => return Verdict::Fail(eio()),
            Power::Until(0 | 1) if changes => {
                self.power = Power::Off;
                return Verdict::Interrupted;
            }
            Power::Until(left) if changes => self.power = Power::Until(left - 1),
            Power::Until(_) | Power::On => {}
        }
        let due = |(op, nth, _): &(Operation, u64, Fault)| *op == operation && *nth == call;
        let fault = match self.once.iter().position(due) {
            Some(at) => Some(self.once.swap_remove(at).2),
            None => self.always.get(&operation).copied(),
        };
        match fault {
            None => Verdict::Go,
            Some(Fault::Eio) => Verdict::Fail(eio()),
            Some(Fault::Enospc) => Verdict::Fail(enospc()),
            Some(Fault::Unsupported) => Verdict::Fail(io::ErrorKind::Unsupported.into()),
            Some(Fault::Short(most)) => Verdict::Short(most),
            Some(Fault::Torn(most)) => Verdict::Torn(most),
        }
    }
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn enospc() -> io::Error {
    io::Error::from_raw_os_error(28)
}
