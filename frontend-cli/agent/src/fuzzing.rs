//! What fuzz targets play against, which is no interface for others.

use crate::users;

/// A user, a group and supplementary groups.
pub type Ids = (u32, u32, Vec<u32>);

/// Whom a command for `user` runs as, by the guest's files, and that user's home.
///
/// # Errors
/// There is no such user or group; what is said of that.
pub fn user(user: &str, passwd: &str, group: &str) -> Result<(Ids, String), String> {
    let identity = users::resolve(user, passwd, group).map_err(|unknown| unknown.to_string())?;
    Ok(((identity.uid, identity.gid, identity.groups), identity.home))
}
