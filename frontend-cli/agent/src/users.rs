//! Whom a command runs as, by the guest's `/etc/passwd` and `/etc/group`, as OCI runtimes resolve it.

use std::fmt;

/// A user with groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    /// The user's name, if the file has one.
    pub(crate) name: Option<String>,
    pub(crate) home: String,
}

/// Nobody of that name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unknown<'a> {
    User(&'a str),
    Group(&'a str),
}

impl fmt::Display for Unknown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(formatter, "user {name} is not in the guest's /etc/passwd"),
            Self::Group(name) => write!(formatter, "group {name} is not in the guest's /etc/group"),
        }
    }
}

/// The most supplementary groups that Linux takes is 65536; no file needs as many.
const MOST_GROUPS: usize = 1024;

/// Resolves `name`, `uid`, and either with `:group` or `:gid`. A number need not be in the file; its group is 0 then. With
/// a group there are no supplementary ones.
pub(crate) fn resolve<'a>(user: &'a str, passwd: &str, group: &str) -> Result<Identity, Unknown<'a>> {
    let (user, wanted_group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = id(user);
    let entry = entries(passwd)
        .find(|entry| entry.first() == Some(&user))
        .or_else(|| entries(passwd).find(|entry| number.is_some() && field(entry, 2) == number));
    let uid = entry.as_ref().and_then(|entry| field(entry, 2)).or(number).ok_or(Unknown::User(user))?;
    let name = entry.as_ref().and_then(|entry| entry.first()).map(|name| (*name).to_owned());
    let home = entry.as_ref().and_then(|entry| entry.get(5)).filter(|home| !home.is_empty());
    let mut identity = Identity {
        uid,
        gid: entry.as_ref().and_then(|entry| field(entry, 3)).unwrap_or(0),
        groups: Vec::new(),
        home: home.map_or("/", |home| home).to_owned(),
        name,
    };
    if let Some(wanted) = wanted_group {
        let named = entries(group).find(|entry| entry.first() == Some(&wanted));
        let gid = named.and_then(|entry| field(&entry, 2)).or_else(|| id(wanted));
        identity.gid = gid.ok_or(Unknown::Group(wanted))?;
    } else if let Some(name) = &identity.name {
        let member = |entry: &Vec<&str>| {
            entry.get(3).is_some_and(|members| members.split(',').any(|member| member == name))
        };
        let groups = entries(group).filter(member).filter_map(|entry| field(&entry, 2));
        identity.groups = groups.take(MOST_GROUPS).collect();
    }
    Ok(identity)
}

fn entries(file: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = file.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split(':').collect())
}

fn field(entry: &[&str], at: usize) -> Option<u32> {
    entry.get(at).and_then(|field| id(field))
}

/// A user or group number. The last one means "no change" to Linux.
fn id(text: &str) -> Option<u32> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
        .filter(|id| *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\nbad\nwww-data:x:33:33:w:/var/www:/bin/sh\n9:x:70:71::/nine:\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:syslog,www-data\ndisk:x:6:root\ntty:x:5:www-data\n";

    fn resolved(user: &str) -> (u32, u32, Vec<u32>, String) {
        let identity = resolve(user, PASSWD, GROUP).unwrap();
        (identity.uid, identity.gid, identity.groups, identity.home)
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(resolved("www-data"), (33, 33, vec![4, 5], "/var/www".into()));
        assert_eq!(resolved("33"), (33, 33, vec![4, 5], "/var/www".into()));
        assert_eq!(resolved("www-data:adm"), (33, 4, vec![], "/var/www".into()));
        assert_eq!(resolved("33:1234"), (33, 1234, vec![], "/var/www".into()));
        assert_eq!(resolved("4321"), (4321, 0, vec![], "/".into()));
        assert_eq!(resolved("4321:adm"), (4321, 4, vec![], "/".into()));
        assert_eq!(resolved(""), (0, 0, vec![6], "/root".into()));
        assert_eq!(resolved(":adm"), (0, 4, vec![], "/root".into()));
        assert_eq!(resolved("9").0, 70, "a name of digits is a name first");
    }

    #[test]
    fn nobody() {
        assert_eq!(resolve("who", PASSWD, GROUP), Err(Unknown::User("who")));
        assert_eq!(resolve("root:who", PASSWD, GROUP), Err(Unknown::Group("who")));
        assert_eq!(resolve("-1", PASSWD, GROUP), Err(Unknown::User("-1")));
        assert_eq!(resolve("4294967295", "", ""), Err(Unknown::User("4294967295")));
        assert_eq!(resolve("99999999999", "", ""), Err(Unknown::User("99999999999")));
    }
}
