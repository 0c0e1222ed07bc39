//! [`Names`]: the directories of a simulated disk, as calls see them and as a power cut leaves them.
//!
//! Each creation, renaming and removal is pending until the directory is synced, and each can survive a crash without the
//! others. A renaming is one change: there is no state with both names or with neither.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Dir,
    File(u64),
}

/// Directories by their path from the root, which is the empty one.
type Tree = BTreeMap<String, BTreeMap<String, Node>>;

/// A name, split.
#[derive(Debug, Clone)]
struct Place {
    dir: String,
    name: String,
}

/// One change of names that is not yet on the media.
#[derive(Debug, Clone)]
pub(super) struct NameChange {
    /// The call that made it; orders the changes of all files and names.
    pub(super) call: u64,
    /// The name that goes, if any.
    gone: Option<Place>,
    /// The name that comes, if any.
    come: Option<(Place, Node)>,
}

impl NameChange {
    /// The directory whose sync makes the change durable.
    fn dir(&self) -> Option<&str> {
        let come = self.come.as_ref().map(|(place, _)| place);
        come.or(self.gone.as_ref()).map(|place| place.dir.as_str())
    }
}

/// A clone shares both trees until one side changes them.
#[derive(Clone)]
pub(super) struct Names {
    cache: Arc<Tree>,
    media: Arc<Tree>,
    pub(super) pending: Vec<NameChange>,
    tracked: bool,
}

impl Names {
    pub(super) fn new(tracked: bool) -> Self {
        let root: Arc<Tree> = Arc::new([(String::new(), BTreeMap::new())].into());
        Self { cache: Arc::clone(&root), media: root, pending: Vec::new(), tracked }
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        Ok(self.dir(&clean(dir)?)?.keys().cloned().collect())
    }

    pub(super) fn is_dir(&self, path: &Path) -> bool {
        clean(path).is_ok_and(|path| self.cache.contains_key(&*path))
    }

    /// What a path stands for, if it is there.
    pub(super) fn node(&self, path: &Path) -> io::Result<Option<Node>> {
        let path = clean(path)?;
        if self.cache.contains_key(&*path) {
            return Ok(Some(Node::Dir));
        }
        let (dir, name) = split(&path)?;
        Ok(self.cache.get(dir).and_then(|dir| dir.get(name)).copied())
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<u64> {
        match self.node(path)? {
            Some(Node::File(number)) => Ok(number),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn make_dir(&mut self, call: u64, path: &Path) -> io::Result<()> {
        let path = clean(path)?;
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        for dir in ends.map(|end| &path[..end]) {
            if self.cache.contains_key(dir) {
                continue;
            }
            let place = place(dir)?;
            if self.dir(&place.dir)?.contains_key(&place.name) {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            self.change(NameChange { call, gone: None, come: Some((place, Node::Dir)) });
        }
        Ok(())
    }

    pub(super) fn create(&mut self, call: u64, path: &Path, number: u64) -> io::Result<()> {
        let place = place(&clean(path)?)?;
        self.dir(&place.dir)?;
        self.change(NameChange { call, gone: None, come: Some((place, Node::File(number))) });
        Ok(())
    }

    /// Returns the file whose name was taken over, if any.
    pub(super) fn rename(&mut self, call: u64, from: &Path, to: &Path) -> io::Result<Option<u64>> {
        let number = self.file(from)?;
        let replaced = match self.node(to)? {
            Some(Node::Dir) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(Node::File(replaced)) if replaced == number => return Ok(None),
            Some(Node::File(replaced)) => Some(replaced),
            None => None,
        };
        let (gone, come) = (place(&clean(from)?)?, place(&clean(to)?)?);
        self.dir(&come.dir)?;
        self.change(NameChange { call, gone: Some(gone), come: Some((come, Node::File(number))) });
        Ok(replaced)
    }

    /// Returns the file that lost its name.
    pub(super) fn remove(&mut self, call: u64, path: &Path) -> io::Result<u64> {
        let number = self.file(path)?;
        let gone = place(&clean(path)?)?;
        self.change(NameChange { call, gone: Some(gone), come: None });
        Ok(number)
    }

    fn dir(&self, dir: &str) -> io::Result<&BTreeMap<String, Node>> {
        self.cache.get(dir).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(&mut self, change: NameChange) {
        apply(Arc::make_mut(&mut self.cache), &change);
        if self.tracked {
            self.pending.push(change);
        }
    }

    /// A sync of one directory that works.
    pub(super) fn settle(&mut self, dir: &Path) -> io::Result<()> {
        let dir = clean(dir)?;
        self.dir(&dir)?;
        if self.pending.is_empty() {
            return Ok(());
        }
        let (settled, pending) =
            std::mem::take(&mut self.pending).into_iter().partition(|c| c.dir() == Some(&dir));
        self.pending = pending;
        settled.iter().for_each(|change| apply(Arc::make_mut(&mut self.media), change));
        Ok(())
    }

    /// Puts one pending change on the media.
    pub(super) fn apply(&mut self, index: usize) {
        if let Some(change) = self.pending.get(index) {
            apply(Arc::make_mut(&mut self.media), change);
        }
    }

    /// After a power cut: the media is the truth, as far as it can be reached from the root.
    pub(super) fn cut_power(&mut self) {
        self.pending.clear();
        if self.media.keys().any(|dir| !leads_to(&self.media, dir)) {
            let reached = self.media.keys().filter(|dir| leads_to(&self.media, dir)).cloned();
            let reached: BTreeSet<String> = reached.collect();
            Arc::make_mut(&mut self.media).retain(|dir, _| reached.contains(dir));
        }
        self.cache = Arc::clone(&self.media);
    }

    /// Makes cache and media the same, as if every directory were synced.
    pub(super) fn settle_all(&mut self) {
        self.pending.clear();
        self.media = Arc::clone(&self.cache);
    }

    /// Files that a name still leads to, now or after a crash.
    pub(super) fn reachable(&self) -> BTreeSet<u64> {
        let trees = self.cache.values().chain(self.media.values()).flat_map(BTreeMap::values);
        let pending = self.pending.iter().filter_map(|change| change.come.as_ref());
        trees
            .chain(pending.map(|(_, node)| node))
            .filter_map(|node| match node {
                Node::File(number) => Some(*number),
                Node::Dir => None,
            })
            .collect()
    }

    /// All files as calls see them.
    pub(super) fn files(&self) -> Vec<(PathBuf, u64)> {
        let entry = |dir: &str, (name, node): (&String, &Node)| match node {
            Node::File(number) => Some((Path::new(dir).join(name), *number)),
            Node::Dir => None,
        };
        self.cache
            .iter()
            .flat_map(|(dir, names)| names.iter().filter_map(|e| entry(dir, e)))
            .collect()
    }
}

/// Whether every directory above is there, and names the one below.
fn leads_to(tree: &Tree, dir: &str) -> bool {
    let Ok((above, name)) = split(dir) else { return true };
    let is_named = tree.get(above).is_some_and(|names| names.get(name) == Some(&Node::Dir));
    is_named && leads_to(tree, above)
}

fn apply(tree: &mut Tree, change: &NameChange) {
    if let Some(gone) = &change.gone
        && let Some(dir) = tree.get_mut(&gone.dir)
    {
        dir.remove(&gone.name);
    }
    if let Some((come, node)) = &change.come {
        tree.entry(come.dir.clone()).or_default().insert(come.name.clone(), *node);
        if *node == Node::Dir {
            tree.entry(join(&come.dir, &come.name)).or_default();
        }
    }
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// The path from the root, without `.` and a leading `/`.
pub(super) fn clean(path: &Path) -> io::Result<Cow<'_, str>> {
    if let Some(plain) = path.to_str()
        && plain.split('/').all(|name| !matches!(name, "" | "." | ".."))
    {
        return Ok(Cow::Borrowed(plain));
    }
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
    }
    Ok(Cow::Owned(cleaned.to_string_lossy().into_owned()))
}

/// The directory and the name in it; the root has neither.
fn split(path: &str) -> io::Result<(&str, &str)> {
    match path.rsplit_once('/') {
        Some(place) => Ok(place),
        None if path.is_empty() => Err(io::ErrorKind::InvalidInput.into()),
        None => Ok(("", path)),
    }
}

fn place(path: &str) -> io::Result<Place> {
    let (dir, name) = split(path)?;
    Ok(Place { dir: dir.to_owned(), name: name.to_owned() })
}
