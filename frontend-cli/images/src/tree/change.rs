//! What an archive does to a tree. Whatever a file that goes away held is handed back, so that its blocks can be used.

use std::mem;

use super::{
    Attributes, Content, Error, Kind, MOST_DEPTH, MOST_HELD, MOST_NAME, MOST_TARGET, MOST_XATTRS, Node,
    NodeId, Tree, error::shown, walk::check,
};

impl Tree {
    /// Begins a layer: [`Tree::clear`] and [`Tree::hide`] leave what comes from here on.
    pub fn begin_layer(&mut self) {
        self.layer = self.layer.saturating_add(1);
    }

    /// Puts a file at `path`, in place of what was there; a directory on a directory only changes attributes. Missing
    /// directories are made.
    pub fn insert(
        &mut self,
        path: &[&[u8]],
        attributes: Attributes,
        kind: Kind,
    ) -> Result<Vec<Content>, Error> {
        check(path)?;
        check_file(path, &attributes, &kind)?;
        let Some((name, parents)) = path.split_last() else {
            return if kind == Kind::Directory {
                self.change(Self::ROOT, attributes)
            } else {
                Err(Error::Root)
            };
        };
        let parent = self.directory(parents)?;
        let old = self.child(parent, name);
        if let Some(old) = old.filter(|old| kind == Kind::Directory && self.is_directory(*old)) {
            return self.change(old, attributes);
        }
        let freed = self.detach(parent, name);
        self.add(parent, name, attributes, kind)?;
        Ok(freed)
    }

    /// Gives the file at `target` one more name. The last part of neither path is followed.
    pub fn link(&mut self, path: &[&[u8]], target: &[&[u8]]) -> Result<Vec<Content>, Error> {
        check(path)?;
        check(target)?;
        let (name, parents) = path.split_last().ok_or(Error::Root)?;
        let node = self.find(target)?.ok_or_else(|| Error::NoTarget(shown(target)))?;
        if self.is_directory(node) {
            return Err(Error::LinkToDirectory(shown(target)));
        }
        // Held by a name of ours while what is at `path`, which may be above it, goes away.
        self.nodes[node.index()].names += 1;
        let result = self.link_node(parents, name, node);
        if !matches!(result, Ok(Some(_))) {
            self.nodes[node.index()].names -= 1;
        }
        result.map(Option::unwrap_or_default)
    }

    /// Takes the file at `path` away, with all that is in it; nothing happens if there is none.
    pub fn remove(&mut self, path: &[&[u8]]) -> Result<Vec<Content>, Error> {
        check(path)?;
        let (name, parents) = path.split_last().ok_or(Error::Root)?;
        Ok(match self.existing_directory(parents)? {
            Some(parent) => self.detach(parent, name),
            None => Vec::new(),
        })
    }

    /// Takes away what lower layers have at `path`: all of it, but for what the layer itself brought there.
    pub fn hide(&mut self, path: &[&[u8]]) -> Result<Vec<Content>, Error> {
        check(path)?;
        let (name, parents) = path.split_last().ok_or(Error::Root)?;
        let Some(parent) = self.existing_directory(parents)? else { return Ok(Vec::new()) };
        Ok(match self.child(parent, name) {
            Some(child) if self.is_own(child) => self.clear_lower(child),
            Some(_) => self.detach(parent, name),
            None => Vec::new(),
        })
    }

    /// Takes away what is in the directory at `path` and below it, but for what the layer itself brought.
    pub fn clear(&mut self, path: &[&[u8]]) -> Result<Vec<Content>, Error> {
        let directory = self.existing_directory(path)?;
        Ok(directory.map_or_else(Vec::new, |directory| self.clear_lower(directory)))
    }

    fn clear_lower(&mut self, directory: NodeId) -> Vec<Content> {
        let (mut freed, mut ahead) = (Vec::new(), vec![directory]);
        while let Some(directory) = ahead.pop() {
            let children = self.nodes[directory.index()].children.iter();
            let (own, old): (Vec<_>, Vec<_>) =
                children.map(|(name, child)| (name.clone(), *child)).partition(|(_, child)| self.is_own(*child));
            ahead.extend(own.into_iter().map(|(_, child)| child));
            old.iter().for_each(|(name, _)| freed.extend(self.detach(directory, name)));
        }
        freed
    }

    /// Whether the present layer told of a file, or of something in it.
    fn is_own(&self, node: NodeId) -> bool {
        self.layer > 0 && self.nodes[node.index()].layer == self.layer
    }

    fn link_node(
        &mut self,
        parents: &[&[u8]],
        name: &[u8],
        node: NodeId,
    ) -> Result<Option<Vec<Content>>, Error> {
        let parent = self.directory(parents)?;
        if self.child(parent, name) == Some(node) {
            return Ok(None);
        }
        self.make_room(name.len())?;
        let freed = self.detach(parent, name);
        self.nodes[parent.index()].children.insert(name.into(), node);
        self.nodes[node.index()].layer = self.layer;
        self.hold_name(name);
        Ok(Some(freed))
    }

    /// The file at `path`, whose last part is not followed.
    fn find(&self, path: &[&[u8]]) -> Result<Option<NodeId>, Error> {
        let Some((name, parents)) = path.split_last() else { return Ok(Some(Self::ROOT)) };
        Ok(self.existing_directory(parents)?.and_then(|parent| self.child(parent, name)))
    }

    fn existing_directory(&self, path: &[&[u8]]) -> Result<Option<NodeId>, Error> {
        match self.walk(path) {
            Ok(place) => {
                Ok(Some(place.node).filter(|node| place.missing.is_empty() && self.is_directory(*node)))
            }
            Err(Error::NotADirectory(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The directory at `path`, made if it is not there.
    fn directory(&mut self, path: &[&[u8]]) -> Result<NodeId, Error> {
        let place = self.walk(path)?;
        if !self.is_directory(place.node) {
            return Err(Error::NotADirectory(shown(path)));
        }
        // One more is to come in it.
        if place.directories.len() + place.missing.len() > MOST_DEPTH {
            return Err(Error::Depth(shown(path)));
        }
        for directory in &place.directories {
            self.nodes[directory.index()].layer = self.layer;
        }
        let mut node = place.node;
        for name in &place.missing {
            node = self.add(node, name, Attributes::of_missing_parent(), Kind::Directory)?;
        }
        Ok(node)
    }

    fn change(&mut self, node: NodeId, attributes: Attributes) -> Result<Vec<Content>, Error> {
        let layer = self.layer;
        let node = &mut self.nodes[node.index()];
        let held = self.held - xattr_bytes(&node.attributes) + xattr_bytes(&attributes);
        if held > MOST_HELD {
            return Err(Error::Held);
        }
        (self.held, node.attributes, node.layer) = (held, attributes, layer);
        Ok(Vec::new())
    }

    /// Adds a file under a name that nothing has.
    fn add(
        &mut self,
        parent: NodeId,
        name: &[u8],
        attributes: Attributes,
        kind: Kind,
    ) -> Result<NodeId, Error> {
        let bytes = xattr_bytes(&attributes) + kind_bytes(&kind);
        self.make_room(name.len() + bytes)?;
        let node = Node { attributes, kind, children: Default::default(), names: 1, layer: self.layer };
        let id = match self.free.pop() {
            Some(id) => {
                self.nodes[id.index()] = node;
                id
            }
            None => {
                let id = u32::try_from(self.nodes.len()).map_err(|_| Error::Entries(self.most_entries))?;
                self.nodes.push(node);
                NodeId(id)
            }
        };
        self.nodes[parent.index()].children.insert(name.into(), id);
        self.held += bytes;
        self.hold_name(name);
        Ok(id)
    }

    fn make_room(&self, bytes: usize) -> Result<(), Error> {
        if self.entries >= self.most_entries {
            return Err(Error::Entries(self.most_entries));
        }
        if self.held.saturating_add(bytes) > MOST_HELD { Err(Error::Held) } else { Ok(()) }
    }

    fn hold_name(&mut self, name: &[u8]) {
        self.entries += 1;
        self.held += name.len();
    }

    /// Takes a name out of a directory, and all that no name leads to any more.
    fn detach(&mut self, parent: NodeId, name: &[u8]) -> Vec<Content> {
        let mut freed = Vec::new();
        let Some(child) = self.nodes[parent.index()].children.remove(name) else { return freed };
        let mut gone = vec![(name.len(), child)];
        while let Some((name, id)) = gone.pop() {
            self.entries -= 1;
            self.held -= name;
            let node = &mut self.nodes[id.index()];
            node.names -= 1;
            if node.names > 0 {
                continue;
            }
            self.held -= xattr_bytes(&node.attributes) + kind_bytes(&node.kind);
            node.attributes = Attributes::default();
            let children = mem::take(&mut node.children);
            if let Kind::File(content) = mem::replace(&mut node.kind, Kind::Fifo) {
                freed.push(content);
            }
            gone.extend(children.into_iter().map(|(name, child)| (name.len(), child)));
            self.free.push(id);
        }
        freed
    }
}

fn xattr_bytes(attributes: &Attributes) -> usize {
    attributes.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum()
}

fn kind_bytes(kind: &Kind) -> usize {
    match kind {
        Kind::Symlink(target) => target.len(),
        Kind::File(content) => content.inline.len(),
        _ => 0,
    }
}

/// Refuses what no Linux file system could keep.
fn check_file(path: &[&[u8]], attributes: &Attributes, kind: &Kind) -> Result<(), Error> {
    let refuse = |what: String| Err(Error::Attribute { path: shown(path), what });
    if attributes.mode > 0o7777 {
        return refuse(format!("mode {:o} is more than permissions", attributes.mode));
    }
    if attributes.mtime_nanos >= 1_000_000_000 {
        return refuse(format!("{} nanoseconds are a second or more", attributes.mtime_nanos));
    }
    for (name, value) in &attributes.xattrs {
        if name.is_empty()
            || name.len() > MOST_NAME
            || name.contains(&0)
            || value.len() > usize::from(u16::MAX)
        {
            return refuse(format!(
                "extended attribute `{}` is too long or has no name",
                name.escape_ascii()
            ));
        }
    }
    if xattr_bytes(attributes) > MOST_XATTRS {
        return refuse(format!("more than {} KiB of extended attributes", MOST_XATTRS >> 10));
    }
    match kind {
        Kind::Symlink(target) if target.is_empty() || target.len() > MOST_TARGET || target.contains(&0) => {
            refuse("a symbolic link's target is empty, too long, or has a NUL in it".to_owned())
        }
        Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor }
            if *major >= 1 << 12 || *minor >= 1 << 20 =>
        {
            refuse(format!("device {major}:{minor} is out of range"))
        }
        Kind::File(content) if !content.inline.is_empty() => {
            let whole = content.extents.is_empty() && content.inline.len() as u64 == content.size;
            if whole { Ok(()) } else { refuse("its inline content is not the whole file".to_owned()) }
        }
        _ => Ok(()),
    }
}
