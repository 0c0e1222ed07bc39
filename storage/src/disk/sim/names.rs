//! [`Names`]: the directories of a simulated disk, as calls see them and as a power cut leaves them.
//!
//! Each creation, renaming and removal is pending until the directory is synced, and each can survive a crash without the
//! others. A renaming is one change: there is no state with both names or with neither.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Dir,
    File(u64),
}

type Tree = BTreeMap<PathBuf, BTreeMap<String, Node>>;

/// A name, split.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) name: String,
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
    fn dir(&self) -> Option<&Path> {
        let come = self.come.as_ref().map(|(place, _)| place);
        come.or(self.gone.as_ref()).map(|place| place.dir.as_path())
    }
}

#[derive(Clone)]
pub(super) struct Names {
    cache: Tree,
    media: Tree,
    pub(super) pending: Vec<NameChange>,
    tracked: bool,
}

impl Names {
    pub(super) fn new(tracked: bool) -> Self {
        let root: Tree = [(PathBuf::new(), BTreeMap::new())].into();
        Self { cache: root.clone(), media: root, pending: Vec::new(), tracked }
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        Ok(self.dir(&clean(dir)?)?.keys().cloned().collect())
    }

    pub(super) fn is_dir(&self, path: &Path) -> bool {
        clean(path).is_ok_and(|path| self.cache.contains_key(&path))
    }

    /// What a path stands for, if it is there.
    pub(super) fn node(&self, path: &Path) -> io::Result<Option<Node>> {
        let path = clean(path)?;
        if self.cache.contains_key(&path) {
            return Ok(Some(Node::Dir));
        }
        let place = split(&path)?;
        Ok(self.cache.get(&place.dir).and_then(|dir| dir.get(&place.name)).copied())
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
        let mut above: Vec<&Path> = path.ancestors().collect();
        above.reverse();
        for dir in above {
            if self.cache.contains_key(dir) {
                continue;
            }
            let place = split(dir)?;
            if self.dir(&place.dir)?.contains_key(&place.name) {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            self.change(NameChange { call, gone: None, come: Some((place, Node::Dir)) });
        }
        Ok(())
    }

    pub(super) fn create(&mut self, call: u64, path: &Path, number: u64) -> io::Result<()> {
        let place = split(&clean(path)?)?;
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
        let (gone, come) = (split(&clean(from)?)?, split(&clean(to)?)?);
        self.dir(&come.dir)?;
        self.change(NameChange { call, gone: Some(gone), come: Some((come, Node::File(number))) });
        Ok(replaced)
    }

    /// Returns the file that lost its name.
    pub(super) fn remove(&mut self, call: u64, path: &Path) -> io::Result<u64> {
        let number = self.file(path)?;
        let gone = split(&clean(path)?)?;
        self.change(NameChange { call, gone: Some(gone), come: None });
        Ok(number)
    }

    fn dir(&self, dir: &Path) -> io::Result<&BTreeMap<String, Node>> {
        self.cache.get(dir).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(&mut self, change: NameChange) {
        apply(&mut self.cache, &change);
        if self.tracked {
            self.pending.push(change);
        }
    }

    /// A sync of one directory that works.
    pub(super) fn settle(&mut self, dir: &Path) -> io::Result<()> {
        let dir = clean(dir)?;
        self.dir(&dir)?;
        let (settled, pending) =
            std::mem::take(&mut self.pending).into_iter().partition(|c| c.dir() == Some(&dir));
        self.pending = pending;
        settled.iter().for_each(|change| apply(&mut self.media, change));
        Ok(())
    }

    /// Puts one pending change on the media.
    pub(super) fn apply(&mut self, index: usize) {
        if let Some(change) = self.pending.get(index) {
            apply(&mut self.media, change);
        }
    }

    /// After a power cut: the media is the truth, as far as it can be reached from the root.
    pub(super) fn cut_power(&mut self) {
        self.pending.clear();
        let mut reached = Tree::new();
        let mut ahead = vec![PathBuf::new()];
        while let Some(dir) = ahead.pop() {
            let names = self.media.get(&dir).cloned().unwrap_or_default();
            let dirs = names.iter().filter(|(_, node)| **node == Node::Dir);
            ahead.extend(dirs.map(|(name, _)| dir.join(name)));
            reached.insert(dir, names);
        }
        self.media = reached.clone();
        self.cache = reached;
    }

    /// Makes cache and media the same, as if every directory were synced.
    pub(super) fn settle_all(&mut self) {
        self.pending.clear();
        self.media = self.cache.clone();
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
        let entry = |dir: &Path, (name, node): (&String, &Node)| match node {
            Node::File(number) => Some((dir.join(name), *number)),
            Node::Dir => None,
        };
        self.cache
            .iter()
            .flat_map(|(dir, names)| names.iter().filter_map(|e| entry(dir, e)))
            .collect()
    }
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
            tree.entry(come.dir.join(&come.name)).or_default();
        }
    }
}

/// The path from the root, without `.` and a leading `/`.
pub(super) fn clean(path: &Path) -> io::Result<PathBuf> {
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
    Ok(cleaned)
}

fn split(path: &Path) -> io::Result<Place> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    Ok(Place { dir: dir.to_path_buf(), name: name.to_string_lossy().into_owned() })
}
