//! `/etc/passwd` and `/etc/group` of a guest's image, as the agent in it reads them.

use crate::Input;

/// A user's name as a command line may have it, and the two files.
///
/// Numbers are none that mean something else to Linux, groups are bounded, and the same line says who it was. (The agent is for
/// Linux.)
///
/// # Panics
/// One of these is not so.
pub fn user_database(data: &[u8]) {
    let mut input = Input::new(data);
    let (name, files) = (usize::from(input.u8()) % 64, usize::from(input.u16()));
    let name = String::from_utf8_lossy(input.bytes(name)).into_owned();
    let passwd = String::from_utf8_lossy(input.bytes(files)).into_owned();
    let group = String::from_utf8_lossy(input.bytes(usize::MAX)).into_owned();
    play(&name, &passwd, &group);
}

#[cfg(target_os = "linux")]
fn play(name: &str, passwd: &str, group: &str) {
    match hv_init::fuzzing::user(name, passwd, group) {
        Ok(((user, own, groups), home)) => {
            assert!(user != u32::MAX && own != u32::MAX && !groups.contains(&u32::MAX));
            assert!(groups.len() <= 1024 && !home.is_empty());
            let wanted = name.split_once(':').map_or(name, |(name, _)| name);
            let is_listed = |line: &str| {
                let mut fields = line.trim().split(':');
                fields.next() == Some(wanted) || fields.nth(1) == Some(wanted)
            };
            let is_known = passwd.lines().any(is_listed) || wanted.parse() == Ok(user) || user == 0;
            assert!(is_known || wanted.bytes().all(|byte| byte.is_ascii_digit()), "{name:?} is {user}");
        }
        Err(said) => assert!(said.contains("is not in the guest's /etc/"), "{said}"),
    }
}

#[cfg(not(target_os = "linux"))]
fn play(_: &str, _: &str, _: &str) {}
